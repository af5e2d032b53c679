"""What every command shares: options, the snapshot to work on, output, and how an error looks.

Data goes to stdout, everything else to stderr. A command returns its exit status (None is 0) and raises `GuardError`s.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from librespot_guard.cli import _errors, _streams
from librespot_guard.errors import InputError, MachineError

if TYPE_CHECKING:
    from rich.console import Console

    from librespot_guard.snapshot import Gap, Snapshot

F = TypeVar("F", bound=Callable[..., Any])
# a listing or a snapshot of this size has millions of rules
MOST_BYTES = 256 << 20
# `policy.document.MAX_SIZE` counts characters, of at most four bytes
MOST_BYTES_OF_A_POLICY = 4 << 20
show_error = _errors.show_error


def format_option(*formats: str) -> Callable[[F], F]:
    """`--format`, with "text" as the default; "json" always exists."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["text", "json", *formats]),
        default="text",
        show_default=True,
        help="How to print the answer.",
    )


snapshot_option = click.option(
    "--snapshot",
    "snapshot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Work on the facts in FILE (written by `librespot-guard snapshot`) instead of this host.",
    metavar="FILE",
)


def load_snapshot(snapshot_file: Path | None, *, ask: bool = True, probe: bool = False) -> "Snapshot":
    """The facts: from a file if one is given, else of this host (`ask`: also ask the services themselves by getInfo).

    With `probe` also what only an explicit wish may ask (see `collect.snapshot`); UsageError with a file, which can't be asked.
    """
    if snapshot_file is not None and probe:
        raise click.UsageError("--probe asks this host now; it can't be used with --snapshot")
    if snapshot_file is not None:
        from librespot_guard.snapshot import loads  # noqa: PLC0415 - only where it is needed

        return loads(read_text(snapshot_file), source=str(snapshot_file))
    from librespot_guard import collect  # noqa: PLC0415 - only where it is needed

    return collect.snapshot(ask=ask, probe=probe)


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """The text of an input file ("-" is standard input); InputError if it can't be read, or has more than `most` bytes."""
    try:
        data = sys.stdin.buffer.read(most + 1) if str(path) == "-" else _beginning(path, most + 1)
        if len(data) > most:
            raise InputError(f"{path}: larger than {most >> 20} MiB", hint="is it the right file?")
        text = data.decode()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _beginning(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def read_policy(path: Path) -> str:
    """The text of a policy; InputError if it can't be read, or is far too large to be one."""
    return read_text(path, most=MOST_BYTES_OF_A_POLICY)


def write_text(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a whole output file by write, sync, rename: either all of it is there, or the old file is untouched.

    What is no file (/dev/null, /dev/stdout, a FIFO) is written to, never replaced; a link is followed.
    """
    from librespot_guard.apply.files import write_file  # noqa: PLC0415

    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            write_file(_target(path), text, mode)
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror or error}", hint="nothing was changed there") from None


def _target(path: Path) -> Path:
    """The file that a path leads to, there or not yet. Raises OSError for links in a circle, where `Path.resolve` raises something else."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def json_text(document: Any, *, indent: int | None = None, encoding: str = "utf-8") -> str:
    """A document as text; what the encoding can't hold (a file name that is no Unicode) is escaped as JSON does, so that it stays JSON."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent)
    return text


def print_json(document: dict[str, Any], *, indent: int | None = 2) -> None:
    """Print one document to stdout."""
    click.echo(json_text(document, indent=indent, encoding=sys.stdout.encoding or "utf-8"))


def note(text: str) -> None:
    """A remark for the person: to stderr. Where that is full or has hung up, the work goes on."""
    try:
        click.echo(text, err=True)
    except OSError:
        _streams.discard(sys.stderr)


def note_gaps(gaps: "Iterable[Gap]") -> None:
    """What could not be read, why, and what to do about it: to stderr. Paths in it were chosen by others, so it is cleaned."""
    from librespot_guard.report.text import clean  # noqa: PLC0415 - only where there is something to say

    for gap in gaps:
        label = click.style("incomplete", fg="yellow", bold=True)
        note(f"{label}: {clean(gap.what)}: {clean(gap.why)}" + (f" ({clean(gap.hint)})" if gap.hint else ""))


def console() -> "Console":
    """A rich console on stdout; plain and 100 columns wide when stdout is no terminal."""
    from rich.console import Console  # noqa: PLC0415 - only commands that draw pay for it

    return Console(highlight=False, width=None if sys.stdout.isatty() else 100)
