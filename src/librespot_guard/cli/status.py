"""`status`: which change is pending, which policy is in force, and whether the kernel agrees.

`apply.quick` answers the usual form without loading click.
"""

import click

from librespot_guard.apply import quick
from librespot_guard.cli import common


@click.command(
    epilog="""\b
Examples:
  librespot-guard status
  librespot-guard status --format json
"""
)
@common.format_option()
def status(output: str) -> int:
    """Show which change is pending, which policy is in force, and whether its rules are really loaded."""
    return quick.show_status(output)
