"""Ports that a router forwards (13 of docs/bypasses.md): the real miniupnpd, asked by UPnP and looked through by a stranger."""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from audit.hosts import librespot
from collect.household import FORWARDED, INSIDE, OUTSIDE, PORT, SPEAKER, Home, asked, household
from family.ask import obtained
from librespot_guard import audit
from librespot_guard.snapshot import PortMapping, Router, ServiceListener
from reach.places import PORT as CONTAINER_PORT
from reach.places import agree, listener, place
from reach.test_bypasses import DROP_INPUT, published

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
RULES = """table inet filter {
 chain forward { type filter hook forward priority 0; policy drop
  ct state established,related accept
  iifname "eth0" accept
  jump miniupnpd
 }
 chain miniupnpd {
 }
 chain prerouting { type nat hook prerouting priority -100
  jump prerouting_miniupnpd
 }
 chain prerouting_miniupnpd {
 }
 chain postrouting { type nat hook postrouting priority 100
  jump postrouting_miniupnpd
 }
 chain postrouting_miniupnpd {
 }
}
"""
# it takes no address from the ranges for documentation as its public one; this one is in the sandbox only
CONFIGURATION = f"""ext_ifname=wan
ext_ip={OUTSIDE}
listening_ip=eth0
http_port=5000
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
uuid=6a0f2b1c-5a0e-4d52-9ab6-0d6a2f2f7a11
friendly_name=router
allow 1024-65535 192.168.10.0/24 1-65535
deny 0-65535 0.0.0.0/0 0-65535
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
"""
MAPPING = {
    "NewRemoteHost": "",
    "NewExternalPort": FORWARDED,
    "NewProtocol": "TCP",
    "NewInternalPort": PORT,
    "NewInternalClient": SPEAKER,
    "NewEnabled": 1,
    "NewPortMappingDescription": "party",
    "NewLeaseDuration": 0,
}


def soap(action: str, **arguments: object) -> int:
    """A real request of a program in the home network to its router; gives the status."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    body = (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle='
        f'"http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:{action} xmlns:u="{SERVICE}">{inner}</u:{action}></s:Body></s:Envelope>'
    )
    request = (
        f"POST /ctl/IPConn HTTP/1.1\r\nHost: {INSIDE}:5000\r\nContent-Type: text/xml\r\nConnection: close\r\n"
        f'Content-Length: {len(body)}\r\nSOAPAction: "{SERVICE}#{action}"\r\n\r\n{body}'
    )
    with socket.create_connection((INSIDE, 5000), 5) as connection:
        connection.sendall(request.encode())
        return int(connection.makefile("rb").readline().split()[1])


@pytest.fixture
def home() -> Iterator[Home]:
    """The three of them."""
    with household() as made:
        yield made


@pytest.fixture
def upnp(home: Home) -> Iterator[Home]:
    """With the real miniupnpd on the router."""
    program = shutil.which("miniupnpd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("`miniupnpd` is missing (Debian package miniupnpd-nftables)")
    home.router.run(["nft", "-f", "-"], input=RULES, check=True)
    home.router.run(["sh", "-c", "cat >/run/igd.conf"], input=CONFIGURATION, check=True)
    daemon = home.router.popen([program, "-d", "-f", "/run/igd.conf", "-P", "/run/igd.pid"])
    try:
        until = time.monotonic() + 10
        while ":5000" not in home.router.run(["ss", "-Hltn"], check=True).stdout:
            assert daemon.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        yield home
    finally:
        daemon.stop()


def found(report: dict[str, object]) -> list[tuple[str, str]]:
    """Severity and evidence of LG505."""
    findings = report["findings"]
    assert isinstance(findings, list)
    return [(f["severity"], f["evidence"][0]) for f in findings if f["id"] == "LG505"]


@pytest.mark.kernel
@pytest.mark.family
def test_a_port_that_the_router_forwards(upnp: Home) -> None:
    """While a stranger on the internet gets an answer of the speaker, LG505 says so; before, afterwards, and unasked it says nothing."""
    with obtained("librespot").start(upnp.speaker, name="Kitchen", port=PORT):
        assert (upnp.seen(), found(upnp.audit("--probe"))) == (None, [])
        assert upnp.speaker.call(lambda: soap("AddPortMapping", **MAPPING)) == 200
        assert upnp.seen() == "Kitchen"
        ((severity, evidence),) = found(upnp.audit("--probe"))
        unasked = upnp.audit()
        upnp.speaker.run(["nft", "-f", "-"], input="table inet f {\n chain i { type filter hook input priority 0; policy drop\n ct state established accept\n ip saddr 192.168.10.0/24 accept\n iifname lo accept\n }\n}\n", check=True)  # fmt: skip
        kept_out, closed = upnp.seen(), found(upnp.audit("--probe"))
        upnp.speaker.run(["nft", "flush", "ruleset"], check=True)
        gone = {k: MAPPING[k] for k in ("NewRemoteHost", "NewExternalPort", "NewProtocol")}
        assert upnp.speaker.call(lambda: soap("DeletePortMapping", **gone)) == 200
        assert (upnp.seen(), found(upnp.audit("--probe"))) == (None, [])

    assert severity == "critical"
    assert (
        f"router {INSIDE} on eth0 forwards tcp port {FORWARDED} of {OUTSIDE} to {SPEAKER}:{PORT} ('party')" in evidence
    )
    assert found(unasked) == []
    incomplete = unasked["incomplete"]
    assert isinstance(incomplete, list)
    assert any(u["check"] == "LG505" and "--probe" in u["hint"] for u in incomplete)
    assert kept_out is None
    assert [severity for severity, _ in closed] == ["low"]


@pytest.mark.kernel
def test_every_forward_of_a_router(upnp: Home) -> None:
    """What the router holds is read whole, TCP and UDP, of this host and others, and only reads are sent."""
    for number in range(30):
        changed = {"NewExternalPort": 5000 + number, "NewInternalPort": 6000 + number, "NewProtocol": "UDP" if number % 2 else "TCP"}  # fmt: skip
        assert upnp.speaker.call(partial(soap, "AddPortMapping", **{**MAPPING, **changed})) == 200
    before = upnp.router.run(["nft", "list", "ruleset"], check=True).stdout
    (router,), gaps = upnp.speaker.call(asked)

    assert gaps == ()
    assert (router.dev, router.address, router.outside) == ("eth0", INSIDE, OUTSIDE)
    expected = {
        PortMapping("udp" if n % 2 else "tcp", 5000 + n, SPEAKER, 6000 + n, description="party") for n in range(30)
    }
    assert {
        PortMapping(m.proto, m.port, m.client, m.client_port, description=m.description) for m in router.mappings
    } == expected
    assert upnp.router.run(["nft", "list", "ruleset"], check=True).stdout == before


@pytest.mark.kernel
@pytest.mark.parametrize(("rules", "severity"), [(published(), ["critical"]), (published("drop"), []), ("", [])])
def test_a_forward_to_a_published_port(rules: str, severity: list[str]) -> None:
    """What a router forwards to a published port of a container leads to the service in it, as long as the host forwards it, too."""
    told = Router("eth0", INSIDE, "WANIPConnection:1", OUTSIDE, (PortMapping("udp", 5000, SPEAKER, CONTAINER_PORT),))
    with place() as stage:
        stage.load(DROP_INPUT + rules)
        gets_in = agree(stage, stage.packet(), "box", 80)
        snapshot = stage.snapshot()
    here, box = snapshot.namespaces
    service = librespot(netns=box.id, listeners=(ServiceListener(listener(port=80), "connect", pinned=True),))
    facts = replace(
        snapshot, namespaces=(replace(here, routers=(told,)), replace(box, routers=())), services=(service,)
    )

    assert [f.severity for f in audit.run(facts).findings if f.id == "LG505"] == severity
    assert gets_in == (severity == ["critical"])
