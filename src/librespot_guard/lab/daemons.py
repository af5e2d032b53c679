"""Real daemons of the family: obtained once, by name and pinned version, and started in a host of a sandbox.

`python -m librespot_guard.lab.daemons obtain all|NAME…` fetches them ahead of time; it exits with 3 where one can't be had, and the
last lines on stderr say which and why. `… list` says what each name stands for.

A daemon starts with an empty folder (stored credentials that can't log in would end it), needs no Spotify account and no
internet, but needs a route for 224.0.0.0/4 and a host name that resolves (`Host.multicast`, `Sandbox(names=…)`).

Two programs can't be had from any package registry: go-librespot, and librespot-java with its API. For them there is a *stand-in*
(`standin_go`, `standin_java`), and `Daemon.standin` says so; the program itself is used whenever one is on the PATH or named by
LIBRESPOT_GUARD_GO_LIBRESPOT or LIBRESPOT_GUARD_LIBRESPOT_JAVA_API.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from librespot_guard.errors import MachineError
from librespot_guard.lab import _daemon_debian, _daemon_java, _daemon_python, _daemon_rust, _daemon_standin, _silence
from librespot_guard.lab._enter import Process
from librespot_guard.lab._install import Progress, Unavailable
from librespot_guard.lab._listening import family_of, listening_ports
from librespot_guard.lab._recipe import Given, Recipe, Start, python_path
from librespot_guard.lab.sandbox import Host

# the fastest to obtain first
_RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for module in (_daemon_python, _daemon_rust, _daemon_java, _daemon_debian, _daemon_standin)
    for recipe in module.RECIPES
}
NAMES = tuple(_RECIPES)
_numbers = itertools.count(1)

__all__ = ["NAMES", "Daemon", "Running", "Unavailable", "available", "listening_ports", "main", "obtain"]


@dataclass(frozen=True, slots=True)
class Daemon:
    """A member of the family that can be started. `name` is one of NAMES, `files` what its command line is made of.

    `standin` tells that it is a stand-in and not the program itself; `found` that it is the machine's and not ours.
    """

    name: str
    version: str
    files: tuple[Path, ...]
    standin: bool = False
    found: bool = False

    @property
    def flavour(self) -> str:
        """What it is in the catalogue."""
        return _RECIPES[self.name].flavour

    @property
    def title(self) -> str:
        """How to speak of it."""
        named = " ".join(filter(None, [self.flavour, self.version]))
        return f"a stand-in for {named}" if self.standin else named

    def launch(self, *, title: str, port: int | None, folder: str, options: Mapping[str, str] | None = None) -> Start:
        """What to run: announced as `title`, on a pinned or (None) random port; see `start` for the options."""
        recipe = _RECIPES[self.name]
        given = Given(self.files, title, port, folder, options or {})
        return recipe.start_found(given) if self.found and recipe.start_found else recipe.start(given)

    def start(
        self,
        host: Host,
        *,
        name: str = "living-room",
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        logins_wait: bool = False,
        timeout: float = 15.0,
    ) -> "Running":
        """Start it in a host with an empty folder and wait until its Spotify Connect listener is there.

        `options` are the program's own settings by its own names, e.g. {"server.address": "0.0.0.0"} for go-librespot; "" is a switch.
        Without internet a login fails at once; with `logins_wait` those of librespot-java and librespot-python stay under way.
        Raises MachineError with the end of its log when it ends, or does not listen in time.
        """
        folder = f"/run/librespot-guard/daemon-{next(_numbers)}"
        start = self.launch(title=name, port=port, folder=folder, options=options)
        if logins_wait and not start.helper:
            argv = (sys.executable, "-m", _silence.__name__, *map(str, _silence.PORTS))
            start = replace(start, names={**start.names, _silence.NAME: "127.0.0.1"}, helper=argv)
        host.sandbox.call(lambda: _furnish(folder, start))
        helper = _help(host, start, folder)
        log = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - Running closes it
        try:
            env = {"HOME": folder, **start.env}
            process = host.popen(start.argv, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
        except BaseException:
            log.close()
            if helper is not None:
                helper.stop()
            raise
        running = Running(self, host, process, log, folder, start, helper)
        try:
            running.await_listener(timeout)
        except BaseException:
            running.stop()
            raise
        return running


def _furnish(folder: str, start: Start) -> None:
    """Inside the sandbox: the daemon's folder with its files, and the names it must find."""
    Path(folder).mkdir(mode=0o700)
    for name, text in start.files.items():
        Path(folder, name).write_text(text, encoding="utf-8")
    with Path("/etc/hosts").open("a", encoding="ascii") as hosts:
        hosts.writelines(f"{address} {name}\n" for name, address in start.names.items())


def _help(host: Host, start: Start, folder: str) -> Process | None:
    """Start what must run beside it, and wait until that is ready. Raises MachineError."""
    if not start.helper:
        return None
    env = {**start.env, "PYTHONPATH": python_path()}
    helper = host.popen(start.helper, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = helper.popen.stdout.readline() if helper.popen.stdout else ""
    if said.strip() != "ready":
        helper.stop()
        raise MachineError(f"what {start.argv[0]} needs beside it did not start: {said.strip()}")
    return helper


@dataclass(slots=True)
class Running:
    """A daemon that runs. `port` is its Spotify Connect port (TCP), `folder` its working directory in the sandbox."""

    daemon: Daemon
    host: Host
    process: Process
    _log: IO[bytes]
    folder: str
    _start: Start
    _helper: Process | None = None
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

    def ports(self) -> set[int]:
        """The TCP ports on which it and its children listen now."""
        pid = self.pid
        return self.host.call(lambda: {port for one in family_of(pid) for port in listening_ports(one)})

    def connect_ports(self) -> set[int]:
        """Those of them that are Spotify Connect: one, or none while it is not there."""
        return self.ports() - self._start.others

    def await_listener(self, timeout: float) -> None:
        """Wait until its Spotify Connect listener is there, and learn the port. Raises MachineError."""
        deadline = time.monotonic() + timeout
        while True:
            ports = self.ports()
            if ports - self._start.others and ports >= self._start.awaited:
                self.port = min(ports - self._start.others)
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
        if self._helper is not None:
            self._helper.stop()
        self.log()
        self._log.close()
        return status

    def __enter__(self) -> "Running":  # noqa: PYI034 - a dataclass with slots, and nothing inherits from it
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def _recipe(name: str) -> Recipe:
    if name not in _RECIPES:
        raise Unavailable(f"no recipe for a daemon called `{name}`", hint=f"there is one for {', '.join(NAMES)}")
    return _RECIPES[name]


def obtain(name: str, progress: Progress = lambda _line: None) -> Daemon:
    """A daemon by name: from the cache, from the PATH, or installed now (`progress` gets a line). Raises Unavailable."""
    recipe = _recipe(name)
    return available(name) or Daemon(name, recipe.version, recipe.install(progress), recipe.standin)


def available(name: str) -> Daemon | None:
    """The daemon if it can be started at once: from the cache or from the PATH. Raises Unavailable for an unknown name.

    The program itself wins over a stand-in for it.
    """
    recipe = _recipe(name)
    if not recipe.standin and (files := recipe.cached()) is not None:
        return Daemon(name, recipe.version, files)
    found = recipe.found()
    if found is not None:
        return Daemon(name, found.version, found.files, found=True)
    files = recipe.cached()
    return None if files is None else Daemon(name, recipe.version, files, recipe.standin)


def main(argv: list[str] | None = None) -> int:
    """`obtain all|NAME…`: fetch daemons ahead of time; `list`: name them. Returns 0, or 3 with the reasons in the last lines on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m librespot_guard.lab.daemons", description="Fetch real daemons for tests and the demo."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("obtain", help="fetch daemons into the cache")
    fetch.add_argument("names", nargs="+", choices=[*NAMES, "all"], metavar="NAME", help=f"{', '.join(NAMES)} or all")
    commands.add_parser("list", help="say what each name stands for, and where it is")
    given = parser.parse_args(argv)
    if given.command == "list":
        for name in NAMES:
            print(_listed(name))
        return 0
    refused: dict[str, Unavailable] = {}

    def progress(line: str) -> None:
        print(f"> {line}", file=sys.stderr, flush=True)

    names = NAMES if "all" in given.names else tuple(dict.fromkeys(given.names))
    try:
        with _daemon_rust.shared(progress):
            for name in names:
                try:
                    daemon = obtain(name, progress)
                except Unavailable as error:
                    refused[name] = error
                else:
                    print(f"{daemon.name}: {daemon.title}: {daemon.files[-1]}", flush=True)
    except Unavailable as error:
        refused |= dict.fromkeys((n for n in names if n not in refused), error)
    for reason in refused.values():
        if details := str(reason).partition("\n")[2]:
            print(details, file=sys.stderr)
    # at the very end one line each: scripts read them
    for name, reason in refused.items():
        first = str(reason).partition("\n")[0].rstrip(":")
        print(f"not obtained: {name}: {first}{f'; {reason.hint}' if reason.hint else ''}", file=sys.stderr)
    return Unavailable.status if refused else 0


def _listed(name: str) -> str:
    recipe, daemon = _RECIPES[name], available(name)
    if daemon is None:
        return f"{name}: {recipe.flavour} {recipe.version}, not here yet"
    return f"{name}: {daemon.title}, {daemon.files[-1]}"


if __name__ == "__main__":
    sys.exit(main())
