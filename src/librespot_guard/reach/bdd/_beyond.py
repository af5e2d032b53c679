"""Options, sockets, routes, chance and counts for the second engine: what each loads, and where it does not end its rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from librespot_guard import firewall as fw
from librespot_guard.reach import _fields as question
from librespot_guard.reach.bdd._bits import constant, either, lifted

if TYPE_CHECKING:
    from librespot_guard.reach.bdd._bits import Bit, Function, Vector
    from librespot_guard.reach.bdd._packet import Packet

_MOST_VALUES = 16
_NUMBERS = {"tcp": 6, "udp": 17}


def load(packet: Packet, expr: fw.Expr, where: str) -> tuple[Vector | None, Function]:
    """The bits that an expression of `firewall.model_beyond` loads, if any, and where it goes on; `where` is the rule, for reasons."""
    algebra = packet.algebra
    why = f"{fw.depends(expr)} ({where})"
    match expr:
        case fw.Exthdr():
            return _header(packet, expr, why)
        case fw.Numgen(_, modulus, offset) | fw.Hash(_, modulus, offset):
            return packet.host(_among(packet, offset, modulus, why)), algebra.true
        case fw.Osf() if packet.wire.proto != "tcp":
            return constant(0, 128), algebra.false
        case fw.Osf():
            loads = algebra.true if packet.wire.family == "ipv4" else algebra.oracle(why)
            return algebra.oracles(128, why), loads
        case fw.Route("nexthop4" | "nexthop6" as key) if (key == "nexthop6") != (packet.wire.family == "ipv6"):
            return constant(0, 128), algebra.false
        case fw.Route("nexthop4" | "nexthop6"):
            # before routing there is none; a local route has no gateway
            return packet.field("daddr", packet.wire.address_bits), algebra.oracle(why)
        case fw.Route("xfrm"):
            return constant(0, 8), algebra.oracle(why)
        case fw.ExthdrSet(op) if op != packet.wire.proto:
            return None, algebra.false
        case fw.Quota() | fw.Connlimit() | fw.ExthdrSet():
            return None, algebra.oracle(why)
    return algebra.oracles(128, why), algebra.oracle(why)


def _among(packet: Packet, offset: int, modulus: int, why: str) -> Vector:
    """A number of 32 bits from `offset` to offset + modulus - 1."""
    algebra = packet.algebra
    last = offset + max(modulus, 1) - 1
    if last >> 32:
        return algebra.oracles(32, why)
    free = (offset ^ last).bit_length()
    if last - offset == (1 << free) - 1 or modulus > _MOST_VALUES:
        return [*constant(offset >> free, 32 - free), *algebra.oracles(free, why)]
    drawn = algebra.oracles((modulus - 1).bit_length(), why)
    out: list[Bit] = constant(0, 32)
    for number in range(modulus):
        # what is drawn beyond the last value stands for it
        here = algebra.equal(drawn, number) if number < modulus - 1 else ~algebra.among(drawn, [(0, modulus - 2)])
        out = [either(old, here) if new else old for old, new in zip(out, constant(offset + number, 32), strict=True)]
    return out


def _header(packet: Packet, expr: fw.Exthdr, why: str) -> tuple[Vector, Function]:
    algebra, wire = packet.algebra, packet.wire
    absent: tuple[Vector, Function] = constant(0, 8), algebra.true if expr.present else algebra.false
    never: tuple[Vector, Function] = constant(0, 8), algebra.false
    there: Bit | None = None
    if expr.op == "ipv6":
        if wire.family != "ipv6":
            return never
        bit = question.EXTENSION_BITS.get(expr.kind)
        if bit is not None:
            there = packet.field("exthdrs", 12)[11 - bit]
        elif expr.kind != _NUMBERS[wire.proto]:
            return absent
        else:
            there = True
    elif expr.op == "ip":
        if wire.family != "ipv4":
            return never
        there = _option(packet, question.IP_OPTIONS.get(expr.kind))
    elif expr.op == "tcp" and wire.proto == "tcp":
        there = _option(packet, question.TCP_OPTIONS.get(expr.kind))
    else:
        return absent
    if there is None:
        return ([*constant(0, 7), algebra.oracle(why)], algebra.true) if expr.present else (
            algebra.oracles(128, why), algebra.oracle(why),
        )  # fmt: skip
    if expr.present:
        return [*constant(0, 7), there], algebra.true
    here = lifted(there, algebra.true) & (packet.uncut() if expr.op == "tcp" else algebra.true)
    if (expr.op, expr.kind, expr.offset, expr.length) == ("tcp", 2, 2, 2):
        size = packet.field("tcp_mss", 17)
        return size[1:], here & ~lifted(size[0], algebra.true)
    if expr.op == "ipv6":
        return algebra.oracles(128, why), here
    return algebra.oracles(128, why), here & algebra.oracle(why)


def _option(packet: Packet, name: str | None) -> Bit | None:
    """Whether an option is there; None where nothing is said about it."""
    if name is None:
        return None
    (there,) = packet.field(name, 1)
    if name in question.SOURCE_ROUTES and packet.says(name):
        accepted = packet.algebra.oracle("whether this host accepts source routes")
        packet.refused = packet.refused | (lifted(there, packet.algebra.true) & ~accepted)
    return there
