"""Who can reach what: intervals, the symbolic engine, the concrete interpreter, questions and their answers."""

from librespot_guard.reach._beside import is_here
from librespot_guard.reach.answer import Answer, Forwarded
from librespot_guard.reach.engine import Engine, reachable
from librespot_guard.reach.intervals import IntervalSet, cidrs, parse_cidrs
from librespot_guard.reach.packet import Packet, Step, Trace, chosen_extensions, packet_from_json
from librespot_guard.reach.questions import (
    Question,
    Reached,
    answers,
    example,
    handed_on,
    questions,
    telling,
    telling_ways,
)
from librespot_guard.reach.world import World, Worlds, world

__all__ = [
    "Answer",
    "Engine",
    "Forwarded",
    "IntervalSet",
    "Packet",
    "Question",
    "Reached",
    "Step",
    "Trace",
    "World",
    "Worlds",
    "answers",
    "chosen_extensions",
    "cidrs",
    "example",
    "handed_on",
    "is_here",
    "packet_from_json",
    "parse_cidrs",
    "questions",
    "reachable",
    "telling",
    "telling_ways",
    "world",
]
