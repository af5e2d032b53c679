"""Each check finds what it is for, with evidence from the host, and is silent where there is nothing."""

import json
import re
from pathlib import Path

import pytest

from audit.case import SAFE, Case
from audit.cases import CASES
from audit.hosts import EMPTY, HOME, host, librespot
from librespot_guard import audit
from librespot_guard.snapshot import Gap, dumps, loads


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_a_check_on_a_host(case: Case) -> None:
    """The check reports the host that has it, once, with the severity and evidence that belong to it; and not the one that has not."""
    report = audit.run(case.snapshot, rulesets=case.rulesets)
    found = [f for f in report.findings if f.id == case.check]

    assert [f.severity for f in found] == ([] if case.severity is None else [case.severity])
    for finding in found:
        text = "\n".join((finding.title, *finding.evidence, finding.why, *finding.fix, finding.verify))
        assert [words for words in case.seen if words not in text] == []
    assert [u for u in report.incomplete if u.check == case.check] == []


@pytest.mark.parametrize("check", audit.CHECKS, ids=lambda c: c.id)
def test_every_check_is_tried_both_ways(check: audit.Check) -> None:
    """No check without a host that has it and a host that has not."""
    severities = [case.severity for case in CASES if case.check == check.id]

    assert any(severities)
    assert None in severities


def test_every_finding_is_complete() -> None:
    """A finding names known threats, evidence, reasons, a fix and a command, and nothing is left unfilled in its texts."""
    findings = [f for case in CASES for f in audit.run(case.snapshot, rulesets=case.rulesets).findings]

    assert findings
    for finding in findings:
        assert finding.threats
        assert set(finding.threats) <= set(audit.THREATS)
        assert finding.severity in audit.SEVERITIES
        for text in (finding.title, *finding.evidence, finding.why, *finding.fix, finding.verify):
            assert text.strip()
            assert not re.search(r"\bNone\b(?! of)", text)
            assert "{" not in text


def test_the_safe_host_keeps_only_what_the_protocol_does() -> None:
    """A pinned, unprivileged, current service behind rules for both families has one finding, a low one, and grade B."""
    report = audit.run(host(librespot()), rulesets=SAFE)

    assert [(f.id, f.severity) for f in report.findings] == [("LG202", "low")]
    assert report.incomplete == ()
    assert report.grade == "B"


def test_findings_come_worst_first() -> None:
    """The order is severity, service, id."""
    report = audit.run(host(librespot(uid=0), librespot(name="attic", pid=900)))
    keys = [(-audit.SEVERITIES.index(f.severity), f.service or "", f.id) for f in report.findings]

    assert keys == sorted(keys)
    assert len({f.severity for f in report.findings}) > 1


def test_an_unread_filter_silences_nothing() -> None:
    """Without the packet filter, the checks that need it are named with the reason; none of them guesses, the others still run."""
    report = audit.run(host(librespot(uid=0), nft=None))
    named = {u.check for u in report.incomplete}

    assert {"LG101", "LG103", "LG105", "LG202", "LG301", "LG302", "LG303"} <= named
    assert not {f.id for f in report.findings} & named
    assert "LG208" in {f.id for f in report.findings}
    assert all(u.why and u.what for u in report.incomplete)


def test_gaps_of_the_facts_are_in_the_report() -> None:
    """What could not be read is said, and spoils an otherwise perfect grade."""
    gap = Gap("/proc/77", "permission denied", "run as root")
    report = audit.run(host(incomplete=(gap,)))

    assert [(u.check, u.what, u.why, u.hint) for u in report.incomplete] == [
        (None, "/proc/77", "permission denied", "run as root")
    ]
    assert report.grade == "B"


def test_a_service_that_was_not_asked_is_named() -> None:
    """If getInfo was not answered, LG204 says that it does not know."""
    report = audit.run(host(librespot(info=None)))

    assert [u.service for u in report.incomplete if u.check == "LG204"] == ["living-room"]


def test_an_unknown_version_is_named() -> None:
    """A version that could not be told is no clean bill."""
    report = audit.run(host(librespot(version=None, info=None)))

    assert any(u.check == "LG209" for u in report.incomplete)


def test_no_service_no_finding() -> None:
    """A host without a service is graded A, and the report says that there was none."""
    report = audit.run(host())

    assert (report.grade, report.findings, report.services) == ("A", (), ())


def test_ignored_checks_are_not_made_and_are_named() -> None:
    """--ignore takes ids in any case, leaves those findings and gaps out, and the report names them."""
    report = audit.run(host(librespot(uid=0), nft=None), ignore=["lg208", "LG101", "LG208"])

    assert report.ignored == ("LG101", "LG208")
    assert not {f.id for f in report.findings} & {"LG101", "LG208"}
    assert not {u.check for u in report.incomplete} & {"LG101", "LG208"}
    assert not set(report.checks) & {"LG101", "LG208"}


def test_the_same_facts_give_the_same_report(tmp_path: Path) -> None:
    """An audit is pure: over JSON and back the report is the same."""
    snapshot = host(librespot(uid=0), nft=EMPTY)
    file = tmp_path / "host.json"
    file.write_text(dumps(snapshot), encoding="utf-8")

    assert audit.run(loads(file.read_text(encoding="utf-8"))) == audit.run(snapshot)
    assert json.loads(file.read_text(encoding="utf-8"))["namespaces"][0]["id"] == HOME
