"""A small handmade host for tests of the reach engine: one LAN, one guest network, both families."""

from librespot_guard.firewall.model import (
    VERDICT,
    Chain,
    Cmp,
    Expr,
    Hook,
    Immediate,
    Meta,
    Payload,
    Rule,
    Ruleset,
    Table,
    Verdict,
)
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Address, Group, Link, Namespace, Route

LINKS = (Link(1, "lo", up=True, arp_type=772), Link(2, "eth0", up=True), Link(3, "eth1", up=True))
ADDRESSES = (
    Address("ipv4", "127.0.0.1", 8, "lo", scope=254),
    Address("ipv4", "192.168.10.2", 24, "eth0"),
    Address("ipv4", "192.168.30.2", 24, "eth1"),
    Address("ipv6", "::1", 128, "lo", scope=254),
    Address("ipv6", "fd00:10::2", 64, "eth0"),
)
ROUTES = (
    Route("ipv4", 255, "127.0.0.0/8", "local", ("lo",)),
    Route("ipv4", 255, "192.168.10.2/32", "local", ("eth0",)),
    Route("ipv4", 255, "192.168.30.2/32", "local", ("eth1",)),
    Route("ipv4", 254, "192.168.10.0/24", "unicast", ("eth0",)),
    Route("ipv4", 254, "192.168.30.0/24", "unicast", ("eth1",)),
    Route("ipv6", 255, "::1/128", "local", ("lo",)),
    Route("ipv6", 255, "fd00:10::2/128", "local", ("eth0",)),
    Route("ipv6", 254, "fd00:10::/64", "unicast", ("eth0",)),
)

ACCEPT, DROP = Immediate(VERDICT, Verdict("accept")), Immediate(VERDICT, Verdict("drop"))


def namespace(sysctls: dict[str, str] | None = None, groups: tuple[Group, ...] = ()) -> Namespace:
    """The host's namespace with these sysctls."""
    return Namespace(
        "1", home=True, links=LINKS, addresses=ADDRESSES, routes=ROUTES, sysctls=sysctls or {}, groups=groups
    )


def input_world(*rules: tuple[Expr, ...], policy: str = "drop", sysctls: dict[str, str] | None = None) -> World:
    """The host with one input chain of these rules."""
    chain = Chain("input", 1, tuple(Rule(n, exprs) for n, exprs in enumerate(rules, 2)), Hook("input", 0, policy))
    return World(namespace(sysctls), Ruleset((Table("inet", "filter", (chain,)),)))


def v4() -> tuple[Expr, ...]:
    """Only IPv4."""
    return (Meta("nfproto", 0), Cmp("eq", 0, b"\x02"))


def from_lan() -> tuple[Expr, ...]:
    """`ip saddr 192.168.10.0/24`, as a load of three bytes, which is how nft writes a prefix at a byte border."""
    return (*v4(), Payload("network", 12, 3, 0), Cmp("eq", 0, bytes((192, 168, 10))))


def to_tcp(port: int) -> tuple[Expr, ...]:
    """`tcp dport PORT`."""
    return (
        Meta("l4proto", 0),
        Cmp("eq", 0, b"\x06"),
        Payload("transport", 2, 2, 0),
        Cmp("eq", 0, port.to_bytes(2, "big")),
    )
