"""`docs/findings.md`: every check on one page, from the checks' own texts.

`python -m librespot_guard.report.findings_page > docs/findings.md` writes it; a test compares.
"""

import sys
from collections.abc import Iterator

from librespot_guard.audit import CHECKS, THREATS, Check
from librespot_guard.audit.grade import RULE

_FAMILIES = {
    "1": "Who reaches it",
    "2": "The service itself",
    "3": "The packet filter and the host",
    "4": "The quality of the rules",
    "5": "Ways around the rules",
    "6": "What tools say about the rules",
    "7": "Member by member",
}


def render() -> str:
    """The page as Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# What `audit` finds"
    yield ""
    yield "<!-- generated from the checks: python -m librespot_guard.report.findings_page > docs/findings.md -->"
    yield ""
    yield "Each finding has a stable id; `librespot-guard explain ID` prints its page. Nothing is reported without evidence from the host, and a check that"
    yield "could not be made is named under `incomplete`."
    yield ""
    yield "| id | usual severity | title |"
    yield "|---|---|---|"
    for check in CHECKS:
        yield f"| [{check.id}](#{check.id.lower()}) | {check.severity} | {_cell(check.title)} |"
    yield ""
    yield "## Grade"
    yield ""
    yield "The first line that holds gives the grade. One more finding never gives a better one."
    yield ""
    for letter, condition in RULE:
        yield f"* **{letter}**: {condition}"
    yield ""
    yield "## Threats"
    yield ""
    for name, text in THREATS.items():
        yield f"* `{name}`: {text}"
    for digit, title in _FAMILIES.items():
        if not any(check.id[2] == digit for check in CHECKS):
            continue
        yield ""
        yield f"## {title}"
        for check in CHECKS:
            if check.id[2] == digit:
                yield from _check(check)


def _check(check: Check) -> Iterator[str]:
    yield ""
    yield f"### {check.id}"
    yield ""
    yield f"**{check.title}** ({check.severity}; {', '.join(check.threats)})"
    yield ""
    yield check.what
    yield ""
    yield f"*Why it matters.* {check.why}"
    yield ""
    yield "*How to fix it.*"
    yield ""
    for number, step in enumerate(check.fix, start=1):
        yield f"{number}. {step}"
    yield ""
    yield f"*How to check.* `{check.verify}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
