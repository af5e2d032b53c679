"""Processes: cgroups, units, containers, paths as a process sees them, and processes that vanish."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import processes
from librespot_guard.collect.owners import read_owners
from librespot_guard.collect.processes import container_of, parse_cgroups, unit_of

ID = "ab12" * 16


@pytest.mark.parametrize(
    ("cgroup", "unit", "container"),
    [
        ("/system.slice/raspotify.service", "raspotify.service", None),
        ("/system.slice/system-librespot.slice/librespot@kitchen.service", "librespot@kitchen.service", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/spotifyd.service", "spotifyd.service", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", None, None),
        ("/user.slice/user-1000.slice/session-3.scope", None, None),
        (f"/system.slice/docker-{ID}.scope", None, ID),
        (f"/docker/{ID}", None, ID),
        (f"/machine.slice/libpod-{ID}.scope/container", None, ID),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", None, ID),
        (f"/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope", None, ID),
        (f"/kubepods/besteffort/pod0/{ID}", None, ID),
        ("/lxc.payload.music/system.slice/raspotify.service", "raspotify.service", "music"),
        ("/machine.slice/machine-music.scope", None, "music"),
        ("/", None, None),
        ("", None, None),
    ],
)
def test_units_and_containers(cgroup: str, unit: str | None, container: str | None) -> None:
    """Units and containers of systemd, Docker, Podman, Kubernetes, LXC and nspawn are told by the cgroup."""
    assert (unit_of(cgroup), container_of(cgroup)) == (unit, container)


def test_cgroups_of_both_versions() -> None:
    """The v2 path is the cgroup; on a hybrid system systemd's own hierarchy gives the names."""
    assert parse_cgroups("0::/system.slice/a.service\n") == ("/system.slice/a.service", "/system.slice/a.service")
    assert parse_cgroups("4:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/\n") == (
        "/",
        "/system.slice/a.service",
    )
    assert parse_cgroups("") == ("", "")


@given(st.text())
def test_any_cgroup_can_be_read(text: str) -> None:
    """No listing makes the readers raise."""
    unified, named = parse_cgroups(text)
    unit_of(named)
    container_of(unified)


def test_this_process_is_seen_as_it_is() -> None:
    """Command line, executable, user, start and namespace of a process of our own are right."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "a b", "ü"],
        stdin=subprocess.PIPE,
        env={"LIBRESPOT_NAME": "x=y", **os.environ},
    ) as child:
        found = processes.read_processes()[child.pid]
        environment = processes.environment_of(child.pid) or {}
        script = processes.inside(child.pid, "some/file")
        child.communicate(b"\n")

    assert found.argv[1:] == ("-c", "input()", "a b", "ü")
    assert Path(found.executable) == Path(sys.executable).resolve()
    assert (found.parent, found.uid) == (os.getpid(), os.geteuid())
    assert found.netns == str(Path("/proc/self/ns/net").stat().st_ino)
    assert found.net == Path("/proc/self/net/unix").stat().st_ino
    assert found.started is not None
    assert abs(found.started - Path("/proc/self").stat().st_ctime) < 86400 * 30
    assert environment["LIBRESPOT_NAME"] == "x=y"
    assert str(script) == f"/proc/{child.pid}/root{Path.cwd()}/some/file"


def test_what_is_gone_is_gone() -> None:
    """A process that ended is None everywhere, never an error; a zombie is no process."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    zombie = processes.read_processes().get(child.pid)
    child.wait()

    assert zombie is None
    assert child.pid not in processes.read_processes()
    assert processes.environment_of(child.pid) is None
    assert processes.inside(child.pid, "x/y") is None


def test_processes_may_come_and_go_while_they_are_read() -> None:
    """While processes start and end all the time, reading goes on without an error."""
    with subprocess.Popen(
        ["sh", "-c", "while :; do /bin/true & /bin/true; done"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as churn:
        try:
            for _ in range(15):
                found = processes.read_processes()
                read_owners()
                for pid in list(found)[-20:]:
                    processes.environment_of(pid)
        finally:
            churn.kill()

    assert os.getpid() in found


def test_a_process_that_hides_its_arguments_is_found() -> None:
    """An empty command line is not a kernel thread's: a process that wiped its own is listed, by its executable."""
    cat = str(Path("/bin/cat").resolve())
    # with a folder given it forks: posix_spawn of newer Pythons refuses an empty name
    with subprocess.Popen([""], executable=cat, stdin=subprocess.PIPE, cwd="/") as child:
        found = processes.read_processes()[child.pid]

    assert found.argv == ("",)
    assert (found.executable, found.program) == (cat, Path(cat).name)


def test_a_process_just_started_is_seen_with_its_arguments() -> None:
    """Its arguments appear some microseconds after `Popen` returns; it is neither missed nor read without them."""
    for _ in range(40):
        with subprocess.Popen(["cat", "-"], stdin=subprocess.PIPE) as child:
            found = processes.read_processes().get(child.pid)
        assert found is not None
        assert found.argv == ("cat", "-")


def test_kernel_threads_are_no_processes() -> None:
    """What the kernel marks as its own thread is left out, whatever its name."""
    for pid, found in processes.read_processes().items():
        try:
            flags = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[6])
        except OSError:
            continue
        assert not flags & 0x00200000, found


def test_ancestors() -> None:
    """The chain of parents ends at the first process, and a loop in it ends too."""
    found = processes.read_processes()
    chain = processes.ancestors(found, os.getpid())

    assert chain[:2] == [os.getpid(), os.getppid()]
    assert len(chain) == len(set(chain))
