"""The grade: its rule, and that more findings never improve it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard import audit
from librespot_guard.audit.grade import RULE

severities = st.sampled_from(audit.SEVERITIES)


def finding(severity: str) -> audit.Finding:
    """A finding of this severity."""
    return audit.Finding("LG101", severity, "x", ("network-attack",), "t", ("e",), "w", ("f",), "v")


GAP = audit.Unable("LG101", None, "the packet filter", "no privilege")


@given(st.lists(severities), severities, st.booleans())
def test_one_more_finding_never_improves_the_grade(before: list[str], more: str, gap: bool) -> None:
    """Grades run from A to F; adding a finding keeps the letter or takes a later one."""
    findings = [finding(s) for s in before]
    incomplete = (GAP,) if gap else ()

    assert audit.grade([*findings, finding(more)], incomplete) >= audit.grade(findings, incomplete)


@given(st.lists(severities))
def test_a_gap_never_improves_the_grade(before: list[str]) -> None:
    """What could not be looked at is never good news."""
    findings = [finding(s) for s in before]

    assert audit.grade(findings, (GAP,)) >= audit.grade(findings)


@given(st.lists(severities, min_size=1), st.data())
def test_a_worse_finding_never_improves_the_grade(before: list[str], data: st.DataObject) -> None:
    """Raising the severity of one finding keeps the letter or takes a later one."""
    index = data.draw(st.integers(0, len(before) - 1))
    worse = data.draw(st.sampled_from(audit.SEVERITIES[audit.SEVERITIES.index(before[index]) :]))
    after = [*before[:index], worse, *before[index + 1 :]]

    assert audit.grade(map(finding, after)) >= audit.grade(map(finding, before))


@pytest.mark.parametrize(
    ("found", "letter"),
    [
        ([], "A"),
        (["low"] * 9, "B"),
        (["low", "medium"], "C"),
        (["high", "medium"], "D"),
        (["high"] * 2, "D"),
        (["high"] * 3, "E"),
        (["critical"], "F"),
    ],
)
def test_the_rule_as_it_is_written(found: list[str], letter: str) -> None:
    """Each line of the documented rule gives its letter."""
    assert audit.grade(map(finding, found)) == letter
    assert letter in dict(RULE)


def test_the_rule_is_documented_where_people_look() -> None:
    """`explain grade` prints every line of the rule."""
    text = "\n".join(audit.explain("grade").what)

    assert [condition for _, condition in RULE if condition not in text] == []


def test_a_finding_without_evidence_is_impossible() -> None:
    """Nothing is reported that was not seen."""
    with pytest.raises(ValueError, match="evidence"):
        audit.Finding("LG101", "low", None, ("network-attack",), "t", (), "w", ("f",), "v")
