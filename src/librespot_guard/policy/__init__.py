"""The policy file: read it, draft it, and say which services it speaks of and whom it allows.

What reads files (PyYAML) and what judges (`reach`) is imported when it is first asked for: `check` must start fast, and
most rooms need the values only.
"""

import importlib
from typing import TYPE_CHECKING, Any

from librespot_guard.policy.model import FLAVOURS, SURFACES, Entry, Match, Network, Policy, Source, Where

if TYPE_CHECKING:
    from librespot_guard.policy.drafting import draft
    from librespot_guard.policy.faults import Fault
    from librespot_guard.policy.loader import Reading, load, read
    from librespot_guard.policy.resolve import Assignment, allowed, assign, matching, unmatched

__all__ = [
    "FLAVOURS",
    "SURFACES",
    "Assignment",
    "Entry",
    "Fault",
    "Match",
    "Network",
    "Policy",
    "Reading",
    "Source",
    "Where",
    "allowed",
    "assign",
    "draft",
    "load",
    "matching",
    "read",
    "unmatched",
]

_LATER = {
    "Assignment": "resolve",
    "Fault": "faults",
    "Reading": "loader",
    "allowed": "resolve",
    "assign": "resolve",
    "draft": "drafting",
    "load": "loader",
    "matching": "resolve",
    "read": "loader",
    "unmatched": "resolve",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
