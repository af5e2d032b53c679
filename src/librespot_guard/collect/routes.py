"""Routes of every table, the routing rules, and the way to one peer, of the calling thread's network namespace.

Encodes include/uapi/linux/rtnetlink.h and fib_rules.h.
"""

import socket
import struct
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from librespot_guard.collect.links import FAMILIES
from librespot_guard.collect.netlink import Netlink, attribute, attributes, number, text
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Gap, Route, RoutingRule

RTM_GETROUTE, RTM_GETRULE = 26, 34
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP = struct.Struct("=HBBi")
_RTM_F_CLONED = 0x200
(
    _RTA_DST,
    _RTA_SRC,
    _RTA_OIF,
    _RTA_GATEWAY,
    _RTA_PRIORITY,
    _RTA_PREFSRC,
    _RTA_MULTIPATH,
    _RTA_TABLE,
    _RTA_VIA,
    _RTA_NH_ID,
) = (
    1,
    2,
    4,
    5,
    6,
    7,
    9,
    15,
    18,
    30,
)
_KINDS = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}

_FIB_RULE_INVERT = 2
_ACTIONS = {1: "to_table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_GOTO, _FRA_PRIORITY, _FRA_FWMARK = 1, 2, 3, 4, 6, 10
_FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_FWMASK, _FRA_OIFNAME, _FRA_PAD, _FRA_PROTOCOL = 14, 15, 16, 17, 18, 21
_FRA_NAMED = {
    _FRA_DST,
    _FRA_SRC,
    _FRA_IIFNAME,
    _FRA_GOTO,
    _FRA_PRIORITY,
    _FRA_FWMARK,
    _FRA_SUPPRESS_PREFIXLEN,
    _FRA_TABLE,
    _FRA_FWMASK,
    _FRA_OIFNAME,
}
# attributes that select nothing at these values: who made the rule, padding, "suppress nothing", no tunnel, no VRF, no realm
_FRA_IDLE = {_FRA_PAD, _FRA_PROTOCOL}
_FRA_IDLE_AT = {11: 0, 12: 0, 13: 0xFFFFFFFF, 19: 0, 22: 0}
_SUPPRESS_NOTHING = 0xFFFFFFFF


def read_routes(link: Netlink, names: Mapping[int, str]) -> tuple[tuple[Route, ...], tuple[Gap, ...]]:
    """The routes of every table and both families, and what about them could not be told."""
    found: list[Route] = []
    special: dict[str, int] = {}
    for family in FAMILIES:
        for _, body in link.dump(RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            answered, prefixlen, source_length, tos, _, _, _, kind, flags = _RTMSG.unpack_from(body)
            if answered != family or flags & _RTM_F_CLONED or kind not in _KINDS:
                continue  # multicast routing, or one destination's cached exception
            fields = attributes(body[_RTMSG.size :])
            if source_length or tos:
                what = "a routing table has routes for some sources or types of service only"
                special[what] = special.get(what, 0) + 1
            devices = _devices(fields, names)
            if not devices and _RTA_NH_ID in fields and _KINDS[kind] == "unicast":
                what = "a route leads to a nexthop object whose interface the kernel does not name"
                special[what] = special.get(what, 0) + 1
            table = number(fields.get(_RTA_TABLE), body[4])
            found.append(
                _route(
                    FAMILIES[family],
                    table,
                    _network(family, fields.get(_RTA_DST), prefixlen),
                    _KINDS[kind],
                    devices,
                    fields,
                )
            )
    return tuple(found), tuple(
        Gap(f"{count} route{'s' * (count > 1)}", what, "the routing decision for them is not exact")
        for what, count in special.items()
    )


def _route(
    family: str, table: int, dst: str, kind: str, devices: tuple[str, ...], fields: Mapping[int, bytes]
) -> Route:
    gateway = fields.get(_RTA_GATEWAY) or fields.get(_RTA_VIA, b"")[2:]
    source = fields.get(_RTA_PREFSRC)
    return Route(
        family=family,
        table=table,
        dst=dst,
        kind=kind,
        devs=devices,
        gateway=str(ip_address(gateway)) if len(gateway) in (4, 16) else None,
        priority=number(fields.get(_RTA_PRIORITY)),
        src=str(ip_address(source)) if source else None,
    )


def _devices(fields: Mapping[int, bytes], names: Mapping[int, str]) -> tuple[str, ...]:
    """The interfaces of every nexthop."""
    indexes = [number(fields[_RTA_OIF])] if _RTA_OIF in fields else []
    hops = fields.get(_RTA_MULTIPATH, b"")
    while len(hops) >= _RTNEXTHOP.size:
        length, _, _, index = _RTNEXTHOP.unpack_from(hops)
        if length < _RTNEXTHOP.size:
            break
        indexes.append(index)
        hops = hops[(length + 3) & ~3 :]
    return tuple(dict.fromkeys(names[i] for i in indexes if i in names))


def _network(family: int, address: bytes | None, prefixlen: int) -> str:
    # a routing rule keeps the bits of its host (`ip rule add from 10.0.0.5/24`); the kernel compares without them
    whole = ip_address(address or bytes(4 if family == socket.AF_INET else 16))
    return str(ip_network(f"{whole}/{prefixlen}", strict=False))


def read_rules(link: Netlink) -> tuple[RoutingRule, ...]:
    """The routing rules of both families in their order."""
    found: list[RoutingRule] = []
    for family in FAMILIES:
        for _, body in link.dump(RTM_GETRULE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            answered, dst_length, src_length, tos, table, _, _, action, flags = _RTMSG.unpack_from(body)
            if answered != family:
                continue
            fields = attributes(body[_RTMSG.size :])
            unknown = set(fields) - _FRA_NAMED - _FRA_IDLE
            other = bool(tos) or any(number(fields[u], 1) != _FRA_IDLE_AT.get(u, -1) for u in unknown)
            suppress = number(fields.get(_FRA_SUPPRESS_PREFIXLEN), _SUPPRESS_NOTHING)
            found.append(
                RoutingRule(
                    family=FAMILIES[family],
                    priority=number(fields.get(_FRA_PRIORITY)),
                    table=number(fields.get(_FRA_TABLE), table),
                    action=_ACTIONS.get(action, f"action-{action}"),
                    src=_network(family, fields.get(_FRA_SRC), src_length) if src_length else None,
                    dst=_network(family, fields.get(_FRA_DST), dst_length) if dst_length else None,
                    iif=text(fields[_FRA_IIFNAME]) if _FRA_IIFNAME in fields else None,
                    oif=text(fields[_FRA_OIFNAME]) if _FRA_OIFNAME in fields else None,
                    mark=number(fields[_FRA_FWMARK]) if _FRA_FWMARK in fields else None,
                    mask=number(fields[_FRA_FWMASK]) if _FRA_FWMASK in fields else None,
                    inverted=bool(flags & _FIB_RULE_INVERT),
                    other=other,
                    suppress=None if suppress == _SUPPRESS_NOTHING else suppress,
                )
            )
    return tuple(sorted(found, key=lambda r: (r.family, r.priority)))


def device_towards(link: Netlink, names: Mapping[int, str], address: str) -> str | None:
    """The interface over which the kernel would answer a peer, or None if it has no way to it."""
    packed = ip_address(address).packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    try:
        answers = link.request(
            RTM_GETROUTE,
            _RTMSG.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, packed),
            flags=0,
        )
    except MachineError:
        return None
    for _, body in answers:
        devices = _devices(attributes(body[_RTMSG.size :]), names)
        if devices:
            return devices[0]
    return None
