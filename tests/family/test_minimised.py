"""Settings that `apply` changes in the files of real daemons: after a restart the surface is gone, or fixed, and what was to stay still works."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from family.ask import SPEAKER, Ask, ask, obtained, street
from librespot_guard import catalog
from librespot_guard.collect.host import snapshot
from librespot_guard.lab import mdns
from librespot_guard.lab.daemons import Daemon
from librespot_guard.lab.sandbox import Host, Process
from librespot_guard.plan.minimise import review
from librespot_guard.plan.minimise_edits import edits
from support import SOURCE

pytestmark = [pytest.mark.kernel, pytest.mark.family]

POLICY = """\
policy: 1
sources:
  home: {networks: [192.168.10.0/24, "fd00:10::/64"], why: family phones}
services:
  one:
    match: {flavour: %s}
    use: %s
    allow: {%s}
"""


@dataclass(slots=True)
class Place:
    """A daemon with a folder of its own that outlives it, and the two hosts."""

    daemon: Daemon
    argv: list[str]
    folder: Path
    speaker: Host
    phone: Host
    env: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self, *awaited: int) -> Iterator[Process]:
        """It runs, from when it listens on TCP (on `awaited` if given, else on anything)."""
        with (self.folder / "log").open("w") as log:
            process = self.speaker.popen(
                self.argv, cwd=str(self.folder), env={"HOME": str(self.folder), **self.env}, stdout=log, stderr=log
            )
            try:
                deadline = time.monotonic() + 20
                while not (ports := self.ports()) or not ports >= set(awaited):
                    assert process.poll() is None, self.log()
                    assert time.monotonic() < deadline, self.log()
                    time.sleep(0.05)
                yield process
            finally:
                process.stop()

    def ended(self) -> str:
        """Start it, wait until it ends by itself, and return what it said."""
        log = self.folder / "log"
        with log.open("w") as file:
            process = self.speaker.popen(
                self.argv, cwd=str(self.folder), env={"HOME": str(self.folder), **self.env}, stdout=file, stderr=file
            )
            try:
                process.wait(20)
            finally:
                process.stop()
        return self.log()

    def log(self) -> str:
        """What it said."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def ports(self) -> set[int]:
        """The TCP ports on which anything listens on the speaker."""
        listing = self.speaker.run(["ss", "-Hlnt"], check=True).stdout
        return {int(line.split()[3].rpartition(":")[2]) for line in listing.splitlines()}

    def guard(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run librespot-guard on the speaker."""
        paths = os.pathsep.join(filter(None, [str(SOURCE.parent), os.environ.get("PYTHONPATH", "")]))
        argv = [sys.executable, "-m", "librespot_guard", *map(str, arguments)]
        return self.speaker.run(argv, env={"PYTHONPATH": paths})

    def scan(self, flavour: str) -> dict[tuple[str, int], dict[str, Any]]:
        """The listeners of a flavour by protocol and port."""
        services = json.loads(self.guard("scan", "--format", "json").stdout)["services"]
        return {(x["proto"], x["port"]): x for s in services if s["flavour"] == flavour for x in s["listeners"]}

    def applied(self, flavour: str, use: str, allow: str) -> str:
        """Apply a policy with this use and confirm it; the changed lines."""
        policy = self.folder / "policy.yaml"
        policy.write_text(POLICY % (flavour, use, allow), encoding="utf-8")
        plan = json.loads(self.guard("plan", policy, "--format", "json").stdout)
        done = self.guard("apply", policy, "--yes", "--no-wait")
        assert done.returncode == 0, done.stderr
        done = self.guard("confirm")
        assert done.returncode == 0, done.stderr
        return str(plan["settings_diff"])

    def answers(self, port: int) -> bool:
        """Whether its Spotify Connect listener answers the phone."""
        return ask(self.phone, port, Ask(path="/?action=getInfo")).status == 200

    def announced(self) -> list[int]:
        """The ports that are announced to the phone."""
        return [one.port for one in self.phone.call(lambda: mdns.discover("eth0", timeout=2))]


@pytest.fixture
def place(tmp_path: Path, told: Callable[[str], None]) -> Iterator[Callable[[str], Place]]:
    """Build a place for a daemon of this name, started as the lab does unless its `argv` is changed."""
    tmp_path.chmod(0o755)
    with street() as (speaker, phone):

        def build(name: str) -> Place:
            told(name)
            daemon = obtained(name)
            start = daemon.launch(title="kitchen", port=None, folder=str(tmp_path))
            for file, text in start.files.items():
                (tmp_path / file).write_text(text, encoding="utf-8")
            return Place(daemon, list(start.argv), tmp_path, speaker, phone, dict(start.env))

        yield build


def reached(host: Host, port: int, address: str = SPEAKER) -> bool:
    """Whether a TCP connection gets through."""

    def connect() -> bool:
        try:
            socket.create_connection((address, port), 2).close()
        except OSError:
            return False
        return True

    return host.call(connect)


def rpc(port: int) -> str:
    """What a snapserver's control port answers on its own host."""
    with socket.create_connection(("127.0.0.1", port), 3) as one:
        one.sendall(b'{"id":1,"jsonrpc":"2.0","method":"Server.GetRPCVersion"}\r\n')
        return one.recv(4096).decode()


Build = Callable[[str], Place]


def spotifyd(place: Build) -> Place:
    """A spotifyd with a file of its own."""
    one = place("spotifyd")
    config = one.folder / "spotifyd.conf"
    config.write_text('[global]\ndevice_name = "kitchen"\nbackend = "pipe"\ndevice = "/dev/null"\n', encoding="utf-8")
    one.argv = [str(one.daemon.files[0]), "--no-daemon", "--cache-path", str(one.folder), "--config-path", str(config)]
    return one


def java(place: Build) -> Place:
    """A librespot-java with a file of its own."""
    one = place("librespot-java")
    (one.folder / "config.toml").write_text('deviceName = "kitchen"\n[zeroconf]\nlistenAll = true\n', encoding="utf-8")
    one.argv = [word for word in one.argv if not word.startswith("--")]
    return one


def test_spotifyd_keeps_its_port(place: Build) -> None:
    """For phones its random port becomes a line of its file: the same after two restarts, announced, and it answers."""
    one = spotifyd(place)
    with one.running():
        (port,) = one.ports()
        assert not one.scan("spotifyd")["tcp", port]["pinned"]
        assert f"zeroconf_port = {port}" in one.applied("spotifyd", "phones", "discovery: [home], connect: [home]")
        assert one.ports() == {port}  # nothing happens before the restart
    for _ in range(2):
        with one.running():
            assert one.ports() == {port}
            assert one.scan("spotifyd")["tcp", port]["pinned"]
            assert one.answers(port)
            assert one.announced() == [port]


def test_spotifyd_without_discovery(place: Build) -> None:
    """For nobody discovery is off: without the stored login that `minimise` says it needs it ends, and opens nothing."""
    one = spotifyd(place)
    with one.running():
        assert "disable_discovery = true" in one.applied("spotifyd", "nobody", "")
    assert "logging in first with `spotifyd authenticate`" in one.ended()
    assert one.ports() == set()


def test_librespot_java_keeps_its_port(place: Build) -> None:
    """For phones its random port becomes a line of the file that it wrote itself: the same after two restarts, and it answers."""
    one = java(place)
    with one.running():
        (port,) = one.ports()
        assert f"listenPort = {port}" in one.applied("librespot-java", "phones", "discovery: [home], connect: [home]")
    for _ in range(2):
        with one.running():
            assert one.ports() == {port}
            assert one.answers(port)
            assert one.announced() == [port]


def test_librespot_java_with_a_stored_login_only(place: Build) -> None:
    """For nobody it takes a stored login only: without the one that `minimise` says it needs it ends, and opens nothing."""
    one = java(place)
    with one.running():
        assert 'strategy = "STORED"' in one.applied("librespot-java", "nobody", "")
    assert "Credentials storing not enabled!" in one.ended()
    assert one.ports() == set()


def test_snapserver_on_this_host_only(place: Build) -> None:
    """For phones web interface and control port are bound to the host: they answer there, the stranger does not get in, players do.

    The control port is called by the version that its program holds: the name of another version would do nothing.
    """
    one = place("snapserver")
    with one.running(1704, 1705, 1780):
        assert all(reached(one.phone, port) for port in (1704, 1705, 1780))
        diff = one.applied("snapserver", "phones", "stream: [home]")
    assert "+[tcp]\n+bind_to_address = 127.0.0.1\n@@" in diff
    assert diff.endswith("+[http]\n+bind_to_address = 127.0.0.1")
    one.speaker.run(
        ["nft", "flush", "ruleset"], check=True
    )  # the setting alone, not the rules that were applied with it
    with one.running(1704, 1705, 1780):
        assert not reached(one.phone, 1780)
        assert reached(one.speaker, 1780, "127.0.0.1")
        assert not reached(one.phone, 1705)
        assert '"result"' in one.speaker.call(partial(rpc, 1705))
        assert reached(one.phone, 1704)
        found = one.scan("snapserver")
        assert {found["tcp", port]["address"] for port in (1705, 1780)} == {"127.0.0.1"}
        (port,) = one.ports() - {1704, 1705, 1780}
        assert one.answers(port)  # the speaker that it starts


def test_go_librespot_on_this_host_only(place: Build) -> None:
    """For phones the API is bound to the host, and the port of Spotify Connect is fixed: the one refuses the phone, the other answers."""
    one = place("go-librespot")
    config = one.folder / "config.yml"
    config.write_text(config.read_text(encoding="utf-8") + "  address: 0.0.0.0\n", encoding="utf-8")
    with one.running(3678):
        assert reached(one.phone, 3678)
        (port,) = one.ports() - {3678}
        diff = one.applied("go-librespot", "phones", "discovery: [home], connect: [home]")
    assert "-  address: 0.0.0.0\n+  address: localhost" in diff
    assert f"+zeroconf_port: {port}" in diff
    one.speaker.run(["nft", "flush", "ruleset"], check=True)
    with one.running(3678):
        assert not reached(one.phone, 3678)
        assert reached(one.speaker, 3678, "127.0.0.1")
        assert one.ports() == {3678, port}
        assert one.answers(port)
        assert one.announced() == [port]


@pytest.mark.parametrize("name", ["librespot", "librespot-0.4.2"])
def test_librespot_by_its_environment(place: Build, name: str) -> None:
    """What the drop-in of a unit puts into its environment is taken: the port is fixed; without discovery it opens nothing.

    It reads no file, so that the very lines of the drop-in are handed over here; systemd hands them over in a guest.
    """
    one = place(name)
    with one.running():
        (port,) = one.ports()
        variables = drop_in(one, "phones")
        off = drop_in(one, "nobody")
    assert variables == {"LIBRESPOT_ZEROCONF_PORT": str(port)}
    assert off == {"LIBRESPOT_DISABLE_DISCOVERY": ""}
    one.env |= variables
    for _ in range(2):
        with one.running():
            assert one.ports() == {port}
            assert one.answers(port)
            assert one.announced() == [port]
    one.env |= off
    one.ended()
    assert one.ports() == set()


def drop_in(one: Place, use: str) -> dict[str, str]:
    """The variables that the edit for a use writes into the drop-in of the unit that the running service is taken to be of."""
    (service,) = one.speaker.call(snapshot).services
    found = edits([review(replace(service, unit="kitchen.service"), catalog.load().flavour(service.flavour), use)])
    return dict(re.findall(r'^\+Environment="(\w+)=(.*)"$', found.diff, re.MULTILINE))
