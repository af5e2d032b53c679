"""A speaker made with librespot-python that does not answer is found by what it has loaded and what it imports; nothing else is."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from librespot_guard.collect import imported
from librespot_guard.lab import daemons
from librespot_guard.lab.daemons import Daemon, Unavailable
from librespot_guard.lab.sandbox import Host, Sandbox

# idle connections that take every thread of its server, as a stranger can make them
IDLE = """
import socket, sys, time
kept = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(12)]
print("ready", flush=True)
time.sleep(300)
"""
SPEAKER = """
from librespot.zeroconf import ZeroconfServer
def run(port):
    import threading
    builder = ZeroconfServer.Builder()
    builder.device_name = "Silent"
    builder.set_listen_port(port)
    server = builder.create()
    threading.Event().wait()
"""
# all that the library loads, a listener for all and a responder of its own, but no speaker
NEIGHBOUR = """
import socket, threading, zeroconf
from Cryptodome.Cipher import AES
from Cryptodome.Hash import HMAC, SHA1
from Cryptodome.Protocol import KDF
import requests, google.protobuf.message
z = zeroconf.Zeroconf()
z.register_service(zeroconf.ServiceInfo("_http._tcp.local.", "x._http._tcp.local.", port=PORT, addresses=[bytes(4)]))
s = socket.create_server(("0.0.0.0", PORT))
threading.Event().wait()
"""


@pytest.fixture(scope="module")
def python() -> Daemon:
    """The environment with the library."""
    try:
        return daemons.obtain("librespot-python")
    except Unavailable as error:
        pytest.skip(f"librespot-python: {error}")


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with a network."""
    with Sandbox(hostname="speaker", names={"speaker": "192.168.10.2"}) as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24")
        one.multicast("eth0")
        yield one


def scanned(host: Host) -> list[dict[str, Any]]:
    """The services that `scan` finds."""
    scan = [sys.executable, "-m", "librespot_guard", "scan", "--format", "json"]
    found: list[dict[str, Any]] = json.loads(host.run(scan, env={"PYTHONPATH": ":".join(sys.path)}, check=True).stdout)[
        "services"
    ]
    return found


def listens(host: Host, port: int, *, discovery: bool = True) -> None:
    """Wait until something listens on a port, and on 5353 or not."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        seen = host.run(["ss", "-Hlntu"], check=True).stdout
        if f":{port} " in seen and (":5353 " in seen) is discovery:
            return
        time.sleep(0.1)
    pytest.fail(f"nothing listens on {port}: {seen}")


def script(folder: Path, _: Path) -> tuple[list[str], str]:
    """A script beside a module of its own."""
    (folder / "player.py").write_text(SPEAKER, encoding="utf-8")
    (folder / "main.py").write_text("import os, player as p\np.run(37001)\n", encoding="utf-8")
    return [str(folder / "main.py")], ""


def mute(folder: Path, _: Path) -> tuple[list[str], str]:
    """A script whose responder has ended: no socket on 5353 is left."""
    text = SPEAKER.replace(
        "    threading.Event()",
        "    import time; time.sleep(1)\n    server._ZeroconfServer__zeroconf.close()\n    threading.Event()",
    )
    (folder / "main.py").write_text(text + "run(37001)\n", encoding="utf-8")
    return [str(folder / "main.py")], ""


def module(folder: Path, _: Path) -> tuple[list[str], str]:
    """`-m` of a package in the working folder, with relative imports."""
    (folder / "house" / "rooms").mkdir(parents=True)
    (folder / "house" / "__init__.py").touch()
    (folder / "house" / "rooms" / "__init__.py").write_text("from ..player import (  # noqa\n    run,\n)\n")
    (folder / "house" / "__main__.py").write_text("from .rooms import run\nrun(37001)\n", encoding="utf-8")
    (folder / "house" / "player.py").write_text(SPEAKER, encoding="utf-8")
    return ["-m", "house"], ""


def installed(folder: Path, place: Path) -> tuple[list[str], str]:
    """A console script of an installed program: here on PYTHONPATH, in a folder named as pip's."""
    program = folder / "site-packages" / "zotlike"
    program.mkdir(parents=True)
    (program / "__init__.py").write_text("import json\n", encoding="utf-8")
    (program / "app.py").write_text(SPEAKER, encoding="utf-8")
    (program / "cli.py").write_text("from zotlike import app\ndef main():\n    app.run(37001)\n", encoding="utf-8")
    (folder / "zot").write_text("from zotlike.cli import main\nmain()\n", encoding="utf-8")
    return [str(folder / "zot")], str(folder / "site-packages")


def piped(_: Path, __: Path) -> tuple[list[str], str]:
    """A program that is piped in: there is no text to be had."""
    return ["-"], ""


def moved(folder: Path, place: Path) -> tuple[list[str], str]:
    """A program that changes where it looks for packages: only what is mapped tells where the library is."""
    shutil.copytree(place, folder / "vendor")
    (folder / "main.py").write_text(
        f"import sys\nsys.path[:] = [p for p in sys.path if 'site-packages' not in p] + ['{folder}/vendor']\n{SPEAKER}\nrun(37001)\n",
        encoding="utf-8",
    )
    return [str(folder / "main.py")], ""


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("way", [script, mute, module, installed, piped, moved])
def test_a_silent_speaker_is_found(
    tmp_path: Path, host: Host, python: Daemon, way: Callable[[Path, Path], tuple[list[str], str]]
) -> None:
    """A real one whose server is held by idle connections accepts and does not answer; it is found all the same, under any start."""
    tmp_path.chmod(0o755)
    interpreter = str(python.files[0])
    (place,) = Path(interpreter).parent.parent.glob("lib/python3*/site-packages")
    arguments, path = way(tmp_path, place)
    if way is moved:  # an interpreter that knows nothing of the environment
        interpreter = str(Path(interpreter).resolve())
    with ExitStack() as stack:
        speaker = host.popen(
            [interpreter, *arguments],
            cwd=str(tmp_path),
            env={"PYTHONPATH": path, "HOME": str(tmp_path)},
            stdin=subprocess.PIPE if way is piped else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(speaker.stop)
        if way is piped:
            assert speaker.popen.stdin is not None
            speaker.popen.stdin.write(SPEAKER + "\nrun(37001)\n")
            speaker.popen.stdin.close()
        listens(host, 37001, discovery=way is not mute)
        idle = host.popen([sys.executable, "-c", IDLE, "37001"], stdout=subprocess.PIPE)
        stack.callback(idle.stop)
        assert idle.popen.stdout is not None
        assert speaker.poll() is None
        idle.popen.stdout.readline()
        (found,) = scanned(host)

    assert (found["flavour"], found["version"], found["info"]) == ("librespot-python", "0.0.10", None)
    assert ("connect", 37001) in {(one["surface"], one["port"]) for one in found["listeners"]}


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("start", ["script", "-c", "-m"])
def test_a_neighbour_of_the_library_is_none(tmp_path: Path, host: Host, python: Daemon, start: str) -> None:
    """A program in the very environment, with all that the library loads, a listener and a responder, is no speaker: it imports none."""
    tmp_path.chmod(0o755)
    text = NEIGHBOUR.replace("PORT", "37009")
    (tmp_path / "neighbour.py").write_text(text, encoding="utf-8")
    arguments = {"script": ["neighbour.py"], "-c": ["-c", text], "-m": ["-m", "neighbour"]}[start]
    neighbour = host.popen(
        [str(python.files[0]), *arguments],
        cwd=str(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        listens(host, 37009)
        pid = neighbour.inner_pid
        loaded = host.call(lambda: imported.loaded_from(pid))
        found = scanned(host)
    finally:
        neighbour.stop()

    assert len(loaded) == 1  # or this would show nothing
    assert found == []
