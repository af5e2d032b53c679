"""Checks on a snapshot: findings with their threats, a fix for each, and a grade. Pure."""

from librespot_guard.audit.concepts import CONCEPTS, Explanation
from librespot_guard.audit.explain import all_explanations, explain
from librespot_guard.audit.grade import GRADES, grade
from librespot_guard.audit.model import SEVERITIES, THREATS, Check, Finding, Report, Unable
from librespot_guard.audit.registry import BY_ID, CHECKS
from librespot_guard.audit.run import known_ids, run

__all__ = [
    "BY_ID",
    "CHECKS",
    "CONCEPTS",
    "GRADES",
    "SEVERITIES",
    "THREATS",
    "Check",
    "Explanation",
    "Finding",
    "Report",
    "Unable",
    "all_explanations",
    "explain",
    "grade",
    "known_ids",
    "run",
]
