"""`demo`: the whole story in a sandbox on this machine."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from librespot_guard.cli import common

if TYPE_CHECKING:
    from rich.console import Console

    from librespot_guard.lab.daemons import Daemon
    from librespot_guard.lab.telling import Record

# librespot_guard.lab.daemons.NAMES, which `--help` does not load
_NAMES = (
    "librespot-python",
    "librespot",
    "librespot-0.4.2",
    "spotifyd",
    "librespot-java",
    "snapserver",
    "go-librespot",
    "librespot-java-api",
)


@click.command(
    epilog="""\b
Examples:
  librespot-guard demo                        with the daemon that is fastest to get
  librespot-guard demo --daemon librespot     with librespot, from the cache, the PATH, or built now
  librespot-guard demo --daemon snapserver    with the librespot that snapserver starts
  librespot-guard demo --pause                step by step, for an audience

\b
Exit status: 0 if everything that the story claims was really observed, 1 if something was not, 3 if this machine
can't make throw-away namespaces or the daemon can't be had.
"""
)
@click.option("--daemon", "name", type=click.Choice(_NAMES), help="The daemon to tell it with.")
@click.option("--keep-going", is_flag=True, help="Go on when something was not observed.")
@click.option("--pause", is_flag=True, help="Wait for Enter before each step.")
@click.option("--full", is_flag=True, help="Show all that commands print, not only the first lines.")
@common.format_option()
def demo(name: str | None, keep_going: bool, pause: bool, full: bool, output: str) -> int:
    """Tell the whole story with a real daemon: found, taken over by a stranger, restricted, proved closed.

    Everything happens in throw-away namespaces, which need no root and end with this command, however it ends. Nothing outside is
    touched. It takes less than a minute once the daemon is there.
    """
    from librespot_guard.lab.demo import tell  # noqa: PLC0415 - `--help` must not pay for it

    daemon = _daemon(name)
    console = _console(stderr=output == "json")
    record = tell(daemon, _Told(console, pause=pause, full=full), keep_going=keep_going)
    if output == "json":
        common.print_json({"schema": "librespot-guard/demo/1", **record.to_json()})
    _conclude(console, record)
    return 0 if record.true else 1


def _console(*, stderr: bool) -> "Console":
    """Where the story is told: stdout, or stderr when stdout is for the document."""
    from rich.console import Console  # noqa: PLC0415 - `--help` must not pay for it

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if terminal else 100)


def _daemon(name: str | None) -> "Daemon":
    """The daemon asked for, or one that is there, or the fastest to get. Raises GuardError."""
    from librespot_guard.lab import daemons  # noqa: PLC0415

    if name is None:
        for candidate in daemons.NAMES:
            found = daemons.available(candidate)
            if found is not None and not found.standin:
                return found
        name = daemons.NAMES[0]
    return daemons.obtain(name, common.note)


def _conclude(console: "Console", record: "Record") -> None:
    held = sum(c["observed"] for c in record.claims)
    console.print()
    if record.true:
        console.print(
            f"[bold green]All {held} claims of this story were observed[/], in {record.seconds:.0f} s, with {'a stand-in for ' if record.standin else ''}{record.daemon} {record.version}. The sandbox is gone."
        )
        console.print("Your own host: `librespot-guard scan`, then `librespot-guard audit`.")
    else:
        end = "" if record.complete else ", and the story stopped there"
        console.print(
            f"[bold red]{len(record.claims) - held} of {len(record.claims)} claims were not observed[/]{end}. The sandbox is gone."
        )


class _Told:
    """Tells it on a terminal with colours, or as plain lines in a log."""

    def __init__(self, console: "Console", *, pause: bool, full: bool) -> None:
        self._console = console
        self._pause = pause and sys.stdin.isatty()
        self._full = full

    def step(self, number: int, title: str) -> None:
        """A rule with the step's number and title."""
        from rich.rule import Rule  # noqa: PLC0415

        self._console.print()
        if self._pause and number > 1:
            self._console.input("[dim]Enter goes on …[/] ")
        self._console.print(Rule(f"[bold]{number}. {title}[/]", align="left", style="cyan"))

    def say(self, text: str) -> None:
        """Narration."""
        self._console.print()
        self._console.print(text, style="italic", markup=False)

    def command(self, who: str, line: str, output: str, status: int, *, lines: int = 40) -> None:
        """What was run or sent, by whom, and what came back, indented."""
        from rich.text import Text  # noqa: PLC0415

        colour = {"speaker": "cyan", "phone": "green", "stranger": "red"}.get(who, "white")
        self._console.print()
        self._console.print(Text.assemble((f"{who}", f"bold {colour}"), ("> ", "dim"), (line, "bold")), soft_wrap=True)
        said = output.splitlines()
        hidden = 0 if self._full or len(said) < lines + 4 else len(said) - lines
        for text in said[: len(said) - hidden]:
            self._console.print(Text(f"  {text.rstrip()}"), soft_wrap=True)
        if hidden:
            self._console.print(f"  … {hidden} more lines (`--full` shows them)", style="dim", markup=False)
        if status not in (0, 1) and line.startswith("librespot-guard"):
            self._console.print(f"  exit status {status}", style="yellow")

    def claim(self, text: str, holds: bool) -> None:
        """A claim with its mark."""
        from rich.text import Text  # noqa: PLC0415

        mark = ("  ✓ ", "bold green") if holds else ("  ✗ NOT OBSERVED: ", "bold red")
        self._console.print(Text.assemble(mark, text))

    def rows(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table."""
        from rich.table import Table  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in head:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)
