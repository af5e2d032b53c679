"""Handmade hosts as data: one librespot in a living room, whose parts each test changes; and packet filters for it."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from librespot_guard.firewall.model import (
    VERDICT,
    Chain,
    Cmp,
    Expr,
    Hook,
    Immediate,
    Limit,
    Meta,
    Payload,
    Rule,
    Ruleset,
    Table,
    Verdict,
)
from librespot_guard.snapshot import (
    Address,
    Boot,
    Gap,
    Group,
    Info,
    Link,
    Listener,
    Namespace,
    NftDump,
    OtherFilter,
    Route,
    Router,
    Service,
    ServiceListener,
    Snapshot,
)

PORT = 37878
PID = 812
HOME = "4026531840"
LAN: dict[str, tuple[str, ...]] = {"eth0": ("192.168.10.2/24", "fd00:10::2/64", "fe80::10/64")}
EMPTY = NftDump(1, b"")

ACCEPT, DROP = Immediate(VERDICT, Verdict("accept")), Immediate(VERDICT, Verdict("drop"))


def tcp(port: int = PORT, address: str = "::", *, pid: int = PID) -> Listener:
    """A listening TCP socket; dual-stack on "::"."""
    v6 = ":" in address
    return Listener("tcp", "ipv6" if v6 else "ipv4", address, port, v6only=False if v6 else None, uid=998, pids=(pid,))


def udp(port: int = 5353, *, pid: int = PID) -> Listener:
    """A UDP socket without a peer, on every address."""
    return Listener("udp", "ipv6", "::", port, v6only=False, uid=998, pids=(pid,))


def connect(
    port: int = PORT, *, pinned: bool = True, address: str = "::", any_host: bool | None = False
) -> ServiceListener:
    """A Spotify Connect listener; it was asked, and looks at the name."""
    return ServiceListener(
        tcp(port, address),
        "connect",
        pinned,
        "`--zeroconf-port`" if pinned else "random port",
        "asked",
        any_host=any_host,
    )


DISCOVERY = ServiceListener(udp(), "discovery", pinned=True)


def librespot(**changes: Any) -> Service:
    """A service in which no check finds anything but what the protocol itself does to it."""
    service = Service(
        name="living-room",
        flavour="librespot",
        version="0.8.0",
        pid=PID,
        uid=998,
        executable="/usr/bin/librespot",
        netns=HOME,
        listeners=(connect(), DISCOVERY),
        argv=("/usr/bin/librespot", "--zeroconf-port", str(PORT), "--disable-credential-cache"),
        user="librespot",
        unit="librespot.service",
        restart="always",
        info=Info(
            brand="librespot", model="librespot", version="2.9.0", library_version="0.8.0", remote_name="Living room"
        ),
    )
    return replace(service, **changes)


def host(
    *services: Service,
    networks: Mapping[str, tuple[str, ...]] = LAN,
    kinds: dict[str, str] | None = None,
    nft: NftDump | None = EMPTY,
    listeners: tuple[Listener, ...] | None = None,
    other_filters: tuple[OtherFilter, ...] = (),
    incomplete: tuple[Gap, ...] = (),
    sysctls: dict[str, str] | None = None,
    routers: tuple[Router, ...] | None = (),
) -> Snapshot:
    """A host with these services, interfaces (name -> addresses) and kinds of interfaces; its default route leads over eth0."""
    links = [Link(1, "lo", up=True, arp_type=772)]
    addresses = [Address("ipv4", "127.0.0.1", 8, "lo", scope=254), Address("ipv6", "::1", 128, "lo", scope=254)]
    routes = [Route("ipv4", 255, "127.0.0.0/8", "local", ("lo",)), Route("ipv6", 255, "::1/128", "local", ("lo",))]
    for index, (name, own) in enumerate(networks.items(), 2):
        links.append(Link(index, name, up=True, kind=(kinds or {}).get(name)))
        for text in own:
            interface = ip_interface(text)
            family = f"ipv{interface.version}"
            addresses.append(Address(family, str(interface.ip), interface.network.prefixlen, name))
            routes.append(Route(family, 255, f"{interface.ip}/{interface.max_prefixlen}", "local", (name,)))
            routes.append(Route(family, 254, str(interface.network), "unicast", (name,)))
    routes += [Route("ipv4", 254, "0.0.0.0/0", "unicast", ("eth0",)), Route("ipv6", 254, "::/0", "unicast", ("eth0",))]
    groups = [
        Group(family, name, to) for name in networks for family, to in (("ipv4", "224.0.0.251"), ("ipv6", "ff02::fb"))
    ]
    home = Namespace(
        HOME,
        home=True,
        links=tuple(links),
        addresses=tuple(addresses),
        routes=tuple(routes),
        groups=tuple(groups),
        sysctls=sysctls or {},
        listeners=tuple(x.listener for s in services for x in s.listeners) if listeners is None else listeners,
        nft=nft,
        other_filters=other_filters,
        routers=routers,
    )
    return Snapshot(
        taken="2026-11-24T12:00:00Z",
        tool="0.1.0",
        hostname="speaker",
        kernel="6.12.0",
        byteorder="little",
        namespaces=(home,),
        services=services,
        privileged=nft is not None,
        boot=Boot("252 (252.38)", ("-BPF_FRAMEWORK",)),
        incomplete=incomplete,
    )


def v4(last: int = 24) -> tuple[Expr, ...]:
    """`ip saddr 192.168.10.0/24`."""
    mask = (0xFFFFFFFF << (32 - last) & 0xFFFFFFFF).to_bytes(4, "big")
    value = bytes(a & b for a, b in zip((192, 168, 10, 0), mask, strict=True))
    return (
        Meta("nfproto", 0),
        Cmp("eq", 0, b"\x02"),
        Payload("network", 12, last // 8, 0),
        Cmp("eq", 0, value[: last // 8]),
    )


def v6() -> tuple[Expr, ...]:
    """`ip6 saddr fd00:10::/64`."""
    return (
        Meta("nfproto", 0),
        Cmp("eq", 0, b"\x0a"),
        Payload("network", 8, 8, 0),
        Cmp("eq", 0, bytes.fromhex("fd00001000000000")),
    )


def to(proto: str, port: int) -> tuple[Expr, ...]:
    """`tcp dport PORT` or `udp dport PORT`."""
    number = {"tcp": b"\x06", "udp": b"\x11"}[proto]
    return (
        Meta("l4proto", 0),
        Cmp("eq", 0, number),
        Payload("transport", 2, 2, 0),
        Cmp("eq", 0, port.to_bytes(2, "big")),
    )


def ipv4_only() -> tuple[Expr, ...]:
    """`meta nfproto ipv4`."""
    return (Meta("nfproto", 0), Cmp("eq", 0, b"\x02"))


def limited() -> tuple[Expr, ...]:
    """`limit rate 10/second`."""
    return (Limit(10, 1, 5, inverted=False),)


def table(
    *rules: tuple[Expr, ...], policy: str = "drop", name: str = "filter", family: str = "inet", chain: str = "input"
) -> Table:
    """A table with one chain on the way in."""
    hooked = Chain(chain, 1, tuple(Rule(n, exprs) for n, exprs in enumerate(rules, 2)), Hook("input", 0, policy))
    return Table(family, name, (hooked,))


def filters(*tables: Table) -> dict[str, Ruleset]:
    """These tables as the packet filter of the host."""
    return {HOME: Ruleset(tables)}


def home_only(proto_ports: tuple[tuple[str, int], ...] = (("tcp", PORT), ("udp", 5353))) -> Table:
    """Drop everything but what comes from the home networks to these ports."""
    rules = [(*source, *to(proto, port), ACCEPT) for proto, port in proto_ports for source in (v4(), v6())]
    return table(*rules)
