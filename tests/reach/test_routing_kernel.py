"""Whom routing takes a packet from, and at which addresses: every case is sent for real, and kernel, engine and interpreter agree."""

from dataclasses import dataclass

import pytest

from librespot_guard.reach import Packet, answers, telling_ways
from librespot_guard.reach.routing import number
from reach.places import PORT, agree, ask, listener, place


@dataclass(frozen=True)
class Case:
    """Changes to the host of `place` (`ip` lines and IPv4 sysctls), and who gets through to 192.168.10.2 by which interface, or not."""

    name: str
    lines: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, int], ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


CASES = (
    Case(
        "loose rp_filter on an interface without an address takes only what the way back leads to",
        ("addr flush dev eth1", "route add 10.9.0.0/24 dev eth1"),
        (("eth1.rp_filter", 2),),
        (("eth1", "10.9.0.7"),),
        (("eth1", "192.168.10.9"),),
    ),
    Case(
        "loose rp_filter on an interface with an address takes what has any way back",
        sysctls=(("eth1.rp_filter", 2),),
        taken=(("eth1", "192.168.10.9"),),
        refused=(("eth1", "203.0.113.9"),),
    ),
    Case(
        "nobody has an address of a network that a route makes the host's own",
        ("route add local 10.99.0.0/16 dev lo",),
        taken=(("eth0", "10.98.1.1"),),
        refused=(("eth0", "10.99.1.1"), ("eth0", "10.9.0.2")),
    ),
    Case(
        "the way back is not that of a packet which comes in by the same interface",
        ("rule add iif eth1 lookup 99", "route add default via 10.9.0.1 dev eth1 table 99"),
        (("all.rp_filter", 1),),
        (("eth1", "10.9.0.7"),),
        (("eth1", "203.0.113.9"),),
    ),
    Case(
        "a full tunnel: a table for everything but what the main table has a route of its own for",
        (
            "rule add not fwmark 51820 lookup 51820",
            "rule add lookup main suppress_prefixlength 0",
            "route add default via 10.9.0.1 dev eth1 table 51820",
            "route add default via 192.168.10.1 dev eth0",
        ),
        (("all.rp_filter", 1), ("all.src_valid_mark", 1)),
        (("eth0", "192.168.10.9"), ("eth1", "203.0.113.9")),
        (("eth0", "203.0.113.9"),),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_sources(case: Case) -> None:
    """Routing refuses a source for what the host knows of it; no filter is in the way."""
    with place() as stage:
        stage.host.ip(*case.lines)
        stage.host.sysctl({f"net.ipv4.conf.{name}": value for name, value in case.sysctls})
        for iface, source in (*case.taken, *case.refused):
            packet = Packet(iface, source, "192.168.10.2", "udp", dport=PORT)
            assert agree(stage, packet) == ((iface, source) in case.taken), packet


GUARDED = "table ip f { chain i { type filter hook input priority 0; policy accept; ip daddr 192.168.10.2 udp dport 3678 drop } }"


def test_what_is_sent_to_everybody() -> None:
    """A UDP socket is reached by broadcasts and groups, too: asked, and shown where they let in more than the host's own address does."""
    with place() as stage:
        stage.host.ip("link set eth1 down")
        stage.load(GUARDED)
        own, everybody = "192.168.10.2", ("192.168.10.255", "255.255.255.255", "224.0.0.1")
        found = ask(next(iter(stage.worlds().values())))
        for dst in (own, *everybody):
            packet = stage.packet("192.168.10.9", dst)
            assert agree(stage, packet) == (dst != own)
            assert (number(packet.src) in found["eth0", dst, ""].answer.must) == (dst != own)
        shown = {r.question.dst for r in telling_ways(list(found.values())) if r.question.iface == "eth0"}
        assert {own, *everybody} <= shown
        stage.load("")
        found = ask(next(iter(stage.worlds().values())))
        shown = {r.question.dst for r in telling_ways(list(found.values())) if r.question.iface == "eth0"}
        assert shown == {own}
        # TCP takes none of it
        assert not any(r.question.beside for r in answers(next(iter(stage.worlds().values())), listener("tcp")))


def test_a_broadcast_comes_in_by_any_interface() -> None:
    """The broadcast of one network is taken in from another, unless the host sends broadcasts on (bc_forwarding)."""
    with place() as stage:
        packet = Packet("eth1", "10.9.0.7", "192.168.10.255", "udp", dport=PORT)
        assert agree(stage, packet)
        assert ("eth1", "192.168.10.255", "") in ask(next(iter(stage.worlds().values())))
        stage.host.sysctl({"net.ipv4.conf.all.bc_forwarding": 1, "net.ipv4.conf.eth1.bc_forwarding": 1})
        assert not agree(stage, packet)


def test_addresses_beside_those_of_interfaces() -> None:
    """127.0.0.1 over a wire with route_localnet, and a network that a route makes the host's own, lead to a wildcard socket."""
    with place() as stage:
        assert ("eth0", "127.0.0.1", "") not in ask(next(iter(stage.worlds().values())))
        stage.host.sysctl({"net.ipv4.conf.eth0.route_localnet": 1})
        stage.host.ip("route add local 10.99.0.0/16 dev lo")
        stage.load(GUARDED)
        found = ask(next(iter(stage.worlds().values())))
        for dst in ("127.0.0.1", "10.99.0.0"):
            assert agree(stage, stage.packet("192.168.10.9", dst))
            assert number("192.168.10.9") in found["eth0", dst, ""].answer.must


def test_two_uplinks() -> None:
    """Where each address of a host has its own way out, those who come in by the second uplink get their answers, and need not be spoofed."""
    with place() as stage:
        stage.host.ip(
            "route add default via 192.168.10.1 dev eth0",
            "rule add from 10.9.0.2 lookup 97",
            "route add default via 10.9.0.1 dev eth1 table 97",
        )
        found = ask(next(iter(stage.worlds().values())))
        stranger = number("203.0.113.9")
        assert stranger in found["eth1", "10.9.0.2", ""].routable
        assert stranger in found["eth1", "192.168.10.2", ""].spoofable
