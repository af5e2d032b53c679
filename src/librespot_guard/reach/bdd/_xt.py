"""The iptables matches that have no equivalent in nf_tables' instructions, on regions of packets (`firewall.native` replaces the others)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from librespot_guard.firewall.model import Xt
    from librespot_guard.reach.bdd._bits import Function
    from librespot_guard.reach.bdd._packet import Packet


# linux/netfilter/xt_conntrack.h with IP_CT_NUMBER = 5: which bit stands for which state
_STATE, _ALIAS = 1, 1 << 13
_CT_INVALID, _CT_NEW, _CT_SNAT, _CT_DNAT, _CT_UNTRACKED = 1, 1 << 3, 1 << 6, 1 << 7, 1 << 8


def word(packet: Packet, info: bytes, offset: int, size: int) -> int:
    """A host integer in a parameter block."""
    return int.from_bytes(info[offset : offset + size], "little" if packet.order == "little" else "big")


def _unless(condition: Function, inverted: object) -> Function:
    return ~condition if inverted else condition


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
    there = packet.uncut() if packet.wire.family == "ipv6" else packet.algebra.true
    return _unless(hit, xt.info[47]) & there


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


def match(packet: Packet, xt: Xt) -> Function | None:
    """Where an xt match holds; None if it is not analysed."""
    reader = {"conntrack": _conntrack, "multiport": _multiport}.get(xt.name)
    return None if reader is None else reader(packet, xt)
