"""docs/findings.md is what the checks say."""

import re

from librespot_guard import audit
from librespot_guard.report.findings_page import render
from support import ROOT


def test_the_page_is_up_to_date() -> None:
    """`python -m librespot_guard.report.findings_page > docs/findings.md` has been run after the last change of a text."""
    assert (ROOT / "docs" / "findings.md").read_text(encoding="utf-8") == render()


def test_the_page_has_every_check_and_its_links_lead_there() -> None:
    """Each check has one heading and one row that links to it."""
    page = render()
    headings = re.findall(r"^### (LG\d{3})$", page, re.MULTILINE)
    links = re.findall(r"\]\(#(lg\d{3})\)", page)

    assert headings == [check.id for check in audit.CHECKS]
    assert links == [check.id.lower() for check in audit.CHECKS]


def test_the_families_cover_every_id() -> None:
    """Ids are stable text: LG, a family of 1 to 7, two digits; none twice."""
    ids = [check.id for check in audit.CHECKS]

    assert all(re.fullmatch(r"LG[1-7]\d\d", i) for i in ids)
    assert ids == sorted(set(ids))
