"""Diagnoses on snapshots made by hand: what can't be made for real in a namespace, and the rules of a diagnosis itself."""

from dataclasses import replace

import pytest

from librespot_guard.doctor import CAUSES, Diagnosis, diagnose
from librespot_guard.errors import InputError
from librespot_guard.snapshot import (
    Address,
    Announcement,
    Group,
    Info,
    Link,
    Listener,
    Namespace,
    NftDump,
    Route,
    Service,
    ServiceListener,
    ServiceSetting,
    Snapshot,
)

ADDRESS = "192.168.10.2"
HOME = Namespace(
    "1",
    home=True,
    links=(Link(1, "lo", up=True, arp_type=772), Link(2, "eth0", up=True)),
    addresses=(
        Address("ipv4", "127.0.0.1", 8, "lo", scope=254),
        Address("ipv4", ADDRESS, 24, "eth0", broadcast="192.168.10.255"),
    ),
    routes=(
        Route("ipv4", 255, f"{ADDRESS}/32", "local", ("eth0",)),
        Route("ipv4", 254, "192.168.10.0/24", "unicast", ("eth0",)),
    ),
    groups=(Group("ipv4", "eth0", "224.0.0.251"),),
    listeners=(Listener("udp", "ipv4", "0.0.0.0", 5353, pids=(7,), inode=70),),
    nft=NftDump(1, b""),
    announcements=(),
)
CONNECT = ServiceListener(Listener("tcp", "ipv4", "0.0.0.0", 37000, inode=80), "connect", pinned=True)
SERVICE = Service(
    "living-room", "librespot", "0.8.0", 812, 998, "/usr/bin/librespot", "1", (CONNECT,), info=Info(remote_name="Living Room")
)  # fmt: skip


def _host(space: Namespace = HOME, service: Service = SERVICE, *more: Namespace) -> Snapshot:
    return Snapshot("2026-11-25T00:00:00+00:00", "x", "speaker", "6.1", "little", (space, *more), (service,))


def _found(facts: Snapshot) -> dict[str, str]:
    return {one.cause: one.certainty for one in diagnose(facts)}


def test_a_responder_that_could_not_start() -> None:
    """It listens without a socket on UDP 5353, and somebody else holds that port unshared: surely the cause."""
    assert _found(_host(replace(HOME, mdns_unshared=True))) == {"responder-conflict": "sure"}


def test_a_responder_that_is_not_its_own() -> None:
    """Another program answers on UDP 5353, but nobody announces it: avahi that does not publish, perhaps."""
    (one,) = diagnose(_host())
    assert (one.cause, one.certainty) == ("not-announced", "likely")
    assert "process 7" in one.evidence[1]


def test_no_responder_at_all() -> None:
    """Nothing has UDP 5353."""
    (one,) = diagnose(_host(replace(HOME, listeners=())))
    assert "no program on this host" in one.evidence[1]


def test_nobody_asked() -> None:
    """Without an answer from the network nothing is said about announcements."""
    assert _found(_host(replace(HOME, announcements=None))) == {}


@pytest.mark.parametrize(
    ("kind", "container", "expected"),
    [
        ("veth", "ab12" * 16, {"bridged-container": "sure"}),
        ("veth", None, {"other-namespace": "sure"}),
        ("macvlan", "ab12" * 16, {}),
        (None, None, {}),
    ],
)
def test_where_it_runs(kind: str | None, container: str | None, expected: dict[str, str]) -> None:
    """A namespace whose cables end in the host is cut off; one with a card, or a macvlan, in the network is not."""
    inside = replace(
        HOME, id="2", home=False, announcements=None, links=(HOME.links[0], Link(2, "eth0", up=True, kind=kind))
    )
    assert (
        _found(_host(replace(HOME, listeners=()), replace(SERVICE, netns="2", container=container), inside)) == expected
    )


def test_a_bridge_into_the_network_leaves_a_doubt() -> None:
    """Where the host has a bridge with a card in it, the cable may lead to the network after all."""
    home = replace(
        HOME, links=(*HOME.links, Link(3, "br0", up=True, kind="bridge"), Link(4, "eth1", up=True, master="br0"))
    )
    inside = replace(
        HOME, id="2", home=False, announcements=None, links=(HOME.links[0], Link(2, "eth0", up=True, kind="veth"))
    )
    assert _found(_host(home, replace(SERVICE, netns="2"), inside)) == {"other-namespace": "possible"}


def test_an_address_beside_a_wrong_one() -> None:
    """One usable address among those announced: phones may or may not choose it."""
    said = Announcement("eth0", "ipv4", ADDRESS, "Living Room", "h.local", 37000, ("172.17.0.1", ADDRESS))
    assert _found(_host(replace(HOME, announcements=(said,)))) == {"wrong-address": "possible"}


TWO = replace(
    HOME,
    links=(*HOME.links, Link(3, "wlan0", up=True)),
    addresses=(
        *HOME.addresses,
        Address("ipv6", "fe80::2", 64, "eth0"),
        Address("ipv4", "192.168.10.30", 24, "wlan0"),
        Address("ipv6", "fe80::3", 64, "wlan0"),
    ),
    routes=(*HOME.routes, Route("ipv4", 255, "192.168.10.30/32", "local", ("wlan0",))),
    groups=(*(HOME.groups or ()), Group("ipv4", "wlan0", "224.0.0.251")),
)


def said_on_both(*addresses: str) -> Namespace:
    """A host with two cards in one network, on which these addresses are announced by both."""
    return replace(
        TWO,
        announcements=tuple(
            Announcement(dev, "ipv4", own, "Living Room", "h.local", 37000, addresses)
            for dev, own in (("eth0", ADDRESS), ("wlan0", "192.168.10.30"))
        ),
    )


def test_two_cards_in_one_network_are_no_fault() -> None:
    """Each is reached by the other's address; a link-local address of the other beside that does no harm."""
    assert _found(_host(said_on_both(ADDRESS, "192.168.10.30", "fe80::2", "fe80::3"))) == {}
    assert _found(_host(said_on_both(ADDRESS))) == {}
    assert _found(_host(said_on_both("fe80::2"))) == {"wrong-address": "sure"}


def test_the_advice_to_announce_one_interface_only_is_no_fault() -> None:
    """On the others it announces nothing usable then, which is what was wanted; an address that no interface has is none."""
    away = replace(
        TWO,
        addresses=tuple(
            replace(a, address="10.0.0.3") if a.dev == "wlan0" and a.family == "ipv4" else a for a in TWO.addresses
        ),
    )
    away = replace(away, routes=(*TWO.routes[:2], Route("ipv4", 255, "10.0.0.3/32", "local", ("wlan0",))))
    said = said_on_both(ADDRESS).announcements or ()
    told = replace(away, announcements=(said[0], replace(said[1], sender="10.0.0.3")))
    chosen = replace(SERVICE, settings=(ServiceSetting("zeroconf-interface", ADDRESS, "argv -i", wins=True),))
    nowhere = replace(SERVICE, settings=(ServiceSetting("zeroconf-interface", "127.0.0.1", "argv -i", wins=True),))

    assert _found(_host(told)) == {"wrong-address": "sure"}
    assert _found(_host(told, chosen)) == {}
    assert _found(_host(told, nowhere)) == {"wrong-address": "sure"}


def test_an_interface_without_an_address_of_its_own_is_no_way() -> None:
    """A cable that is plugged in and has only the link-local address that every card gives itself: no network is there."""
    bare = replace(
        HOME,
        links=(*HOME.links, Link(3, "eth1", up=True)),
        addresses=(*HOME.addresses, Address("ipv6", "fe80::5", 64, "eth1")),
        announcements=(Announcement("eth0", "ipv4", ADDRESS, "Living Room", "h.local", 37000, (ADDRESS,)),),
    )
    assert _found(_host(bare)) == {}


def test_a_stopped_one_with_discovery_off() -> None:
    """It may have ended for that: librespot does where it has no login."""
    setting = ServiceSetting(
        "disable-discovery", "on", "/etc/raspotify/conf:3", wins=True, note="on, although it says 'off'"
    )
    stopped = replace(SERVICE, pid=0, listeners=(), settings=(setting,), status="stopped")
    facts = replace(_host(), services=(), stopped=(stopped,))

    assert _found(facts) == {"not-running": "sure", "discovery-off": "possible"}
    assert "/etc/raspotify/conf:3" in diagnose(facts)[1].evidence[0]


def test_no_address_at_all() -> None:
    """An announcement without an address (as with `--zeroconf-interface` of another network) leads nowhere."""
    said = Announcement("eth0", "ipv4", ADDRESS, "Living Room", "h.local", 37000)
    assert _found(_host(replace(HOME, announcements=(said,)))) == {"wrong-address": "sure"}


def test_the_announcement_of_another_host_is_none_of_its_own() -> None:
    """A speaker of the same name on another host explains nothing here."""
    said = Announcement("eth0", "ipv4", "192.168.10.77", "Living Room", "h.local", 4070, ("192.168.10.77",))
    assert _found(_host(replace(HOME, announcements=(said,)))) == {"not-announced": "likely"}


def test_the_announcement_of_another_service_is_none_of_its_own() -> None:
    """Two services on one host with the same name: each has its own port."""
    other = replace(
        SERVICE, name="bath", pid=9, listeners=(replace(CONNECT, listener=replace(CONNECT.listener, port=37001)),)
    )
    said = tuple(Announcement("eth0", "ipv4", ADDRESS, "Living Room", "h.local", p, (ADDRESS,)) for p in (37000, 37001))
    facts = replace(_host(replace(HOME, announcements=said)), services=(SERVICE, other))
    assert _found(facts) == {}


@pytest.mark.parametrize(("version", "certainty"), [("0.8.0", "likely"), (None, "likely"), ("0.4.2", "possible")])
def test_one_that_does_not_run_without_ipv6(version: str | None, certainty: str) -> None:
    """Between two starts that end, a service is one that does not run: without IPv6 that is likely why, if its version needs it."""
    resting = replace(SERVICE, version=version, pid=0, status="stopped", listeners=())
    found = _found(replace(_host(replace(HOME, ipv6=False)), services=(), stopped=(resting,)))
    assert found == {"not-running": "sure", "no-ipv6": certainty}


def test_a_service_that_is_not_there() -> None:
    """A name that nobody has is wrong input, and says who is there."""
    with pytest.raises(InputError, match="kitchen") as error:
        diagnose(_host(), "kitchen")
    assert "living-room" in error.value.hint


def test_a_diagnosis_is_whole() -> None:
    """Without evidence, a cure, a known cause or a certainty it is none."""
    for change in ({"cause": "x"}, {"certainty": "x"}, {"evidence": ()}, {"fix": ()}):
        whole = {"cause": "closed", "service": None, "certainty": "sure", "evidence": ("e",), "fix": ("f",)}
        with pytest.raises(ValueError, match="a diagnosis needs"):
            Diagnosis(**{**whole, **change})  # type: ignore[arg-type]


def test_the_schema_knows_every_cause(schema: object) -> None:
    """What can be found can be printed."""
    import json  # noqa: PLC0415

    from support import SOURCE  # noqa: PLC0415

    content = json.loads((SOURCE / "schemas" / "doctor.json").read_text(encoding="utf-8"))
    assert set(content["properties"]["diagnoses"]["items"]["properties"]["cause"]["enum"]) == set(CAUSES)
