"""Put lines on stdout: with colours on a terminal, as plain text anywhere else."""

import shutil
import sys
from collections.abc import Iterable

from librespot_guard.report.text import WIDTH, Line, plain


def columns() -> int:
    """How wide to write: the terminal, at most 120 columns, or `WIDTH` where there is none."""
    return min(max(shutil.get_terminal_size().columns, 40), 120) if sys.stdout.isatty() else WIDTH


def show(lines: Iterable[Line]) -> None:
    """Print lines. rich decides about colours (NO_COLOR, dumb terminals) and gets the texts as they are, never as markup."""
    if not sys.stdout.isatty():
        sys.stdout.write(plain(lines))
        return
    from rich.console import Console  # noqa: PLC0415 - only who draws on a terminal pays for it
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, markup=False, emoji=False)
    for row in lines:
        text = Text()
        for span in row:
            text.append(span.text, span.style)
        console.print(text, soft_wrap=True)
