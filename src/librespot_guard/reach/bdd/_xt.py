"""Extensions of iptables that rules run through nft_compat, on regions of packets.

Parameter blocks: include/uapi/linux/netfilter/xt_NAME.h, in the byte order of the host. What is not here may match or not
(None), and a target that is not here may do anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from librespot_guard.firewall.model import Fib, Verdict, Xt
from librespot_guard.reach.bdd._bits import Function, both, differs, octets
from librespot_guard.reach.bdd._translation import redirect, translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from librespot_guard.reach.bdd._bits import Vector
    from librespot_guard.reach.bdd._packet import Packet

# linux/netfilter/xt_conntrack.h with IP_CT_NUMBER = 5: which bit stands for which state
_STATE, _ALIAS = 1, 1 << 13
_CT_INVALID, _CT_NEW, _CT_SNAT, _CT_DNAT, _CT_UNTRACKED = 1, 1 << 3, 1 << 6, 1 << 7, 1 << 8
_MAP_IPS, _PROTO_SPECIFIED = 1, 2  # linux/netfilter/nf_nat.h


def word(packet: Packet, info: bytes, offset: int, size: int) -> int:
    """A host integer in a parameter block."""
    return int.from_bytes(info[offset : offset + size], "little" if packet.order == "little" else "big")


def _unless(condition: Function, inverted: object) -> Function:
    return ~condition if inverted else condition


def _port(packet: Packet, info: bytes, offset: int, field: str) -> Function:
    low, high = word(packet, info, offset, 2), word(packet, info, offset + 2, 2)
    return packet.algebra.among(packet.field(field, 16), [(low, high)] if low <= high else [])


def _comment(packet: Packet, _xt: Xt) -> Function | None:
    return packet.algebra.true


def _tcp(packet: Packet, xt: Xt) -> Function | None:
    """Struct xt_tcp."""
    if packet.wire.proto != "tcp" or len(xt.info) < 12 or xt.info[8]:
        return None
    mask, wanted, inverted = xt.info[9:12]
    bits = [both(b, m) for b, m in zip(packet.field("tcp_flags", 8), octets(bytes([mask])), strict=True)]
    return packet.algebra.conjunction(
        _unless(_port(packet, xt.info, 0, "sport"), inverted & 1),
        _unless(_port(packet, xt.info, 4, "dport"), inverted & 2),
        _unless(packet.algebra.equal(bits, wanted), inverted & 4),
    )


def _udp(packet: Packet, xt: Xt) -> Function | None:
    """Struct xt_udp."""
    if packet.wire.proto != "udp" or len(xt.info) < 9:
        return None
    return packet.algebra.conjunction(
        _unless(_port(packet, xt.info, 0, "sport"), xt.info[8] & 1),
        _unless(_port(packet, xt.info, 4, "dport"), xt.info[8] & 2),
    )


def _multiport(packet: Packet, xt: Xt) -> Function | None:
    """Struct xt_multiport_v1: kind (0 source, 1 destination, 2 either), up to 15 ports, `pflags` at the low end of a range."""
    if xt.revision != 1 or len(xt.info) < 48 or xt.info[0] > 2:
        return None
    pairs = []
    numbers = iter(range(min(xt.info[1], 15)))
    for number in numbers:
        low = high = word(packet, xt.info, 2 + 2 * number, 2)
        if xt.info[32 + number] and (following := next(numbers, None)) is not None:
            high = word(packet, xt.info, 2 + 2 * following, 2)
        pairs.append((low, high))
    hit = packet.algebra.false
    for name in {0: ("sport",), 1: ("dport",), 2: ("sport", "dport")}[xt.info[0]]:
        for pair in pairs:
            if pair[0] <= pair[1]:
                hit = hit | packet.algebra.among(packet.field(name, 16), [pair])
    return _unless(hit, xt.info[47])


def _conntrack(packet: Packet, xt: Xt) -> Function | None:
    """Struct xt_conntrack_mtinfo2/3, where it asks for the state alone."""
    if xt.revision not in (2, 3) or len(xt.info) < 154:
        return None
    asked, inverted, wanted = (word(packet, xt.info, offset, 2) for offset in (146, 148, 150))
    if asked & ~_ALIAS != _STATE or packet.template.satisfiable():
        return None
    hit = packet.algebra.false
    for bit, where in (
        (_CT_NEW, packet.tracked),
        (_CT_UNTRACKED, packet.untracked & ~packet.tracked),
        (_CT_INVALID, ~(packet.tracked | packet.untracked)),
        (_CT_SNAT, packet.tracked & packet.snatted),
        (_CT_DNAT, packet.tracked & packet.translated),
    ):
        hit = hit | where if wanted & bit else hit
    return _unless(hit, inverted & _STATE)


def _mark(packet: Packet, xt: Xt) -> Function | None:
    """Struct xt_mark_mtinfo1: (mark & mask) == mark."""
    if xt.revision != 1 or len(xt.info) < 9:
        return None
    mask = octets(xt.info[4:8])
    bits = [both(b, m) for b, m in zip(packet.field("mark", 32), mask, strict=True)]
    return _unless(packet.algebra.equal(bits, int.from_bytes(xt.info[:4], "big")), xt.info[8])


def _pkttype(packet: Packet, xt: Xt) -> Function | None:
    """Struct xt_pkttype_info; only on interfaces that are not `lo`."""
    if len(xt.info) < 8:
        return None
    kind = packet.algebra.equal(packet.field("pkttype", 8), word(packet, xt.info, 0, 4) & 0xFF)
    return _unless(kind, word(packet, xt.info, 4, 4))


def _iprange(packet: Packet, xt: Xt) -> Function | None:
    """Struct xt_iprange_mtinfo: first and last source, first and last destination, flags (1, 2, and 16, 32 to invert)."""
    if xt.revision != 1 or len(xt.info) < 65:
        return None
    size = packet.wire.address_bits // 8
    out = packet.algebra.true
    for start, name, flag in ((0, "saddr", 1), (32, "daddr", 2)):
        if xt.info[64] & flag:
            low, high = (int.from_bytes(xt.info[at : at + size], "big") for at in (start, start + 16))
            bits = packet.field(name, packet.wire.address_bits)
            inside = packet.algebra.among(bits, [(low, high)] if low <= high else [])
            out = out & _unless(inside, xt.info[64] & flag << 4)
    return out


_MATCHES: dict[str, Callable[[Packet, Xt], Function | None]] = {
    "comment": _comment,
    "conntrack": _conntrack,
    "iprange": _iprange,
    "mark": _mark,
    "multiport": _multiport,
    "pkttype": _pkttype,
    "tcp": _tcp,
    "udp": _udp,
}


def match(packet: Packet, fib: Callable[[Fib, Function], Vector], xt: Xt, live: Function) -> Function | None:
    """Where an xt match holds; None if it is not analysed."""
    if xt.name == "addrtype":
        return _addrtype(packet, fib, xt, live)
    found = _MATCHES.get(xt.name)
    return None if found is None else found(packet, xt)


def _addrtype(packet: Packet, fib: Callable[[Fib, Function], Vector], xt: Xt, live: Function) -> Function | None:
    """Struct xt_addrtype_info_v1 for IPv4: bit sets of RTN_* for source and destination; flags 1 and 2 invert, 4 is the interface."""
    if packet.wire.family != "ipv4" or xt.revision != 1 or len(xt.info) < 8:
        return None
    flags = word(packet, xt.info, 4, 4)
    if flags & 8:
        return None
    out = packet.algebra.true
    for offset, way, inverted in ((0, 1, 1), (2, 2, 2)):
        kinds = word(packet, xt.info, offset, 2)
        if kinds:
            bits = packet.host(fib(Fib(way | (8 if flags & 4 else 0), "addrtype", 0), live))
            hit = packet.algebra.among(bits, [(n, n) for n in range(16) if kinds >> n & 1])
            out = out & _unless(hit, flags & inverted)
    return out


# they change nothing that a later rule or the routing could see
_HARMLESS = {
    "AUDIT", "CHECKSUM", "IDLETIMER", "LED", "LOG", "NFLOG", "RATEEST", "SECMARK", "CONNSECMARK", "TCPMSS", "TEE", "TRACE", "ULOG",
}  # fmt: skip


def target(packet: Packet, xt: Xt, live: Function, decide: Callable[[Verdict, Function], None]) -> str | None:
    """Carry an xt target out: "continue", "translated" or "drop"; None if it is not analysed."""
    if xt.name in _HARMLESS:
        return "continue"
    match xt.name:
        case "REJECT":
            return "drop"
        case "MASQUERADE":
            return "translated"
        case "MARK" if xt.revision == 2 and len(xt.info) >= 8:
            keep = octets(bytes(~m & 0xFF for m in xt.info[4:8]))
            old = packet.field("mark", 32)
            new = [differs(both(o, k), f) for o, k, f in zip(old, keep, octets(xt.info[:4]), strict=True)]
            packet.assign("mark", new, live)
            return "continue"
        case "CT" if len(xt.info) >= 4 and word(packet, xt.info, 0, 2) == 1:
            packet.untracked = packet.untracked | (live & ~packet.tracked & ~packet.template)
            return "continue"
        case "DNAT" | "SNAT" | "REDIRECT":
            return _nat(packet, xt, live, decide)
    return None


def _nat(packet: Packet, xt: Xt, live: Function, decide: Callable[[Verdict, Function], None]) -> str | None:
    """Struct nf_nat_ipv4_multi_range_compat (revision 0 of IPv4), nf_nat_range or nf_nat_range2."""
    old = packet.wire.family == "ipv4" and xt.revision == 0
    start, size = (4, 4) if old else (0, 16)
    if len(xt.info) < start + 4 + 2 * size + 4:
        return None
    length = packet.wire.address_bits // 8
    flags = word(packet, xt.info, start, 4)
    at = start + 4
    ends: list[Vector | None] = [None] * 4
    if flags & _MAP_IPS:
        ends[:2] = [octets(xt.info[a : a + length]) for a in (at, at + size)]
    if flags & _PROTO_SPECIFIED:
        ends[2:] = [octets(xt.info[a : a + 2]) for a in (at + 2 * size, at + 2 * size + 2)]
    if xt.name == "REDIRECT":
        decide(Verdict("drop"), live & ~redirect(packet, ends[2:], flags, live))
        return "translated"
    translate(packet, xt.name.lower(), ends, flags, live)
    return "translated"
