"""Watching a real daemon that is restarted, asked, and connects to somewhere."""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import click
import pytest

from librespot_guard.cli._watch import duration
from librespot_guard.collect import conntrack, getinfo
from librespot_guard.collect.sockets import Sock
from librespot_guard.collect.watch import Watcher
from librespot_guard.collect.watched import MAX_KEPT, Watched
from librespot_guard.lab import daemons, mdns
from librespot_guard.lab.daemons import Daemon
from librespot_guard.lab.sandbox import Host, Process, Sandbox
from librespot_guard.snapshot import Listener, Service, ServiceListener
from support import Schema


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts on one cable, ready for daemons."""
    with Sandbox(hostname="speaker", names={"speaker": "192.168.10.2"}) as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24")
        other.address("eth0", "192.168.10.3/24")
        one.multicast("eth0")
        yield one, other


@pytest.fixture
def daemon() -> Daemon:
    """A librespot, or a skip that says why there is none."""
    found = daemons.available("librespot")
    if found is None:
        pytest.skip("librespot is not installed; `python -m librespot_guard.lab.daemons obtain librespot` gets it")
    return found


@dataclass
class Watch:
    """A `scan --watch` that has looked once: what it says is waited for, and a call ends it."""

    host: Host
    process: Process
    said: IO[str]

    def heard(self, text: str, patience: float = 60) -> None:
        """Wait until it has said this, and then some more, for what it does after it."""
        deadline = time.monotonic() + patience
        while text not in (said := os.pread(self.said.fileno(), 1 << 20, 0).decode()):
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        time.sleep(0.3)

    def __call__(self) -> tuple[dict[str, Any], str]:
        """Interrupt it; returns its document and what it said meanwhile."""
        self.host.run(["kill", "-INT", str(self.process.inner_pid)], check=True)
        out, _ = self.process.popen.communicate(timeout=60)
        err = os.pread(self.said.fileno(), 1 << 20, 0).decode()
        assert self.process.popen.returncode == 0, err
        return json.loads(out), err


@contextmanager
def watching(host: Host, interval: str = "0.3s") -> Iterator[Watch]:
    """A `scan --watch` in a host, after its first look."""
    command = [sys.executable, "-m", "librespot_guard", "scan", "--watch", "--interval", interval, "--format", "json"]
    with tempfile.TemporaryFile("w+") as said:  # a pipe that nobody empties would stop it
        watch = host.popen(command, env={"PYTHONPATH": ":".join(sys.path)}, stdout=subprocess.PIPE, stderr=said)

        try:
            begun = Watch(host, watch, said)
            begun.heard("watching;")
            yield begun
        finally:
            watch.stop()


@pytest.mark.kernel
@pytest.mark.family
def test_a_random_port_is_followed_and_short_visits_are_seen(
    hosts: tuple[Host, Host], daemon: Daemon, schema: Schema
) -> None:
    """Both ports of a daemon that was restarted are its own; a peer that came and went between two looks is known."""
    one, other = hosts
    ports, pids = [], []
    with watching(one) as watch:
        for _ in range(2):
            with daemon.start(one, name="kitchen") as running:
                port = running.port
                ports.append(port)
                pids.append(running.pid)
                watch.heard(f"as pid {running.pid}")
                other.call(partial(getinfo.ask, "192.168.10.2", port))
                time.sleep(1)
        document, err = watch()
    schema("watch").validate(document)
    (service,) = document["services"]

    assert service["name"] == "kitchen"
    assert [s["pid"] for s in service["starts"]] == pids
    assert service["ports"]["connect"]["seen"] == sorted(set(ports))
    assert [p["address"] for p in service["inbound"]] == ["192.168.10.3"]
    assert "kitchen: 192.168.10.3 is connected" in err
    assert "kitchen: started again" in err


@pytest.mark.kernel
@pytest.mark.family
def test_endpoints_are_learned_and_ctrl_c_prints_the_profile(
    hosts: tuple[Host, Host], daemon: Daemon, schema: Schema
) -> None:
    """An outbound connection of the daemon is in the profile with what the catalogue says of its port; an interrupt ends with exit 0."""
    one, other = hosts
    server = other.popen(
        [
            sys.executable,
            "-c",
            "import socket,time; s=socket.create_server(('192.168.10.3',443)); print('ready',flush=True); c=s.accept(); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert server.popen.stdout is not None
    assert server.popen.stdout.readline() == "ready\n"
    argv = [
        *daemon.launch(title="bath", port=37001, folder="/run").argv,
        "--proxy",
        "http://192.168.10.3:443",
        "-k",
        "token",
    ]
    process = one.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with watching(one) as watch:
            watch.heard("connects to")
            document, err = watch()
    finally:
        process.stop()
        server.stop()
    schema("watch").validate(document)
    (service,) = document["services"]

    assert service["name"] == "bath"
    assert [(f["proto"], f["address"], f["port"]) for f in service["outbound"]] == [("tcp", "192.168.10.3", 443)]
    assert any("spotify" in purpose for purpose in service["outbound"][0]["purposes"])
    assert "connects to 192.168.10.3 tcp port 443" in err


def read_terminal(terminal: int, *, until: bytes, patience: float = 20) -> bytes:
    """What a terminal shows until something is there, its program has closed its end (EIO), or time is up."""
    shown = b""
    deadline = time.monotonic() + patience
    while re.search(until, shown) is None and select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    return shown


@pytest.mark.kernel
@pytest.mark.parametrize("how", ["time", "SIGTERM"])
def test_progress_on_a_terminal_and_the_profile_after_it(how: str) -> None:
    """A terminal sees one line that is rewritten and taken away again; stdout gets the profile alone, also when the watch is ended."""
    command = [sys.executable, "-m", "librespot_guard", "scan", "--for", "2s" if how == "time" else "1h"]
    terminal, other_end = os.openpty()
    with subprocess.Popen(
        ["unshare", "-Urn", *command, "--interval", "0.2s"],
        stdout=subprocess.PIPE,
        stderr=other_end,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    ) as watch:
        os.close(other_end)
        try:
            shown = read_terminal(terminal, until=rb" s, \d+ service")
            if how == "SIGTERM":
                watch.terminate()
            out = watch.communicate(timeout=30)[0]
        finally:
            watch.kill()
        shown += read_terminal(terminal, until=rb"(?!)")
    os.close(terminal)

    assert watch.returncode == 0
    assert out.startswith("port profile of ")
    assert "watching" not in out
    text = re.split(r"(?:\x1b\[\d+m)*incomplete", shown.decode())[0]
    assert text.count("\r\x1b[K") >= 2
    assert text.rstrip("\n").endswith("\r\x1b[K")
    assert "\n" not in text.rpartition("watching")[2].rstrip("\r\n")


SEND = """
import socket, sys, time
for n, address in enumerate(sys.argv[2:]):
    if n % 100 == 0: time.sleep(0.03)  # the other side takes a thousand packets at once, no more
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((address, 0)); s.sendto(b"x" * 12, (sys.argv[1], 5353)); s.close()
"""


def track(host: Host) -> None:
    """Rules that make the kernel track connections in a host, as most firewalls do."""
    rules = "table inet t { chain i { type filter hook input priority 0; ct state established,related accept; ct state new accept; }\n}"
    host.run(["nft", "-f", "-"], input=rules, check=True)


@pytest.mark.kernel
@pytest.mark.family
def test_who_speaks_udp_is_told_by_conntrack(hosts: tuple[Host, Host], daemon: Daemon, schema: Schema) -> None:
    """A phone that asks by multicast and is gone before the next look is a peer, and where the daemon answers to an endpoint."""
    one, other = hosts
    track(one)
    other.multicast("eth0")
    with daemon.start(one, name="hall") as running, watching(one, "3s") as watch:
        assert other.call(partial(mdns.discover, "eth0", timeout=1.0))
        other.call(partial(getinfo.ask, "192.168.10.2", running.port))
        document, err = watch()
    schema("watch").validate(document)
    (service,) = document["services"]

    assert [(c["seen"], c["why"]) for c in document["conntrack"]] == [(True, None)]
    peers = {(p["proto"], p["address"]): p for p in service["inbound"]}
    assert set(peers) == {("udp", "192.168.10.3"), ("tcp", "192.168.10.3")}
    assert peers["udp", "192.168.10.3"]["known_by"] == "conntrack"
    assert peers["udp", "192.168.10.3"]["connections"] >= 1
    assert peers["tcp", "192.168.10.3"]["connections"] == 1
    sent = [(f["proto"], f["address"], f["port"]) for f in service["outbound"]]
    # whether the daemon also announces itself to the group after the rules are there is its own affair
    assert ("udp", "192.168.10.3", 5353) in sent
    assert {(proto, port) for proto, _, port in sent} == {("udp", 5353)}
    assert "hall: 192.168.10.3 sends to udp port 5353" in err


@pytest.mark.kernel
@pytest.mark.family
def test_without_conntrack_that_is_said(hosts: tuple[Host, Host], daemon: Daemon) -> None:
    """Where no rule makes the kernel track, nobody knows who spoke UDP, and the profile says so, for programs and for people."""
    one, other = hosts
    other.multicast("eth0")
    with daemon.start(one, name="hall"), watching(one) as watch:
        assert other.call(partial(mdns.discover, "eth0", timeout=1.0))
        document, _ = watch()
        watched = [sys.executable, "-m", "librespot_guard", "scan", "--for", "1s"]
        text = one.run(watched, env={"PYTHONPATH": ":".join(sys.path)}, check=True).stdout

    assert [(c["seen"], c["why"]) for c in document["conntrack"]] == [(False, "nothing is tracked there")]
    assert document["services"][0]["inbound"] == []
    assert "conntrack: nothing is tracked there (1 network namespace): UDP peers are not in the profile" in text


@pytest.mark.kernel
@pytest.mark.family
def test_a_crowd_does_not_fill_the_memory(hosts: tuple[Host, Host], daemon: Daemon) -> None:
    """Of more peers than are kept those stay that were seen last, the others are counted, and nobody's terminal is flooded."""
    one, other = hosts
    track(one)
    crowd = [f"10.9.{n // 250}.{n % 250 + 1}" for n in range(MAX_KEPT + 100)]
    other.run(["ip", "-batch", "-"], input="".join(f"address add {a}/16 dev eth0\n" for a in crowd), check=True)
    one.run(["ip", "route", "add", "10.9.0.0/16", "dev", "eth0"], check=True)
    with daemon.start(one, name="hall"), watching(one) as watch:
        other.run([sys.executable, "-c", SEND, "192.168.10.2", *crowd], check=True)
        tracked = one.call(lambda: conntrack.read({5353})).flows  # a busy machine may lose a packet
        came = {flow.sent[0] for flow in tracked} & set(crowd)
        document, err = watch()
    (service,) = document["services"]

    assert len(came) > MAX_KEPT
    assert len(service["inbound"]) == MAX_KEPT
    assert service["left_out"] == len(came) - MAX_KEPT
    assert err.count(" sends to udp port 5353") <= MAX_KEPT


def test_a_connection_counts_once() -> None:
    """Seen in one look or in ten, or only when it was gone: each is one."""
    listener = ServiceListener(Listener("tcp", "ipv6", "::", 37001), "connect", pinned=False)
    service = Service("kitchen", "librespot", "0.8.0", os.getpid(), 0, "/x", "1", (listener,))
    visit = Sock("tcp", "ipv4", "192.168.10.2", 37001, "192.168.10.3", 40000, 0, 0, 5)
    watcher = Watcher()
    watched = watcher.services["kitchen"] = Watched("kitchen", "librespot", "0.8.0")

    def count(*steps: str) -> int:
        watched.inbound.clear()
        for step in steps:
            watcher._note_socket(visit, service, after=step == "gone")
        return watched.inbound["tcp", "192.168.10.3"].count

    watcher._asked = -100
    assert count("there") == count("gone") == count("there", "there", "gone") == 1
    assert count("there", "gone", "there", "there") == 2
    assert count("gone", "gone", "there", "gone") == 3


@pytest.mark.kernel
@pytest.mark.family
def test_one_that_starts_while_none_was_there_is_seen_at_once(hosts: tuple[Host, Host], daemon: Daemon) -> None:
    """Nobody waits for the next whole look, which comes every ten seconds: it may be gone by then."""
    with watching(hosts[0]) as watch:
        with daemon.start(hosts[0], name="kitchen") as running:
            began = time.monotonic()
            watch.heard(f"as pid {running.pid}")
            took = time.monotonic() - began
        document, _ = watch()

    assert took < 5
    assert [s["name"] for s in document["services"]] == ["kitchen"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("0.5h", 1800), ("1d", 86400)])
def test_durations(text: str, seconds: float) -> None:
    """A length of time is written as people write it."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1s", "ten", "1w", "1m30s"])
def test_wrong_durations(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(click.BadParameter):
        duration(text)
