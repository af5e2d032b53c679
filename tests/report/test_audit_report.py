"""An audit as text and as JSON."""

import pytest

from audit.case import SAFE, Case
from audit.cases import CASES
from audit.hosts import host, librespot
from librespot_guard import audit
from librespot_guard.report.audit import to_json, to_lines
from librespot_guard.report.text import plain
from librespot_guard.snapshot import Info, Secret
from support import Schema

EVIL = "[red]a[/red]\x1b[2J\u202e:skull:"


def text(report: audit.Report, width: int = 100) -> str:
    """The report as a log shows it."""
    return plain(to_lines(report, width=width))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_every_report_is_what_its_schema_says(case: Case, schema: Schema) -> None:
    """The JSON of each handmade host validates, and keeps every finding."""
    report = audit.run(case.snapshot, rulesets=case.rulesets)
    document = to_json(report)

    schema("audit").validate(document)
    assert [f["id"] for f in document["findings"]] == [f.id for f in report.findings]


def test_the_text_says_all_of_a_finding() -> None:
    """Severity, id, title, evidence, reason, fix and command of each finding are in the text, grouped by service."""
    report = audit.run(host(librespot(uid=0), librespot(name="attic", pid=900)))
    shown = text(report)
    joined = " ".join(shown.replace(" - ", " ").split())

    for finding in report.findings:
        assert f"{finding.severity.upper()} {finding.id} {finding.title}" in joined
        for part in (*finding.evidence, finding.why, *finding.fix, finding.verify):
            assert " ".join(part.replace(" - ", " ").split()) in joined
    assert [row for row in shown.splitlines() if row in ("attic", "living-room")] == ["attic", "living-room"]


def test_the_last_line_is_the_grade() -> None:
    """A log is read from its end: the letter and the counts stand there."""
    assert text(audit.run(host(librespot()), rulesets=SAFE)).splitlines()[-1] == "grade B: 1 low"
    assert text(audit.run(host())).splitlines()[0] == "No service of the librespot family was found."
    assert text(audit.run(host())).splitlines()[-1] == "grade A: no findings"


def test_what_could_not_be_looked_at_is_said() -> None:
    """Gaps stand with their checks and their reason before the grade, which is then only an upper bound."""
    shown = text(audit.run(host(librespot(), nft=None), ignore=["LG105"]))

    assert "Could not be looked at" in shown
    assert "LG101: who reaches this service (living-room)" in shown
    assert "hint: run the audit as root" in shown
    assert "so the grade is at best B" in shown.splitlines()[-1]
    assert shown.splitlines()[-1].endswith("ignored: LG105")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_keep_to_the_width(width: int) -> None:
    """Only a command, a path or another word that must be copied whole is longer than the terminal."""
    report = audit.run(host(librespot(uid=0, cache_dir="/c", argv=("librespot",))))
    for row in text(report, width).splitlines():
        assert len(row) <= width or "verify" in row or max(map(len, row.split())) > width - 20


def test_names_are_only_text() -> None:
    """What a service calls itself, its account and its settings can't be markup, colour or a new line."""
    service = librespot(
        name=EVIL,
        executable=EVIL,
        unit=f"{EVIL}.service",
        uid=0,
        cache_dir=EVIL,
        argv=("librespot", "-i", EVIL),
        environment={"LIBRESPOT_DISABLE_DISCOVERY": "off"},
        secrets=(Secret("argv", EVIL),),
        info=Info(account=EVIL, library_version=f"0.4.2{EVIL}"),
    )
    shown = text(audit.run(host(service)))

    assert "[red]a[/red]" in shown
    assert ":skull:" in shown
    assert all(line.isprintable() for line in shown.splitlines())
