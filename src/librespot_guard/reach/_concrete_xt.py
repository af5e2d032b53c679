"""Matches of iptables extensions that rules run through nft_compat: a table from name to function.

A match answers True, False, or None if it cannot tell. The parameter blocks are those of include/uapi/linux/netfilter/xt_NAME.h,
in the byte order of the host. What is not in the table may match or not: the interpreter then follows both ways.
"""

from collections.abc import Callable

from librespot_guard.firewall.model import Xt
from librespot_guard.reach._concrete_flow import INVALID, IPS_DST_NAT, IPS_SRC_NAT, Flow
from librespot_guard.reach._concrete_loads import address_type4
from librespot_guard.reach._concrete_values import equal, is_sure, masked
from librespot_guard.reach.world import World

Match = Callable[[World, Flow, Xt], "bool | None"]

# linux/netfilter/xt_conntrack.h, with IP_CT_NUMBER = 5
_STATE, _STATE_ALIAS = 1, 1 << 13
_STATE_SNAT, _STATE_DNAT, _STATE_UNTRACKED = 1 << 6, 1 << 7, 1 << 8
# linux/netfilter/xt_addrtype.h
_ADDRTYPE_IIF, _ADDRTYPE_OIF = 4, 8


def word(world: World, info: bytes, offset: int, size: int) -> int:
    """A host integer in a parameter block."""
    return int.from_bytes(info[offset : offset + size], "little" if world.ruleset.byteorder == "little" else "big")


def _comment(_world: World, _flow: Flow, _xt: Xt) -> bool | None:
    return True


def _ports(world: World, flow: Flow, xt: Xt, invert: int) -> bool | None:
    """Source and destination port ranges, as struct xt_tcp and xt_udp begin with them."""
    for number, destination in enumerate((False, True)):
        value = flow.port(destination=destination)
        if not is_sure(value):
            return None
        low, high = word(world, xt.info, 4 * number, 2), word(world, xt.info, 4 * number + 2, 2)
        inside = low <= int.from_bytes(value[0], "big") <= high
        if inside == bool(invert >> number & 1):
            return False
    return True


def _tcp(world: World, flow: Flow, xt: Xt) -> bool | None:
    """Struct xt_tcp: ports, option, flag mask, flag compare, inversions (1 source, 2 destination, 4 flags, 8 option)."""
    if flow.packet.proto != "tcp" or len(xt.info) < 12:
        return None
    option, mask, wanted, invert = xt.info[8:12]
    if option:
        return None
    ports = _ports(world, flow, xt, invert)
    flags = flow.transport.read(13, 1)
    if not ports or flags is None:
        return ports
    same = equal(masked(flags, bytes([mask]), b"\0"), bytes([wanted]))
    return None if same is None else same != bool(invert & 4)


def _udp(world: World, flow: Flow, xt: Xt) -> bool | None:
    """Struct xt_udp: ports and inversions (1 source, 2 destination)."""
    if flow.packet.proto != "udp" or len(xt.info) < 9:
        return None
    return _ports(world, flow, xt, xt.info[8])


def _multiport(world: World, flow: Flow, xt: Xt) -> bool | None:
    """Struct xt_multiport_v1: which ports, a list of up to 15 in which pflags marks the low end of ranges, inversion."""
    if not flow.ported or xt.revision != 1 or len(xt.info) < 48:
        return None
    kind, count, invert = xt.info[0], xt.info[1], xt.info[47]
    found = []
    number = 0
    while number < min(count, 15):
        low = word(world, xt.info, 2 + 2 * number, 2)
        if xt.info[32 + number] and number + 1 < 15:
            number += 1
        found.append((low, word(world, xt.info, 2 + 2 * number, 2)))
        number += 1
    values = [flow.port(destination=d) for d in {0: (False,), 1: (True,), 2: (False, True)}.get(kind, ())]
    if not values or not all(is_sure(v) for v in values):
        return None
    inside = any(low <= int.from_bytes(v[0], "big") <= high for v in values for low, high in found)
    return inside != bool(invert)


def _conntrack(world: World, flow: Flow, xt: Xt) -> bool | None:
    """Struct xt_conntrack_mtinfo2/3 where it asks for the state alone (-m conntrack --ctstate, -m state)."""
    if xt.revision not in (2, 3) or len(xt.info) < 154:
        return None
    asked, inverted, wanted = (word(world, xt.info, offset, 2) for offset in (146, 148, 150))
    if asked & ~_STATE_ALIAS != _STATE:
        return None
    connection = flow.connection
    if connection is None:
        state = _STATE_UNTRACKED if flow.untracked else INVALID
    else:
        if not connection.fresh and wanted & (_STATE_SNAT | _STATE_DNAT):
            return None
        state = connection.state
        state |= (_STATE_SNAT if connection.status & IPS_SRC_NAT else 0) | (
            _STATE_DNAT if connection.status & IPS_DST_NAT else 0
        )
    return bool(state & wanted) != bool(inverted & _STATE)


def _addrtype(world: World, flow: Flow, xt: Xt) -> bool | None:
    """Struct xt_addrtype_info_v1 for IPv4 without a limit to an interface: the types of source and destination."""
    if flow.family != "ipv4" or xt.revision != 1 or len(xt.info) < 8 or not (is_sure(flow.src) and is_sure(flow.dst)):
        return None
    flags = word(world, xt.info, 4, 4)
    if flags & (_ADDRTYPE_IIF | _ADDRTYPE_OIF):
        return None
    for offset, value, invert in ((0, flow.src, 1), (2, flow.dst, 2)):
        mask = word(world, xt.info, offset, 2)
        matches = bool(mask >> address_type4(world, int.from_bytes(value[0], "big"), None) & 1)
        if mask and matches == bool(flags & invert):
            return False
    return True


MATCHES: dict[str, Match] = {
    "addrtype": _addrtype,
    "comment": _comment,
    "conntrack": _conntrack,
    "multiport": _multiport,
    "tcp": _tcp,
    "udp": _udp,
}
