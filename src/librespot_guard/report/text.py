"""Text for people, as values: lines of spans with a style, wrapped and aligned here, coloured or not by whoever prints them.

A span is literal text. Nothing in it is ever read as markup, and control characters in it are made visible, so that a name
that a service chose can neither colour nor overwrite a report.
"""

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH = 100
"""Columns where there is no terminal."""

STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}
"""Style of a severity."""

GRADE_STYLES = {"A": "bold green", "B": "green", "C": "yellow", "D": "red", "E": "red", "F": "bold red"}


@dataclass(frozen=True, slots=True)
class Span:
    """Literal text with a style ("bold red", "dim", "")."""

    text: str
    style: str = ""


Line = tuple[Span, ...]
EMPTY: Line = ()


def clean(text: str) -> str:
    r"""The text with every control, format and surrogate character written out (`\x1b`, `\u202e`), so that it only shows itself."""
    if text.isprintable():
        return text
    return "".join(c if c == " " or unicodedata.category(c)[0] not in "CZ" else _written(c) for c in text)


def _written(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def line(*parts: Span | str) -> Line:
    """One line out of texts and spans, cleaned."""
    return tuple(Span(clean(p), "") if isinstance(p, str) else Span(clean(p.text), p.style) for p in parts)


def paragraph(text: str, *, width: int, first: str = "", indent: str = "", style: str = "") -> list[Line]:
    """A text wrapped to `width` columns; `first` begins the first line, `indent` the others. Long words are not broken."""
    rows = textwrap.wrap(
        clean(text),
        max(width, 20),
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [(Span(row, style),) for row in rows]


def table(rows: Sequence[Sequence[str]], *, styles: Sequence[str] = (), gap: str = "  ") -> list[Line]:
    """Rows in aligned columns; the last column is not padded. `styles` are those of the columns."""
    cells = [[clean(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max((len(row[i]) for row in cells if i < len(row)), default=0) for i in range(count)]
    return [
        tuple(
            Span(cell if i == len(row) - 1 else f"{cell:<{widths[i]}}{gap}", styles[i] if i < len(styles) else "")
            for i, cell in enumerate(row)
        )
        for row in cells
    ]


def plain(lines: Iterable[Line]) -> str:
    """The lines without any style, each ended by a newline and without blanks at its end."""
    return "".join("".join(span.text for span in row).rstrip() + "\n" for row in lines)
