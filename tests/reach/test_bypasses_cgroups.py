"""A rule on a cgroup that is gone (bypass 22 of docs/bypasses.md): a real cgroup, a real socket in it, and the same after a restart."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from audit.hosts import librespot, udp
from librespot_guard import audit
from librespot_guard.collect.owners import read_cgroups
from librespot_guard.snapshot import ServiceListener
from reach.places import PORT, Place, place, says

pytestmark = pytest.mark.kernel


def tree() -> Path:
    """Where the cgroup v2 tree is; a skip where cgroups can't be made in it."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            folder = Path(before.split()[4])
            if (
                os.geteuid() == 0
                and os.access(folder, os.W_OK)
                and "4294967295" in Path("/proc/self/uid_map").read_text(encoding="ascii")
            ):
                return folder
    pytest.skip("making a cgroup needs root itself and a cgroup v2 tree that may be written")


@pytest.fixture(scope="module")
def stage() -> Iterator[Place]:
    """One stage for all."""
    with place() as made:
        yield made


@contextmanager
def cgroup() -> Iterator[Callable[[], None]]:
    """A cgroup that is removed in the end; what it gives makes it anew, as systemd does when a unit is restarted."""
    folder = tree() / f"lsg-{os.getpid()}"
    folder.mkdir()

    def restart() -> None:
        folder.rmdir()
        folder.mkdir()

    try:
        yield restart
    finally:
        folder.rmdir()


def serves(stage: Place) -> bool:
    """Whether a packet gets to a socket that a process in the cgroup opened."""
    root = tree()

    def inside() -> bool:
        with ExitStack() as stack:
            (root / f"lsg-{owner}/cgroup.procs").write_text("0", encoding="ascii")
            try:
                with stage.host.inside():
                    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    sock.bind(("192.168.10.2", PORT))
            finally:
                (root / "cgroup.procs").write_text("0", encoding="ascii")
            return stage._arrives(stage.packet(), "host", 0)

    owner = os.getpid()
    return stage.sandbox.call(inside)


def seen(stage: Place) -> list[str]:
    """The severities of LG407 on the stage as it is, and "?" for each rule of which it can't be told."""
    snapshot = stage.snapshot()
    service = librespot(
        netns=snapshot.home.id,
        listeners=(ServiceListener(udp(PORT, pid=1), "connect", pinned=True),),
        cgroup=f"/lsg-{os.getpid()}",
    )
    cgroups = {str(number): path for number, path in read_cgroups().items()}
    report = audit.run(replace(snapshot, services=(service,), cgroups=cgroups))
    unknown = ["?" for one in report.incomplete if one.check == "LG407"]
    return [f.severity for f in report.findings if f.id == "LG407"] + unknown


@pytest.mark.parametrize("where", ["the rule", "a set"])
def test_a_cgroup_that_was_made_anew(stage: Place, where: str) -> None:
    """The rule drops until the unit is restarted, and never again: LG407 is there from then on; the answer claims neither too much nor too little."""
    with cgroup() as restart:
        path = str(tree() / f"lsg-{os.getpid()}").removeprefix("/sys/fs/cgroup/")
        kept = f'set s {{ type cgroupsv2; elements = {{ "{path}" }}; }}\n' if where == "a set" else ""
        match = "@s" if kept else f'"{path}"'
        stage.load(
            f"table inet f {{ {kept} chain i {{ type filter hook input priority 0\n socket cgroupv2 level 1 {match} drop\n }} }}"
        )
        assert not serves(stage)
        assert says(stage.worlds(), stage.packet()) != "yes"
        assert seen(stage) == []
        restart()
        assert serves(stage)
        assert says(stage.worlds(), stage.packet()) != "no"
        assert seen(stage) == ["high"]


def speaks(stage: Place) -> bool:
    """Whether a process in the cgroup may send a packet; a rule of output that drops it is told to the sender."""
    folder, root = tree() / f"lsg-{os.getpid()}", tree()

    def inside() -> bool:
        with ExitStack() as stack:
            (folder / "cgroup.procs").write_text("0", encoding="ascii")
            try:
                with stage.host.inside():
                    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    sock.sendto(b"x", ("192.168.10.9", PORT))
            except PermissionError:
                return False
            finally:
                (root / "cgroup.procs").write_text("0", encoding="ascii")
            return True

    return stage.sandbox.call(inside)


def iptables(stage: Place, *words: str) -> str:
    """What iptables printed. Raises AssertionError with what it said."""
    done = stage.host.run(["iptables-nft", *words])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_path_of_iptables(stage: Place) -> None:
    """The rule is listed as before, and dead: LG407 finds a path that is gone, and does not pretend to know of one that is there."""
    stage.load("")
    name = f"lsg-{os.getpid()}"
    with cgroup() as restart:
        iptables(stage, "-A", "OUTPUT", "-p", "udp", "-m", "cgroup", "--path", name, "-j", "DROP")
        listed = iptables(stage, "-S", "OUTPUT")
        assert f"--path {name}" in listed
        assert not speaks(stage)
        assert seen(stage) == ["?"]

        restart()
        assert speaks(stage)
        assert iptables(stage, "-S", "OUTPUT") == listed
        assert seen(stage) == ["?"]
    assert seen(stage) == ["high"]
    stage.load("")
    assert seen(stage) == []


def test_a_path_on_the_way_in(stage: Place) -> None:
    """In INPUT the match fails for a packet that opens a flow, however new the cgroup: the rule denies nothing, and LG407 says so."""
    stage.load("")
    with cgroup():
        iptables(stage, "-A", "INPUT", "-p", "udp", "-m", "cgroup", "--path", f"lsg-{os.getpid()}", "-j", "DROP")
        assert serves(stage)
        assert says(stage.worlds(), stage.packet()) != "no"
        assert seen(stage) == ["high"]

        iptables(stage, "-F", "INPUT")
        iptables(stage, "-A", "INPUT", "-p", "udp", "--dport", str(PORT), "-j", "DROP")
        assert not serves(stage)
        assert says(stage.worlds(), stage.packet()) == "no"
        assert seen(stage) == []
