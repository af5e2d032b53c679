"""`confirm`: keep the pending change.

`apply.quick` answers the usual form without loading click.
"""

import click

from librespot_guard.cli import common


@click.command(
    epilog="""\b
Examples:
  librespot-guard confirm 1a2b3c4d
  librespot-guard confirm                 whatever is pending
"""
)
@click.argument("change_id", metavar="[ID]", required=False)
@click.option("--force", is_flag=True, help="Confirm even from the connection that made the change.")
@common.format_option()
def confirm(change_id: str | None, force: bool, output: str) -> int:
    """Keep the pending change, and load it at the next boot too.

    Run it from a NEW connection to this host: that the old one is still open does not show that a new one can be made.
    Exit status 5 if the time was over and the old rules are back.
    """
    from librespot_guard.apply import quick  # noqa: PLC0415 - `--help` must not pay for it

    return quick.run(change_id, force, output)
