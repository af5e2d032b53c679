"""Lines of text: literal whatever is in them, aligned, wrapped, and never wider than asked."""

from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.report.text import Span, clean, line, paragraph, plain, table

HOSTILE = "[bold red]you[/] \x1b[31mred\x1b[0m \u202eback\u2028 \r\n\x07[link=file:///]"


@given(st.text())
def test_cleaned_text_has_no_control_characters(text: str) -> None:
    """No text, whatever is in it, can move the cursor, colour, reorder or break a line."""
    assert clean(text).isprintable()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Names in any script are shown as they are."""
    assert clean(text) == text


def test_markup_is_only_text() -> None:
    """Brackets that a name brings along are printed as brackets."""
    shown = plain([line(HOSTILE), *paragraph(HOSTILE, width=200), *table([[HOSTILE, "x"]])])

    assert shown.count("[bold red]you[/]") == 3
    assert r"\x1b[31mred\x1b[0m \u202eback\u2028 \x0d\x0a\x07" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 3


@given(st.lists(st.text(alphabet="abcdef", min_size=1, max_size=12)), st.integers(20, 100))
def test_paragraphs_keep_their_width_and_their_words(words: list[str], width: int) -> None:
    """Wrapping loses no word and exceeds no width that the words allow."""
    rows = paragraph(" ".join(words), width=width, first="- ", indent="  ")

    assert plain(rows).replace("- ", "", 1).split() == words
    assert all(len(row[0].text) <= width for row in rows)


def test_a_table_is_aligned() -> None:
    """Columns begin at the same place, and lines end without blanks."""
    text = plain(table([["a", "bb", "c"], ["aaa", "b", ""]]))

    assert text == "a    bb  c\naaa  b\n"


def test_a_line_keeps_its_styles() -> None:
    """Styles belong to spans, not to the text."""
    assert line(Span("x", "bold"), "y\x00") == (Span("x", "bold"), Span(r"y\x00", ""))
