"""Which processes belong to a daemon and on which TCP ports they listen, by the /proc of the calling process's namespaces."""

import contextlib
import re
from pathlib import Path


def listening_ports(pid: int) -> set[int]:
    """The TCP ports on which a process listens; empty if it is gone."""
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if match := re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink())):
                    inodes.add(match[1])
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and columns[9] in inodes:
                    ports.add(int(columns[1].rpartition(":")[2], 16))
    return ports


def family_of(pid: int) -> list[int]:
    """A process and its children to any depth (proc(5): the fourth field of stat, after the name in brackets)."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                after_name = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
                parents[int(folder.name)] = int(after_name.split()[1])
    family = [pid]
    for one in family:
        family += [child for child, parent in parents.items() if parent == one]
    return family
