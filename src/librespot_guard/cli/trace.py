"""`trace`: what happens to concrete packets, rule by rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from librespot_guard.cli import common
from librespot_guard.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from librespot_guard.reach import Packet, Trace, World
    from librespot_guard.snapshot import Snapshot

EPILOG = """\b
Examples:
  librespot-guard trace --iface eth0 --from 192.168.10.9 --to tcp/3678@192.168.10.2
  librespot-guard trace --iface eth0 --from fd00:10::9 --to udp/5353@fd00:10::2 --format json
  librespot-guard trace --iface eth0 --from 192.168.10.9 --to icmp/8@192.168.10.2
  librespot-guard trace --packets packets.jsonl      one JSON object a line, one answer a line
  librespot-guard trace --packets - --snapshot host.json

\b
A line of --packets:
  {"iface": "eth0", "src": "192.168.10.9", "dst": "192.168.10.2", "proto": "tcp", "dport": 3678,
   "sport": 40000, "flags": "syn", "state": "new"}     (the second half is what holds if nothing is said)

\b
No packet is sent: the kernel's own rules and routes are followed. A packet opens a new flow unless --state says otherwise.
Exit status 4 if the fate of a packet depends on more than the packet.
"""

_FORMATS = ("jsonl",)
_SINGLE = ("iface", "origin", "to", "sport", "flags", "state")


@click.command(epilog=EPILOG)
@click.option("--iface", metavar="NAME", help="The interface by which the packet comes in.")
@click.option("--from", "origin", metavar="ADDRESS", help="Its source address.")
@click.option(
    "--to", "to", metavar="PROTO/PORT@ADDRESS", help="Its destination: tcp/3678@192.168.10.2; icmp/TYPE@ADDRESS."
)
@click.option("--sport", type=click.IntRange(0, 65535), help="Its source port.  [default: 40000]")
@click.option("--flags", metavar="LIST", help="Its TCP flags, such as syn or syn,ack.  [default: syn]")
@click.option(
    "--state",
    type=click.Choice(["new", "established", "related", "invalid", "untracked"]),
    help="What connection tracking says of its flow.  [default: new]",
)
@click.option("--packets", "packets_file", metavar="FILE", help="Packets as JSON, one a line; - is standard input.")
@click.option("--netns", metavar="ID", help="The network namespace, by id or name.  [default: the host's own]")
@common.format_option(*_FORMATS)
@common.snapshot_option
def trace(packets_file: str | None, netns: str | None, output: str, snapshot_file: Path | None, **one: Any) -> int:
    """Follow concrete packets through the packet filter and the routing, and name every rule that matched."""
    if (
        click.get_current_context().get_parameter_source("output") is click.core.ParameterSource.DEFAULT
        and packets_file is not None
    ):
        output = "jsonl"
    given = [f"--{'from' if n == 'origin' else n}" for n in _SINGLE if one[n] is not None]
    if packets_file is not None and given:
        raise click.UsageError(f"--packets does not go with {', '.join(given)}")
    packets = _single(one) if packets_file is None else list(_lines(packets_file))
    world = _world(common.load_snapshot(snapshot_file, ask=False), netns)
    _check_interfaces(world, packets)

    from librespot_guard.reach.interpreter import trace as follow  # noqa: PLC0415 - `--help` must not pay for it

    answers = []
    for _, packet in packets:
        answer = follow(world, packet)
        answers.append((packet, answer))
        if output == "jsonl":
            common.print_json(answer.to_json(), indent=None)
    if output == "json":
        found = [{"packet": p.to_json(), **a.to_json()} for p, a in answers]
        common.print_json({"schema": "librespot-guard/trace/1", "answers": found})
    elif output == "text":
        click.echo("\n\n".join("\n".join(_text(world, p, a)) for p, a in answers))
    return 4 if any(a.verdict == "undecided" for _, a in answers) else 0


def _single(one: dict[str, Any]) -> list[tuple[str, Packet]]:
    """The packet that options describe."""
    from librespot_guard.reach import packet_from_json  # noqa: PLC0415

    missing = [name for name, key in (("--iface", "iface"), ("--from", "origin"), ("--to", "to")) if one[key] is None]
    if missing:
        raise click.UsageError(f"a packet needs {', '.join(missing)} (or give a file of packets: --packets FILE)")
    head, at, address = str(one["to"]).partition("@")
    proto, slash, number = head.partition("/")
    if not at or not address or (slash and not number.isdecimal()):
        raise InputError(
            f"--to: expected PROTO/PORT@ADDRESS, found {one['to']!r}", hint="such as tcp/3678@192.168.10.2"
        )
    raw: dict[str, Any] = {"iface": one["iface"], "src": one["origin"], "dst": address, "proto": proto}
    if slash:
        raw["icmp_type" if proto.startswith("icmp") else "dport"] = int(number)
    raw |= {key: one[key] for key in ("sport", "flags", "state") if one[key] is not None}
    return [("the packet", packet_from_json(raw, where="the packet"))]


def _lines(file: str) -> Iterator[tuple[str, Packet]]:
    """The packets of a file; InputError with every fault of every line."""
    from librespot_guard.reach import packet_from_json  # noqa: PLC0415

    name = "standard input" if file == "-" else file
    found: list[tuple[str, Packet]] = []
    faults: list[str] = []
    for number, line in enumerate(common.read_text(Path(file)).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            found.append((where, packet_from_json(json.loads(line, object_pairs_hook=_unique), where=where)))
        except InputError as error:
            faults.append(str(error))
        except (ValueError, RecursionError) as error:
            faults.append(f"{where}: not a JSON object on one line ({error})")
    if faults:
        raise InputError(
            "\n".join(faults), hint="nothing was traced; the form of a line is in `librespot-guard trace --help`"
        )
    yield from found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError if a key comes twice."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key `{key}` comes twice")
    return dict(pairs)


def _world(snapshot: Snapshot, netns: str | None) -> World:
    """The world to ask, by the id or the name of its namespace."""
    from librespot_guard import reach  # noqa: PLC0415

    if netns is None:
        return reach.world(snapshot)
    for namespace in snapshot.namespaces:
        if netns in (namespace.id, namespace.name):
            return reach.world(snapshot, namespace.id)
    known = ", ".join(f"{n.id} ({n.name})" if n.name else n.id for n in snapshot.namespaces)
    raise InputError(f"--netns: there is no network namespace `{netns}`", hint=f"known are: {known}")


def _check_interfaces(world: World, packets: list[tuple[str, Packet]]) -> None:
    known = [link.name for link in world.namespace.links]
    faults = [f"{where}: there is no interface `{p.iface}`" for where, p in packets if p.iface not in known]
    if faults:
        raise InputError("\n".join(faults), hint=f"the interfaces are: {', '.join(known) or 'none'}")


_VERDICTS = {
    "delivered": ("green", "DELIVERED to this host"),
    "forwarded": ("yellow", "FORWARDED"),
    "dropped": ("red", "DROPPED"),
    "rejected": ("red", "REJECTED: the sender is told so"),
    "undecided": ("magenta", "UNDECIDED"),
}


def _text(world: World, packet: Packet, answer: Trace) -> Iterator[str]:
    """The way of one packet for a person."""
    yield _packet_text(packet)
    width = max((len(f"{s.table} {s.chain}") for s in answer.trail), default=0)
    for step in answer.trail:
        place = f"{step.table} {step.chain}"
        handle = "" if step.handle is None else f"  (handle {step.handle})"
        yield f"  {place:<{width}}  {step.rule}{click.style(handle, dim=True)}"
    if not answer.trail:
        yield "  no rule matched: no packet filter has a say in this"
    color, words = _VERDICTS[answer.verdict]
    yield f"  => {click.style(words, fg=color, bold=True)}{_socket_text(packet, answer)}"
    for reason in answer.because:
        yield f"     because {reason}"
    if answer.into is not None:
        into = answer.into
        port = "" if into.port is None else f" port {into.port}"
        yield f"  in namespace {into.name or into.namespace}, by {into.iface}, to {into.destination}{port}:"
        moved = replace(packet, iface=into.iface, dst=into.destination or packet.dst, dport=into.port or packet.dport)
        yield from list(_text(world, moved, into.trace))[1:]
    if answer.verdict == "delivered" and packet.iface != "lo" and not world.ruleset.tables:
        yield "     there is no packet filter on this host at all"


def _packet_text(packet: Packet) -> str:
    if packet.proto.startswith("icmp"):
        return f"{packet.proto} type {packet.icmp_type} from {packet.src} to {packet.dst} by {packet.iface} ({packet.state})"
    flags = f" [{packet.to_json()['flags']}]" if packet.proto == "tcp" else ""
    src, dst = (f"[{a}]" if ":" in a else a for a in (packet.src, packet.dst))
    return f"{packet.proto} from {src}:{packet.sport} to {dst}:{packet.dport} by {packet.iface} ({packet.state}){flags}"


def _socket_text(packet: Packet, answer: Trace) -> str:
    if answer.verdict != "delivered" or packet.proto.startswith("icmp"):
        return ""
    if answer.listener is None:
        return "" if packet.state in ("established", "related") else ", where nothing listens on the port"
    pids = f" (pid {', '.join(map(str, answer.listener.pids))})" if answer.listener.pids else ""
    address = f"[{answer.listener.address}]" if ":" in answer.listener.address else answer.listener.address
    return f", socket {answer.listener.proto} {address}:{answer.listener.port}{pids}"
