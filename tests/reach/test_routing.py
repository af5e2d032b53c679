"""Routing decisions as the kernel makes them (verification notes, section 3.1)."""

import pytest

from librespot_guard.firewall.model import Ruleset
from librespot_guard.reach.routing import Decision, deliver, local_sources, number
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Group
from reach.hosts import namespace


def decide(
    src: str, dst: str = "192.168.10.2", iface: str = "eth0", groups: tuple[Group, ...] = (), **sysctls: str
) -> Decision:
    """The decision about one packet."""
    named = {f"net.ipv4.conf.{key.replace('__', '.')}": value for key, value in sysctls.items()}
    world = World(namespace(named, groups), Ruleset())
    return deliver(world, "ipv6" if ":" in dst else "ipv4", iface, number(src), number(dst))


@pytest.mark.parametrize("src", ["192.168.10.9", "203.0.113.9", "0.1.2.3", "240.0.0.1"])
def test_ordinary_sources_are_delivered(src: str) -> None:
    """Any unicast source is delivered while rp_filter is off, even without a route back."""
    assert decide(src).outcome == "local"


@pytest.mark.parametrize("src", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.168.30.2"])
def test_martians_are_refused(src: str) -> None:
    """Loopback, multicast, broadcast, zero, and the host's own addresses are no sources on a wire."""
    decision = decide(src)

    assert decision.outcome == "drop"
    assert decision.martian


def test_weak_host_model() -> None:
    """An address of one interface is reachable over another."""
    assert decide("192.168.10.9", "192.168.30.2").outcome == "local"


def test_loopback_destination_needs_route_localnet() -> None:
    """127.0.0.1 is reachable over a wire only with route_localnet."""
    assert decide("192.168.10.9", "127.0.0.1").outcome == "drop"
    assert decide("192.168.10.9", "127.0.0.1", eth0__route_localnet="1").outcome == "local"


@pytest.mark.parametrize(
    ("mode", "src", "outcome"),
    [("1", "192.168.30.9", "drop"), ("2", "192.168.30.9", "local"), ("2", "203.0.113.9", "drop")],
)
def test_rp_filter(mode: str, src: str, outcome: str) -> None:
    """Strict mode wants the way back over the same interface, loose mode any way back."""
    assert decide(src, all__rp_filter=mode).outcome == outcome


def test_multicast_needs_a_member() -> None:
    """A group is delivered only where somebody joined it."""
    assert decide("192.168.10.9", "224.0.0.251").outcome == "drop"
    assert decide("192.168.10.9", "224.0.0.251", groups=(Group("ipv4", "eth0", "224.0.0.251"),)).outcome == "local"


@pytest.mark.parametrize("src", ["::1", "ff02::1"])
def test_ipv6_martians(src: str) -> None:
    """Loopback and multicast addresses are no sources on an IPv6 wire."""
    assert decide(src, "fd00:10::2").martian


def test_a_destination_elsewhere_is_forwarded_only_by_a_router() -> None:
    """Forwarding needs the sysctl."""
    assert decide("192.168.10.9", "192.168.30.77").outcome == "drop"
    assert decide("192.168.10.9", "192.168.30.77", eth0__forwarding="1").outcome == "forward"


def test_the_set_of_sources_agrees_with_each_decision() -> None:
    """The set that routing lets through holds exactly the sources that are delivered one by one."""
    world = World(namespace({"net.ipv4.conf.all.rp_filter": "1"}), Ruleset())
    sources = local_sources(world, "ipv4", "eth0", number("192.168.10.2"))
    for text in (
        "192.168.10.0",
        "192.168.10.1",
        "192.168.10.255",
        "192.168.9.255",
        "192.168.11.0",
        "192.168.30.9",
        "8.8.8.8",
        "192.168.10.2",
    ):
        delivered = deliver(world, "ipv4", "eth0", number(text), number("192.168.10.2")).outcome == "local"

        assert delivered == (number(text) in sources.must - sources.martian), text
