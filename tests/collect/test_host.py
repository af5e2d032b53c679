"""The whole snapshot of a host with real daemons of the family in it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from librespot_guard import collect
from librespot_guard.lab import daemons
from librespot_guard.lab.daemons import Daemon
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Service, Snapshot, dumps, loads
from support import UNSEEN_IN_A_SANDBOX


def obtained(name: str) -> Daemon:
    """The daemon, or a skip that says why there is none."""
    daemon = daemons.available(name)
    if daemon is None:
        pytest.skip(
            f"{name} is not installed; `python -m librespot_guard.lab.daemons obtain {name}` gets it or says why not"
        )
    return daemon


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts on one cable, ready for daemons."""
    with Sandbox(hostname="speaker", names={"speaker": "192.168.10.2"}) as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        other.address("eth0", "192.168.10.3/24")
        one.multicast("eth0")
        other.multicast("eth0")
        yield one, other


def service(snapshot: Snapshot, name: str) -> Service:
    """The service of this name."""
    return next(s for s in snapshot.services if s.name == name)


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("name", ["librespot-python", "librespot"])
@pytest.mark.parametrize("port", [None, 37001])
def test_a_daemon_is_found_and_known(hosts: tuple[Host, Host], name: str, port: int | None) -> None:
    """Flavour, version, name, process, listeners, surfaces and pinning of a real daemon are right."""
    one, _ = hosts
    with obtained(name).start(one, name="Küche", port=port) as running:
        snapshot = one.call(collect.snapshot)
        found = service(snapshot, "kuche")
        connect = [owned for owned in found.listeners if owned.surface == "connect"]

        assert (found.flavour, found.version, found.pid) == (name, running.daemon.version, running.pid)
        assert [(c.listener.proto, c.listener.port, c.known_by, c.pinned) for c in connect] == [
            ("tcp", running.port, "asked", port is not None)
        ]
        assert (connect[0].listener.address, connect[0].listener.v6only) == (
            ("::", False) if name == "librespot" else ("0.0.0.0", None)
        )
        assert {c.listener.port for c in found.listeners if c.surface == "discovery"} == {5353}
        assert found.info is not None
        assert (found.info.remote_name, found.info.account) == ("Küche", "")
        assert found.netns == snapshot.home.id
        assert running.alive()
    assert loads(dumps(snapshot)) == snapshot
    assert {gap.what for gap in snapshot.incomplete} <= UNSEEN_IN_A_SANDBOX
    assert snapshot.privileged


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("name", ["librespot-python", "librespot"])
def test_without_asking(hosts: tuple[Host, Host], name: str) -> None:
    """With ask=False nobody is asked, and the catalogue alone tells the surfaces."""
    one, _ = hosts
    with obtained(name).start(one, name="kitchen", port=37001):
        snapshot = one.call(lambda: collect.snapshot(ask=False))
    (found,) = snapshot.services

    assert found.flavour == name
    assert found.info is None
    assert {(c.surface, c.known_by) for c in found.listeners} == {("connect", "catalogue"), ("discovery", "catalogue")}


@pytest.mark.kernel
@pytest.mark.family
def test_other_namespaces_are_read(hosts: tuple[Host, Host]) -> None:
    """A service in another namespace is found and asked there; that namespace is in the snapshot, an empty one is not."""
    one, other = hosts
    one.sandbox.host("empty")
    one.run(["nft", "add", "table", "ip", "here"], check=True)
    other.run(["nft", "add", "table", "ip", "there"], check=True)
    with obtained("librespot").start(other, name="bath"), obtained("librespot").start(one, name="bath") as second:
        snapshot = one.call(collect.snapshot)
    away, here = service(snapshot, "bath"), service(snapshot, "bath-2")
    space = snapshot.namespace(away.netns)

    assert here.pid == second.pid
    assert here.netns == snapshot.home.id != away.netns
    assert away.version == "0.8.0"
    assert {n.name for n in snapshot.namespaces} == {"one", "other"}
    assert [link.name for link in space.links] == ["lo", "eth0"]
    assert space.nft is not None
    assert b"there" in space.nft.data
    assert {c.listener.port for c in away.listeners} <= {s.port for s in space.listeners}


@pytest.mark.kernel
@pytest.mark.family
def test_under_another_name(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """A librespot whose program was renamed is found by what is linked into it, asked or not."""
    one, _ = hosts
    daemon = obtained("librespot")
    program = tmp_path / "speaker"
    shutil.copy(daemon.files[0], program)
    with Daemon("librespot", daemon.version, (program,)).start(one, name="hidden"):
        asked, silent = one.call(collect.snapshot), one.call(lambda: collect.snapshot(ask=False))

    assert (service(asked, "hidden").flavour, service(asked, "hidden").executable) == ("librespot", str(program))
    assert [s.flavour for s in silent.services] == ["librespot"]


@pytest.mark.kernel
@pytest.mark.family
def test_secrets_of_a_real_daemon(hosts: tuple[Host, Host]) -> None:
    """A token in the environment and a password in a proxy URL are reported, and are nowhere in the snapshot."""
    one, _ = hosts
    daemon = obtained("librespot")
    argv = [*daemon.launch(title="kitchen", port=37001, folder="/run").argv, "--proxy", "http://me:SESAME@127.0.0.1:1"]
    process = one.popen(argv, env={"LIBRESPOT_PASSWORD": "SESAME"})
    try:
        snapshot = _until_listening(one, 1)
    finally:
        process.stop()
    (found,) = snapshot.services

    assert "SESAME" not in dumps(snapshot)
    assert {(s.where, s.name) for s in found.secrets} == {("argv", "URL"), ("environment", "LIBRESPOT_PASSWORD")}


def _until_listening(host: Host, count: int) -> Snapshot:
    deadline = time.monotonic() + 15
    while True:
        snapshot: Snapshot = host.call(lambda: collect.snapshot(ask=False))
        if sum(bool(s.listeners) for s in snapshot.services) >= count or time.monotonic() > deadline:
            return snapshot
        time.sleep(0.1)


@pytest.mark.kernel
def test_a_candidate_that_hangs(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """A librespot that accepts and says nothing is listed all the same, and costs only the time allowed."""
    one, _ = hosts
    script = tmp_path / "x.py"
    script.write_text(
        "import socket,time; s=socket.create_server(('0.0.0.0',37001)); print('ready',flush=True); time.sleep(60)",
        encoding="utf-8",
    )
    program = tmp_path / "librespot"
    shutil.copy(Path(sys.executable).resolve(), program)
    with program.open("ab") as file:  # what a real one has linked into it
        file.write(b"_spotify-connect._tcp librespot_core addUser")
    argv = [str(program), str(script)]
    process = one.popen(argv, stdout=subprocess.PIPE, env={"PYTHONHOME": sys.base_prefix})
    try:
        assert process.popen.stdout
        assert process.popen.stdout.readline() == "ready\n"
        started = time.monotonic()
        snapshot = one.call(collect.snapshot)
        took = time.monotonic() - started
    finally:
        process.stop()
    (found,) = snapshot.services

    assert found.flavour == "librespot"
    assert [(c.surface, c.known_by) for c in found.listeners] == [("connect", "catalogue")]
    assert found.info is None
    assert took < 15


@pytest.mark.kernel
def test_while_everything_changes(hosts: tuple[Host, Host]) -> None:
    """Processes, sockets and rules that come and go while the host is read are no errors."""
    one, _ = hosts
    churn = one.popen(
        [
            "sh",
            "-c",
            f"while :; do {sys.executable} -c 'import socket; s=socket.create_server((\"\",0))' & nft add table ip t; nft delete table ip t; wait; done",
        ]
    )
    try:
        snapshots = one.call(lambda: [collect.snapshot(ask=False) for _ in range(8)])
    finally:
        churn.stop()

    assert all(s.services == () for s in snapshots)
    assert all(s.home.nft is not None for s in snapshots)


def test_as_whoever_runs_the_tests() -> None:
    """On the real machine, with whatever privilege there is, a snapshot is made, and what is missing is said."""
    snapshot = collect.snapshot(ask=False)

    assert loads(dumps(snapshot)) == snapshot
    assert snapshot.home.links
    assert snapshot.privileged or snapshot.incomplete
    assert all(gap.what and gap.why for gap in snapshot.incomplete)
    assert snapshot.byteorder == sys.byteorder
    assert snapshot.hostname == os.uname().nodename
