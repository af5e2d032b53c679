"""Hosts, services and policies for the tests of the policy room, small or drawn at random."""

from collections.abc import Sequence
from datetime import date
from ipaddress import IPv4Network, IPv6Network

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from librespot_guard.policy import FLAVOURS, SURFACES, Entry, Match, Network, Policy, Source
from librespot_guard.snapshot import Address, Info, Link, Listener, Namespace, Service, ServiceListener, Snapshot

# a machine that does other work too must not make a test fail
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TODAY = date(2026, 11, 24)
LO = Link(1, "lo", up=True, arp_type=772)
ETH0 = Link(2, "eth0", up=True)
HOME = Namespace(
    "1",
    home=True,
    links=(LO, ETH0),
    addresses=(
        Address("ipv4", "127.0.0.1", 8, "lo", scope=254),
        Address("ipv4", "192.168.10.2", 24, "eth0"),
        Address("ipv6", "fd00:10::2", 64, "eth0"),
        Address("ipv6", "fe80::2", 64, "eth0", scope=253),
    ),
)


def listening(
    port: int = 37123, surface: str = "connect", *, proto: str = "tcp", pinned: bool = False
) -> ServiceListener:
    """A listener of a service on every address."""
    return ServiceListener(Listener(proto, "ipv6", "::", port, v6only=False), surface, pinned=pinned)


def service(
    name: str = "living-room",
    flavour: str = "librespot",
    *,
    pid: int = 812,
    unit: str | None = None,
    container: str | None = None,
    title: str = "",
    netns: str = "1",
    listeners: Sequence[ServiceListener] = (listening(),),
) -> Service:
    """A running service; `title` is the name that it announces."""
    info = Info(remote_name=title) if title else None
    return Service(
        name,
        flavour,
        "0.8.0",
        pid,
        998,
        "/usr/bin/librespot",
        netns,
        tuple(listeners),
        unit=unit,
        container=container,
        info=info,
    )


def host(*services: Service, namespaces: Sequence[Namespace] = (HOME,), hostname: str = "speaker") -> Snapshot:
    """A host with these services."""
    return Snapshot("2026-11-24T12:00:00Z", "0.1.0", hostname, "6.1.0", "little", tuple(namespaces), services)


def policy(sources: Sequence[Source] = (), entries: Sequence[Entry] = ()) -> Policy:
    """A policy made of values."""
    return Policy("", "", "", {s.name: s for s in sources}, {e.name: e for e in entries})


def entry(*sources: str, surface: str = "connect", match: Match | None = None, name: str = "living-room") -> Entry:
    """An entry that lets sources reach one surface."""
    return Entry(name, match or Match(flavour="librespot"), {surface: sources})


def _v4(value: int, length: int) -> Network:
    return IPv4Network((value >> (32 - length) << (32 - length), length))


def _v6(value: int, length: int) -> Network:
    return IPv6Network((value >> (128 - length) << (128 - length), length))


NETWORKS: st.SearchStrategy[Network] = st.one_of(
    st.builds(_v4, st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(_v6, st.integers(0, 2**128 - 1), st.integers(0, 128)),
    st.sampled_from([IPv4Network("192.168.10.0/25"), IPv6Network("fd00:10::/64"), IPv6Network("fe80::/64")]),
)
INTERFACES = st.sampled_from(["eth0", "eth1", "wg0"])
SOURCES = st.builds(
    Source,
    st.sampled_from(["home", "app", "vpn", "guest"]),
    st.just("a reason"),
    st.lists(NETWORKS, max_size=3).map(tuple),
    st.none() | INTERFACES,
    st.none() | st.dates(date(2026, 11, 20), date(2026, 11, 28)),
)
WORDS = st.text(min_size=1, max_size=12)
SERVICES = st.builds(
    service,
    st.sampled_from(["living-room", "kitchen", "kitchen-2", "librespot", "librespot-2", "no", "123", "null"]) | WORDS,
    st.sampled_from([*FLAVOURS, "librespot", "librespot"]),
    pid=st.integers(1, 9999),
    unit=st.none() | st.sampled_from(["librespot.service", "raspotify.service", "user@1000.service"]) | WORDS,
    container=st.none() | st.sampled_from(["0123456789abcdef", "speaker"]) | WORDS,
    title=st.just("") | WORDS,
    listeners=st.lists(
        st.builds(listening, st.integers(1, 65535), st.sampled_from([*SURFACES, "unknown"]), pinned=st.booleans()),
        max_size=3,
    ),
)
