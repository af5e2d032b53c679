"""A small network for tests of changes: a speaker with a stand-in for librespot, and a phone; real kernel, real rules, real packets.

The stand-in is a Python interpreter under the name `librespot`, with librespot's strings, arguments and two listeners; `scan` takes it
for what it looks like. It answers each TCP connection with one line for each line it gets. The real daemon is for the tests marked `family`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from librespot_guard.lab.sandbox import Host, Process, Sandbox
from support import SOURCE

PORT = 7001
ALLOWED, DENIED, SPEAKER = "192.168.10.9", "192.168.10.200", "192.168.10.2"

STAND_IN = """
import socket, sys, threading
port = int(sys.argv[sys.argv.index("--zeroconf-port") + 1])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
udp.bind(("0.0.0.0", 5353))
tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
def serve(peer):
    with peer:
        while data := peer.recv(100):
            peer.sendall(data)
while True:
    threading.Thread(target=serve, args=(tcp.accept()[0],), daemon=True).start()
"""

POLICY = """\
policy: 1
title: Kitchen speaker
owner: ops@example.org
review: every 3 months
sources:
  home: {{networks: {networks}, why: family phones}}
services:
  kitchen:
    match: {{flavour: librespot}}
    allow: {{discovery: [home], connect: [home]}}
"""


@dataclass(slots=True)
class Stage:
    """The two hosts, and the folder that holds state, boot files and policies of the speaker."""

    box: Sandbox
    speaker: Host
    phone: Host
    folder: Path
    processes: list[Process] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of `librespot-guard` on the speaker."""
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), str(SOURCE.parent)])),
            "LIBRESPOT_GUARD_STATE": str(self.folder / "state"),
            "LIBRESPOT_GUARD_ETC": str(self.folder / "root"),
            "SSH_CONNECTION": "",
            **more,
        }

    def policy(self, *networks: str) -> Path:
        """A policy that allows these networks."""
        shown = "[" + ", ".join(f'"{n}"' for n in networks) + "]"
        path = self.folder / f"policy-{abs(hash(networks)):x}.yaml"
        path.write_text(POLICY.format(networks=shown), encoding="utf-8")
        return path

    def guard(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `librespot-guard` on the speaker to its end."""
        argv = [sys.executable, "-m", "librespot_guard", *map(str, arguments)]
        return self.speaker.run(argv, env=self.environment(**(env or {})), cwd=str(self.folder))

    def start(self, *arguments: str | Path, log: str = "log") -> Process:
        """Start `librespot-guard` on the speaker; its output goes to the file `log`."""
        argv = [sys.executable, "-m", "librespot_guard", *map(str, arguments)]
        with (self.folder / log).open("w") as file:
            process = self.speaker.popen(argv, env=self.environment(), cwd=str(self.folder), stdout=file, stderr=file)
        self.processes.append(process)
        return process

    def armed(self, policy: Path, seconds: int = 5, log: str = "log") -> Process:
        """Start `apply` and wait until its change is armed."""
        process = self.start("apply", policy, "--yes", "--confirm-within", f"{seconds}s", log=log)
        deadline = time.monotonic() + 30
        while "second session" not in self.log(log).lower():
            assert process.poll() is None, self.log(log)
            assert time.monotonic() < deadline, self.log(log)
            time.sleep(0.02)
        return process

    def traffic(self, what: str, source: str) -> Callable[[], Any]:
        """Start `traffic.py` on the phone; the function that is returned waits for its end and gives what it printed."""
        name = f"traffic-{len(self.processes)}"
        script = Path(__file__).with_name("traffic.py")
        argv = [sys.executable, str(script), what, str(self.folder), source, SPEAKER, str(PORT)]
        with (self.folder / name).open("w") as file:
            process = self.phone.popen(argv, stdout=file, stderr=file)
        self.processes.append(process)

        def result() -> Any:
            assert process.wait(60) == 0, self.log(name)
            return json.loads(self.log(name))

        return result

    def log(self, name: str = "log") -> str:
        """What a started command printed so far."""
        return (self.folder / name).read_text(encoding="utf-8")

    def connects(self, source: str, *, host: str = SPEAKER, seconds: float = 0.7) -> bool:
        """Whether the phone gets a line back over a new connection from one of its addresses."""
        return self.phone.call(lambda: _connects(source, host, seconds))

    def rules(self) -> str:
        """The rules of the speaker, without counters, as nft prints them."""
        return self.speaker.run(["nft", "-s", "list", "ruleset"], check=True).stdout

    def files(self) -> dict[str, str]:
        """Every boot file with its content (a link: its target)."""
        root = self.folder / "root"
        found = (p for p in sorted(root.rglob("*")) if p.is_symlink() or p.is_file())
        return {
            str(p.relative_to(root)): str(p.readlink()) if p.is_symlink() else p.read_text(encoding="utf-8")
            for p in found
        }


def _connects(source: str, host: str, seconds: float) -> bool:
    import socket  # noqa: PLC0415 - runs in a forked copy

    try:
        with socket.create_connection((host, PORT), timeout=seconds, source_address=(source, 0)) as peer:
            peer.sendall(b"x\n")
            return peer.recv(10) == b"x\n"
    except OSError:
        return False


@contextmanager
def stage(folder: Path, *, systemd: bool = True) -> Iterator[Stage]:
    """Build the network, start the stand-in, and wait until it listens."""
    if systemd:
        (folder / "root/etc/systemd/system").mkdir(parents=True, exist_ok=True)
    with Sandbox() as box:
        speaker, phone = box.host("speaker"), box.host("phone")
        box.link(speaker, "eth0", phone, "eth0")
        speaker.address("eth0", f"{SPEAKER}/24", "fd00:10::2/64")
        phone.address("eth0", f"{ALLOWED}/24", f"{DENIED}/24", "fd00:10::9/64", "fd00:10::dead/64")
        stage_ = Stage(box, speaker, phone, folder)
        try:
            _stand_in(stage_)
            yield stage_
        finally:
            for process in stage_.processes:
                process.stop()


def _stand_in(on: Stage) -> None:
    program, script = on.folder / "librespot", on.folder / "stand_in.py"
    shutil.copy(Path(sys.executable).resolve(), program)
    with program.open("ab") as file:
        # what `scan` looks for in an executable; nothing reads what stands behind the end of an ELF file
        file.write(b"\0_spotify-connect\0librespot_\0addUser\0")
    script.write_text(STAND_IN, encoding="utf-8")
    argv: list[Any] = [str(program), str(script), "--name", "Kitchen", "--zeroconf-port", str(PORT)]
    with (on.folder / "stand_in.log").open("w") as log:
        process = on.speaker.popen(argv, env={"PYTHONHOME": sys.base_prefix}, stderr=log)
    on.processes.append(process)
    deadline = time.monotonic() + 20
    while not on.connects(ALLOWED, seconds=0.3):
        assert process.poll() is None, (on.folder / "stand_in.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
