"""NAT: where packets of a region are sent instead (nft_nat.c, nft_redir.c, nf_nat_core.c)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from librespot_guard.reach.bdd._bits import Vector, chosen, octets, value

if TYPE_CHECKING:
    from librespot_guard.reach.bdd._bits import Function
    from librespot_guard.reach.bdd._packet import Packet

# linux/netfilter/nf_nat.h
_RANDOM, _RANDOM_FULLY, _OFFSET, _NETMAP = 4, 16, 32, 64
_NO_CONSTANT = "NAT picks one of several addresses or ports"


def translate(packet: Packet, kind: str, ends: list[Vector | None], flags: int, live: Function) -> None:
    """Apply dnat or snat with (first, last address, first, last port); what is None is kept."""
    first, last, port, last_port = ends
    names = ("daddr", "dport") if kind == "dnat" else ("saddr", "sport")
    width = packet.wire.address_bits
    new: list[tuple[str, Vector]] = []
    if first is not None:
        new.append((names[0], _address(packet, packet.field(names[0], width), first, last, flags)))
    if port is not None:
        new.append((names[1], _port(packet, packet.field(names[1], 16), port, last_port, flags)))
    _apply(packet, kind, new, live)


def redirect(packet: Packet, ports: list[Vector | None], flags: int, live: Function) -> Function:
    """Apply redirect: to the first usable address of the ingress interface; returns where there is one (the rest is dropped)."""
    wire, algebra = packet.wire, packet.algebra
    own = [a for a in wire.world.namespace.addresses if a.family == wire.family and a.dev == wire.iface]
    if wire.family == "ipv4":
        parts = [(live, [a for a in own if a.scope == 0])]  # inet_select_addr(dev, 0, RT_SCOPE_UNIVERSE)
    else:
        # nf_nat_redirect_ipv6: a destination of link-local scope, multicast included, needs a link-local address
        daddr = packet.field("daddr", 128)
        group = algebra.equal(daddr[:8], 0xFF) & algebra.equal(daddr[12:16], 2)
        local = algebra.equal(daddr[:10], 0xFE80 >> 6) | group
        parts = [(live & ~local, own), (live & local, [a for a in own if ip_address(a.address).is_link_local])]
    done = algebra.false
    first, last = ports
    for region, usable in parts:
        if not usable or not region.satisfiable():
            continue
        new = [("daddr", octets(ip_address(usable[0].address).packed))]
        if first is not None:
            new.append(("dport", _port(packet, packet.field("dport", 16), first, last, flags)))
        _apply(packet, "dnat", new, region)
        done = done | region
    return done


def _address(packet: Packet, old: Vector, first: Vector, last: Vector | None, flags: int) -> Vector:
    if last is None or last == first:
        return first
    low, high = value(first), value(last)
    if low is not None and low == high:
        return first
    if flags & _NETMAP and low is not None and high is not None:
        # the bits in which the ends of the range differ are the host's, and are kept
        width = len(old)
        return [
            o if (low ^ high) >> (width - 1 - i) & 1 else n for i, (o, n) in enumerate(zip(old, first, strict=True))
        ]
    return packet.algebra.oracles(len(old), _NO_CONSTANT)


def _port(packet: Packet, old: Vector, first: Vector, last: Vector | None, flags: int) -> Vector:
    low, high = value(first), value(first if last is None else last)
    one = last is None or last == first or (low is not None and low == high)
    if one and not flags & _OFFSET:
        return first
    if low is None or high is None or flags & (_RANDOM | _RANDOM_FULLY | _OFFSET):
        return packet.algebra.oracles(16, _NO_CONSTANT)
    # a port of the range is kept, another becomes its first (nf_nat_l4proto_unique_tuple)
    inside = packet.algebra.among(old, [(low, high)] if low <= high else [])
    return [chosen(inside, o, n, packet.algebra.true) for o, n in zip(old, first, strict=True)]


def _apply(packet: Packet, kind: str, new: list[tuple[str, Vector]], live: Function) -> None:
    changed = packet.algebra.false
    for name, bits in new:
        changed = changed | ~packet.algebra.same(packet.field(name, len(bits)), bits)
        packet.assign(name, bits, live)
    if kind == "dnat":
        # the status tells that something changed, not that a rule was there (nf_nat_setup_info)
        packet.translated = packet.translated | (live & changed)
    else:
        packet.snatted = packet.snatted | (live & changed)
        packet.moved = packet.moved | live
