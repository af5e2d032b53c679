"""`history`: every change of this host, with its outcome."""

import click

from librespot_guard.apply.journal import State
from librespot_guard.cli import common


@click.command(
    epilog="""\b
Examples:
  librespot-guard history
  librespot-guard history -n 5 --format json
"""
)
@click.option("-n", "--last", type=click.IntRange(1), metavar="N", help="Only the last N events.")
@common.format_option()
def history(last: int | None, output: str) -> int:
    """Show every change of this host: when, which policy, by whom, and how it ended."""
    state = State()
    events = state.history() if state.exists else []
    if last is not None:
        events = events[-last:]
    if output == "json":
        common.print_json({"schema": "librespot-guard/history/1", "events": events})
        return 0
    for event in events:
        who = event["who"].get("sudo_user") or f"uid {event['who']['uid']}"
        place = f" from {event['who']['ssh_client']}" if "ssh_client" in event["who"] else ""
        reason = f": {event['reason']}" if event["reason"] else ""
        click.echo(f"{event['time']}  {event['event']:9}  {event['id']}  {event['title']} (by {who}{place}){reason}")
    if not events:
        common.note("nothing was ever changed on this host")
    return 0
