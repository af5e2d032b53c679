"""Routers that are hostile, or say nothing (13 of docs/bypasses.md): bounded, named, and nobody else is asked anything."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collect.household import INSIDE, OUTSIDE, PORT, Home, asked, household, running
from librespot_guard.collect import igd, ssdp
from librespot_guard.collect.untrusted_xml import Refused, parse


@pytest.fixture
def home() -> Iterator[Home]:
    """A speaker and its router."""
    with household() as made:
        yield made


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
            elif mode == "brackets": c.sendall(http(b"<root><URLBase>http://[bad</URLBase></root>"))
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
    "brackets": "a base that is no address",
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
