"""Where routing sends packets on from this host, by source address, and to which sources the way back leads out as they came."""

from dataclasses import dataclass

from librespot_guard.reach import routing
from librespot_guard.reach.intervals import WIDTH, IntervalSet, Pair
from librespot_guard.reach.world import World


@dataclass(frozen=True, slots=True)
class Onward:
    """Where routing forwards packets: out of `dev` to the next hop. `may` and `must` hold the martian sources too, as in `Sources`."""

    dev: str
    hop: str
    may: IntervalSet
    must: IntervalSet


def onward(world: World, family: str, iface: str, dst: int, *, mark: int | None = 0) -> list[Onward]:
    """The ways out of this host for packets to `dst`, with the sources whose packets take them."""
    may: dict[tuple[str, str], list[Pair]] = {}
    must: dict[tuple[str, str], list[Pair]] = {}
    martian: list[Pair] = []
    for low, high in routing.elementary(world, family):
        decision = routing.deliver(world, family, iface, low, dst, mark=mark)
        if decision.martian:
            martian.append((low, high))
        if decision.outcome != "forward" and decision.certain:
            continue
        found = routing.fib(world, family, dst, source=low, iif=iface, mark=mark)
        for dev in found.devs:
            way = (dev, found.via or routing.text(family, dst))
            may.setdefault(way, []).append((low, high))
            if decision.outcome == "forward" and decision.certain and len(found.devs) == 1:
                must.setdefault(way, []).append((low, high))
    return [
        Onward(*way, IntervalSet.of(pairs + martian), IntervalSet.of(must.get(way, []) + martian))
        for way, pairs in may.items()
    ]


def answerable(world: World, family: str, iface: str, replier: int | None = None) -> IntervalSet:
    """The sources to which the way back leads out of the interface they come in by: those that need not be spoofed.

    `replier` is the address that answers: a host with two uplinks often has a routing rule for each of its addresses.
    """
    link = world.link(iface)
    if link is not None and link.loopback:
        return IntervalSet.full(WIDTH[family])
    pairs = []
    for low, high in routing.elementary(world, family):
        local_link = family == "ipv6" and low >> 118 == 0xFE80 >> 6
        found = routing.fib(world, family, low, source=replier, dev=iface if local_link else None)
        if found.kind == "unicast" and iface in found.devs:
            pairs.append((low, high))
    return IntervalSet.of(pairs)


def broadcasts(world: World, family: str) -> IntervalSet:
    """The broadcast addresses of the host's links: nobody's, but in the midst of those who are on the link."""
    found = (
        (low, high)
        for low, high in routing.elementary(world, family)
        if routing.fib(world, family, low).kind == "broadcast"
    )
    return IntervalSet.of(found)
