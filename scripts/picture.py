"""Draws the picture of the README from a real run: a command in a terminal of its own, its output as SVG.

Nothing is drawn that the command did not print; `--part` only cuts parts out of it. Run it as `scripts/picture`.
"""

import argparse
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
# the stranger takes the speaker over; what he and the phone get before and after the policy
HEART = [("^2\\. ", "now belongs to"), ("^who +before", "^All [0-9]+ claims")]


def recorded(argv: list[str], columns: int) -> tuple[str, int]:
    """Run a command in a pseudo-terminal: what it printed, with its colours, and its exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True) as process:
        os.close(theirs)
        pieces = []
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the last program on the terminal is gone
                break
            if not piece:
                break
            pieces.append(piece)
            sys.stderr.buffer.write(piece)
            sys.stderr.flush()
    os.close(ours)
    return b"".join(pieces).decode("utf-8", "replace"), process.returncode


def settled(raw: str) -> list[str]:
    """The lines as they stay on the screen: a line that was drawn over counts as it was last, only colours are kept."""
    colours = re.sub(
        r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?]*[A-LN-Za-ln-z]|\x1b[=>78]", "", raw.replace("\r\n", "\n")
    )
    return [line.rpartition("\r")[2] for line in colours.split("\n")]


def excerpt(lines: list[str], parts: list[tuple[str, str]]) -> list[str]:
    """The parts of a run, each from a line that matches its first pattern up to one that matches its second; a gap shows as dots.

    Raises LookupError for a pattern that no line matches.
    """
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    kept: list[str] = []
    for first, last in parts:
        begin = next((n for n, line in enumerate(plain) if re.search(first, line)), None)
        end = next(
            (n for n, line in enumerate(plain) if begin is not None and n >= begin and re.search(last, line)), None
        )
        if begin is None or end is None:
            raise LookupError(f"no line matches `{first if begin is None else last}`")
        kept += [*(["", "  ⋮", ""] if kept else []), *lines[begin : end + 1]]
    return kept


def svg(lines: list[str], columns: int, title: str) -> str:
    """Draw lines as rich draws a terminal, without the web font that it would load."""
    console = Console(
        record=True,
        width=columns,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for line in lines:
        text = Text.from_ansi(line)
        for piece in text.divide(range(columns, len(text), columns)):  # as a terminal wraps
            console.print(piece, no_wrap=True, overflow="crop")
    drawn = console.export_svg(title=title, unique_id="picture")
    return re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)


def main() -> int:
    """Run, cut, draw, write; the exit status is that of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "docs" / "picture.svg",
        help="the file to write (default: docs/picture.svg)",
    )
    parser.add_argument("--columns", type=int, default=100, help="width of the terminal (default: 100)")
    parser.add_argument(
        "--part",
        nargs=2,
        action="append",
        metavar=("FIRST", "LAST"),
        help="regular expressions for the first and the last line of a part to show; may be repeated (default: the heart of the demo)",
    )
    parser.add_argument("command", nargs="*", default=["demo"], help="what to run (default: demo)")
    options = parser.parse_args()
    raw, status = recorded([sys.executable, "-m", "librespot_guard", *options.command], options.columns)
    if status:
        sys.stderr.write(f"error: the command ended with status {status}, nothing was written\n")
        return status
    try:
        lines = excerpt(settled(raw), [(first, last) for first, last in options.part or HEART])
    except LookupError as error:
        sys.stderr.write(f"error: {error.args[0]}\n")
        return 2
    options.output.write_text(
        svg(lines, options.columns, f"librespot-guard {' '.join(options.command)}"), encoding="utf-8"
    )
    print(f"wrote {options.output}: {len(lines)} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
