"""`doctor`: why a speaker is not discovered, or not reachable."""

from pathlib import Path

import click

from librespot_guard.cli import common

EPILOG = """\b
Examples:
  sudo librespot-guard doctor                        every service of this host
  sudo librespot-guard doctor living-room            one of them
  librespot-guard doctor --format json | jq .diagnoses
  librespot-guard doctor --no-ask                    ask nobody: only what can be read on this host
  librespot-guard doctor --snapshot host.json        another host (what is announced is known if the snapshot holds it)

\b
It asks for speakers by multicast DNS on every network of this host, as a phone does, for three seconds, and compares
the answers with what listens, with the packet filter and with the configuration. Nothing is changed.
Exit status: 0 nothing wrong was found, 1 something was.
"""


@click.command(epilog=EPILOG)
@click.argument("service", required=False)
@click.option("--no-ask", is_flag=True, help="Send nothing to the network and no request to any service.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 60),
    default=3.0,
    show_default=True,
    help="How long to wait for answers from the network.",
)
@common.format_option()
@common.snapshot_option
def doctor(service: str | None, output: str, snapshot_file: Path | None, *, no_ask: bool, seconds: float) -> int:
    """Why is my speaker not discovered, or not reachable? The cause, the evidence and the fix."""
    from librespot_guard import doctor as room  # noqa: PLC0415 - `--help` does not pay for it
    from librespot_guard.report import doctor as report  # noqa: PLC0415

    facts = common.load_snapshot(snapshot_file, ask=not no_ask)
    if snapshot_file is None and not no_ask:
        from librespot_guard.collect import speakers  # noqa: PLC0415

        facts = speakers.with_announcements(facts, seconds=seconds, progress=common.note)
    found = room.diagnose(facts, service)
    chosen = [s.name for s in facts.services if service in (None, s.name)]
    if output == "json":
        common.print_json(report.to_json(facts, chosen, found))
    else:
        from librespot_guard.report.terminal import columns, show  # noqa: PLC0415

        show(report.to_lines(chosen, found, width=columns()))
        common.note_gaps(facts.incomplete)
    return 1 if found else 0
