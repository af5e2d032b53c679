"""`init`: a commented policy from what was found."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from librespot_guard.cli import common
from librespot_guard.errors import InputError

if TYPE_CHECKING:
    from librespot_guard.snapshot import Snapshot


@click.command(
    epilog="""\b
Examples:
  librespot-guard init                              to look at
  librespot-guard init -o policy.yaml               to edit
  librespot-guard init --snapshot other-host.json   for another machine
"""
)
@click.option(
    "-o",
    "--output-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it there instead of to standard output.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@common.snapshot_option
def init(output_file: Path | None, force: bool, snapshot_file: Path | None) -> int:
    """Write a commented policy from what was found: every service, closed to all but the local networks.

    Nothing on this host is changed. An existing file is never replaced without --force.
    """
    from librespot_guard import policy  # noqa: PLC0415 - `--help` must not pay for it

    saved = output_file is not None and str(output_file) != "-"
    if saved and output_file is not None and not force and (output_file.exists() or output_file.is_symlink()):
        raise InputError(
            f"{output_file}: this file exists already", hint="choose another name, or replace it with `--force`"
        )
    snapshot = common.load_snapshot(snapshot_file)
    text = policy.draft(snapshot)
    if saved and output_file is not None:
        common.write_text(output_file, text, mode=0o644)
    else:
        click.echo(text, nl=False)
    _next(snapshot, str(output_file) if saved else None)
    return 0


def _next(snapshot: "Snapshot", file: str | None) -> None:
    """What was found and what to do next, on stderr."""
    common.note_gaps(snapshot.incomplete)
    names = ", ".join(service.name for service in snapshot.services)
    if not snapshot.services:
        common.note("no service of the librespot family was found: the policy names none, and shows how to write one")
    else:
        common.note(
            f"{'wrote' if file else 'drafted'} a policy for {len(snapshot.services)} service{'s' if len(snapshot.services) > 1 else ''}: {names}"
        )
    if file is None:
        common.note("next: save it with `librespot-guard init -o policy.yaml`")
    else:
        common.note(f"next: edit it, then `librespot-guard check {file}` and `librespot-guard plan {file}`")
