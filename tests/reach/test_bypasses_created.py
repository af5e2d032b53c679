"""Interfaces that are created later (6 of docs/bypasses.md): LG408 says who would get in, then the interface is made and real packets say it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from audit.hosts import librespot
from librespot_guard import audit
from librespot_guard.lab.sandbox import Host
from librespot_guard.snapshot import ServiceListener
from reach.places import PORT, STRANGER, Place, agree, listener, place
from reach.test_bypasses import input_rules

pytestmark = pytest.mark.kernel

LOCK = {"XTABLES_LOCKFILE": "/run/xtables.lock"}
HERE = '{ "lo", "eth0", "eth1", "docker0" }'
HOME = "ip saddr 192.168.10.0/24 accept"


@dataclass(frozen=True)
class Row:
    """Rules, the interface that is created, whether `src` gets in over it, and the severity of LG408 about it."""

    rules: str
    name: str
    open: bool
    severity: str | None = None
    src: str = STRANGER


ROWS = (
    Row(input_rules('iifname "wg*" accept'), "wg0", open=True, severity="medium"),
    Row(input_rules(f'iifname "wg*" udp dport {PORT} accept', HOME), "wg0", open=True, severity="medium"),
    Row(input_rules(f'iifname "wg*" udp dport {PORT + 1} accept', HOME), "wg0", open=False),
    Row(input_rules('iifname "tun3" accept', HOME), "tun3", open=True, severity="low"),
    Row(input_rules('iifname "tun3" ip saddr 10.77.0.0/24 accept'), "tun3", open=True, severity="low", src="10.77.0.9"),
    Row(input_rules('iifname "tun3" ip saddr 10.78.0.0/24 drop', HOME), "tun3", open=False),
    Row(input_rules(f"iifname != {HERE} accept"), "usb0", open=True, severity="medium"),
    Row(input_rules(f"iifname {HERE} accept"), "usb0", open=False),
    Row(input_rules(f"iifname {HERE} drop", policy="accept"), "usb0", open=True, severity="medium"),
    Row(input_rules(f"iifname {HERE} drop", "drop", policy="accept"), "usb0", open=False),
    Row(input_rules('iifname vmap { "wg0" : accept, "wg1" : drop }'), "wg0", open=True, severity="low"),
    Row(input_rules('iifname vmap { "wg0" : accept, "wg1" : drop }'), "wg1", open=False),
    Row(input_rules('iifname { "br-*", "tun3" } accept'), "br-0", open=True, severity="medium"),
    # open to everybody now, over another interface or over each: no name makes a difference
    Row(input_rules('iifname "wg*" accept', policy="accept"), "wg0", open=True),
    Row(input_rules('iifname != "eth0" accept'), "usb0", open=True),
    Row("-A INPUT -i wg+ -j ACCEPT\n-P INPUT DROP", "wg0", open=True, severity="medium"),
    Row("-A INPUT ! -i lo -s 192.168.10.0/24 -j ACCEPT\n-P INPUT DROP", "usb0", open=False),
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Place]:
    """One stage for all of them."""
    with place() as made:
        yield made


@pytest.fixture(scope="module")
def tether(stage: Place) -> Host:
    """Who stands at the other end of what is created."""
    return stage.sandbox.host("tether")


@contextmanager
def created(stage: Place, name: str, tether: Host) -> Iterator[None]:
    """An interface of this name, with a network of its own."""
    stage.sandbox.link(stage.host, name, tether, "p")
    stage.host.address(name, "10.77.0.1/24")
    stage.host.sysctl({f"net.ipv4.conf.{name}.rp_filter": 0})
    stage.later[name] = tether
    try:
        yield
    finally:
        del stage.later[name]
        stage.host.ip(f"link del {name}")


def findings(stage: Place) -> list[audit.Finding]:
    """What LG408 says of a service on the port, as the host is now."""
    snapshot = stage.snapshot()
    service = librespot(netns=snapshot.home.id, listeners=(ServiceListener(listener(), "connect", pinned=True),))
    report = audit.run(replace(snapshot, services=(service,)))
    assert not [u for u in report.incomplete if u.check == "LG408"]
    return [f for f in report.findings if f.id == "LG408"]


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.name}-{r.open}-{r.severity}")
def test_an_interface_that_is_created(stage: Place, tether: Host, row: Row) -> None:
    """Where LG408 names an interface, somebody gets in once it is there who did not before; else its creation lets nobody new in."""
    if row.rules.startswith("-"):
        stage.load("")
        for line in row.rules.splitlines():
            stage.host.run(["iptables", *line.split()], env=LOCK, check=True)
    else:
        stage.load(row.rules)
    said = findings(stage)
    before = agree(stage, stage.packet(row.src))
    with created(stage, row.name, tether):
        there = agree(stage, stage.packet(row.src, iface=row.name))
        afterwards = findings(stage)

    named = [line for f in said for line in f.evidence if f"`{row.name}`" in line]
    assert there == row.open
    assert [f.severity for f in said if named] == ([row.severity] if row.severity else [])
    assert not (before and named)
    # what exists is for `reach` to tell
    assert not [line for f in afterwards for line in f.evidence if f"`{row.name}`" in line]


def test_an_interface_that_was_made_anew(stage: Place, tether: Host) -> None:
    """A rule by index is about the interface that had it: one of the same name that is made anew has another, and is not let in."""
    with created(stage, "tun3", tether):
        stage.load(input_rules('iif "tun3" accept'))
        assert agree(stage, stage.packet(iface="tun3"))
    assert findings(stage) == []
    with created(stage, "tun3", tether):
        assert not agree(stage, stage.packet(iface="tun3"))
