"""Whether HTTP interfaces answer to any name (14 of docs/bypasses.md): real daemons, a server that looks at the name, and what is no HTTP."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from collect.household import running
from collect.test_getinfo import ANSWER, http, server
from collect.test_mdns import answer, speaker
from family.ask import FORM, Ask, guard_on, login, obtained, scene, street
from librespot_guard import audit, collect
from librespot_guard.collect.hostnames import FOREIGN, any_host, any_speaker
from librespot_guard.lab.sandbox import Sandbox
from support import Guard, Schema


class Careful(BaseHTTPRequestHandler):
    """What a reverse proxy with named servers does: it answers its own names only (RFC 9110 15.5.20)."""

    def do_GET(self) -> None:
        """Answer."""
        own = (self.headers["Host"] or "").partition(":")[0] in ("localhost", "127.0.0.1")
        self.send_response(200 if own else 421)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Careless(Careful):
    """It answers to any name."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()


class CarefulSpeaker(Careful):
    """A Spotify Connect listener behind one: who it is, it tells under its own address only."""

    def do_GET(self) -> None:
        """Answer."""
        own = self.headers["Host"] == f"127.0.0.1:{self.connection.getsockname()[1]}"
        self.send_response(200 if own else 421)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER).encode() if own else b"")


class OtherSpeaker(CarefulSpeaker):
    """A front that has another speaker for names it does not know."""

    def do_GET(self) -> None:
        """Answer."""
        own = self.headers["Host"] == f"127.0.0.1:{self.connection.getsockname()[1]}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER if own else {**ANSWER, "deviceID": "1" * 40}).encode())


class CarelessSpeaker(Careful):
    """What every member of the family does."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER).encode())


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """An HTTP server on loopback; gives its port."""
    with HTTPServer(("127.0.0.1", 0), handler) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield one.server_port
        finally:
            one.shutdown()
            thread.join(10)


@pytest.mark.parametrize(("handler", "answer"), [(Careful, False), (Careless, True)])
def test_a_server_that_looks_at_the_name(handler: type[BaseHTTPRequestHandler], answer: bool) -> None:
    """The one that refuses a foreign name is told from the one that does not."""
    with serving(handler) as port:
        assert any_host("127.0.0.1", port) is answer


@pytest.mark.parametrize(
    ("handler", "answer"), [(CarefulSpeaker, False), (OtherSpeaker, False), (CarelessSpeaker, True), (Careless, None)]
)
def test_a_speaker_that_looks_at_the_name(handler: type[BaseHTTPRequestHandler], answer: bool | None) -> None:
    """The one that hides itself from a foreign name is told from the one that does not, and from what is no speaker."""
    with serving(handler) as port:
        assert any_speaker("127.0.0.1", port) is answer


@pytest.mark.parametrize("asked", [any_host, any_speaker])
def test_what_is_no_http(asked: Callable[[str, int], bool | None]) -> None:
    """Something else that listens gives no answer, and does not hold the audit up."""
    started = time.monotonic()
    with server(lambda connection: connection.sendall(b"220 ready\r\n")) as port:
        assert asked("127.0.0.1", port) is None
    assert time.monotonic() - started < 5


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize(
    ("name", "port"), [("go-librespot", 3678), ("librespot-java-api", 24879), ("snapserver", 1780)]
)
def test_daemons_answer_to_any_name(record_property: Callable[[str, object], None], name: str, port: int) -> None:
    """No member of the family looks at the name it is called by: LG106, also where it is bound to localhost; unasked, nothing is claimed."""
    daemon = obtained(name)
    record_property("daemon", f"{name}: {daemon.title}")
    with Sandbox(hostname="speaker") as box:
        host, other = box.host("one"), box.host("other")
        box.link(host, "eth0", other, "eth0")
        host.address("eth0", "192.168.10.2/24")
        host.multicast("eth0")
        with daemon.start(host, name="Kitchen"):
            asked = host.call(lambda: collect.snapshot(probe=True))
            unasked = host.call(collect.snapshot)
    found = [
        s for service in asked.services for s in service.listeners if s.surface == "api" and s.listener.port == port
    ]

    assert [s.any_host for s in found] == [True]
    assert any(f.id == "LG106" and FOREIGN in f.evidence[0] for f in audit.run(asked).findings)
    report = audit.run(unasked)
    assert not any(f.id == "LG106" for f in report.findings)
    assert any(u.check == "LG106" and "--probe" in u.hint for u in report.incomplete)


# every member that registries have; what each answers to a well-formed `addUser` with an invalid login inside
SPEAKERS = {"librespot": 101, "librespot-0.4.2": 101, "spotifyd": 101, "librespot-java": 101, "librespot-python": 101}


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("name", SPEAKERS)
def test_a_page_takes_a_speaker_over(record_property: Callable[[str, object], None], name: str) -> None:
    """What LG107 says of it: under a foreign name and origin a page reads who a speaker is, and its login is accepted; unasked, nothing is claimed."""
    with scene(name, logins_wait=name in ("librespot-java", "librespot-python")) as here:
        record_property("daemon", f"{name}: {here.running.daemon.title}")
        audited = json.loads(here.guard("audit", "--probe", "--format", "json"))
        unasked = json.loads(here.guard("audit", "--format", "json"))
        page = f"{FOREIGN}:{here.running.port}"
        # the one request that a browser makes for a page of the same origin, and does not show to pages of others
        seen = here.connect(Ask(path="/?action=getInfo", host=page)).json()
        headers = {**FORM, "Origin": f"http://{page}"}
        taken = here.connect(Ask("POST", "/", headers, login(seen, "stranger"), host=page))

    (found,) = [f for f in audited["findings"] if f["id"] == "LG107"]
    assert FOREIGN in found["evidence"][0]
    assert str(here.running.port) in found["evidence"][0]
    assert not any(f["id"] == "LG107" for f in unasked["findings"])
    assert any(u["check"] == "LG107" and "--probe" in u["hint"] for u in unasked["incomplete"])
    assert taken.status == 200
    assert json.JSONDecoder().raw_decode(taken.body.decode())[0]["status"] == SPEAKERS[name]


@pytest.mark.kernel
@pytest.mark.family
def test_the_speakers_of_others(schema: Schema) -> None:
    """`scan --network --probe` says of a real speaker that it answers to any name; without it that question is not asked."""
    daemon = obtained("librespot")
    with street() as (speaker, phone), daemon.start(speaker):
        probed = json.loads(guard_on(phone, "scan", "--network", "--probe", "--format", "json"))
        text = guard_on(phone, "scan", "--network", "--probe")
        plain = json.loads(guard_on(phone, "scan", "--network", "--format", "json"))
    for document in (probed, plain):
        schema("scan-network").validate(document)

    assert [s["any_host"] for s in probed["speakers"]] == [True]
    assert [s["any_host"] for s in plain["speakers"]] == [None]
    assert "under a name that is not its own: the same answer" in text


COUNTING = """
import json, socket, struct, sys, threading
web = socket.create_server(("", 4071))
def serve():
    while True:
        c, _ = web.accept()
        asked = c.recv(65536)
        print(asked.split(b"Host: ")[1].split(b"\\r")[0].decode(), flush=True)
        c.sendall(sys.argv[1].encode() if b"rebinding" not in asked else b"HTTP/1.1 421 Misdirected Request\\r\\n\\r\\n")
        c.close()
threading.Thread(target=serve, daemon=True).start()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(1, 2, 1); s.bind(("", 5353))
s.setsockopt(0, 35, socket.inet_aton("224.0.0.251") + socket.inet_aton("192.168.10.2"))
print("ready", flush=True)
while True:
    _, sender = s.recvfrom(9000)
    s.sendto(bytes.fromhex(sys.argv[2]), sender)
"""


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        (["--no-ask"], []),
        ([], ["192.168.10.2:4071"]),
        (["--probe"], ["192.168.10.2:4071", f"{FOREIGN}:4071"]),
    ],
)
def test_how_often_others_are_asked(tmp_path: Path, arguments: list[str], hosts: list[str]) -> None:
    """A speaker of somebody else gets one request, none with --no-ask, and a second one only with --probe; one that looks at the name is told so."""
    message = answer(*speaker("near", 4071, "192.168.10.2")).hex()
    log = tmp_path / "said"
    says = http(json.dumps(ANSWER).encode()).decode()
    with street() as (there, me), running(there, log, COUNTING, says, message):
        found = json.loads(guard_on(me, "scan", "--network", "--format", "json", *arguments))

    assert [s["any_host"] for s in found["speakers"]] == [False if "--probe" in arguments else None]
    # by 127.0.0.1 only somebody asks who scans this machine meanwhile, and looks into every namespace
    assert [word for word in log.read_text().split() if word != "127.0.0.1:4071"] == ["ready", *hosts]


@pytest.mark.parametrize("arguments", [("--probe",), ("--network", "--probe", "--no-ask")])
def test_what_probe_goes_with(guard: Guard, arguments: tuple[str, ...]) -> None:
    """`scan --probe` is about the network, and asks; else it is a mistake that is told."""
    done = guard("scan", *arguments)

    assert done.returncode == 2
    assert "audit --probe" in done.stderr


def test_a_snapshot_cannot_be_probed(guard: Guard) -> None:
    """`--probe` asks this host; with a file it is a mistake that is told."""
    done = guard("audit", "--probe", "--snapshot", "host.json")

    assert done.returncode == 2
    assert "--probe asks this host now" in done.stderr
