"""Which questions to ask about a listener: every way a packet can come to it.

Linux delivers a packet to any local address over any interface (the weak host model), so each interface is asked with each of
the host's addresses; `surplus` marks those that are not the interface's own.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from librespot_guard.reach import choose, routing
from librespot_guard.reach.engine import Answer, Engine
from librespot_guard.reach.intervals import cidrs
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Listener

MDNS = {"ipv4": "224.0.0.251", "ipv6": "ff02::fb"}
MDNS_PORT = 5353


@dataclass(frozen=True, slots=True)
class Question:
    """One way to a listener: in over `iface`, to the address `dst`. `surplus`: the address belongs to another interface."""

    iface: str
    family: str
    dst: str
    surplus: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A question with its answer; `by` is the engine that gave it ("intervals" or "bdd")."""

    question: Question
    answer: Answer
    by: str = choose.INTERVALS


def families(listener: Listener) -> tuple[str, ...]:
    """The families whose packets a listener receives: an IPv6 wildcard without v6only takes IPv4 too."""
    if listener.family == "ipv4":
        return ("ipv4",)
    if listener.address.startswith("::ffff:"):
        return ("ipv4",)
    # v6only unknown: claiming less than both would be a guess
    return ("ipv6",) if listener.v6only or listener.address != "::" else ("ipv4", "ipv6")


def questions(world: World, listener: Listener) -> list[Question]:
    """Every (interface, family, destination) that can lead to a listener, in a stable order.

    Ports of a bridge or bond are asked through their master. Link-local addresses are reachable over their own interface only.
    """
    out = []
    namespace = world.namespace
    wildcard = listener.address in ("0.0.0.0", "::")  # noqa: S104 - the address of a listener, not a bind of ours
    fixed = listener.address.removeprefix("::ffff:")
    for family in families(listener):
        own = [a for a in namespace.addresses if a.family == family]
        for link in namespace.links:
            if not link.up or link.master is not None or (listener.device not in (None, link.name)):
                continue
            if wildcard:
                here = [a.address for a in own if a.dev == link.name]
                elsewhere = [
                    a.address
                    for a in own
                    if a.dev != link.name and _routable(family, a.address, loopback=link.loopback)
                ]
                targets = [(a, False) for a in here] + [(a, True) for a in elsewhere]
                if listener.proto == "udp" and listener.port == MDNS_PORT and not link.loopback:
                    targets.append((MDNS[family], False))
            elif (
                any(a.address == fixed for a in own) or ip_address(fixed).is_multicast or ip_address(fixed).is_loopback
            ):
                mine = any(a.address == fixed and a.dev == link.name for a in own) or ip_address(fixed).is_multicast
                if link.loopback or mine or _routable(family, fixed, loopback=False) or ip_address(fixed).is_loopback:
                    targets = [(fixed, not mine)]
                else:
                    targets = []
            else:
                targets = []
            out += [Question(link.name, family, dst, surplus) for dst, surplus in targets]
    return out


def _routable(family: str, address: str, *, loopback: bool) -> bool:
    """Whether an address of one interface can be reached over another."""
    parsed = ip_address(address)
    if family == "ipv6" and parsed.is_link_local:
        return loopback
    # 127.0.0.0/8 over a wire is asked only where a listener is bound to it: routing refuses it unless route_localnet is on
    return not parsed.is_loopback or loopback


def answers(world: World, listener: Listener) -> list[Reached]:
    """Every question about a listener with its answer."""
    engines: dict[tuple[str, str], Engine] = {}
    out = []
    for question in questions(world, listener):
        key = (question.iface, question.family)
        if key not in engines:
            engines[key] = Engine(world, question.iface, question.family, listener.proto)
        answer, name = choose.ask(engines[key], routing.number(question.dst), listener.port)
        out.append(Reached(question, answer, name))
    return out


def to_json(listener: Listener, service: str | None, surface: str | None, reached: Reached) -> dict[str, object]:
    """One entry of `reach --format json` (design section 5)."""
    question, answer = reached.question, reached.answer
    return {
        "listener": {
            "proto": listener.proto,
            "port": listener.port,
            "address": listener.address,
            "service": service,
            "surface": surface,
        },
        "interface": question.iface,
        "family": question.family,
        "destination": question.dst,
        "exact": answer.exact,
        "may": cidrs(question.family, answer.shown_may),
        "must": cidrs(question.family, answer.shown_must),
        "refused_by_routing": cidrs(question.family, answer.martian),
        "inexact_because": list(answer.because),
        "engine": reached.by,
    }
