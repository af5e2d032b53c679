"""A root folder with real units: Debian's targets and firewalls as the packages have them, enabled by links, beside units of the test's own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SYSTEM = Path("/lib/systemd/system")
SYSTEMD = Path("/lib/systemd/systemd")


def unit(folder: Path, name: str, text: str, wanted_by: str = "") -> None:
    """Write a unit (or a drop-in) of the administrator, and enable it."""
    path = folder / "etc/systemd/system" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if wanted_by:
        enable(folder, name, wanted_by)


def enable(folder: Path, name: str, wanted_by: str) -> None:
    """What `systemctl enable` does."""
    wants = folder / "etc/systemd/system" / f"{wanted_by}.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / name).symlink_to(f"/lib/systemd/system/{name}")


@contextmanager
def root(*debian: str) -> Iterator[Path]:
    """A root folder that everybody may read, with all targets of systemd, networkd, the bus, and these units of other packages."""
    folder = Path(tempfile.mkdtemp(prefix="lsg-boot-"))
    try:
        lib = folder / "usr/lib/systemd/system"
        lib.mkdir(parents=True)
        for path in (
            *SYSTEM.glob("*.target"),
            *SYSTEM.glob("dbus.*"),
            *(SYSTEM / name for name in ("systemd-networkd.service", *debian)),
        ):
            shutil.copyfile(path, lib / path.name)
        enable(folder, "systemd-networkd.service", "multi-user.target")
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


class Transaction:
    """What a real systemd would do to boot such a root: which units it starts, and what each of them waits for."""

    def __init__(self, folder: Path) -> None:
        argv = [str(SYSTEMD), "--test", "--system", "--unit=multi-user.target", "--no-pager"]
        if os.geteuid() == 0:  # it does not test as root
            argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv]
        paths = (folder / "etc/systemd/system", folder / "usr/lib/systemd/system")
        env = {
            "PATH": os.environ["PATH"],
            "SYSTEMD_UNIT_PATH": ":".join(map(str, paths)),
            "XDG_RUNTIME_DIR": "/nonexistent",
        }
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=env)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        self.circle = "ordering cycle" in done.stdout + done.stderr
        self.after: dict[str, set[str]] = {}
        self.starts: set[str] = set()
        by_units, _, by_jobs = done.stdout.partition("-> By jobs:")
        name = ""
        for line in map(str.strip, by_units.splitlines()):
            arrow, _, rest = line.partition(" Unit ")
            if arrow in ("->", "→"):  # by the locale
                name = rest.rstrip(":")
            elif line.startswith("After: "):
                self.after.setdefault(name, set()).add(line.split()[1])
        for line in map(str.strip, by_jobs.splitlines()):
            if line.startswith("Action: ") and line.endswith("-> start"):
                self.starts.add(line.split()[1])

    def before(self, name: str) -> set[str]:
        """Everything that has started when this unit does."""
        found: set[str] = set()
        waiting = [name] if name in self.starts else []
        while waiting:
            for one in self.after.get(waiting.pop(), set()) & self.starts - found:
                found.add(one)
                waiting.append(one)
        return found


def own(**sections: Mapping[str, str]) -> str:
    """The text of a unit."""
    return "".join(f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in lines.items()) for name, lines in sections.items())
