"""Loads of meta, ct and fib expressions for one concrete packet (nft_meta.c, nft_ct.c, nft_fib_ipv4.c, nft_fib_ipv6.c).

Each returns a value (perhaps with unknown bits), `BREAK` where the kernel ends the rule, or `MAYBE` where it cannot be told
whether the kernel would.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from librespot_guard.firewall.model import Ct, Fib
from librespot_guard.reach._concrete_flow import ETHERTYPE, INVALID, NEW, UNTRACKED, Flow, address_number
from librespot_guard.reach._concrete_values import Value, host, is_sure, sure, unsure
from librespot_guard.reach.routing import fib, link_scoped, tables
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Link


class Miss(Enum):
    """A load that does not succeed, or may not."""

    BREAK = 1
    MAYBE = 2


BREAK, MAYBE = Miss.BREAK, Miss.MAYBE

_NFPROTO = {"ipv4": 2, "ipv6": 10, "netdev": 5}
_FAMILY_NUMBER = {"ipv4": 2, "ipv6": 10}
# RTN_* of linux/rtnetlink.h
_RTN = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8,
    "throw": 9,
}  # fmt: skip
_SADDR, _DADDR, _MARK, _IIF, _OIF, _PRESENT = (1 << i for i in range(6))
_SOCKET_KEYS = {"skuid", "skgid", "cgroup"}
_UNKNOWN_LENGTH = {
    "time_ns": 8,
    "time_day": 1,
    "iifkind": 16,
    "oifkind": 16,
    "sdifname": 16,
    "bri_iifname": 16,
    "bri_oifname": 16,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the stack a chain runs: the hook, and whether the chain's table is of the netdev family."""

    hook: str
    netdev: bool = False


def _name(link: Link | None) -> Value:
    return sure((link.name if link else "").encode()[:15].ljust(16, b"\0"))


def _of_link(key: str, link: Link | None, byteorder: str) -> Value | Miss:
    """iif…/oif… keys: index and name are zero without an interface, the others end the rule."""
    if key == "":
        return host(link.index if link else 0, 4, byteorder)
    if key == "name":
        return _name(link)
    if link is None:
        return BREAK
    if key == "type":
        return host(link.arp_type, 2, byteorder)
    if not link.told:
        return unsure(4 if key == "group" else 16)
    if key == "group":
        return host(link.group, 4, byteorder)
    return BREAK if link.kind is None else sure(link.kind.encode()[:16].ljust(16, b"\0"))


def meta(world: World, flow: Flow, place: Place, key: str) -> Value | Miss:
    """`meta load KEY` (nft_meta_get_eval)."""
    order = world.ruleset.byteorder
    match key:
        case "iif" | "iifname" | "iiftype" | "iifgroup" | "iifkind":
            return _of_link(key[3:], None if place.hook == "egress" or flow.sent else flow.iif, order)
        case "oif" | "oifname" | "oiftype" | "oifgroup" | "oifkind":
            return _of_link(key[3:], flow.oif, order)
        case "len":
            return host(len(flow.network.data) + len(flow.transport.data), 4, order)
        case "protocol":
            return sure(ETHERTYPE[flow.family])
        case "nfproto":
            return sure(bytes([_NFPROTO["netdev" if place.netdev else flow.family]]))
        case "l4proto":
            return flow.protocol()
        case "mark":
            return flow.mark
        case "priority":
            return flow.priority
        case "pkttype":
            return flow.pkttype
        case "secpath":
            return sure(b"\0")
        case "sdif":
            return sure(bytes(4))
        case "sdifname":
            return sure(bytes(16))
        case "rtclassid":
            return BREAK if place.hook in ("ingress", "prerouting") else unsure(4)
        case _ if key in _SOCKET_KEYS:
            return _socket(flow, place)
        case _ if key.startswith("bri_"):
            return BREAK if not place.netdev else MAYBE
    return unsure(_UNKNOWN_LENGTH.get(key, 4))


def _socket(flow: Flow, place: Place) -> Value | Miss:
    """What a socket says: there is none before early demultiplexing, and then only one that is connected (tcp_v4_early_demux)."""
    if place.hook in ("ingress", "prerouting", "forward", "postrouting"):
        return BREAK
    opens = flow.connection is None or flow.connection.fresh
    return (
        BREAK
        if flow.packet.proto.startswith("icmp") or (flow.packet.proto == "tcp" and opens and flow.packet.state == "new")
        else MAYBE
    )


def conntrack(world: World, flow: Flow, expr: Ct) -> Value | Miss:
    """`ct load KEY` (nft_ct_get_eval)."""
    order = world.ruleset.byteorder
    connection = flow.connection
    if expr.key == "state":
        state = connection.state if connection else NEW if flow.template else UNTRACKED if flow.untracked else INVALID
        return host(state, 4, order)
    if connection is None:
        # what a template holds beside its zone is of no use to anybody
        return MAYBE if flow.template else BREAK
    if expr.key == "l3protocol":
        return sure(bytes([_FAMILY_NUMBER[flow.family]]))
    if expr.key == "protocol":
        return flow.protocol()
    if expr.key in ("mark", "zone", "labels"):
        value: Value = getattr(connection, expr.key)
        return value
    if not connection.fresh:
        return MAYBE
    return _of_new_connection(flow, expr, order)


def _of_new_connection(flow: Flow, expr: Ct, order: str) -> Value | Miss:
    connection = flow.connection
    if connection is None:
        return BREAK
    way = connection.reply if expr.direction == 1 else connection.original
    match expr.key:
        case "direction":
            return sure(b"\0")
        case "status":
            return host(connection.status, 4, order)
        case "secmark":
            return sure(bytes(4))
        case "helper":
            return BREAK
        case "src" | "dst":
            return way.src if expr.key == "src" else way.dst
        case "src_ip" | "dst_ip" | "src_ip6" | "dst_ip6":
            if (flow.family == "ipv6") != expr.key.endswith("6"):
                return BREAK
            return way.src if expr.key.startswith("src") else way.dst
        case "proto_src":
            return way.sport
        case "proto_dst":
            return way.dport
    return unsure(8 if expr.key in ("pkts", "bytes", "avgpkt") else 4)


def routes(world: World, flow: Flow, place: Place, expr: Fib) -> Value:
    """`fib … RESULT`: a routing look-up of the source or destination."""
    value = flow.dst if expr.flags & _DADDR else flow.src
    other = flow.src if expr.flags & _DADDR else flow.dst
    if not is_sure(value) or not is_sure(other):
        return unsure(16 if expr.result == "oifname" else 4)
    address, source = address_number(value, ""), address_number(other, "")
    device = flow.iif if expr.flags & _IIF else flow.oif if expr.flags & _OIF else None
    order = world.ruleset.byteorder
    if expr.result == "addrtype":
        kind = (
            address_type4(world, address, device)
            if flow.family == "ipv4"
            else _type6(world, flow, address, source, device)
        )
        return unsure(4) if kind is None else host(kind, 4, order)
    return _interface(world, flow, place, expr, address, source, device)


def address_type4(world: World, address: int, device: Link | None) -> int:
    """RTN_* of an IPv4 address (inet_dev_addr_type): the local table alone decides."""
    if address in (0, 0xFFFFFFFF):
        return _RTN["broadcast"]
    if address >> 28 == 0xE:
        return _RTN["multicast"]
    route = tables(world, "ipv4").longest(255, address, None)
    if route is None or (device is not None and route.devs[:1] != (device.name,)):
        return _RTN["unicast"]
    return _RTN.get(route.kind, 0)


def _type6(world: World, flow: Flow, address: int, source: int, device: Link | None) -> int | None:
    """__nft_fib6_eval_type; None if a routing rule could not be understood."""
    own = device is not None and any(
        a.family == "ipv6" and a.dev == device.name and int(ip_address(a.address)) == address
        for a in world.namespace.addresses
    )
    link_local = link_scoped("ipv6", address)
    found = fib(
        world, "ipv6", address, source=source, iif="lo", mark=0, dev=(device or flow.iif).name if link_local else None
    )
    if not found.certain:
        return None
    if found.kind in ("blackhole", "prohibit", "throw", "unreachable"):
        return _RTN[found.kind]
    if found.kind == "none":
        return _RTN["unreachable"]
    if found.kind == "anycast":
        return _RTN["anycast"]
    if own or (device is None and found.kind == "local"):
        return _RTN["local"]
    if address >> 120 == 0xFF:
        return _RTN["multicast"]
    return 0 if address == 0 or address >> 32 == 0xFFFF else _RTN["unicast"]


def _interface(
    world: World, flow: Flow, place: Place, expr: Fib, address: int, source: int, device: Link | None
) -> Value:
    """The interface through which an address is reached, as index, name or presence (nft_fib4_eval, nft_fib6_eval)."""
    if flow.iif.loopback and place.hook in ("ingress", "prerouting", "input"):
        return _stored(world, expr, flow.iif)
    if flow.family == "ipv4":
        src, dst = address_number(flow.src, ""), address_number(flow.dst, "")
        if src == 0 and (dst == 0xFFFFFFFF or dst >> 8 == 0xE00000):
            return _stored(world, expr, flow.iif)
        # no route is looked for on behalf of multicast or broadcast
        source = 0 if source >> 28 == 0xE or source == 0xFFFFFFFF else source
    elif flow.packet.proto == "icmpv6" and place.hook in ("ingress", "prerouting"):
        src, dst = address_number(flow.src, ""), address_number(flow.dst, "")
        if src == 0 and link_scoped("ipv6", dst):
            return _stored(world, expr, flow.iif)
    mark: int | None = 0
    if expr.flags & _MARK:
        mark = (
            int.from_bytes(flow.mark[0], "little" if world.ruleset.byteorder == "little" else "big")
            if is_sure(flow.mark)
            else None
        )
    link_local = link_scoped(flow.family, address)
    found = fib(
        world,
        flow.family,
        address,
        source=source,
        iif="lo",
        mark=mark,
        dev=(device or flow.iif).name if link_local else None,
    )
    if not found.certain:
        return unsure(16 if expr.result == "oifname" else 4)
    refused = {"none", "local", "blackhole", "unreachable", "prohibit", "throw"} | (
        {"anycast"} if flow.family == "ipv6" else set()
    )
    if found.kind in refused or (device is not None and device.name not in found.devs):
        return _stored(world, expr, None)
    return _stored(world, expr, device or world.link(found.devs[0]) if found.devs or device else None)


def _stored(world: World, expr: Fib, link: Link | None) -> Value:
    """nft_fib_store_result."""
    order = world.ruleset.byteorder
    if expr.flags & _PRESENT:
        return host(int(link is not None), 4, order)
    return _name(link) if expr.result == "oifname" else host(link.index if link else 0, 4, order)
