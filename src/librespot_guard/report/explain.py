"""A page of `explain`, the list of all pages, and both as JSON."""

from collections.abc import Iterable, Iterator
from typing import Any

from librespot_guard.audit import CHECKS, CONCEPTS, THREATS, Explanation
from librespot_guard.report.text import EMPTY, STYLES, WIDTH, Line, Span, line, paragraph, table

SCHEMA = "librespot-guard/explain/1"
_INDENT = "  "


def to_json(page: Explanation) -> dict[str, Any]:
    """The document of `explain NAME --format json`."""
    return {
        "schema": SCHEMA,
        "name": page.name,
        "kind": "concept" if page.severity is None else "check",
        "title": page.title,
        "severity": page.severity,
        "threats": list(page.threats),
        "what": list(page.what),
        "why": list(page.why),
        "fix": list(page.fix),
        "check": list(page.check),
    }


def list_json() -> dict[str, Any]:
    """The document of `explain --format json`: every name with its title."""
    return {
        "schema": SCHEMA,
        "checks": [{"name": c.id, "title": c.title, "severity": c.severity} for c in CHECKS],
        "concepts": [{"name": p.name, "title": p.title} for _, p in sorted(CONCEPTS.items())],
    }


def to_lines(page: Explanation, *, width: int = WIDTH) -> list[Line]:
    """One page as text."""
    head: list[Span | str] = [Span(page.name, "bold"), ": ", page.title]
    if page.severity:
        head += [" (usually ", Span(page.severity, STYLES[page.severity]), ")"]
    lines = [line(*head)]
    for title, texts, commands in (
        ("What", page.what, False),
        ("Why it matters", page.why, False),
        ("How to fix", page.fix, False),
        ("How to check", page.check, True),
        ("Threat", tuple(f"{name}: {THREATS[name]}" for name in page.threats), False),
    ):
        if texts:
            lines += [EMPTY, line(Span(title, "bold underline")), *_texts(texts, width, commands=commands)]
    return lines


def _texts(texts: Iterable[str], width: int, *, commands: bool) -> Iterator[Line]:
    """Commands as they are, one text as a paragraph, several as a list."""
    items = list(texts)
    bullet = "- " if len(items) > 1 else ""
    for text in items:
        if commands:
            yield line(_INDENT, Span(text, "bold"))
        else:
            yield from paragraph(text, width=width, first=_INDENT + bullet, indent=_INDENT + " " * len(bullet))


def list_lines() -> list[Line]:
    """All checks and concepts, one line each."""
    checks = table([[f"  {c.id}", c.severity, c.title] for c in CHECKS], styles=["bold", "", ""])
    concepts = table([[f"  {name}", page.title] for name, page in sorted(CONCEPTS.items())], styles=["bold", ""])
    return [
        line(Span("Checks", "bold underline")),
        *checks,
        EMPTY,
        line(Span("Concepts", "bold underline")),
        *concepts,
        EMPTY,
        line("`librespot-guard explain NAME` shows one of them."),
    ]
