"""`snapshot`: write all facts about this host to a file."""

import sys
from pathlib import Path

import click

from librespot_guard import collect
from librespot_guard.cli import common
from librespot_guard.snapshot import Snapshot, dumps

EPILOG = """\b
Examples:
  sudo librespot-guard snapshot -o host.json           everything about this host, for one's own eyes (mode 0600)
  librespot-guard reach --snapshot host.json           on any machine, at any time
  ssh pi sudo librespot-guard snapshot > pi.json       the facts of another host
  librespot-guard snapshot --no-ask | less             without asking the services anything
"""


@click.command(epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE, readable by its owner only, instead of standard output.",
)
@click.option("--no-ask", is_flag=True, help="Do not ask the services who they are (one getInfo each, over loopback).")
def snapshot(file: Path | None, *, no_ask: bool) -> None:
    """Write all facts about this host as one JSON document.

    Services and their listeners, interfaces, addresses, routes, sysctls, and the packet filter as the kernel holds it.
    Secrets of command lines and environments are not in it. Every command that reads works on it with `--snapshot FILE`.
    """
    facts = collect.snapshot(ask=not no_ask, progress=_progress if sys.stderr.isatty() else None)
    show_gaps(facts)
    text = dumps(facts)
    if file is None or str(file) == "-":
        click.echo(text, nl=False)
        return
    common.write_text(file, text)
    count = len(facts.services)
    common.note(
        f"wrote {file}: {count} service{'' if count == 1 else 's'}, {len(facts.namespaces)} network namespace(s)"
    )


def show_gaps(facts: Snapshot) -> None:
    """Say on stderr what could not be read, why, and what to do about it."""
    for gap in facts.incomplete:
        label = click.style("incomplete", fg="yellow", bold=True)
        common.note(f"{label}: {gap.what}: {gap.why}" + (f" ({gap.hint})" if gap.hint else ""))


def _progress(text: str) -> None:
    common.note(click.style(f"reading: {text}", dim=True))
