"""docs/doctor.md is what the causes say."""

from pathlib import Path

from librespot_guard.report.doctor_page import render

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    """`python -m librespot_guard.report.doctor_page > docs/doctor.md` has been run after the last change of a text."""
    assert (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8") == render()
