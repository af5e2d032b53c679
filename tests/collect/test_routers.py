"""Ports that a router forwards (13 of docs/bypasses.md): the real miniupnpd, asked by UPnP and looked through by a stranger; and routers that are hostile."""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from audit.hosts import librespot
from family.ask import guard_on, obtained
from librespot_guard import audit, collect
from librespot_guard.collect import igd, routers, ssdp
from librespot_guard.collect.untrusted_xml import Refused, parse
from librespot_guard.lab import stranger
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Gap, Namespace, PortMapping, Router, ServiceListener
from reach.places import PORT as CONTAINER_PORT
from reach.places import agree, listener, place
from reach.test_bypasses import DROP_INPUT, published

SPEAKER, INSIDE, OUTSIDE, STRANGER = "192.168.10.2", "192.168.10.1", "1.2.3.4", "1.2.3.9"
PORT, FORWARDED = 37878, 4070
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


@dataclass
class Home:
    """A speaker, its router, and a stranger on the outside of that."""

    speaker: Host
    router: Host
    stranger: Host

    def audit(self, *arguments: str) -> dict[str, object]:
        """The report of the speaker."""
        found: dict[str, object] = json.loads(guard_on(self.speaker, "audit", "--format", "json", *arguments))
        return found

    def seen(self) -> str | None:
        """What the speaker calls itself to the stranger through the router; None if there is no way."""
        try:
            return str(self.stranger.call(lambda: stranger.get_info(OUTSIDE, FORWARDED, timeout=1))["remoteName"])
        except OSError:
            return None


@pytest.fixture
def home() -> Iterator[Home]:
    """The three of them."""
    with Sandbox(hostname="speaker", names={"speaker": SPEAKER}) as box:
        speaker, router, outside = (box.host(n) for n in ("speaker", "router", "stranger"))
        box.link(speaker, "eth0", router, "eth0")
        box.link(router, "wan", outside, "eth0")
        speaker.address("eth0", f"{SPEAKER}/24")
        router.address("eth0", f"{INSIDE}/24")
        router.address("wan", f"{OUTSIDE}/24")
        outside.address("eth0", f"{STRANGER}/24")
        speaker.route("default", via=INSIDE)
        speaker.multicast("eth0")
        router.multicast("eth0")
        router.sysctl({"net.ipv4.ip_forward": 1})
        yield Home(speaker, router, outside)


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


def asked() -> tuple[tuple[Router, ...], tuple[Gap, ...]]:
    """Ask as `--probe` does, in the network namespace of the calling process."""
    space, _gaps = collect.read_namespace(home=True, owners={}, cgroups={})
    spaces, gaps = routers.ask_all({space.id: space}, ())
    found: Namespace = spaces[space.id]
    assert found.routers is not None
    return found.routers, gaps


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


# ---- hostile routers ----

EVIL = r"""
import socket, sys, threading, time
mode = sys.argv[1]
location = {"elsewhere": "http://192.168.10.2:80/", "outside": "http://1.2.3.9/", "name": "http://router.example/", "query": "http://192.168.10.1:5000/?action=addUser",
            "shout": "\x1b]0;owned\x07" * 50}.get(mode, "http://192.168.10.1:5000/root.xml")
hits = socket.create_server(("192.168.10.1", 5000), backlog=200)
def http(body, head="200 OK"): return ("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (head, len(body))).encode() + body
control = {"away": "http://1.2.3.9:80/ctl", "speaker": "http://192.168.10.2:37878/ctl"}.get(mode, "/ctl")
def root(): return http(("<root xmlns='urn:schemas-upnp-org:device-1-0'><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>%s</controlURL></service></serviceList></device></root>" % control).encode())
def entry(n, client="192.168.10.2", port="37878"):
    values = dict(RemoteHost="", ExternalPort=str(n), Protocol="TCP", InternalPort=port, InternalClient=client, Enabled="1", PortMappingDescription="\x07\u202e&lt;b&gt;" + "x" * 900, LeaseDuration="0")
    return http(("<e>" + "".join("<New%s>%s</New%s>" % (k, v.replace("\x07", ""), k) for k, v in values.items()) + "</e>").encode())
def fault(code): return http(("<e><errorCode>%s</errorCode></e>" % code).encode(), "500 Internal Server Error")
count = 0
def serve(c):
    global count
    try:
        asked = c.recv(65536).decode()
        print(asked.split("\r\n")[0], flush=True)
        if mode == "silent": time.sleep(60)
        elif asked.startswith("GET"):
            if mode == "redirect": c.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://192.168.10.2:37878/?action=addUser\r\nContent-Length: 0\r\n\r\n")
            elif mode == "huge":
                c.sendall(b"HTTP/1.1 200 OK\r\n\r\n<root>")
                while True: c.sendall(b"<a>" * 20000)
            elif mode == "drip":
                c.sendall(b"HTTP/1.1 200 OK\r\n\r\n<root>")
                while True: c.sendall(b" "); time.sleep(0.001)
            elif mode == "deep": c.sendall(http(b"<a>" * 2000 + b"</a>" * 2000))
            elif mode == "bomb": c.sendall(http(b"<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'>" + b"".join(b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)) + b"]><root>&j;</root>"))
            elif mode == "file": c.sendall(http(b"<!DOCTYPE r [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><root>&a;</root>"))
            elif mode == "html": c.sendall(http(b"<html><br>"))
            else: c.sendall(root())
        elif "GetExternal" in asked: c.sendall(fault("501"))
        else:
            count += 1
            if mode == "endless": c.sendall(entry(count))
            elif mode == "same": c.sendall(entry(4070))
            elif mode == "junk": c.sendall(entry(count, client="\u0661.2.3.4", port="-1") if count < 4 else fault("713"))
            elif mode == "tired": c.sendall(entry(count)) if count < 4 else time.sleep(60)
            elif mode == "unauthorised": c.sendall(fault("606"))
            else: c.sendall(entry(count) if count < 4 else fault("713"))
        c.close()
    except OSError: pass
def web():
    while True: threading.Thread(target=serve, args=(hits.accept()[0],), daemon=True).start()
threading.Thread(target=web, daemon=True).start()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(1, 2, 1); s.bind(("", 1900))
s.setsockopt(0, 35, socket.inet_aton("239.255.255.250") + socket.inet_aton("192.168.10.1"))
print("ready", flush=True)
while True:
    _, sender = s.recvfrom(9000)
    for _ in range(2000 if mode == "flood" else 1):
        s.sendto(("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: %s\r\n\r\n" % location).encode(), sender)
"""
HOSTILE = {
    "silent": "does not answer in time",
    "huge": "its answer is too long",
    "drip": "does not answer in time",
    "deep": "too many elements, or too deep ones",
    "bomb": "a document type or entities",
    "file": "a document type or entities",
    "html": "no XML",
    "redirect": "HTTP status 302",
    "elsewhere": "not say that its description is on itself",
    "outside": "not say that its description is on itself",
    "name": "not say that its description is on itself",
    "query": "not say that its description is on itself",
    "shout": "not say that its description is on itself",
    "away": "to another address",
    "speaker": "to another address",
    "endless": "more than 512 entries",
    "same": "more than 512 entries",
    "junk": "3 of its entries can't be read",
    "tired": "does not answer in time",
    "unauthorised": "error 606",
    "flood": "more than 512 answers came",
}


BYSTANDER = """
import select, socket, sys
ears = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
while True:
    for ear in select.select(ears, [], [])[0]:
        print("came", ear.getsockname()[1], flush=True)
        ear.accept()
"""


@contextmanager
def running(host: Host, log: Path, script: str, *arguments: str) -> Iterator[None]:
    """A script that has said "ready" into its log."""
    with log.open("w") as file:
        process = host.popen([sys.executable, "-c", script, *arguments], stdout=file)
    try:
        while "ready" not in log.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        yield
    finally:
        process.stop()


@pytest.mark.kernel
@pytest.mark.parametrize(("mode", "why"), HOSTILE.items())
def test_a_hostile_router(home: Home, tmp_path: Path, mode: str, why: str) -> None:
    """Whatever it answers, it costs bounded time, is named with a reason in our own words, and nobody else is asked anything."""
    home.stranger.route("default", via=OUTSIDE)
    with (
        running(home.speaker, tmp_path / "speaker", BYSTANDER, "80", str(PORT)),
        running(home.stranger, tmp_path / "stranger", BYSTANDER, "80"),
        running(home.router, tmp_path / "router", EVIL, mode),
    ):
        started = time.monotonic()
        told, gaps = home.speaker.call(asked)
        spent = time.monotonic() - started

    assert any(why in gap.why for gap in gaps), gaps
    assert spent < ssdp.SECONDS + igd.SECONDS + 5
    assert [(tmp_path / name).read_text() for name in ("speaker", "stranger")] == ["ready\n", "ready\n"]
    assert all(m.description.isprintable() and len(m.description) <= 200 for r in told for m in r.mappings)
    assert "\x1b" not in str([(gap.what, gap.why) for gap in gaps])
    # what it told before it turned hostile is kept
    assert sum(len(r.mappings) for r in told) == {"endless": 512, "same": 1, "tired": 3, "flood": 3}.get(mode, 0)


@pytest.mark.kernel
def test_a_router_that_says_nothing(home: Home) -> None:
    """A gateway without UPnP is named: what it forwards nobody can tell."""
    told, gaps = home.speaker.call(asked)

    assert told == ()
    assert [gap.what for gap in gaps] == [f"port forwards of the router {INSIDE} on eth0"]
    assert "NAT-PMP" in gaps[0].why


@pytest.mark.parametrize(
    "data", [b"", b"<a", b"<a><b></a>", b"\xff\xfe\x00", b"<?xml version='1.0' encoding='klingon'?><a/>", b"<a>&b;</a>"]
)
def test_what_is_no_xml(data: bytes) -> None:
    """It is refused, with no other exception."""
    with pytest.raises(Refused):
        parse(data)
