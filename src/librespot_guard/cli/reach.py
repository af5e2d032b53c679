"""`reach`: exactly who can reach each listener."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from librespot_guard.cli import common
from librespot_guard.errors import InputError, Undecided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from librespot_guard.plan.proof import Proof
    from librespot_guard.reach import Reached, World, Worlds
    from librespot_guard.snapshot import Listener, Snapshot

EPILOG = """\b
Examples:
  librespot-guard reach                              every service found here
  librespot-guard reach living-room                  one service
  librespot-guard reach --to tcp/3678                a port, whether or not something listens
  librespot-guard reach --to udp/5353@192.168.10.2   … at one address
  librespot-guard reach --from 203.0.113.9           can this one?
  librespot-guard reach --prove policy.yaml          proof, or a packet that gets through and the rules that let it
  librespot-guard reach --snapshot host.json         of another machine

\b
Every answer is computed from the kernel's own rules for a packet that opens a new flow. "exact" means that the
upper and the lower bound meet; otherwise the reasons are named. `librespot-guard explain reach` tells more.
"""


class Target(NamedTuple):
    """A listener to ask about, with the service it belongs to (None for a port given by --to) and the container that is in."""

    netns: str
    listener: Listener
    service: str | None
    surface: str | None
    pid: int | None
    container: str | None = None


@click.command(epilog=EPILOG)
@click.argument("service", required=False)
@click.option("--to", "to", metavar="PROTO/PORT[@ADDRESS]", help="Ask for a port instead of the services found.")
@click.option("--from", "origin", metavar="ADDRESS", help="Can this source reach them? With the rules that decide.")
@click.option(
    "--prove",
    "policy_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="POLICY",
    help="Prove a policy on these rules.",
)
@click.option("--interface", "iface", metavar="NAME", help="Only packets that come in on this interface.")
@click.option(
    "--all", "everything", is_flag=True, help="Also the host's addresses on other interfaces where they add nothing."
)
@common.format_option()
@common.snapshot_option
def reach(
    service: str | None,
    to: str | None,
    origin: str | None,
    policy_file: Path | None,
    iface: str | None,
    everything: bool,
    output: str,
    snapshot_file: Path | None,
) -> int:
    """Show exactly who can reach each listener: per ingress interface, IPv4 and IPv6, on the kernel's real rules."""
    from librespot_guard import reach as engine  # noqa: PLC0415 - `--help` must not pay for it

    source = _address(origin)
    snapshot = common.load_snapshot(snapshot_file, ask=to is None)
    _check_interface(snapshot, iface)
    targets = [_port(snapshot, to)] if to else list(_targets(snapshot, service))
    worlds = engine.Worlds(snapshot)
    at = to.partition("@")[2] if to else ""
    if at and not engine.is_here(worlds[snapshot.home.id], targets[0].listener):
        common.note(f"note: {at} is no address of this host, so nothing is delivered to it here")
    entries: list[tuple[Target, Reached]] = []
    for target in targets:
        found = engine.answers(worlds[target.netns], target.listener)
        if to:
            found = _with_published(found, engine.handed_on(worlds[target.netns], target.listener))
        found = [r for r in found if iface in (None, r.question.iface)]
        entries += [(target, r) for r in (found if everything or at else engine.telling_ways(found))]
    if source is not None:
        entries = [
            (t, r)
            for t, r in entries
            if r.question.family == f"ipv{source.version}" and (r.question.iface != "lo" or int(source) in r.answer.may)
        ]
    answers = [_json(worlds, t, r, str(source) if source else None) for t, r in entries]
    document: dict[str, Any] = {"schema": "librespot-guard/reach/1", "answers": answers}
    proof = _prove(policy_file, snapshot)
    if proof is not None:
        document["proof"] = proof.to_json()
    document["incomplete"] = [{"what": g.what, "why": g.why, "hint": g.hint} for g in snapshot.incomplete]
    if output == "json":
        common.print_json(document)
    else:
        from librespot_guard.cli import _reach_text  # noqa: PLC0415 - only where it is drawn

        _reach_text.show(worlds, entries, answers, proof, everything=everything)
        common.note_gaps(snapshot.incomplete)
    if proof is not None:
        return {"proved": 0, "refuted": 1, "undecided": 4}[proof.verdict]
    return 4 if any(a.get("from", {}).get("reaches") == "undecided" for a in answers) else 0


def _address(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return ip_address(text)
    except ValueError:
        raise InputError(
            f"--from: not an IP address: {text!r}", hint="one address, such as 192.168.10.9 or fd00:10::9"
        ) from None


def _check_interface(snapshot: Snapshot, iface: str | None) -> None:
    names = {link.name for ns in snapshot.namespaces for link in ns.links}
    if iface is not None and iface not in names:
        raise InputError(f"--interface: there is no `{iface}` here", hint=f"one of: {', '.join(sorted(names))}")


def _port(snapshot: Snapshot, to: str) -> Target:
    """The listener that --to describes; InputError if the text is not PROTO/PORT[@ADDRESS]."""
    from librespot_guard.snapshot import Listener  # noqa: PLC0415

    head, _, at = to.partition("@")
    proto, _, port = head.partition("/")
    try:
        if proto not in ("tcp", "udp") or not 0 < int(port) < 65536:
            raise ValueError(to)  # noqa: TRY301 - one message for every way to get it wrong
        address = ip_address(at) if at else None
    except ValueError:
        raise InputError(
            f"--to: expected PROTO/PORT[@ADDRESS], found {to!r}", hint="such as tcp/3678 or udp/5353@192.168.10.2"
        ) from None
    if address is None:
        listener = Listener(proto, "ipv6", "::", int(port), v6only=False)
    else:
        listener = Listener(
            proto, f"ipv{address.version}", str(address), int(port), v6only=None if address.version == 4 else True
        )
    return Target(snapshot.home.id, listener, None, None, None)


def _targets(snapshot: Snapshot, name: str | None) -> Iterator[Target]:
    names = [s.name for s in snapshot.services]
    if name is not None and name not in names:
        raise InputError(
            f"no service `{name}` was found",
            hint=f"found: {', '.join(names)}"
            if names
            else "`librespot-guard scan` shows what runs here; --to PROTO/PORT asks for any port",
        )
    if not names:
        common.note("no service of the librespot family was found; --to PROTO/PORT asks for any port")
    for service in snapshot.services:
        if name in (None, service.name):
            if not service.listeners:
                common.note(f"{service.name}: no listener of it was seen, so nothing can be said about it")
            for item in service.listeners:
                yield Target(
                    service.netns, item.listener, service.name, item.surface, service.pid, service.container_name
                )


def _with_published(own: list[Reached], onward: list[Reached]) -> list[Reached]:
    """Answers about a port of this host, joined with those about what it hands on from this port to a container."""
    beyond = {r.question: r for r in onward if r.answer.may}
    out = []
    for reached in own:
        more = beyond.get(reached.question)
        out.append(
            reached
            if more is None
            else replace(more, answer=reached.answer.joined(more.answer), routable=reached.routable | more.routable)
        )
    return out


def _json(worlds: Worlds, target: Target, reached: Reached, source: str | None) -> dict[str, Any]:
    from librespot_guard.reach import cidrs as cidr_list  # noqa: PLC0415
    from librespot_guard.reach.questions import to_json  # noqa: PLC0415
    from librespot_guard.reach.replies import two_way  # noqa: PLC0415
    from librespot_guard.reach.routing import number  # noqa: PLC0415
    from librespot_guard.reach.standing import standing  # noqa: PLC0415

    out = to_json(target.listener, target.service, target.surface, reached, container=target.container)
    question, engine = reached.question, reached.engine
    world = worlds[question.through or target.netns]
    if engine is not None:
        port = question.port or target.listener.port
        back, why = two_way(worlds[target.netns], world, engine, reached, target.listener.port)
        out["two_way"], out["two_way_because"] = cidr_list(question.family, back), list(why)
        out["standing"] = [s.to_json() for s in standing(engine, number(question.dst), port)]
    relay = _relay(world, target.listener, question.through is None)
    if relay is not None:
        out["relay"] = relay
    if source is not None:
        out["from"] = _from(world, target, reached, source)
    return out


def _relay(world: World, listener: Listener, here: bool) -> str | None:
    """The program that takes connections to this port and passes them on, in words."""
    for relay in world.namespace.relays if here else ():
        if (relay.proto, relay.port) == (listener.proto, listener.port):
            to = f"[{relay.to_address}]" if ":" in relay.to_address else relay.to_address
            return f"{relay.kind} (pid {relay.pid}) passes it on to {to}:{relay.to_port}"
    return None


def _from(world: World, target: Target, reached: Reached, source: str) -> dict[str, Any]:
    """Whether one source gets through, and the rule trail of a packet from it."""
    from librespot_guard.reach import Packet, chosen_extensions  # noqa: PLC0415
    from librespot_guard.reach.interpreter import trace  # noqa: PLC0415

    value = int(ip_address(source))
    answer, question = reached.answer, reached.question
    reaches = "yes" if value in answer.must else "undecided" if value in answer.may else "no"
    try:
        choices = answer.choices(value)
    except KeyError:  # not in `may`, or the rules were too many to walk
        choices = {}
    packet = Packet(
        question.iface,
        source,
        question.dst,
        target.listener.proto,
        sport=choices.get("sport", 40000),
        dport=choices.get("dport", question.port or target.listener.port),
        flags=choices.get("tcp_flags", 0x02),
        extensions=chosen_extensions(choices.get("exthdrs")),
    )
    return {"address": source, "reaches": reaches, "packet": packet.to_json(), **trace(world, packet).to_json()}


def _prove(policy_file: Path | None, snapshot: Snapshot) -> Proof | None:
    if policy_file is None:
        return None
    from librespot_guard import policy  # noqa: PLC0415
    from librespot_guard.plan.proof import prove  # noqa: PLC0415

    loaded = policy.load(common.read_policy(policy_file), file=str(policy_file))
    missing = policy.unmatched(loaded, snapshot)
    for entry in missing:
        common.note(
            f"warning: {entry.where}: `services.{entry.name}` matches no service found here: nothing is proved about it"
        )
    proof = prove(loaded, snapshot, today=datetime.now(UTC).astimezone().date())
    if not proof.claims:
        if len(missing) < len(loaded.services):
            raise Undecided(
                f"{policy_file}: no listener was seen of the services that this policy names, so there is nothing to prove",
                hint="only root sees the sockets of other users; `librespot-guard scan` shows what was seen",
            )
        raise InputError(
            f"{policy_file}: no service found here is named by this policy, so there is nothing to prove",
            hint="`librespot-guard scan` shows what runs here",
        )
    return proof
