"""What a doctor found, for people and for programs."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from librespot_guard.doctor import CAUSES, Diagnosis
from librespot_guard.report.text import EMPTY, WIDTH, Line, Span, line, paragraph
from librespot_guard.snapshot import Snapshot

SCHEMA = "librespot-guard/doctor/1"
_LABEL = 11
_STYLES = {"sure": "red", "likely": "yellow", "possible": "cyan"}
BEYOND = (
    "the access point keeps its clients apart (client, station or AP isolation), or drops multicast (IGMP snooping without a querier)",
    "the phone is in another network (guest Wi-Fi, VLAN, VPN): multicast DNS does not leave its link",
    "the app has no permission for the local network (iOS, Android), or is logged in to no account",
)
"""What keeps a phone from a speaker without a trace on the speaker's host."""


def to_json(facts: Snapshot, chosen: Iterable[str], found: Iterable[Diagnosis]) -> dict[str, Any]:
    """The document of `doctor --format json` (schemas/doctor.json)."""
    return {
        "schema": SCHEMA,
        "host": facts.hostname,
        "services": list(chosen),
        "announcements_asked": any(space.announcements is not None for space in facts.namespaces),
        "diagnoses": [
            {
                "cause": one.cause,
                "title": CAUSES[one.cause].title,
                "service": one.service,
                "certainty": one.certainty,
                "keeps_from": list(CAUSES[one.cause].keeps),
                "evidence": list(one.evidence),
                "why": CAUSES[one.cause].why,
                "fix": list(one.fix),
                "check": one.check,
            }
            for one in found
        ],
        "not_visible_here": list(BEYOND),
        "incomplete": [asdict(gap) for gap in facts.incomplete],
    }


def to_lines(chosen: Iterable[str], found: tuple[Diagnosis, ...], *, width: int = WIDTH) -> list[Line]:
    """The diagnoses as text, service by service; for a healthy one, what can't be seen from this host."""
    lines: list[Line] = []
    names: list[str | None] = list(chosen) or [None]
    healthy = False
    for name in names:
        lines += [line(Span(name or "this host", "bold underline")), EMPTY]
        here = [one for one in found if one.service == name]
        for one in here:
            lines += [*_diagnosis(one, width), EMPTY]
        if not here:
            healthy = True
            lines += [line(Span("healthy", "green"), "  it is announced as it is, and the network gets to it"), EMPTY]
    if healthy:
        lines += [line("If a phone does not see it all the same, the cause is not on this host:")]
        lines += [row for text in BEYOND for row in paragraph(text, width=width, first="- ", indent="  ")]
        lines += [line("Try `librespot-guard scan --network` on another machine of the phone's network.")]
    else:
        lines.pop()
    return lines


def _diagnosis(one: Diagnosis, width: int) -> Iterator[Line]:
    cause = CAUSES[one.cause]
    yield line(Span(f"{one.certainty.upper():<{_LABEL}}", _STYLES[one.certainty]), Span(cause.title, "bold"))
    yield from _block("evidence", one.evidence, width)
    yield from _block("why", (cause.why,), width, bullets=False)
    yield from _block("fix", one.fix, width)
    yield line("  ", Span(f"{'check':<{_LABEL - 2}}", "dim"), Span(one.check, "bold"))


def _block(label: str, texts: Iterable[str], width: int, *, bullets: bool = True) -> Iterator[Line]:
    first = True
    for text in texts:
        for row in paragraph(text, width=width - _LABEL, first="- " * bullets, indent="  " * bullets):
            yield (Span("  "), Span(f"{label:<{_LABEL - 2}}", "dim"), *row) if first else (Span(" " * _LABEL), *row)
            first = False
