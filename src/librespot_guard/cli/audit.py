"""`audit`: findings, threats, a fix for each, and a grade."""

from pathlib import Path

import click

from librespot_guard.cli.common import format_option, load_snapshot, print_json, snapshot_option

EPILOG = """\b
Examples:
  librespot-guard audit
  librespot-guard audit --fail-on high                for a script: exit status 1 if there is one
  librespot-guard audit --snapshot host.json          another machine's facts
  librespot-guard audit --ignore LG204 --format json
  librespot-guard audit --probe                       also ask for DNS rebinding and for port forwards of routers

\b
`librespot-guard explain LG101` shows what a check looks at, `librespot-guard explain grade` how the letter comes about.
"""


@click.command(epilog=EPILOG)
@snapshot_option
@click.option(
    "--fail-on",
    type=click.Choice(["low", "medium", "high", "critical"]),
    help="Exit with status 1 if a finding is that severe or worse.",
)
@click.option(
    "--ignore", multiple=True, metavar="ID", help="Do not make this check (may be repeated); the report names it."
)
@click.option(
    "--probe",
    is_flag=True,
    help="Also ask what no packet filter shows: each HTTP interface of the services here under a name that is not its own (two requests, as DNS "
    "rebinding does), and the routers on its networks for the ports that they forward (UPnP, only reads).",
)
@format_option()
def audit(snapshot_file: Path | None, fail_on: str | None, ignore: tuple[str, ...], probe: bool, output: str) -> int:
    """What is wrong with the services here, why it matters, how to fix it, and how to check that it is fixed."""
    from librespot_guard import audit as room  # noqa: PLC0415 - `--help` does not pay for it
    from librespot_guard.report import audit as report  # noqa: PLC0415

    room.known_ids(ignore)  # a typing error is told before the host is looked at
    result = room.run(load_snapshot(snapshot_file, probe=probe), ignore=ignore)
    if output == "json":
        print_json(report.to_json(result))
    else:
        from librespot_guard.report.terminal import columns, show  # noqa: PLC0415

        show(report.to_lines(result, width=columns()))
    return 1 if fail_on and result.at_least(fail_on) else 0
