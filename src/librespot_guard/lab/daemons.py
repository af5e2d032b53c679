"""Real daemons of the family: obtained once, by name and pinned version, and started in a host of a sandbox.

`python -m librespot_guard.lab.daemons obtain all|NAME…` fetches them ahead of time; it exits with 3 where one can't be had, and the
last line on stderr says why.

A daemon starts with an empty cache folder (stored credentials that can't log in would end it), needs no Spotify account and no
internet, but needs a route for 224.0.0.0/4 and a host name that resolves (`Host.multicast`, `Sandbox(names=…)`).
"""

import argparse
import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from librespot_guard.errors import MachineError
from librespot_guard.lab import _install
from librespot_guard.lab._enter import Process
from librespot_guard.lab._install import Progress, Unavailable
from librespot_guard.lab.sandbox import Host

NAMES = ("librespot-python", "librespot")  # the fastest to obtain first
_numbers = itertools.count(1)

__all__ = ["NAMES", "Daemon", "Running", "Unavailable", "available", "main", "obtain"]


@dataclass(frozen=True, slots=True)
class Daemon:
    """A member of the family that can be started. `name` is its flavour, `files` what its command line is made of."""

    name: str
    version: str
    files: tuple[Path, ...]

    def command(self, *, title: str, port: int | None, cache: str) -> list[str]:
        """The command line: announced as `title`, on a pinned or (None) random port."""
        files = [str(f) for f in self.files]
        if self.name == "librespot-python":
            return [*files, title, *([str(port)] if port else [])]
        pinned = ["--zeroconf-port", str(port)] if port else []
        return [*files, "-n", title, "-B", "pipe", "-d", "/dev/null", "-c", cache, "-v", *pinned]

    def start(
        self, host: Host, *, name: str = "living-room", port: int | None = None, timeout: float = 15.0
    ) -> "Running":
        """Start it in a host with an empty cache folder and wait until it listens.

        Raises MachineError with the end of its log when it ends, or does not listen in time.
        """
        folder = f"/run/librespot-guard/daemon-{next(_numbers)}"
        host.sandbox.call(lambda: Path(folder).mkdir(mode=0o700))
        log = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - Running closes it
        try:
            argv = self.command(title=name, port=port, cache=folder)
            process = host.popen(argv, cwd=folder, env={"HOME": folder}, stdout=log, stderr=subprocess.STDOUT)
        except BaseException:
            log.close()
            raise
        running = Running(self, host, process, log)
        try:
            running.await_listener(timeout)
        except BaseException:
            running.stop()
            raise
        return running


@dataclass(slots=True)
class Running:
    """A daemon that runs. `port` is its Spotify Connect port (TCP)."""

    daemon: Daemon
    host: Host
    process: Process
    _log: IO[bytes]
    port: int = 0
    _text: str = field(default="", repr=False)

    @property
    def pid(self) -> int:
        """Its process id as the sandbox's own /proc shows it."""
        return self.process.inner_pid

    def log(self) -> str:
        """What it has printed so far."""
        if not self._log.closed:
            size = self._log.seek(0, os.SEEK_END)
            self._text = os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")
        return self._text

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def wait(self, timeout: float) -> int | None:
        """Its exit status, or None if it still runs after `timeout` seconds."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def await_listener(self, timeout: float) -> None:
        """Wait until it listens on TCP, and learn the port. Raises MachineError."""
        deadline = time.monotonic() + timeout
        pid = self.pid
        while True:
            ports = self.host.call(lambda: listening_ports(pid))
            if ports:
                self.port = min(ports)
                return
            status = self.process.poll()
            if status is not None or time.monotonic() > deadline:
                what = f"ended with status {status}" if status is not None else f"did not listen within {timeout:.0f} s"
                said = "\n".join(self.log().strip().splitlines()[-10:])
                raise MachineError(
                    f"{self.daemon.name} {what}; it said:\n{said}",
                    hint="it needs a route for 224.0.0.0/4 and a host name that resolves",
                )
            time.sleep(0.02)

    def stop(self) -> int:
        """End it; returns its exit status, negative for a signal."""
        status = self.process.stop()
        self.log()
        self._log.close()
        return status

    def __enter__(self) -> "Running":  # noqa: PYI034 - a dataclass with slots, and nothing inherits from it
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def listening_ports(pid: int) -> set[int]:
    """The TCP ports on which a process listens, by /proc of the calling process's namespaces; empty if it is gone."""
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


def _python(progress: Progress) -> Daemon:
    return Daemon("librespot-python", _install.LIBRESPOT_PYTHON, _install.librespot_python(progress))


def _rust(progress: Progress) -> Daemon:
    return Daemon("librespot", _install.LIBRESPOT, (_install.librespot(progress),))


_OBTAIN: dict[str, Callable[[Progress], Daemon]] = {"librespot-python": _python, "librespot": _rust}


def obtain(name: str, progress: Progress = lambda _line: None) -> Daemon:
    """A daemon by name: from the cache, from the PATH, or installed now (`progress` gets one line). Raises Unavailable."""
    if name not in _OBTAIN:
        raise Unavailable(f"no recipe for a daemon called `{name}`", hint=f"there is one for {', '.join(NAMES)}")
    return available(name) or _OBTAIN[name](progress)


def available(name: str) -> Daemon | None:
    """The daemon if it can be started at once: from the cache, or a `librespot` on the PATH."""

    def nothing(_line: str) -> None:
        raise Unavailable("not in the cache")

    cached = {
        "librespot-python": _install.cache() / f"librespot-python-{_install.LIBRESPOT_PYTHON}" / "speaker.py",
        "librespot": _install.cache() / f"librespot-{_install.LIBRESPOT}" / "bin" / "librespot",
    }.get(name)
    if cached is not None and cached.is_file():
        with contextlib.suppress(Unavailable):
            return _OBTAIN[name](nothing)
    on_path = shutil.which(name) if name == "librespot" else None
    if on_path is None:
        return None
    said = subprocess.run(
        [on_path, "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=10
    ).stdout
    match = re.match(r"librespot (\d\S*)", said)
    return Daemon(name, match[1], (Path(on_path),)) if match else None


def main(argv: list[str] | None = None) -> int:
    """`obtain all|NAME…`: fetch daemons ahead of time. Returns 0, or 3 with the reason in the last line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m librespot_guard.lab.daemons", description="Fetch real daemons for tests and the demo."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("obtain", help="fetch daemons into the cache")
    fetch.add_argument("names", nargs="+", choices=[*NAMES, "all"], metavar="NAME", help=f"{', '.join(NAMES)} or all")
    names = parser.parse_args(argv).names
    status = 0
    for name in NAMES if "all" in names else names:
        try:
            daemon = obtain(name, lambda line: print(f"> {line}", file=sys.stderr, flush=True))
        except Unavailable as error:
            reason = f"{error}; {error.hint}" if error.hint else str(error)
            first, _, rest = reason.partition("\n")
            # the last line is the reason on its own: scripts show it
            print(f"{rest}\n{first}" if rest else first, file=sys.stderr)
            status = error.status
        else:
            print(f"{daemon.name} {daemon.version}: {daemon.files[0]}")
    return status


if __name__ == "__main__":
    sys.exit(main())
