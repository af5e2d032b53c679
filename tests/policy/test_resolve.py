"""A policy on a host: which entry speaks of which service, and whom it lets in."""

import dataclasses
from collections.abc import Sequence
from datetime import date, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.policy import SURFACES, Match, Network, Source, Where, allowed, assign, unmatched
from librespot_guard.policy.resolve import matches
from librespot_guard.reach import IntervalSet, cidrs
from librespot_guard.snapshot import Address, Namespace
from policy.factory import HOME, SOURCES, TODAY, calm, entry, host, listening, policy, service

FAMILIES = st.sampled_from(["ipv4", "ipv6"])
IFACES = st.sampled_from(["eth0", "eth1", "wg0", "lo"])


def who(
    *sources: Source, surface: str = "connect", iface: str = "eth0", family: str = "ipv4", namespace: Namespace = HOME
) -> list[str]:
    """The addresses that a policy with these sources lets in, as networks."""
    made = entry(*(s.name for s in sources), surface=surface)
    return cidrs(family, allowed(policy(sources, [made]), made, surface, iface, family, namespace, today=TODAY))


def source(*networks: str, name: str = "home", interface: str | None = None, expires: date | None = None) -> Source:
    """A source of these networks."""
    return Source(name, "a reason", tuple(ip_network(n) for n in networks), interface, expires)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), False),
        (Match(flavour="librespot"), True),
        (Match(flavour="raspotify"), False),
        (Match(unit="librespot.service"), True),
        (Match(unit="librespot"), False),
        (Match(name="living-room"), True),
        (Match(name="Living Room"), True),
        (Match(name="Living  Room!"), True),
        (Match(name="kitchen"), False),
        (Match(name="🎵"), False),
        (Match(container="0123456789ab"), True),
        (Match(container="0123456789a"), False),
        (Match(container="0123456789abcdef"), True),
        (Match(port=37123), True),
        (Match(port=5353), False),
        (Match("librespot", "librespot.service", "living-room", "0123456789ab", 37123), True),
        (Match("librespot", "librespot.service", "living-room", "0123456789ab", 1), False),
    ],
)
def test_every_key_of_a_match_must_agree(match: Match, expected: bool) -> None:
    """Each key narrows; an empty match speaks of nothing."""
    found = service(unit="librespot.service", container="0123456789abcdef", title="Living Room")

    assert matches(match, found) is expected


def test_raspotify_is_not_librespot() -> None:
    """Raspotify is built on librespot, and still each name means only itself."""
    services = service(flavour="librespot"), service("pi", "raspotify", pid=2)
    one = entry(match=Match(flavour="raspotify"))

    assert [a.service.name for a in assign(policy([], [one]), host(*services))] == ["pi"]


def test_an_entry_may_speak_of_several_services() -> None:
    """Assignments come in the order of the snapshot; an entry that matches nothing is reported apart."""
    both, none = entry(name="all"), entry(name="none", match=Match(unit="gone.service"))
    made, snapshot = policy([], [none, both]), host(service("a"), service("b", pid=2), service("c", "spotifyd"))

    assert [(a.entry.name, a.service.name) for a in assign(made, snapshot)] == [("all", "a"), ("all", "b")]
    assert unmatched(made, snapshot) == (none,)


def test_two_entries_for_one_service_are_a_fault_of_the_policy() -> None:
    """Every ambiguous service is named with both entries and their places."""
    one = dataclasses.replace(entry(name="one"), where=Where("p.yaml", 8, 3))
    two = dataclasses.replace(entry(name="two", match=Match(name="living-room")), where=Where("p.yaml", 9, 3))

    with pytest.raises(InputError) as caught:
        assign(policy([], [one, two]), host(service(), service("kitchen")))

    assert str(caught.value) == (
        "p.yaml:9:3: the service `living-room` (pid 812) is matched by `one` (p.yaml:8:3) and `two` (p.yaml:9:3)"
    )
    assert "add a key" in caught.value.hint


def test_networks_hold_on_every_interface_or_on_the_one_named() -> None:
    """Without an interface, networks count everywhere; with one, only there; an interface alone is everybody behind it."""
    assert who(source("192.168.10.0/24", "fd00:10::/64")) == ["192.168.10.0/24"]
    assert who(source("192.168.10.0/24", "fd00:10::/64"), family="ipv6", iface="wg0") == ["fd00:10::/64"]
    assert who(source("192.168.10.0/24", interface="eth0")) == ["192.168.10.0/24"]
    assert who(source("192.168.10.0/24", interface="eth0"), iface="eth1") == []
    assert who(source(interface="wg0"), iface="wg0") == ["0.0.0.0/0"]
    assert who(source(interface="wg0"), iface="wg0", family="ipv6") == ["::/0"]
    assert who(source(interface="wg0")) == []
    assert who(source()) == []


def test_a_source_holds_up_to_its_last_day() -> None:
    """`expires` is the last day on which it holds."""
    assert who(source("10.0.0.0/8", expires=TODAY)) == ["10.0.0.0/8"]
    assert who(source("10.0.0.0/8", expires=TODAY - timedelta(days=1))) == []


def test_discovery_is_on_link_only() -> None:
    """Of the allowed addresses, discovery takes those in the connected networks of the interface that the packet comes in on."""
    wide = source("192.168.0.0/16", "fd00::/8", "10.0.0.0/8", "fe80::/10")

    assert who(wide, surface="discovery") == ["192.168.10.0/24"]
    assert who(wide, surface="discovery", family="ipv6") == ["fd00:10::/64", "fe80::/64"]
    assert who(wide, surface="discovery", iface="eth1") == []
    assert who(wide) == ["10.0.0.0/8", "192.168.0.0/16"]


def test_discovery_behind_an_interface_includes_link_local() -> None:
    """Everybody behind an interface is also who has a link-local IPv6 address there, whatever addresses this host has."""
    alone = dataclasses.replace(HOME, addresses=(Address("ipv4", "192.168.10.2", 24, "eth0"),))
    everybody = source(interface="eth0")

    assert who(everybody, surface="discovery", namespace=alone) == ["192.168.10.0/24"]
    assert who(everybody, surface="discovery", family="ipv6", namespace=alone) == ["fe80::/10"]
    assert who(everybody, surface="discovery", family="ipv6", iface="eth1", namespace=alone) == []
    assert who(source("::/0"), surface="discovery", family="ipv6", namespace=alone) == []


def test_what_could_not_be_told_is_denied() -> None:
    """A surface that is unknown, or not named by the entry, is nobody's."""
    everybody = source("0.0.0.0/0")
    made = dataclasses.replace(entry("home"), allow={"connect": ("home",), "unknown": ("home",)})

    def count(surface: str) -> int:
        return allowed(policy([everybody], [made]), made, surface, "eth0", "ipv4", HOME, today=TODAY).size()

    assert (count("connect"), count("unknown"), count("api")) == (2**32, 0, 0)


@calm
@given(st.lists(SOURCES, unique_by=lambda s: s.name), st.sampled_from([*SURFACES, "unknown"]), FAMILIES)
def test_the_host_itself_is_always_allowed(sources: Sequence[Source], surface: str, family: str) -> None:
    """Over loopback every address is allowed, whatever the policy says."""
    made = entry(*(s.name for s in sources))
    found = allowed(policy(sources, [made]), made, surface, "lo", family, HOME, today=TODAY)

    assert found == IntervalSet.full(32 if family == "ipv4" else 128)


@calm
@given(st.lists(SOURCES, unique_by=lambda s: s.name), st.sampled_from(SURFACES), FAMILIES, IFACES, st.data())
def test_losing_a_source_never_lets_more_in(
    sources: Sequence[Source], surface: str, family: str, iface: str, data: st.DataObject
) -> None:
    """Fewer sources allow no more addresses, and the sources of an entry allow exactly what each of them does."""
    made = policy(sources)
    names = [s.name for s in sources]
    fewer = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []

    def of(*use: str) -> IntervalSet:
        return allowed(made, entry(*use, surface=surface), surface, iface, family, HOME, today=TODAY)

    assert not of(*fewer) - of(*names)
    assert of(*names) == of(*reversed(names))
    union = of()
    for name in names:
        union |= of(name)
    assert of(*names) == union


@calm
@given(SOURCES, st.sampled_from(SURFACES), FAMILIES, st.sampled_from(["eth0", "wg0"]))
def test_expired_is_nobody(one: Source, surface: str, family: str, iface: str) -> None:
    """An expired source allows nothing, and one that still holds allows what it would without an end."""
    made = entry(one.name, surface=surface)
    found, endless = (
        allowed(policy([s], [made]), made, surface, iface, family, HOME, today=TODAY)
        for s in (one, dataclasses.replace(one, expires=None))
    )

    assert found == (IntervalSet() if one.expires is not None and one.expires < TODAY else endless)


@calm
@given(SOURCES, st.sampled_from(SURFACES), FAMILIES, st.sampled_from(["eth0", "eth1", "wg0"]), st.data())
def test_only_what_the_source_says_is_allowed(
    one: Source, surface: str, family: str, iface: str, data: st.DataObject
) -> None:
    """An allowed address is in a network of its own family, on the right interface, and for discovery on-link."""
    made = entry(one.name, surface=surface)
    found = allowed(policy([one], [made]), made, surface, iface, family, HOME, today=TODAY)
    if not found:
        return
    low, high = data.draw(st.sampled_from(found.pairs))
    value = data.draw(st.sampled_from([low, high, (low + high) // 2]))
    address = ip_address(value.to_bytes(4, "big")) if family == "ipv4" else ip_address(value.to_bytes(16, "big"))

    assert one.interface in (None, iface)
    assert not one.networks or any(address in n for n in one.networks if n.version == address.version)
    if surface == "discovery":
        connected: list[Network] = [
            ip_network(f"{a.address}/{a.prefixlen}", strict=False) for a in HOME.addresses if a.dev == iface
        ]
        assert any(address in n for n in connected if n.version == address.version) or (
            address.is_link_local and not one.networks
        )


def test_ports_of_every_listener_count() -> None:
    """`port` agrees with any listener of the service."""
    two = service(listeners=[listening(37123), listening(5353, "discovery", proto="udp")])

    assert matches(Match(port=5353), two)
    assert not matches(Match(port=5354), two)
