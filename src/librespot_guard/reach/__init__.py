"""Who can reach what: intervals, the symbolic engine, the concrete interpreter, questions and their answers."""

from librespot_guard.reach.engine import Answer, Engine, reachable
from librespot_guard.reach.intervals import IntervalSet, cidrs, parse_cidrs
from librespot_guard.reach.packet import Packet, Step, Trace, packet_from_json
from librespot_guard.reach.questions import Question, Reached, answers, questions
from librespot_guard.reach.world import World, world

__all__ = [
    "Answer",
    "Engine",
    "IntervalSet",
    "Packet",
    "Question",
    "Reached",
    "Step",
    "Trace",
    "World",
    "answers",
    "cidrs",
    "packet_from_json",
    "parse_cidrs",
    "questions",
    "reachable",
    "world",
]
