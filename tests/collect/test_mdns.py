"""Answers by multicast DNS were written by anybody: whatever they are, they are bounded, cleaned, told, and never an exception."""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import mdns, mdns_messages, speakers
from librespot_guard.collect.mdns_messages import Found, read
from librespot_guard.lab.sandbox import Host, Sandbox

SERVICE = ("_spotify-connect", "_tcp", "local")


def name(*labels: str | bytes) -> bytes:
    """A name without compression."""
    raw = [label.encode() if isinstance(label, str) else label for label in labels]
    return b"".join(bytes([len(label)]) + label for label in raw) + b"\0"


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    """A record of an answer."""
    return owner + struct.pack(">HHIH", kind, 1, 60, len(data)) + data


def answer(*records: bytes) -> bytes:
    """A message."""
    return struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def speaker(title: str | bytes, port: int = 4070, address: str = "192.168.10.9", host: str = "h") -> list[bytes]:
    """The records of one."""
    instance, own = name(title, *SERVICE), name(host, "local")
    return [
        record(name(*SERVICE), 12, instance),
        record(instance, 33, struct.pack(">HHH", 0, 0, port) + own),
        record(own, 1, socket.inet_aton(address)),
    ]


def test_a_plain_answer() -> None:
    """Name, host, port and address come through, or the rest would show nothing."""
    found: dict[str, Found] = {}

    assert read(answer(*speaker("Küche")), found)
    assert list(found.values()) == [Found("Küche", "h.local", 4070, ("192.168.10.9",))]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 11,
        answer()[:6] + b"\xff\xff" + answer()[8:],  # 65535 records, none there
        answer(b"\xc0\x0c" + b"\0" * 10),  # a name that points at itself
        answer(b"\xc0\x0e\xc0\x0c" + b"\0" * 10),  # two that point at each other
        answer(b"\x80abc" + b"\0" * 10),  # a label of a kind that does not exist
        answer(b"\x3fabc"),  # a label that is cut off
        answer(record(name("x"), 1, b"\1\2\3\4")[:-2]),
        answer(record(name(*SERVICE), 12, b"\xc0\xff")),
        answer(*[record(name("x"), 16, b"")] * 300),
    ],
)
def test_broken_messages_are_told(message: bytes) -> None:
    """What is cut off, turns in a circle or is too much is no answer, in no time, and is told from one that was read."""
    found: dict[str, Found] = {}
    started = time.monotonic()

    assert not read(message, found)
    assert found == {}
    assert time.monotonic() - started < 0.5


def test_a_question_is_not_broken() -> None:
    """What others ask is heard too, and is nothing to complain about."""
    assert read(mdns_messages.question(), {})


@given(st.binary(max_size=600))
def test_bytes_never_raise(data: bytes) -> None:
    """Any bytes behind a header that promises records."""
    for head in (b"", struct.pack(">HHHHHH", 0, 0x8400, 1, 2, 3, 4), answer()[:7] + b"\x09" + answer()[8:]):
        read(head + data, {})


@given(st.binary(min_size=1, max_size=63), st.binary(max_size=255))
def test_whatever_is_kept_can_be_printed(title: bytes, text: bytes) -> None:
    """Names, hosts and texts of any bytes are kept without anything that plays with a terminal, and not at any length."""
    instance = name(title, *SERVICE)
    found: dict[str, Found] = {}
    read(answer(*speaker(title, host="\x1b[2J"), record(instance, 16, bytes([len(text)]) + text)), found)

    for one in found.values():
        for kept in (one.name, one.host, *one.txt, *one.txt.values()):
            assert kept.isprintable()
            assert len(kept) <= 255


def test_answers_that_nobody_had_time_to_read_are_counted() -> None:
    """What the kernel throws away because the buffer is full is no silence."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ear.bind(("127.0.0.1", 0))
        assert mdns._lost(ear) == 0
        for _ in range(100):
            mouth.sendto(b"x" * 500, ear.getsockname())
        assert 0 < mdns._lost(ear) < 100


def test_a_host_that_announces_more_than_is_kept_is_named() -> None:
    """The list is not taken for whole."""
    many = {f"{i}": Found(str(i)) for i in range(mdns_messages.MOST_FOUND)}
    state = mdns._Browse(heard={("eth0", "ipv4", "192.168.1.9"): many}, lost=3)

    assert [gap.what for gap in state.told()] == [
        "answers by multicast DNS",
        "speakers that 192.168.1.9 announces on eth0",
    ]


def test_a_crowd_in_one_message_after_another() -> None:
    """Thousands of speakers, ports and addresses of one sender end at their bounds."""
    found: dict[str, Found] = {}
    for n in range(60):
        read(answer(*(r for k in range(20) for r in speaker(f"s{n}-{k}"))), found)
        read(answer(*(r for k in range(20) for r in speaker("same", 1 + n * 20 + k, f"10.0.{n % 256}.{k}"))), found)

    assert len(found) == 256
    assert max(len(one.addresses) for one in found.values()) <= 32


@pytest.fixture
def two() -> Iterator[tuple[Host, Host]]:
    """Two hosts on one cable."""
    with Sandbox() as box:
        me, evil = box.host("me"), box.host("evil")
        box.link(me, "eth0", evil, "eth0")
        for host, last in ((me, 20), (evil, 66)):
            host.address("eth0", f"192.168.10.{last}/24")
            host.multicast("eth0")
        yield me, evil


FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(1, 2, 1); s.bind(("192.168.10.66", 5353))
group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); group.setsockopt(1, 2, 1); group.bind(("224.0.0.251", 5353))
group.setsockopt(0, 35, socket.inet_aton("224.0.0.251") + socket.inet_aton("192.168.10.66"))
print("ready", flush=True)
_, sender = group.recvfrom(9000)
for n in range(int(sys.argv[1])):
    s.sendto(b"\\xff" * 40, sender)
    if n % 50 == 0: time.sleep(0.002)
"""


@pytest.mark.kernel
@pytest.mark.parametrize(("count", "says"), [(3, "3 answers by multicast DNS"), (60000, "messages came")])
def test_nonsense_on_the_network_is_named(two: tuple[Host, Host], count: int, says: str) -> None:
    """Messages that can't be read are counted in what is incomplete; a flood of them ends the listening, not the program."""
    me, evil = two
    flood = evil.popen([sys.executable, "-c", FLOOD, str(count)], stdout=subprocess.PIPE)
    try:
        assert flood.popen.stdout is not None
        flood.popen.stdout.readline()
        started = time.monotonic()
        found, gaps = me.call(lambda: speakers.find_speakers(seconds=2.5))
    finally:
        flood.stop()

    assert found == ()
    assert any(says in f"{gap.what}: {gap.why}" for gap in gaps), gaps
    assert time.monotonic() - started < 10
    assert mdns.SECONDS < 10


ASKED = """
import socket, sys, time, threading
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.setsockopt(1, 2, 1); u.setsockopt(1, 15, 1); u.bind(("", 5353))
s = socket.create_server(("", 37001), backlog=50); login = socket.create_server(("127.0.0.1", 5588))
def serve(one, name):
    while True:
        c, _ = one.accept()
        print(name, c.recv(65536), flush=True)
        c.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\nnonsense"); c.close()
threading.Thread(target=serve, args=(login, "login"), daemon=True).start()
print("ready", flush=True)
serve(s, "connect")
"""


@pytest.mark.kernel
def test_a_scan_asks_once_and_leaves_nothing_behind(two: tuple[Host, Host], tmp_path: Path) -> None:
    """What may be a speaker gets one whole request, the listener on loopback none, and no connection waits on its port; --no-ask: nothing."""
    me, _ = two
    scan = [sys.executable, "-m", "librespot_guard", "scan", "--format", "json"]
    env = {"PYTHONPATH": ":".join(sys.path)}
    log = tmp_path / "said"
    with log.open("w") as file:
        asked = me.popen([sys.executable, "-c", ASKED], stdout=file)
    try:
        while "ready" not in log.read_text():
            assert asked.poll() is None
            time.sleep(0.05)
        me.run([*scan, "--no-ask"], env=env, check=True)
        me.run(scan, env=env, check=True)
        waiting = me.run(["ss", "-Htan", "sport", "=", ":37001"], check=True).stdout.split("\n")
    finally:
        asked.stop()
    _, *said = log.read_text().splitlines()

    assert len(said) == 1, said
    assert said[0].startswith("connect b'GET /?action=getInfo HTTP/1.1\\r\\n")
    assert said[0].endswith("\\r\\n\\r\\n'")
    assert [line.split()[0] for line in waiting if line] == ["LISTEN"]
