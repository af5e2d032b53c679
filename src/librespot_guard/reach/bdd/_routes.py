"""Routing seen symbolically: fib expressions as functions of source and destination, and the decision itself.

The look-up is `reach.routing`'s, asked once for each interval of sources and each destination between which it can't change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from librespot_guard.reach import routing
from librespot_guard.reach.bdd._bits import Function, Pairs, Vector, chosen, constant, octets, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from librespot_guard.firewall.model import Fib
    from librespot_guard.reach.bdd._packet import Packet
    from librespot_guard.reach.bdd._space import Space
    from librespot_guard.reach.world import World

_SADDR, _DADDR, _MARK, _IIF, _OIF, _PRESENT = (1 << i for i in range(6))
# RTN_* of linux/rtnetlink.h
_TYPES = {"none": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7,
          "prohibit": 8, "throw": 9}  # fmt: skip
MOST_DESTINATIONS = 256
_RULE = "a routing rule has selectors that are not analysed"


def destinations(space: Space, packet: Packet, region: Function) -> Iterator[tuple[int | None, Function]]:
    """A region in parts by the destination address."""
    bits = packet.field("daddr", packet.wire.address_bits)
    return space.by_value(bits, region, lambda part: space.some_value(bits, part), MOST_DESTINATIONS)


def marks(space: Space, packet: Packet, region: Function) -> Iterator[tuple[int, Function]]:
    """A region in parts by what routing rules can see of the mark, each with one such mark."""
    bits = packet.host(packet.field("mark", 32))
    known = value(bits)
    if known is not None:
        yield known, region
        return
    rules = [r for r in packet.wire.world.namespace.rules if r.family == packet.wire.family and r.mark is not None]
    parts = [region]
    for rule in rules:
        mask = 0xFFFFFFFF if rule.mask is None else rule.mask
        seen: Vector = [bit if keep else False for bit, keep in zip(bits, constant(mask, 32), strict=True)]
        hit = space.equal(seen, rule.mark or 0)
        parts = [p for part in parts for p in (part & hit, part & ~hit) if p.satisfiable()]
    for part in parts:
        yield space.some_value(bits, part), part


def fib(space: Space, packet: Packet, expr: Fib, live: Function) -> Vector:
    """What `fib … RESULT` loads, for the packets of a region."""
    width = 128 if expr.result == "oifname" else 32
    out = constant(0, width)
    lost = packet.moved & live
    live = live & ~packet.moved
    for dst, part in destinations(space, packet, live):
        if dst is None:
            lost = lost | part
            continue
        classes = marks(space, packet, part) if expr.flags & _MARK else iter([(0, part)])
        for mark, here in classes:
            for data, pairs in _loads(packet, expr, dst, mark).items():
                where = here & space.sources(pairs)
                if data is None:
                    lost = lost | where
                else:
                    out = [chosen(where, n, o, space.true) for n, o in zip(octets(data), out, strict=True)]
    if lost.satisfiable():
        guesses = space.oracles(width, _RULE)
        out = [chosen(lost, n, o, space.true) for n, o in zip(guesses, out, strict=True)]
    return out


def _loads(packet: Packet, expr: Fib, dst: int, mark: int) -> dict[bytes | None, Pairs]:
    """The bytes of the look-ups for one destination, each with the sources for which it is so."""
    wire = packet.wire
    shared = wire.world.shared
    key = ("fib", wire.family, wire.iface, expr.result, str(expr.flags), str(dst), str(mark))
    if key not in shared:
        found: dict[bytes | None, Pairs] = {}
        for low, high in routing.elementary(wire.world, wire.family):
            found.setdefault(_load(packet, expr, low, dst, mark), []).append((low, high))
        shared[key] = found
    kept: dict[bytes | None, Pairs] = shared[key]
    return kept


def _load(packet: Packet, expr: Fib, src: int, dst: int, mark: int) -> bytes | None:
    """The bytes of one concrete look-up; None if it can't be told (a routing rule that was not understood)."""
    world, family, iface = packet.wire.world, packet.wire.family, packet.wire.iface
    order = "little" if packet.order == "little" else "big"
    address, other = (dst, src) if expr.flags & _DADDR else (src, dst)
    dev = iface if expr.flags & _IIF else None
    if expr.result == "addrtype":
        kind = _type4(world, address, dev) if family == "ipv4" else _type6(world, address, other, dev, iface)
        return None if kind is None else kind.to_bytes(4, order)  # type: ignore[arg-type]
    name = _interface(world, family, (src, dst), (address, other), dev, iface, mark)
    if name is None:
        return None
    if expr.flags & _PRESENT:
        return int(bool(name)).to_bytes(4, order)  # type: ignore[arg-type]
    if expr.result == "oifname":
        return name.encode()[:15].ljust(16, b"\0")
    link = world.link(name)
    return (link.index if link else 0).to_bytes(4, order)  # type: ignore[arg-type]


def _type4(world: World, address: int, dev: str | None) -> int:
    """inet_dev_addr_type: special addresses, then the local table alone."""
    if address in (0, 0xFFFFFFFF):
        return _TYPES["broadcast"]
    if address >> 28 == 0xE:
        return _TYPES["multicast"]
    route = routing.tables(world, "ipv4").longest(255, address, None)
    if route is None or (dev is not None and route.devs[:1] != (dev,)):
        return _TYPES["unicast"]
    return _TYPES.get(route.kind, 0)


def _type6(world: World, address: int, other: int, dev: str | None, iface: str) -> int | None:
    """__nft_fib6_eval_type."""
    link_local = routing.link_scoped("ipv6", address)
    found = routing.fib(
        world, "ipv6", address, source=other, iif="lo", mark=0, dev=(dev or iface) if link_local else None
    )
    if not found.certain:
        return None
    if found.kind in ("blackhole", "prohibit", "throw", "unreachable", "none"):
        return _TYPES["unreachable" if found.kind == "none" else found.kind]
    if found.kind == "anycast":
        return _TYPES["anycast"]
    own = any(a.dev == dev and routing.number(a.address) == address for a in world.namespace.addresses)
    if own or (dev is None and found.kind == "local"):
        return _TYPES["local"]
    if address >> 120 == 0xFF:
        return _TYPES["multicast"]
    return 0 if address == 0 or address >> 32 == 0xFFFF else _TYPES["unicast"]


def _interface(
    world: World, family: str, ends: tuple[int, int], pair: tuple[int, int], dev: str | None, iface: str, mark: int
) -> str | None:
    """The interface that leads to an address, "" for none, None if it can't be told (nft_fib4_eval, nft_fib6_eval)."""
    (src, dst), (address, other) = ends, pair
    if family == "ipv4":
        if src == 0 and (dst == 0xFFFFFFFF or dst >> 8 == 0xE00000):
            return iface
        # get_saddr: no route is looked for on behalf of multicast or broadcast
        other = 0 if other >> 28 == 0xE or other == 0xFFFFFFFF else other
    link_local = routing.link_scoped(family, address)
    found = routing.fib(
        world, family, address, source=other, iif="lo", mark=mark, dev=(dev or iface) if link_local else None
    )
    if not found.certain:
        return None
    usable = {"unicast", "broadcast", "multicast"} if family == "ipv4" else {"unicast", "multicast"}
    if found.kind not in usable or (dev is not None and dev not in found.devs):
        return ""
    return dev or (found.devs[0] if found.devs else "")
