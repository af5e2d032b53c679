"""`rollback`: undo the pending change, or the last confirmed one."""

import click

from librespot_guard.cli import common


@click.command(
    epilog="""\b
Examples:
  librespot-guard rollback          undo what is pending; if nothing is, go back to what was confirmed before
"""
)
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the history.")
@common.format_option()
def rollback(reason: str, output: str) -> int:
    """Undo the pending change; if none is pending, go back from the confirmed policy to the one before it (or to none).

    It takes effect at once, in the kernel and at the next boot, and needs no `confirm`.
    """
    from librespot_guard.apply import machine, quick  # noqa: PLC0415 - `--help` must not pay for it
    from librespot_guard.apply.journal import State  # noqa: PLC0415

    with State(patience=quick.PATIENCE) as state:
        pending = machine.recover(state)
        if pending is not None:
            machine.cancel(state, pending, reason)
            undone, outcome = pending, "cancelled"
        else:
            undone, outcome = machine.revert(state, reason), "reverted"
        before = undone["change"]["before"] or None
    if output == "json":
        common.print_json(quick.document(undone["id"], outcome, in_force=before))
    else:
        click.echo(f"{outcome}: {undone['id']} is undone; in force now: {before or 'no rules of ours'}")
    return 0
