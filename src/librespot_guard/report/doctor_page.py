"""`docs/doctor.md`: every cause on one page, from the doctor's own texts.

`python -m librespot_guard.report.doctor_page > docs/doctor.md` writes it; a test compares.
"""

import sys
from collections.abc import Iterator

from librespot_guard.doctor import CAUSES
from librespot_guard.report.doctor import BEYOND


def render() -> str:
    """The page as Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Why is my speaker not discovered, or not reachable?"
    yield ""
    yield "<!-- generated from the causes: python -m librespot_guard.report.doctor_page > docs/doctor.md -->"
    yield ""
    yield "`sudo librespot-guard doctor` on the speaker's host looks for these causes, and says for each that it finds how sure it is, what it"
    yield "saw, and what to do. It asks for speakers by multicast DNS on every network of the host, as a phone does; nothing is changed."
    yield ""
    yield "| cause | keeps a phone from | |"
    yield "|---|---|---|"
    for cause in CAUSES.values():
        yield f"| `{cause.id}` | {' and '.join(cause.keeps)} | {cause.title} |"
    for cause in CAUSES.values():
        yield ""
        yield f"## `{cause.id}`: {cause.title}"
        yield ""
        yield cause.why
    yield ""
    yield "## What can't be seen on the speaker's host"
    yield ""
    for text in BEYOND:
        yield f"* {text}"
    yield ""
    yield "`librespot-guard scan --network` on another machine of the phone's network lists the speakers that answer there."


if __name__ == "__main__":
    sys.stdout.write(render())
