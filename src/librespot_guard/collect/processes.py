"""Processes as /proc shows them, read so that one which vanishes meanwhile is simply not there.

Formats: proc(5), Documentation/admin-guide/cgroup-v2.rst; names of units and containers as systemd, Docker, Podman, LXC,
CRI-O and containerd give them to their cgroups.
"""

import functools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_DELETED = " (deleted)"
_UID = re.compile(r"^Uid:\t\d+\t(\d+)", re.MULTILINE)
_PF_KTHREAD = 0x00200000
_CONTAINER = re.compile(
    r"(?:^|/)(?:docker-|libpod-|cri-containerd-|crio-)(?P<scope>[0-9a-f]{12,64})\.scope(?:/|$)"
    r"|/(?:docker|lxc|lxc\.payload|libpod)/(?P<folder>[^/]+)"
    r"|/lxc\.payload\.(?P<payload>[^/]+)"
    r"|/machine-(?P<machine>[^/]+)\.scope(?:/|$)"
    r"|/kubepods[^ ]*/(?P<pod>[0-9a-f]{64})(?:/|$)"
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `executable` is "" and `netns` None if they may not be seen; `net` tells namespaces apart even then.

    Attributes:
        started: seconds since the epoch.
        cgroup: path in the cgroup v2 hierarchy, "" if there is none.
        net: the inode number of /proc/PID/net/unix, one for each network namespace, or 0.
    """

    pid: int
    parent: int
    command: str
    executable: str
    argv: tuple[str, ...]
    uid: int
    started: float | None
    cgroup: str
    unit: str | None
    container: str | None
    netns: str | None
    net: int

    @property
    def program(self) -> str:
        """The file name of its executable, or of its first argument if that may not be seen."""
        return Path(self.executable or (self.argv[0] if self.argv else self.command)).name


def read_processes() -> dict[int, Process]:
    """Every process that is no kernel thread, by process id."""
    boot, ticks = _boot_time(), os.sysconf("SC_CLK_TCK")
    found = {}
    for name in os.listdir(PROC):  # noqa: PTH208 - hundreds of processes: paths as plain text halve the time
        if name.isdigit():
            process = _read(int(name), boot, ticks)
            if process is not None:
                found[process.pid] = process
    return found


def _read(pid: int, boot: float | None, ticks: int) -> Process | None:
    """One process; None if it is gone, a zombie, or a kernel thread."""
    folder = f"/proc/{pid}"
    try:
        stat = _text(f"{folder}/stat")
        fields = _fields(stat)
        if fields[0] in "ZX" or int(fields[6]) & _PF_KTHREAD:  # the letter of the state, and PF_* (linux/sched.h)
            return None
        argv = _arguments(folder)
        status = _text(f"{folder}/status")
        cgroup, unit, container = _places(_text(f"{folder}/cgroup"))
    except (OSError, ValueError, IndexError):
        return None
    uid = _UID.search(status)
    return Process(
        pid=pid,
        parent=int(fields[1]),
        command=stat[stat.index("(") + 1 : stat.rindex(")")],
        executable=_link(f"{folder}/exe").removesuffix(_DELETED),
        argv=argv,
        uid=int(uid[1]) if uid else 0,
        started=round(boot + int(fields[19]) / ticks, 2) if boot is not None else None,
        cgroup=cgroup,
        unit=unit,
        container=container,
        netns=_netns(folder),
        net=_net(folder),
    )


def _bytes(path: str) -> bytes:
    """All of a file of /proc."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _text(path: str) -> str:
    return _bytes(path).decode("utf-8", "replace")


@functools.lru_cache(maxsize=4096)
def _places(groups: str) -> tuple[str, str | None, str | None]:
    """The cgroup, the unit and the container that a listing of cgroups stands for; hundreds of processes share one."""
    cgroup, named = parse_cgroups(groups)
    return cgroup, unit_of(named), container_of(named)


def _fields(stat: str) -> list[str]:
    """What follows the command in /proc/PID/stat: the command is in parentheses and may contain any character."""
    return stat[stat.rindex(")") + 2 :].split()


def _arguments(folder: str) -> tuple[str, ...]:
    """The arguments; one empty one if the process has none, or has overwritten them with nothing.

    In the middle of an execve(2) the new image has no arguments yet for some microseconds, so that nothing is not believed at once.
    """
    for pause in (0.0, 0.001, 0.004):
        if pause:
            time.sleep(pause)  # not even for nothing: to yield costs a switch for each process
        text = _text(f"{folder}/cmdline").rstrip("\0")
        if text:
            return tuple(text.split("\0"))
    return ("",)


def _boot_time() -> float | None:
    found = re.search(r"^btime (\d+)$", (PROC / "stat").read_text(), re.MULTILINE)
    return float(found[1]) if found else None


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - see read_processes
    except OSError:
        return ""


def _netns(folder: str) -> str | None:
    found = _link(f"{folder}/ns/net")
    return found[5:-1] if found.startswith("net:[") else None


def _net(folder: str) -> int:
    """A number that is the same for processes of one network namespace, and needs no privilege to be seen."""
    try:
        return os.stat(f"{folder}/net/unix").st_ino  # noqa: PTH116 - see read_processes
    except OSError:
        return 0


def parse_cgroups(listing: str) -> tuple[str, str]:
    """The cgroup v2 path out of /proc/PID/cgroup, and the path that carries systemd's names (version 1 on old systems)."""
    unified = named = ""
    for line in listing.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0":
            unified = path
        elif controllers == "name=systemd" or (not named and path != "/"):
            named = path
    return unified, unified if unified not in ("", "/") else named or unified


def unit_of(cgroup: str) -> str | None:
    """The systemd service that a cgroup belongs to: its innermost *.service, but not the user manager of a session's scope."""
    for part in reversed(cgroup.split("/")):
        if part.endswith(".scope"):
            return None
        if part.endswith(".service"):
            return part
    return None


def container_of(cgroup: str) -> str | None:
    """The id (or the name, for LXC and nspawn) of the container that a cgroup belongs to."""
    found = _CONTAINER.search(cgroup)
    return next(v for v in found.groups() if v is not None) if found else None


def environment_of(pid: int) -> dict[str, str] | None:
    """The environment a process was started with; None if it is gone or may not be looked at."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    pairs = (item.partition("=") for item in raw.decode("utf-8", "replace").split("\0") if "=" in item)
    return {name: value for name, _, value in pairs}


def inside(pid: int, path: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """Where a path that a process speaks of is found from here: in its root folder, beside its working folder.

    A program's bare name is looked for in the process's own PATH. None if the process is gone or may not be looked at.
    """
    folder = PROC / str(pid)
    if path.startswith("/"):
        return folder / "root" / path.lstrip("/")
    if "/" in path or environment is None:
        try:
            working = (folder / "cwd").readlink()
        except OSError:
            return None
        return folder / "root" / str(working).lstrip("/") / path
    for place in environment.get("PATH", os.defpath).split(":"):
        candidate = inside(pid, f"{place}/{path}") if place.startswith("/") else None
        if candidate is not None and os.path.lexists(candidate):
            return candidate
    return None


def working_folder(pid: int) -> str:
    """The working folder of a process as it sees it, "/" if that may not be seen."""
    return _link(f"/proc/{pid}/cwd") or "/"


def ancestors(processes: Mapping[int, Process], pid: int) -> list[int]:
    """A process and its ancestors, the nearest first."""
    found: list[int] = []
    while pid in processes and pid not in found:
        found.append(pid)
        pid = processes[pid].parent
    return found
