"""`verify`: the policy, proved on the live rules and tried with real packets."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from librespot_guard.cli import common

if TYPE_CHECKING:
    from librespot_guard.lab.verify import Verification

_SHOWN = 10


@click.command(
    epilog="""\b
Examples:
  sudo librespot-guard verify policy.yaml
  librespot-guard verify policy.yaml --snapshot host.json   a recorded host, no root needed

\b
Exit status: 0 everything agrees, 1 the policy is violated, 3 this machine can't make throw-away namespaces,
4 something stayed undecided.
"""
)
@click.argument("policy_file", metavar="POLICY", type=click.Path(dir_okay=False, path_type=Path))
@common.snapshot_option
@common.format_option()
def verify(policy_file: Path, snapshot_file: Path | None, output: str) -> int:
    """Prove the policy on the live rules, then try it with real packets in a twin of this host.

    The twin has the same interfaces, addresses, routes, sysctls, rules and sockets, and stands in a throw-away network namespace: no
    packet leaves this machine or comes near its services.
    """
    from librespot_guard import policy as policies  # noqa: PLC0415 - only where it is needed
    from librespot_guard.lab.verify import verify as run  # noqa: PLC0415

    policy = policies.load(common.read_policy(policy_file), file=str(policy_file))
    snapshot = common.load_snapshot(snapshot_file)
    result = run(policy, snapshot, today=datetime.now(UTC).astimezone().date(), progress=common.note)
    if output == "json":
        common.print_json({"schema": "librespot-guard/verify/1", **result.to_json()})
    else:
        _show(result)
    return result.status


def _show(result: "Verification") -> None:
    from rich.markup import escape  # noqa: PLC0415 - only when drawing
    from rich.table import Table  # noqa: PLC0415

    console = common.console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("service", "surface", "to", "in over"):
        table.add_column(column, overflow="fold")
    for column in ("packets", "got through"):
        table.add_column(column, justify="right")
    table.add_column("agree")
    for way in result.ways:
        question, listener = way.claim.question, way.claim.listener.listener
        target = f"[{question.dst}]" if ":" in question.dst else question.dst
        agree = f"[red]no ({way.disagreements})[/]" if way.disagreements else "[green]yes[/]"
        table.add_row(
            escape(way.claim.service),
            way.claim.listener.surface,
            escape(f"{listener.proto} {target}:{listener.port}"),
            escape(question.iface),
            str(way.packets),
            str(way.delivered),
            agree if way.packets else "[yellow]not tried[/]",
        )
    console.print(table)
    console.print()
    for colour, label, text in _lines(result):
        console.print(f"[{colour}]{label}[/]: {escape(text)}", soft_wrap=True)


def _lines(result: "Verification") -> Iterator[tuple[str, str, str]]:
    """What is to be said below the table: colour, label, text."""
    for claim in result.proof.refuted[:_SHOWN]:
        if claim.counterexample is not None:
            packet = claim.counterexample.packet
            yield (
                "red",
                "refuted",
                (
                    f"{packet.src} reaches {claim.service} ({claim.listener.surface}) over {packet.iface}, and the policy does not allow it"
                ),
            )
    for wrong in result.disagreements[:_SHOWN]:
        p = wrong.packet
        what = "got through" if wrong.delivered else "did not get through"
        yield (
            "red",
            f"against the {'policy' if wrong.against == 'policy' else 'analysis'}",
            (
                f"{p.proto} from {p.src} port {p.sport} to {p.dst} port {p.dport} over {p.iface} {what}; expected: {wrong.expected}"
            ),
        )
    if len(result.disagreements) > _SHOWN:
        yield "red", "more", f"{len(result.disagreements) - _SHOWN} disagreements; `--format json` has them all"
    for line in result.not_verified:
        yield "yellow", "not verified by packets", line
    for line in result.remarks:
        yield "cyan", "remark", line
    colour, word = {0: ("bold green", "holds"), 1: ("bold red", "is violated"), 4: ("bold yellow", "is undecided")}[
        result.status
    ]
    yield (
        colour,
        f"the policy {word}",
        (
            f"{result.verdict} on the rules; {result.packets} packets sent, {len(result.disagreements)} disagreements with policy or analysis"
        ),
    )
