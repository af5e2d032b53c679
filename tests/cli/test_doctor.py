"""`doctor` and `scan --network` as a person and a program use them."""

import json
import sys
from pathlib import Path

import pytest

from librespot_guard.lab import daemons
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import (
    Address,
    Announcement,
    Gap,
    Group,
    Info,
    Link,
    Listener,
    Namespace,
    NftDump,
    Route,
    Service,
    ServiceListener,
    Snapshot,
    dumps,
)
from support import SOURCE, Guard, Schema

ADDRESS, NAME = "192.168.10.2", "Living\x1b[31mRoom"


def _facts(*announced: Announcement, services: bool = True) -> Snapshot:
    space = Namespace(
        "1",
        home=True,
        links=(Link(1, "lo", up=True, arp_type=772), Link(2, "eth0", up=True)),
        addresses=(Address("ipv4", ADDRESS, 24, "eth0"),),
        routes=(Route("ipv4", 255, f"{ADDRESS}/32", "local", ("eth0",)), Route("ipv4", 254, "192.168.10.0/24", "unicast", ("eth0",))),
        groups=(Group("ipv4", "eth0", "224.0.0.251"),),
        nft=NftDump(1, b""),
        announcements=announced,
    )  # fmt: skip
    connect = ServiceListener(Listener("tcp", "ipv4", "0.0.0.0", 37000), "connect", pinned=True)
    service = Service("living-room", "librespot", "0.8.0", 1, 2, "/x", "1", (connect,), info=Info(remote_name=NAME))
    gaps = (Gap("x", "not allowed"),)
    return Snapshot(
        "2026-11-25T00:00:00+00:00", "x", "speaker", "6.1", "little", (space,), (service,) * services, incomplete=gaps
    )


def _file(folder: Path, facts: Snapshot) -> Path:
    path = folder / "host.json"
    path.write_text(dumps(facts), encoding="utf-8")
    return path


STALE = Announcement("eth0", "ipv4", ADDRESS, NAME, "h.local", 4070, (ADDRESS,))
RIGHT = Announcement("eth0", "ipv4", ADDRESS, NAME, "h.local", 37000, (ADDRESS,))


def test_json(guard: Guard, schema: Schema, tmp_path: Path) -> None:
    """The document validates and holds cause, evidence and fix; the exit status is 1."""
    done = guard("doctor", "--snapshot", _file(tmp_path, _facts(STALE)), "--format", "json")
    document = json.loads(done.stdout)
    schema("doctor").validate(document)
    assert done.returncode == 1
    assert [(one["cause"], one["service"]) for one in document["diagnoses"]] == [("wrong-port", "living-room")]
    assert document["announcements_asked"] is True


def test_text_shows_no_escape(guard: Guard, tmp_path: Path) -> None:
    """Cause, evidence, why, fix and check are there; a name chosen by others can't play with the terminal."""
    done = guard("doctor", "living-room", "--snapshot", _file(tmp_path, _facts(STALE)))
    assert done.returncode == 1
    for word in ("SURE", "announces a port", "evidence", "tcp/4070", "why", "fix", "check"):
        assert word in done.stdout
    assert "\x1b" not in done.stdout
    assert "incomplete: x: not allowed" in done.stderr


def test_a_healthy_one(guard: Guard, tmp_path: Path) -> None:
    """Nothing found: status 0, and what can't be seen from this host."""
    done = guard("doctor", "--snapshot", _file(tmp_path, _facts(RIGHT)))
    assert done.returncode == 0
    assert "healthy" in done.stdout
    assert "AP isolation" in done.stdout


def test_nothing_runs(guard: Guard, tmp_path: Path) -> None:
    """A host without a service says so."""
    done = guard("doctor", "--snapshot", _file(tmp_path, _facts(services=False)))
    assert done.returncode == 1
    assert "no speaker runs here" in done.stdout


def test_an_unknown_service(guard: Guard, tmp_path: Path) -> None:
    """A name that is not there is wrong input and names those that are."""
    done = guard("doctor", "kitchen", "--snapshot", _file(tmp_path, _facts()))
    assert done.returncode == 2
    assert "living-room" in done.stderr


def test_network_and_snapshot_exclude_each_other(guard: Guard, tmp_path: Path) -> None:
    """`scan --network` asks now; a snapshot can't be asked."""
    done = guard("scan", "--network", "--snapshot", _file(tmp_path, _facts()))
    assert done.returncode == 2
    assert "--snapshot" in done.stderr


# answers every question with a speaker that sends the asker elsewhere, one that never ends, and names that play with a terminal
HOSTILE = r"""
import socket, struct
group = socket.inet_aton("224.0.0.251") + socket.inet_aton("192.168.10.66")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(1, 2, 1); s.bind(("", 5353)); s.setsockopt(0, 35, group)
def name(*labels): return b"".join(bytes([len(l)]) + l for l in labels) + b"\0"
def record(n, kind, data): return n + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
service = name(b"_spotify-connect", b"_tcp", b"local")
def speaker(title, address, port):
    instance, host = name(title, b"_spotify-connect", b"_tcp", b"local"), name(title, b"local")
    return [record(service, 12, instance), record(instance, 33, struct.pack(">HHH", 0, 0, port) + host),
            record(instance, 16, b"\xffshort"), record(host, 1, socket.inet_aton(address))]
sets = [speaker(b"evil\x1b]0;x\x07", "127.0.0.1", 22), speaker(b"away", "203.0.113.9", 80), speaker(b"near", "192.168.10.66", 4071)]
print("ready", flush=True)
web = socket.socket(); web.bind(("", 4071)); web.listen()
import threading
def serve():
    while True:
        c, _ = web.accept()
        c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100000)
threading.Thread(target=serve, daemon=True).start()
while True:
    _, sender = s.recvfrom(9000)
    for records in sets:
        s.sendto(struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records), sender)
    s.sendto(b"\xff" * 500, sender); s.sendto(struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + b"\xc0\x0c", sender)
"""


def _scan(host: Host, *arguments: str) -> tuple[str, str]:
    done = host.run(
        [sys.executable, "-m", "librespot_guard", "scan", "--network", *arguments],
        env={"PYTHONPATH": str(SOURCE.parent)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def lan() -> "object":
    """Three hosts on one LAN."""
    with Sandbox(hostname="speaker", names={"speaker": ADDRESS}) as box:
        hosts = [box.host(name) for name in ("speaker", "me", "evil")]
        box.lan("lan", *((host, "eth0") for host in hosts))
        for host, last in zip(hosts, (2, 20, 66), strict=True):
            host.address("eth0", f"192.168.10.{last}/24")
            host.multicast("eth0")
        yield hosts


@pytest.mark.kernel
@pytest.mark.family
def test_every_speaker_of_the_network(lan: list[Host], schema: Schema) -> None:
    """A real speaker on another host is found with what it answers; `--no-ask` asks it nothing."""
    try:
        daemon = daemons.obtain("librespot")
    except daemons.Unavailable as error:
        pytest.skip(f"librespot: {error}")
    speaker, me, _ = lan
    with daemon.start(speaker) as running:
        document = json.loads(_scan(me, "--format", "json")[0])
        schema("scan-network").validate(document)
        text = _scan(me)[0]
        quiet = json.loads(_scan(me, "--format", "json", "--no-ask")[0])
    (one,) = document["speakers"]
    assert (one["name"], one["port"], one["addresses"], one["interface"]) == (
        "living-room",
        running.port,
        [ADDRESS],
        "eth0",
    )
    assert one["info"]["brand"] == "librespot"
    assert one["info"]["device_id"] in text
    assert (quiet["speakers"][0]["info"], quiet["speakers"][0]["asked"]) == (None, None)


@pytest.mark.kernel
def test_a_hostile_responder(lan: list[Host], schema: Schema) -> None:
    """No request goes where a stranger points it, nothing raw is printed, nonsense is no speaker, and it ends in time."""
    _, me, evil = lan
    process = evil.popen([sys.executable, "-c", HOSTILE], stdout=-1)
    try:
        assert process.popen.stdout is not None
        process.popen.stdout.readline()
        out, _ = _scan(me, "--format", "json")
        text, _ = _scan(me)
    finally:
        process.stop()
    document = json.loads(out)
    schema("scan-network").validate(document)
    found = {one["name"]: one for one in document["speakers"]}
    assert set(found) == {"evil?]0;x?", "away", "near"}
    # the address that answered lies on the link: asking it is asking who spoke
    assert {one["asked"] for one in found.values()} == {"192.168.10.66"}
    assert all(one["info"] is None for one in found.values())
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.kernel
def test_a_quiet_network(lan: list[Host]) -> None:
    """Nobody there is an answer, not an error."""
    assert "no Spotify Connect speaker answers" in _scan(lan[1])[0]
