"""An audit for people and for programs."""

from collections.abc import Iterable, Iterator
from typing import Any

from librespot_guard.audit import Finding, Report, Unable
from librespot_guard.report.text import EMPTY, GRADE_STYLES, STYLES, WIDTH, Line, Span, clean, line, paragraph

SCHEMA = "librespot-guard/audit/1"
_LABEL = 11
_HOST = "this host"


def to_json(report: Report) -> dict[str, Any]:
    """The document of `audit --format json` (design section 5)."""
    return {
        "schema": SCHEMA,
        "grade": report.grade,
        "services": list(report.services),
        "checks": list(report.checks),
        "ignored": list(report.ignored),
        "findings": [_finding_json(f) for f in report.findings],
        "incomplete": [
            {"check": u.check, "service": u.service, "what": u.what, "why": u.why, "hint": u.hint}
            for u in report.incomplete
        ],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": finding.severity,
        "service": finding.service,
        "threats": list(finding.threats),
        "title": finding.title,
        "evidence": list(finding.evidence),
        "why": finding.why,
        "fix": list(finding.fix),
        "verify": finding.verify,
        "place": finding.place,
    }


def to_lines(report: Report, *, width: int = WIDTH) -> list[Line]:
    """The report as text: by service, worst first, what could not be looked at, and the grade in the last line."""
    lines: list[Line] = []
    if not report.services:
        lines += [line("No service of the librespot family was found."), EMPTY]
    for service in _order(report):
        lines += [line(Span(service or _HOST, "bold underline")), EMPTY]
        for finding in report.findings:
            if finding.service == service:
                lines += [*_finding(finding, width), EMPTY]
    if report.incomplete:
        lines += [
            line(Span("Could not be looked at", "bold underline")),
            EMPTY,
            *_incomplete(report.incomplete, width),
            EMPTY,
        ]
    lines.append(_last(report))
    return lines


def _order(report: Report) -> list[str | None]:
    """Services in the order of their worst finding, the host itself among them."""
    return list(dict.fromkeys(finding.service for finding in report.findings))


def _finding(finding: Finding, width: int) -> Iterator[Line]:
    style = STYLES[finding.severity]
    head = f"{finding.severity.upper():<{_LABEL}}{finding.id}  "
    rows = paragraph(finding.title, width=width - len(head), style="bold")
    yield (Span(f"{finding.severity.upper():<{_LABEL}}", style), Span(f"{finding.id}  ", "bold"), *rows[0])
    yield from ((Span(" " * len(head)), *row) for row in rows[1:])
    yield from _block("evidence", finding.evidence, width)
    yield from _block("why", (finding.why,), width, bullets=False)
    yield from _block("fix", finding.fix, width)
    # a command must survive being copied: it is never wrapped
    yield (Span("  "), Span(f"{'verify':<{_LABEL - 2}}", "dim"), Span(clean(finding.verify), "bold"))


def _block(label: str, texts: Iterable[str], width: int, *, bullets: bool = True) -> Iterator[Line]:
    margin = " " * _LABEL
    first = True
    for text in texts:
        rows = paragraph(text, width=width - _LABEL, first="- " if bullets else "", indent="  " if bullets else "")
        for row in rows:
            yield (Span("  "), Span(f"{label:<{_LABEL - 2}}", "dim"), *row) if first else (Span(margin), *row)
            first = False


def _incomplete(gaps: tuple[Unable, ...], width: int) -> Iterator[Line]:
    """Gaps with the same reason together, each with the checks that could not be made for it."""
    grouped: dict[tuple[str, str], list[Unable]] = {}
    for gap in gaps:
        grouped.setdefault((gap.why, gap.hint), []).append(gap)
    for (why, hint), together in grouped.items():
        for gap in together:
            text = f"{gap.what} ({gap.service})" if gap.service else gap.what
            yield from paragraph(f"{gap.check}: {text}" if gap.check else text, width=width, first="- ", indent="  ")
        yield from paragraph(f"because {why}", width=width, first="    ", indent="    ")
        if hint:
            yield from paragraph(hint, width=width, first="    hint: ", indent="    ")


def _last(report: Report) -> Line:
    counts = [
        (name, sum(f.severity == name for f in report.findings)) for name in ("critical", "high", "medium", "low")
    ]
    found = ", ".join(f"{count} {name}" for name, count in counts if count) or "no findings"
    unseen = (
        f"; {len(report.incomplete)} could not be looked at, so the grade is at best {report.grade}"
        if report.incomplete
        else ""
    )
    ignored = f"; ignored: {', '.join(report.ignored)}" if report.ignored else ""
    return line(Span("grade ", "bold"), Span(report.grade, GRADE_STYLES[report.grade]), f": {found}{unseen}{ignored}")
