"""What expressions about options, sockets, routes, chance and counts say of the packets of a question.

What the sender chooses (extension headers, options) are free fields; what passed before, chance and sockets are open: no value of
theirs is claimed, only the range it lies in. Semantics: net/netfilter/nft_exthdr.c, nft_rt.c, nft_osf.c, nft_numgen.c, nft_hash.c.
"""

from typing import NamedTuple

from librespot_guard import firewall as fw
from librespot_guard.reach import _bits as bits
from librespot_guard.reach import _fields as fields
from librespot_guard.reach._conditions import All
from librespot_guard.reach.intervals import IntervalSet

_NUMBERS = {"tcp": 6, "udp": 17}
_SET = IntervalSet.single(1)
_UNCUT = {"ipv4": {"tcp_cut": IntervalSet.single(0)}, "ipv6": {"l4_hidden": IntervalSet.single(0)}}


class Asked(NamedTuple):
    """An expression: `doubt` is why it may end the rule or not, `only` where it does not end it (None: nowhere else), `value` what it loads."""

    doubt: str | None = None
    only: tuple[All, ...] | None = None
    value: bits.Value | None = None


_NEVER = Asked(only=())


def asked(expr: fw.Expr, family: str, proto: str, byteorder: str) -> Asked:
    """What an expression of `firewall.model_beyond` asks of packets of a family ("ipv4"/"ipv6") and protocol ("tcp"/"udp")."""
    why = fw.depends(expr)
    match expr:
        case fw.Exthdr("ipv6"):
            return _extension(expr, why, proto) if family == "ipv6" else _NEVER
        case fw.Exthdr("ip"):
            return _option(expr, why, fields.IP_OPTIONS, {}) if family == "ipv4" else _NEVER
        case fw.Exthdr("tcp") if proto == "tcp":
            return _option(expr, why, fields.TCP_OPTIONS, _UNCUT[family])
        case fw.Exthdr():
            # there is no such header, and to ask whether it is there is no failure
            return Asked(value=_flag(None)) if expr.present else _NEVER
        case fw.Numgen(_, modulus, offset) | fw.Hash(_, modulus, offset):
            return Asked(value=_between(offset, modulus, why, byteorder))
        case fw.Osf():
            return Asked(why if family == "ipv6" else None, value=_open(16, why)) if proto == "tcp" else _NEVER
        case fw.Route("nexthop4" | "nexthop6" as key):
            if (key == "nexthop6") != (family == "ipv6"):
                return _NEVER
            return Asked(why, value=(bits.Piece(fields.saddr_bits(family), "rt_nexthop", 0, 0),))
        case fw.Route("xfrm"):
            return Asked(why, value=(bits.Piece(8, "rt_xfrm", 0, 0),))
        case fw.Route("tcpmss"):
            # allowed only behind routing
            return Asked(value=_open(2, why))
        case fw.ExthdrSet(op) if op != proto:
            return _NEVER
        case fw.Quota() | fw.Connlimit() | fw.ExthdrSet():
            return Asked(why)
    return Asked(why, value=_open(16, why))


def _open(length: int, why: str) -> bits.Value:
    return (bits.Piece(8 * length, bits.UNKNOWN + why, 0, 0),)


def _flag(name: str | None, low: int = 0) -> bits.Value:
    """A byte that is 1 where this bit of a field is set; 0 without a field."""
    return (bits.Piece(7, None, 0, 0), bits.Piece(1, name, low, 0))


def _between(offset: int, modulus: int, why: str, byteorder: str) -> bits.Value:
    """A host integer from `offset` to offset + modulus - 1: the bits that all of them share are known."""
    last = offset + max(modulus, 1) - 1
    free = min((offset ^ last).bit_length(), 32) if last < 1 << 32 else 32
    value: bits.Value = (bits.Piece(32 - free, None, 0, offset >> free),) if free < 32 else ()
    if free:
        value = (*value, bits.Piece(free, bits.UNKNOWN + why, 0, 0))
    return bits.swapped(value, 4) if byteorder == "little" else value


def _extension(expr: fw.Exthdr, why: str, proto: str) -> Asked:
    bit = fields.EXTENSION_BITS.get(expr.kind)
    if bit is None:
        # ipv6_find_hdr finds the transport protocol itself; what else may come before it is delivered to nobody
        there = expr.kind == _NUMBERS[proto]
        if expr.present:
            return Asked(value=(bits.Piece(8, None, 0, int(there)),))
        return Asked(why, value=_open(16, why)) if there else _NEVER
    if expr.present:
        return Asked(value=_flag("exthdrs", bit))
    there_is = All({"exthdrs": fields.exthdrs_where(bit, 1, _SET)})
    return Asked(only=(there_is,), value=_open(16, why))


def _option(expr: fw.Exthdr, why: str, known: dict[int, str], uncut: dict[str, IntervalSet]) -> Asked:
    name = known.get(expr.kind)
    if name is None:
        return Asked(None if expr.present else why, value=_open(1 if expr.present else 16, why))
    if expr.present:
        return Asked(value=_flag(name))
    if (expr.op, expr.kind, expr.offset, expr.length) == ("tcp", 2, 2, 2):
        # one value more stands for an option that is too short
        fits = IntervalSet(((0, 0xFFFF),))
        return Asked(only=(All({name: _SET, "tcp_mss": fits, **uncut}),), value=(bits.Piece(16, "tcp_mss", 0, 0),))
    return Asked(why, (All({name: _SET, **uncut}),), _open(16, why))
