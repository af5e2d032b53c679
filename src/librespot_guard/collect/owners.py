"""Who holds a socket, and which cgroup an id stands for."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owners:
    """Process ids by socket inode, for all network namespaces at once; `denied` counts processes whose files could not be seen."""

    pids: dict[int, tuple[int, ...]] = field(default_factory=dict)
    denied: int = 0


def read_owners(proc: Path = Path("/proc")) -> Owners:
    """Look through the open files of every process. A process that vanishes meanwhile holds nothing any more."""
    pids: dict[int, list[int]] = {}
    waiting = [name for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208 - as below
    # a process that is just starting or ending refuses even root for a moment: those get a second look
    for _ in range(2):
        waiting = [name for name in waiting if not _look(f"{proc}/{name}/fd", int(name), pids)]
    return Owners({inode: tuple(sorted(holders)) for inode, holders in pids.items()}, len(waiting))


def _look(folder: str, pid: int, pids: dict[int, list[int]]) -> bool:
    """Note the sockets of one process; whether it could be looked at, or is gone."""
    try:
        for inode in set(_sockets(folder)):
            pids.setdefault(inode, []).append(pid)
    except PermissionError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise
    return True


def _sockets(folder: str) -> Iterator[int]:
    with os.scandir(folder) as files:
        for file in files:
            try:
                target = os.readlink(file.path)  # noqa: PTH115 - thousands of them: a Path for each doubles the time
            except FileNotFoundError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                yield int(target[8:-1])


def read_cgroups() -> dict[int, str]:
    """The cgroup v2 paths by id, which is the inode number of the folder; empty where there is no cgroup2 mount."""
    root = cgroup2_mount()
    if root is None:
        return {}
    found: dict[int, str] = {}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            found[folder.stat().st_ino] = "/" + str(folder.relative_to(root)) if folder != root else "/"
            with os.scandir(folder) as entries:
                waiting += [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:  # a cgroup that ended meanwhile, or one that may not be looked into
            continue
    return found


def cgroup2_mount() -> Path | None:
    """Where the cgroup v2 tree is; None where it is not mounted."""
    for line in Path("/proc/thread-self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4].encode().decode("unicode_escape"))
    return None
