"""What routing does with a packet that arrived: delivered here, forwarded, or dropped, and for which sources.

One decision is concrete (`deliver`, `fib`). The set of sources that routing lets through (`local_sources`) asks the
concrete decision once for each elementary interval between the addresses at which it can change, so both always agree.

Encodes net/ipv4/route.c (ip_route_input_slow, ip_mc_validate_source), net/ipv4/fib_frontend.c (fib_validate_source),
net/ipv6/ip6_input.c (ip6_rcv_core) and Documentation/networking/ip-sysctl.rst.
"""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from librespot_guard.reach.intervals import WIDTH, IntervalSet, Pair
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Route, RoutingRule

_MAX = {"ipv4": (1 << 32) - 1, "ipv6": (1 << 128) - 1}
_V4_SPECIAL = ["0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"]
_V6_SPECIAL = ["::/128", "::1/128", "::ffff:0:0/96", "ff00::/8", "fe80::/10"]
_TABLES_BY_DEFAULT = {(0, 255), (32766, 254), (32767, 253)}


@dataclass(frozen=True, slots=True)
class Decision:
    """`outcome` is "local", "forward" or "drop"; `certain` is false where a routing rule could not be understood.

    `martian` marks a drop because of the source address alone: no other machine can have it, whatever the rules say.
    """

    outcome: str
    because: str
    dev: str | None = None
    certain: bool = True
    martian: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The route of an address: `kind` as in `snapshot.Route`, or "none"; `via` the gateway, None if it is on the link."""

    kind: str
    devs: tuple[str, ...] = ()
    certain: bool = True
    via: str | None = None


def text(family: str, address: int) -> str:
    """An address number as text."""
    return str(IPv4Address(address) if family == "ipv4" else IPv6Address(address))


@lru_cache(maxsize=4096)
def number(address: str) -> int:
    """An address as a number."""
    return int(ip_address(address))


class Tables:
    """The routing tables of one family, for longest-prefix look-ups. Built once for each world and family."""

    def __init__(self, world: World, family: str) -> None:
        self.family = family
        self._by_table: dict[int, dict[int, dict[int, list[Route]]]] = {}
        self.boundaries: set[int] = set()
        for route in world.namespace.routes:
            if route.family != family:
                continue
            network = ip_network(route.dst)
            prefixes = self._by_table.setdefault(route.table, {})
            prefixes.setdefault(network.prefixlen, {}).setdefault(int(network.network_address), []).append(route)
            self.boundaries |= {int(network.network_address), int(network.broadcast_address) + 1}
        for prefixes in self._by_table.values():
            for routes in prefixes.values():
                for same in routes.values():
                    same.sort(key=lambda r: r.priority)
        self.rules = sorted((r for r in world.namespace.rules if r.family == family), key=lambda r: r.priority)
        if not self.rules:
            self.rules = [RoutingRule(family, priority, table) for priority, table in sorted(_TABLES_BY_DEFAULT)]
        self.custom_rules = any((r.priority, r.table) not in _TABLES_BY_DEFAULT or r.src or r.other for r in self.rules)
        for rule in self.rules:
            for selector in (rule.src, rule.dst):
                if selector:
                    network = ip_network(selector)
                    self.boundaries |= {int(network.network_address), int(network.broadcast_address) + 1}
        self.addresses = {number(a.address) for a in world.namespace.addresses if a.family == family}
        for address in self.addresses:
            self.boundaries |= {address, address + 1}
        points = {0, *self.boundaries}
        for special in _V4_SPECIAL if family == "ipv4" else _V6_SPECIAL:
            network = ip_network(special)
            points |= {int(network.network_address), int(network.broadcast_address) + 1}
        edges = sorted(p for p in points if p <= _MAX[family])
        self.elementary: list[Pair] = [
            (low, high - 1) for low, high in zip(edges, [*edges[1:], _MAX[family] + 1], strict=True)
        ]

    def longest(self, table: int, address: int, dev: str | None) -> Route | None:
        """The route of the longest prefix in one table; only routes over `dev` if it is given."""
        prefixes = self._by_table.get(table, {})
        width = WIDTH[self.family]
        for length in sorted(prefixes, reverse=True):
            base = address >> (width - length) << (width - length) if length else 0
            for route in prefixes[length].get(base, ()):
                if dev is None or dev in route.devs or not route.devs:
                    return route
        return None


def tables(world: World, family: str) -> Tables:
    """The `Tables` of a world, built at first use."""
    key = ("routing tables", family)
    if key not in world.shared:
        world.shared[key] = Tables(world, family)
    found: Tables = world.shared[key]
    return found


def fib(
    world: World,
    family: str,
    address: int,
    *,
    source: int | None = None,
    iif: str | None = None,
    mark: int | None = 0,
    dev: str | None = None,
) -> Found:
    """Look an address up through the routing rules, as for a packet from `source` that came in on `iif`.

    `dev` restricts the look-up to routes over that interface (link-local scope, `fib … oif`). `mark` None is unknown.
    """
    book = tables(world, family)
    certain = True
    for rule in book.rules:
        applies = _applies(rule, family, address, source, iif, mark)
        if applies is None:
            certain = False
            continue
        if not applies:
            continue
        if rule.action in ("blackhole", "unreachable", "prohibit"):
            return Found(rule.action, (), certain)
        if rule.action != "to_table":
            certain = certain and rule.action == "nop"
            continue
        route = book.longest(rule.table, address, dev)
        if route is not None and route.kind != "throw":
            return Found(route.kind, route.devs, certain, route.gateway)
    return Found("none", (), certain)


def _applies(
    rule: RoutingRule, family: str, dst: int, src: int | None, iif: str | None, mark: int | None
) -> bool | None:
    """Whether a routing rule applies; None if that cannot be told."""
    if rule.other:
        return None
    answer = True
    for selector, value in ((rule.src, src), (rule.dst, dst)):
        if selector:
            if value is None:
                return None
            answer = answer and ip_address(text(family, value)) in ip_network(selector)
    if rule.iif is not None:
        answer = answer and rule.iif == iif
    if rule.oif is not None:
        answer = False  # a packet that arrives has no output interface yet
    if rule.mark is not None:
        if mark is None:
            return None
        answer = answer and (mark & (0xFFFFFFFF if rule.mask is None else rule.mask)) == rule.mark
    return answer != rule.inverted


def sysctl(world: World, name: str, default: int = 0) -> int:
    """A sysctl as a number; `default` if it was not read."""
    try:
        return int(world.namespace.sysctls.get(name, default))
    except ValueError:
        return default


def either(world: World, iface: str, name: str, default: int = 0) -> bool:
    """A sysctl of net.ipv4.conf that holds if set for "all" or for the interface (IN_DEV_ORCONF)."""
    return any(sysctl(world, f"net.ipv4.conf.{where}.{name}", default) for where in ("all", iface))


def deliver(world: World, family: str, iface: str, src: int, dst: int, *, mark: int | None = 0) -> Decision:
    """What routing does with a packet from `src` to `dst` (addresses as numbers) that came in on `iface`."""
    link = world.link(iface)
    if link is None:
        return Decision("drop", f"there is no interface `{iface}`")
    if not link.up:
        return Decision("drop", f"interface `{iface}` is down")
    if link.loopback:
        return _loopback(world, family, src, dst, mark)
    return (_deliver4 if family == "ipv4" else _deliver6)(world, iface, src, dst, mark)


def _loopback(world: World, family: str, src: int, dst: int, mark: int | None) -> Decision:
    """The loopback interface carries what the host sends to itself: from one of its addresses to another."""
    if fib(world, family, src, mark=mark).kind != "local":
        return Decision("drop", "only this host's own addresses are sources on the loopback interface")
    found = fib(world, family, dst, source=src, iif="lo", mark=mark)
    if found.kind in ("local", "broadcast") or _is_multicast(family, dst):
        return Decision("local", "an address of this host", None, found.certain)
    return Decision("drop", "the destination is not an address of this host")


def _is_multicast(family: str, address: int) -> bool:
    return address >> 28 == 0xE if family == "ipv4" else address >> 120 == 0xFF


def link_scoped(family: str, address: int) -> bool:
    """Whether an address is looked up on one interface only: fe80::/10, and multicast of link-local scope, ff02:: and its like.

    nft_fib6_flowi_init asks for IPV6_ADDR_LINKLOCAL, which __ipv6_addr_type gives to both.
    """
    if family == "ipv4":
        return False
    return address >> 118 == 0xFE80 >> 6 or (address >> 120 == 0xFF and address >> 112 & 0xF == 2)


def _joined(world: World, family: str, iface: str, dst: int) -> bool:
    return any(g.family == family and g.dev == iface and number(g.address) == dst for g in world.namespace.groups)


def _deliver4(world: World, iface: str, src: int, dst: int, mark: int | None) -> Decision:
    if src >> 28 == 0xE or src == _MAX["ipv4"]:
        return Decision("drop", "a multicast or broadcast address is no source (martian)", martian=True)
    if dst == _MAX["ipv4"]:
        # ip_route_input_slow, brd_input: the source is looked at unless it is 0.0.0.0
        valid = _valid_source(world, iface, src, dst, mark) if src else Decision("local", "")
        return valid if valid.outcome == "drop" else Decision("local", "limited broadcast", None, valid.certain)
    localnet = either(world, iface, "route_localnet")
    if src >> 24 == 127 and not localnet:
        return Decision("drop", "127.0.0.0/8 is no source on a wire (martian; route_localnet is off)", martian=True)
    if _is_multicast("ipv4", dst):
        if src == 0 and dst >> 8 != 0xE00000:
            return Decision("drop", "0.0.0.0 is no source (martian)", martian=True)
        if not _joined(world, "ipv4", iface, dst):
            return Decision("drop", f"nobody has joined {text('ipv4', dst)} on `{iface}`")
        valid = _valid_source(world, iface, src, dst, mark) if src else Decision("local", "")
        return valid if valid.outcome == "drop" else Decision("local", "multicast, joined", None, valid.certain)
    if src == 0:
        if dst == 0:
            return Decision("local", "an old way to write the limited broadcast")
        return Decision("drop", "0.0.0.0 is no source (martian)", martian=True)
    if dst == 0:
        return Decision("drop", "0.0.0.0 is no destination (martian)")
    if dst >> 24 == 127 and not localnet:
        return Decision("drop", "127.0.0.0/8 is no destination on a wire (martian; route_localnet is off)")
    found = fib(world, "ipv4", dst, source=src, iif=iface, mark=mark)
    valid = _valid_source(world, iface, src, dst, mark)
    certain = found.certain and valid.certain
    if found.kind in ("local", "broadcast"):
        return valid if valid.outcome == "drop" else Decision("local", "an address of this host", None, certain)
    if found.kind == "unicast" and sysctl(
        world, f"net.ipv4.conf.{iface}.forwarding", sysctl(world, "net.ipv4.ip_forward")
    ):
        if found.devs[:1] == (iface,) and either(world, iface, "send_redirects", default=1):
            # fib_validate_source takes its long way for what leaves as it came, where a redirect may be due
            valid = _valid_source(world, iface, src, dst, mark, fully=True)
        if valid.outcome == "drop":
            return valid
        return Decision("forward", "a route leads on", found.devs[0] if found.devs else None, certain)
    why = "this host does not forward" if found.kind == "unicast" else f"no way to the destination ({found.kind})"
    return Decision("drop", why, None, certain)


def _valid_source(world: World, iface: str, src: int, dst: int, mark: int | None, *, fully: bool = False) -> Decision:
    """fib_validate_source: the host's own addresses, and rp_filter (the larger of "all" and the interface's)."""
    reverse_path = max(sysctl(world, "net.ipv4.conf.all.rp_filter"), sysctl(world, f"net.ipv4.conf.{iface}.rp_filter"))
    accept_local = either(world, iface, "accept_local")
    book = tables(world, "ipv4")
    if not reverse_path and not book.custom_rules and not fully:
        if src in book.addresses and not accept_local:
            return Decision(
                "drop", "the source is an address of this host (martian; accept_local is off)", martian=True
            )
        return Decision("local", "")
    seen_mark = mark if either(world, iface, "src_valid_mark") else 0
    found = fib(world, "ipv4", src, source=dst, iif=iface, mark=seen_mark)
    name = text("ipv4", src)
    if found.kind in ("none", "blackhole", "unreachable", "prohibit"):  # fib_lookup fails for all of these
        if reverse_path:
            return Decision("drop", f"rp_filter: no route back to {name}", None, found.certain)
        return Decision("local", "", None, found.certain)
    if found.kind != "unicast" and not (found.kind == "local" and accept_local):
        return Decision(
            "drop", f"{name} is no source that can be answered ({found.kind} route)", None, found.certain, martian=True
        )
    if reverse_path == 1 and iface not in found.devs:
        return Decision("drop", f"rp_filter: the way back to {name} is not `{iface}`", None, found.certain)
    return Decision("local", "", None, found.certain)


def _deliver6(world: World, iface: str, src: int, dst: int, mark: int | None) -> Decision:
    if sysctl(world, f"net.ipv6.conf.{iface}.disable_ipv6"):
        return Decision("drop", f"IPv6 is disabled on `{iface}`")
    if dst == 1:
        return Decision("drop", "::1 is no destination on a wire")
    if src == 1:
        return Decision("drop", "::1 is no source on a wire", martian=True)
    if _is_multicast("ipv6", src):
        return Decision("drop", "a multicast address is no source", martian=True)
    if _is_multicast("ipv6", dst):
        if _joined(world, "ipv6", iface, dst):
            return Decision("local", "multicast, joined")
        return Decision("drop", f"nobody has joined {text('ipv6', dst)} on `{iface}`")
    link_local = dst >> 118 == 0xFE80 >> 6
    found = fib(world, "ipv6", dst, source=src, iif=iface, mark=mark, dev=iface if link_local else None)
    if found.kind in ("local", "anycast"):
        return Decision("local", "an address of this host", None, found.certain)
    # force_forwarding came with Linux 6.17
    forwards = sysctl(world, "net.ipv6.conf.all.forwarding") or sysctl(world, f"net.ipv6.conf.{iface}.force_forwarding")
    if found.kind == "unicast" and forwards:
        # ip6_forward looks at the source only where the packet leaves by another interface
        if found.devs[:1] != (iface,) and (src == 0 or src >> 118 == 0xFE80 >> 6):
            return Decision("drop", "a link-local or unspecified source is not forwarded", None, found.certain)
        return Decision("forward", "a route leads on", found.devs[0] if found.devs else None, found.certain)
    why = "this host does not forward" if found.kind == "unicast" else f"no way to the destination ({found.kind})"
    return Decision("drop", why, None, found.certain)


def elementary(world: World, family: str) -> list[Pair]:
    """The intervals of source addresses inside which every routing decision is the same."""
    return tables(world, family).elementary


@dataclass(frozen=True, slots=True)
class Sources:
    """Where routing delivers packets to this host, by source address.

    `may` and `must` include the `martian` sources, which routing refuses whatever the filters say, so that a filter's
    answer reads "192.168.10.0/24" and not that network without the host's own address; subtract them for the truth.
    """

    may: IntervalSet
    must: IntervalSet
    martian: IntervalSet
    doubts: tuple[str, ...] = ()


def local_sources(world: World, family: str, iface: str, dst: int, *, mark: int | None = 0) -> Sources:
    """The sources whose packets to `dst` routing delivers to this host."""
    key = ("local sources", family, iface, str(dst), str(mark))
    if key not in world.shared:
        world.shared[key] = _local_sources(world, family, iface, dst, mark)
    found: Sources = world.shared[key]
    return found


def _local_sources(world: World, family: str, iface: str, dst: int, mark: int | None) -> Sources:
    may: list[Pair] = []
    must: list[Pair] = []
    martian: list[Pair] = []
    doubts: set[str] = set()
    for low, high in elementary(world, family):
        decision = deliver(world, family, iface, low, dst, mark=mark)
        if decision.martian:
            martian.append((low, high))
        if not decision.certain:
            doubts.add("a routing rule has selectors that are not analysed")
            may.append((low, high))
        elif decision.outcome == "local":
            may.append((low, high))
            must.append((low, high))
    if may:  # where nothing is delivered at all, a martian is no exception
        may += martian
        must += martian
    return Sources(IntervalSet.of(may), IntervalSet.of(must), IntervalSet.of(martian), tuple(sorted(doubts)))
