"""Routing tables and routing rules: which route an address has (fib_lookup, fib_rules_lookup).

`Tables` holds them for longest-prefix look-ups, and the addresses between which a decision can change.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from librespot_guard.reach.intervals import WIDTH, Pair
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Address, Route, RoutingRule

HIGHEST = {"ipv4": (1 << 32) - 1, "ipv6": (1 << 128) - 1}
_V4_SPECIAL = ["0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"]
_V6_SPECIAL = ["::/128", "::1/128", "::ffff:0:0/96", "ff00::/8", "fe80::/10"]
_TABLES_BY_DEFAULT = {(0, 255), (32766, 254), (32767, 253)}
_REFUSALS = ("blackhole", "unreachable", "prohibit")


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
        own = [a for a in world.namespace.addresses if a.family == family]
        self.addresses = {number(a.address) for a in own}
        # networks that a route makes this host's own, beside those of its addresses (AnyIP)
        self.custom_local = tuple(
            r.dst
            for r in world.namespace.routes
            if r.family == family and r.kind == "local" and not _of_address(r.dst, own, world)
        )
        # where a packet's source is looked up in vain, nothing but a route of another kind than these refuses it (see `routing`)
        plain = {*_REFUSALS, "unicast", "throw"}
        self.only_plain = all(r.kind in plain for r in world.namespace.routes if r.family == family and r.table != 255)
        self.doubt = (
            "which routing rules lead to a routing table of its own is not known"
            if any(r.action == "unknown" for r in self.rules)
            else "a routing rule has selectors that are not analysed"
        )
        for address in self.addresses:
            self.boundaries |= {address, address + 1}
        points = {0, *self.boundaries}
        for special in _V4_SPECIAL if family == "ipv4" else _V6_SPECIAL:
            network = ip_network(special)
            points |= {int(network.network_address), int(network.broadcast_address) + 1}
        edges = sorted(p for p in points if p <= HIGHEST[family])
        self.elementary: list[Pair] = [
            (low, high - 1) for low, high in zip(edges, [*edges[1:], HIGHEST[family] + 1], strict=True)
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


def _of_address(dst: str, own: Iterable[Address], world: World) -> bool:
    """Whether the kernel makes this local route of an address: of it alone, and of its whole network on the loopback interface."""
    network = ip_network(dst)
    for address in own:
        if ip_address(address.address) not in network:
            continue
        link = world.link(address.dev)
        on_loopback = link is not None and link.loopback and network.prefixlen == address.prefixlen
        if on_loopback or network.prefixlen == network.max_prefixlen:
            return True
    return False


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
    iif: str = "lo",
    mark: int | None = 0,
    dev: str | None = None,
) -> Found:
    """Look an address up through the routing rules, as for a packet from `source` that came in on `iif` (`lo`: that this host sends).

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
        if rule.action in _REFUSALS:
            return Found(rule.action, (), certain)
        if rule.action != "to_table":
            certain = certain and rule.action == "nop"
            continue
        route = book.longest(rule.table, address, dev)
        if route is not None and route.kind != "throw" and not _suppressed(rule, route):
            return Found(route.kind, route.devs, certain, route.gateway)
    return Found("none", (), certain)


def _suppressed(rule: RoutingRule, route: Route) -> bool:
    """Whether a rule passes over what its table has: `suppress_prefixlength` (fib4_rule_suppress), which spares refusals."""
    length = int(route.dst.rpartition("/")[2])
    return rule.suppress is not None and length <= rule.suppress and route.kind not in _REFUSALS


def _applies(rule: RoutingRule, family: str, dst: int, src: int | None, iif: str, mark: int | None) -> bool | None:
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
