"""How `reach` looks to people."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from librespot_guard.reach import Packet, chosen_extensions, cidrs
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.routing import fib, number, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from librespot_guard.cli.reach import Target
    from librespot_guard.plan.proof import Claim, Proof
    from librespot_guard.reach import IntervalSet, Question, Reached, Step, Trace, World, Worlds

_SHOWN = 4


def show(
    worlds: Worlds,
    entries: list[tuple[Target, Reached]],
    answers: list[dict[str, Any]],
    proof: Proof | None,
    *,
    everything: bool,
) -> None:
    """Print every answer under its listener, then the proof. Ways in with the same answer share a line, unless `everything`."""
    groups: dict[tuple[Any, ...], list[tuple[Target, Reached, dict[str, Any]]]] = {}
    for (target, reached), answer in zip(entries, answers, strict=True):
        question = reached.question
        alike = (
            target,
            question.iface,
            question.family,
            reached.answer.shown_may,
            reached.answer.shown_must,
            question.surplus,
            question.beside,
            question.through,
            question.port,
        )
        key = (*alike, len(groups)) if everything else alike
        groups.setdefault(key, []).append((target, reached, answer))
    heading = None
    for group in groups.values():
        target, reached, answer = group[0]
        here = _heading(target, worlds[target.netns])
        if here != heading:
            click.echo(("" if heading is None else "\n") + click.style(here, bold=True))
            heading = here
        world = worlds[reached.question.through or target.netns]
        _line(world, target, reached, [r.question.dst for _, r, _ in group])
        _beside(answer, reached, worlds)
        if "from" in answer:
            _from_line(answer["from"])
    if proof is not None:
        _proof(proof)


def _heading(target: Target, world: World) -> str:
    listener = target.listener
    address = f"[{listener.address}]" if ":" in listener.address else listener.address
    surface = f" {target.surface}" if target.surface else ""
    network = "the network of the host" if world.namespace.home else "a network of its own"
    container = f" (container {target.container}, {network})" if target.container else ""
    return f"{target.service or 'port'}: {listener.proto} {address}:{listener.port}{surface}{container}"


def _who(family: str, sources: IntervalSet) -> str:
    everything = (1 << (32 if family == "ipv4" else 128)) - 1
    if not sources:
        return "nobody"
    if sources.pairs == ((0, everything),):
        return "ANYBODY"
    listed = cidrs(family, sources)
    rest = cidrs(family, sources.complement(32 if family == "ipv4" else 128))
    if len(rest) < min(len(listed), _SHOWN):
        return f"EVERYBODY but {', '.join(rest)}"
    more = f" and {len(listed) - _SHOWN} more networks" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _line(world: World, target: Target, reached: Reached, destinations: list[str]) -> None:
    question, answer = reached.question, reached.answer
    family = {"ipv4": "IPv4", "ipv6": "IPv6"}[question.family]
    # a set that holds only what routing refuses (the host's own address) lets nobody in
    may = answer.shown_may if answer.may else answer.may
    must = answer.shown_must if answer.must else answer.must
    who = "this host itself" if question.iface == "lo" and answer.may else _who(question.family, may)
    colour = "red" if who == "ANYBODY" else "green" if who == "nobody" else None
    if answer.exact:
        click.echo(f"  {question.iface:<8} {family}  {click.style(who, fg=colour)}, exact")
    else:
        click.echo(
            f"  {question.iface:<8} {family}  at least {_who(question.family, must)}, at most {click.style(who, fg=colour)}"
        )
    if question.iface == "lo":
        return
    foreign = _foreign(world, question)
    port = f" port {question.port}, which leads here" if question.port else ""
    if question.through is None and not world.namespace.home:
        foreign += f" (inside {_space(world)})"
    click.echo(f"      to {', '.join(destinations)}{foreign}{port}; {_through(world, target, reached)}")
    if not answer.exact:
        click.echo("      not exact because:")
        for reason in answer.because:
            click.echo(f"        - {reason}")


def _foreign(world: World, question: Question) -> str:
    """Whose address a destination is, if not that of the interface."""
    if not question.beside:
        return " (of another interface)" if question.surplus else ""
    if ip_address(question.dst).is_loopback:
        return " (over the wire: route_localnet is on)"
    own = fib(world, question.family, number(question.dst)).kind == "local"
    return " (a route makes it this host's own)" if own else " (sent to everybody)"


def _space(world: World) -> str:
    return f"network namespace {world.namespace.name or world.namespace.id}"


def _beside(answer: dict[str, Any], reached: Reached, worlds: Worlds) -> None:
    """What else somebody should know about an answer: containers, spoofing, replies, standing exceptions."""
    if reached.question.iface == "lo":
        return
    for end in answer["forwarded_to"]:
        where = "another host" if end["namespace"] is None else _space(worlds[end["namespace"]])
        click.echo(
            f"      forwarded to {end['address']} port {end['port']} in {where}: the input rules of this host have no say in it"
        )
    if answer.get("relay"):
        click.echo(f"      {answer['relay']}")
    family = reached.question.family
    if reached.answer.may and answer["spoofable"] and answer["routable"]:
        click.echo(
            f"      with an answer only to {_who(family, reached.shown_routable)}; the rest must pretend to be somebody else"
        )
    if answer.get("two_way") == [] and answer["routable"]:
        click.echo("      one-way: no reply gets out, which is enough for a single UDP packet")
    for entry in answer.get("standing", ()):
        if entry["kind"] in ("stateless", "untracked", "expires"):
            what, lets = ("temporary", "") if entry["kind"] == "expires" else ("standing exception", "lets in ")
            click.echo(
                click.style(f"      {what}", fg="yellow")
                + f": {entry['table']} {entry['chain']} handle {entry['handle']}: {entry['rule']}: {lets}{entry['lets_in']}"
            )


def _through(world: World, target: Target, reached: Reached) -> str:
    """Which rules let somebody through, or keep everybody out."""
    question, answer = reached.question, reached.answer
    if not answer.may:
        return f"kept out by {_keeping_out(world, target, question)}"
    # a stranger is more telling than a neighbour: the highest source
    source = answer.may.pairs[-1][1]
    try:
        choices = answer.choices(source)
    except KeyError:  # the rules were too many to walk
        return "which rules let it through is not known"
    packet = Packet(
        question.iface,
        text(question.family, source),
        text(question.family, choices["daddr"]),
        target.listener.proto,
        sport=choices.get("sport", 40000),
        dport=choices["dport"],
        flags=choices.get("tcp_flags", 0x02),
        extensions=chosen_extensions(choices.get("exthdrs")),
    )
    result = trace(world, packet)
    if not result.trail and result.because:
        return "whether a rule is in the way is not known"
    if result.verdict in ("dropped", "rejected"):
        return "which rule may let it through is not known"
    extra = f" (by source port {choices['sport']})" if choices.get("sport") else ""
    if packet.extensions:
        extra += f" (with IPv6 extension headers in front: {', '.join(packet.extensions)})"
    if choices["dport"] != (question.port or target.listener.port):
        extra += f" (sent to port {choices['dport']}, NAT leads here)"
    return (f"let through by {_deciding(result)}" if result.trail else "no packet filter is in the way") + extra


def _keeping_out(world: World, target: Target, question: Question) -> str:
    """What stops a stranger, or a neighbour if routing refuses strangers; routing, if it refuses both."""
    refused = ""
    for source in ({"ipv4": "203.0.113.9", "ipv6": "2001:db8::9"}[question.family], *_neighbours(world, question)):
        port = question.port or target.listener.port
        result = trace(world, Packet(question.iface, source, question.dst, target.listener.proto, dport=port))
        if result.verdict != "dropped" or not result.because:
            return _deciding(result) if result.trail else "routing"
        refused = refused or f"routing: {result.because[0]}"
    return refused


def _neighbours(world: World, question: Question) -> Iterator[str]:
    """An address beside each of the interface's own."""
    own = {number(a.address): a for a in world.namespace.addresses if a.family == question.family}
    for value, address in own.items():
        if address.dev == question.iface and address.prefixlen < (30 if question.family == "ipv4" else 126):
            yield from (
                text(question.family, n) for n in [n for n in (value ^ 1, value ^ 2, value ^ 3) if n not in own][:1]
            )


def _deciding(result: Trace) -> str:
    """The step of each table that decided, in words."""
    last = {(depth, step.table): step for depth, trail in enumerate(_trails(result)) for step in trail}
    return "; ".join(f"{s.table} {s.chain}{f' handle {s.handle}' if s.handle else ''}: {s.rule}" for s in last.values())


def _trails(result: Trace) -> list[tuple[Step, ...]]:
    return [result.trail, *([] if result.into is None else _trails(result.into.trace))]


def _from_line(answer: dict[str, Any]) -> None:
    word = {"yes": "can reach it", "no": "can not reach it", "undecided": "may reach it"}[answer["reaches"]]
    click.echo(f"      {answer['address']} {word}: {answer['verdict']}")
    for step in answer["trail"]:
        click.echo(
            f"        {step['table']} {step['chain']}"
            + (f" handle {step['handle']}" if step["handle"] else "")
            + f": {step['rule']}"
        )
    for reason in answer.get("because", ()):
        click.echo(f"        because: {reason}")


def _proof(proof: Proof) -> None:
    click.echo("")
    for claim in proof.claims:
        if claim.verdict != "proved":
            _claim(claim)
    proved = sum(claim.verdict == "proved" for claim in proof.claims)
    colour = {"proved": "green", "refuted": "red", "undecided": "yellow"}[proof.verdict]
    click.echo(
        click.style(proof.verdict, fg=colour, bold=True)
        + f": {proved} of {len(proof.claims)} questions proved: nobody gets in whom the policy does not allow"
    )


def _claim(claim: Claim) -> None:
    question = claim.question
    click.echo(
        click.style(claim.verdict, fg="red" if claim.verdict == "refuted" else "yellow")
        + f": {claim.service} {claim.listener.surface}, {claim.listener.listener.proto} port {claim.listener.listener.port}"
        + f", over {question.iface} to {question.dst}: {_who(question.family, claim.answer.shown_may - claim.allowed)}: not allowed by the policy"
    )
    if claim.counterexample is not None:
        packet = claim.counterexample.packet
        click.echo(
            f"    packet: {packet.proto} from {packet.src} port {packet.sport} to {packet.dst} port {packet.dport}: {claim.counterexample.trace.verdict}"
        )
        for step in claim.counterexample.trace.trail:
            click.echo(f"      {step.table} {step.chain}: {step.rule}")
    for reason in claim.answer.because:
        click.echo(f"    because: {reason}")
