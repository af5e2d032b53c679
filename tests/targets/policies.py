"""Random policies with the host and the services they speak of, for the property tests of targets and plans."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from ipaddress import ip_interface, ip_network

from hypothesis import strategies as st

from librespot_guard.policy import Assignment, Entry, Match, Policy, Source
from librespot_guard.policy.model import SURFACES
from librespot_guard.snapshot import (
    Address,
    Link,
    Listener,
    Namespace,
    NftDump,
    Route,
    Service,
    ServiceListener,
    Snapshot,
)

TODAY = date(2026, 11, 24)
LINKS = ("eth0", "wlan0", "wg0")
NETWORKS = (
    "192.168.10.0/24", "192.168.10.0/25", "192.168.10.64/26", "192.168.0.0/16", "10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "203.0.113.7/32",
    "fd00:10::/64", "fd00:10::/112", "fd00:10::5/128", "fe80::/10", "2001:db8::/32", "::/0", "128.0.0.0/1", "192.168.10.128/25",
)  # fmt: skip
ADDRESSES = (
    "192.168.10.2/24",
    "192.168.10.130/25",
    "10.1.2.9/30",
    "172.16.0.1/12",
    "fd00:10::2/64",
    "fe80::1/64",
    "2001:db8:1::2/48",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A policy, its assignments, and the host."""

    policy: Policy
    assignments: tuple[Assignment, ...]
    namespace: Namespace

    def snapshot(self) -> Snapshot:
        """The host as a snapshot without rules."""
        services = tuple(a.service for a in self.assignments)
        return Snapshot(
            "2026-11-24T12:00:00Z",
            "test",
            "host",
            "6.1",
            "little",
            (replace(self.namespace, nft=NftDump(0, b"")),),
            services,
            privileged=True,
        )


def routes_of(addresses: Iterable[Address]) -> tuple[Route, ...]:
    """The routes that the kernel makes for addresses, and a default route for each family over the last interface."""
    found = []
    for address in addresses:
        at = ip_interface(f"{address.address}/{address.prefixlen}")
        found.append(Route(address.family, 255, f"{at.ip}/{at.max_prefixlen}", "local", (address.dev,)))
        found.append(Route(address.family, 254, str(at.network), "unicast", (address.dev,)))
        found.append(
            Route(
                address.family,
                254,
                "0.0.0.0/0" if at.version == 4 else "::/0",
                "unicast",
                (address.dev,),
                priority=1024,
            )
        )
    return tuple(found)


@st.composite
def namespaces(draw: st.DrawFn) -> Namespace:
    """A host with some interfaces and addresses."""
    names = draw(st.lists(st.sampled_from(LINKS), unique=True, min_size=1))
    links = [Link(1, "lo", True, arp_type=772)] + [Link(i, name, True) for i, name in enumerate(names, 2)]
    addresses = [Address("ipv4", "127.0.0.1", 8, "lo", scope=254), Address("ipv6", "::1", 128, "lo", scope=254)]
    for text in draw(st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=5)):
        at = ip_interface(text)
        addresses.append(Address(f"ipv{at.version}", str(at.ip), at.network.prefixlen, draw(st.sampled_from(names))))
    return Namespace("1", True, links=tuple(links), addresses=tuple(addresses), routes=routes_of(addresses))


@st.composite
def sources(draw: st.DrawFn, name: str) -> Source:
    """Networks, an interface, or both; perhaps expired."""
    networks = tuple(ip_network(n) for n in draw(st.lists(st.sampled_from(NETWORKS), unique=True, max_size=4)))
    interface = draw(st.sampled_from((None, *LINKS))) if networks else draw(st.sampled_from(LINKS))
    expires = draw(st.sampled_from((None, None, TODAY, TODAY - timedelta(days=1), TODAY + timedelta(days=9))))
    return Source(name, draw(st.text(min_size=1, max_size=150)), networks, interface, expires)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One to three services; they share UDP 5353, and their TCP ports are their own."""
    namespace = draw(namespaces())
    known = {f"source-{n}": draw(sources(f"source-{n}")) for n in range(draw(st.integers(1, 4)))}
    entries, assignments = {}, []
    for number in range(draw(st.integers(1, 3))):
        surfaces = draw(st.lists(st.sampled_from(SURFACES[:4]), unique=True, max_size=4))
        allow = {s: tuple(draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=3))) for s in surfaces}
        entry = Entry(
            draw(st.sampled_from(("speaker", "Wohn Zimmer", "x" * 40, "policy"))) + str(number),
            Match(port=7000 + 10 * number),
            allow,
        )
        entries[entry.name] = entry
        assignments.append(Assignment(entry, draw(services(number))))
    policy = Policy("Test", "ops@example.org", "every 3 months", known, entries)
    inside = tuple(item.listener for a in assignments for item in a.service.listeners)
    return Case(policy, tuple(assignments), replace(namespace, listeners=inside))


@st.composite
def services(draw: st.DrawFn, number: int) -> Service:
    """A service with `connect` on its own port and, perhaps, discovery, an API and something that nobody knows."""
    port = 7000 + 10 * number

    def tcp(port: int, surface: str) -> ServiceListener:
        address = draw(st.sampled_from(("0.0.0.0", "::", "192.168.10.2")))
        family = "ipv6" if address == "::" else "ipv4"
        v6only = draw(st.booleans()) if address == "::" else None
        return ServiceListener(Listener("tcp", family, address, port, v6only, inode=port), surface, draw(st.booleans()))

    found = [tcp(port, "connect")]
    if draw(st.booleans()):
        udp = Listener("udp", "ipv4", "0.0.0.0", 5353, inode=50000 + number)
        found.append(ServiceListener(udp, "discovery", pinned=True))
        found.append(
            ServiceListener(
                replace(udp, family="ipv6", address="::", v6only=True, inode=60000 + number), "discovery", pinned=True
            )
        )
    for offset, surface in ((1, "api"), (2, "unknown"), (3, "login")):
        if draw(st.booleans()):
            found.append(tcp(port + offset, surface))
    return Service(
        f"service-{number}", "librespot", "0.8.0", 100 + number, 1000, "/usr/bin/librespot", "1", tuple(found)
    )
