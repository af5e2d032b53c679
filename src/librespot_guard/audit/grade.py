"""One letter for a report. The rule is written once, here, and `explain grade` prints it.

The letter depends on how many findings there are of each severity, and each of its conditions can only become true by
adding a finding, never false: more findings never give a better letter.
"""

from collections import Counter
from collections.abc import Iterable

from librespot_guard.audit.model import Finding, Unable

GRADES = "ABCDEF"
MANY = 3
"""So many findings of severity high are worse than one."""

RULE = (
    ("F", "at least one finding is critical"),
    ("E", f"{MANY} findings or more are high"),
    ("D", "at least one finding is high"),
    ("C", "at least one finding is medium"),
    ("B", "at least one finding is low, or something could not be looked at"),
    ("A", "every check was made and none found anything"),
)
"""The first line that holds gives the grade."""


def grade(findings: Iterable[Finding], incomplete: Iterable[Unable] = ()) -> str:
    """The grade of findings, A (best) to F; see `RULE`."""
    count = Counter(f.severity for f in findings)
    conditions = (
        count["critical"] > 0,
        count["high"] >= MANY,
        count["high"] > 0,
        count["medium"] > 0,
        count["low"] > 0 or any(True for _ in incomplete),
        True,
    )
    return next(letter for (letter, _), holds in zip(RULE, conditions, strict=True) if holds)
