"""Containers: real engines, an engine that answers nonsense, and none at all."""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from container_stage import ENGINES, stage
from librespot_guard import catalog
from librespot_guard.collect import contained, engines
from librespot_guard.collect.processes import Process
from librespot_guard.snapshot import Container, Service
from support import Schema

ID = "ab12" * 16


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("engine", ENGINES)
def test_a_real_engine(tmp_path: Path, schema: Schema, engine: str) -> None:
    """A renamed librespot in a bridged container is found with its container, image and published ports; a created one as stopped."""
    document = stage(engine, tmp_path, "scan")
    schema("scan").validate(document)
    services = {s["name"]: s for s in document["services"]}
    running, waiting = services["kitchen"], services["bath"]
    details, other = running["container_details"], waiting["container_details"]

    assert (running["status"], running["flavour"], running["version"]) == ("running", "librespot", "0.8.0")
    assert running["container"] == details["id"]
    assert (details["engine"], details["name"]) == (engine, "kitchen")
    assert details["image"].endswith("guard-box:1")
    assert details["network"] in ("default", "bridge")
    assert {(p["proto"], p["address"], p["port"], p["inside"]) for p in details["published"]} >= {
        ("tcp", "0.0.0.0", 8080, 37001),
        ("udp", "127.0.0.1", 9999, 5353),
    }
    assert running["netns"] != waiting["netns"]
    assert running["restart"] == "on-failure"
    assert (waiting["status"], waiting["flavour"], other["network"]) == ("stopped", "librespot", "host")
    assert [(s["surface"], s["port"], s["known_by"]) for s in waiting["listeners"] if s["surface"] == "connect"] == [
        ("connect", 5000, "declared")
    ]
    assert "SESAME" not in json.dumps(document)


@contextmanager
def engine(answer: Callable[[str], bytes]) -> Iterator[str]:
    """Something that listens where an engine would, in a folder of its own; gives the path."""
    folder = Path("/tmp") / f"lsg-{os.getpid()}-{time.monotonic_ns()}"  # noqa: S108 - a socket's path must be short
    folder.mkdir(mode=0o700)
    path = folder / "d.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        asked = connection.recv(4096).decode("latin-1").split(" ")[1]
                        connection.sendall(answer(asked))
                    except (OSError, IndexError):
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(path)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            shutil.rmtree(folder)


def http(body: bytes, status: str = "200 OK") -> bytes:
    """An answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (http(b"{}"), "its list of containers is none"),
        (http(b"[" * 100000), "RecursionError|recursion"),
        (http(b"\xff\xfe\x1b[31m"), "utf|decode|UTF"),
        (http(b"no", "500 \x1b[31mno"), "answers 500"),
        (b"garbage\r\n\r\n", "garbage"),
        (b"", "closed|BadStatusLine|RemoteDisconnected"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10000 + b"\r\n", "headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b" " * (9 << 20), "larger than 8 MiB"),
    ],
)
def test_an_engine_that_answers_nonsense(body: bytes, says: str) -> None:
    """What is no answer of an engine is a gap that says so, without a control character in it."""
    with engine(lambda _: body) as path:
        found, gaps = engines.read_containers([("docker", path)])

    assert found == ()
    assert len(gaps) == 1
    assert any(word in gaps[0].why for word in says.split("|")), gaps[0].why
    assert gaps[0].why.isprintable()


@pytest.mark.parametrize(
    "about", ["[]", "{}", '{"State": 7, "Config": [], "Args": {"a": 1}, "Name": 5, "HostConfig": null}']
)
def test_a_container_of_the_wrong_shape(about: str) -> None:
    """A container described wrongly is kept as far as it is described, never a crash."""
    listing = json.dumps([{"Id": ID}, {"Id": "../../x"}, 7, {"Id": None}]).encode()
    with engine(lambda asked: http(listing if "all=1" in asked else about.encode())) as path:
        found, gaps = engines.read_containers([("docker", path)])

    assert gaps == ()
    assert [k.container.id for k in found] == ([] if about == "[]" else [ID])
    assert contained.stopped(found, catalog.load(), "1") == ()


def test_names_are_made_safe() -> None:
    """Control characters in names, images and commands of containers do not come through."""
    about = {"Name": "/\x1b]0;x\x07", "Config": {"Image": "a\nb"}, "Path": "librespot", "Args": ["-n", "\x1b[2J"]}
    with engine(lambda asked: http(json.dumps([{"Id": ID}] if "all=1" in asked else about).encode())) as path:
        (found,), _ = engines.read_containers([("podman", path)])

    assert all(text.isprintable() for text in (found.container.name, found.container.image, *found.container.command))
    (service,) = contained.stopped([found], catalog.load(), "1")
    assert (service.flavour, service.status, service.container) == ("librespot", "stopped", ID)


def test_an_engine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that accepts and says nothing costs the time allowed, and is named."""
    monkeypatch.setattr(engines, "SECONDS", 0.3)
    release = threading.Event()

    def wait(_: str) -> bytes:
        release.wait(5)
        return b""

    with engine(wait) as path:
        started = time.monotonic()
        _, gaps = engines.read_containers([("docker", path)])
        took = time.monotonic() - started
        release.set()

    assert took < 2
    assert "does not answer in time" in gaps[0].why


def test_an_engine_that_dribbles(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends a byte now and then costs the time allowed for a whole answer, not for each byte."""
    monkeypatch.setattr(engines, "SECONDS", 0.5)
    folder = Path(tempfile.mkdtemp(prefix="lsg-"))
    path = folder / "d.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def dribble() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                for _ in range(100):
                    connection.sendall(b"H")
                    time.sleep(0.05)

        thread = threading.Thread(target=dribble)
        thread.start()
        started = time.monotonic()
        _, gaps = engines.read_containers([("podman", str(path))])
        took = time.monotonic() - started
        thread.join()
    shutil.rmtree(folder)

    assert took < 2
    assert "does not answer in time" in gaps[0].why


def test_whose_word_counts() -> None:
    """Which process is in a container is believed of root's engine and one's own, not of anybody's."""
    service = Service("a", "librespot", None, 4194304, 0, "/usr/bin/librespot", "1")
    box = engines.Known(Container("podman", ID, "x", "i", "running", "host"), 4194304)
    process = Process(4194304, 1, "x", "", ("x",), 0, None, "/", None, None, "1", 1)

    def told(*, trusted: bool) -> Container | None:
        boxes = [replace(box, trusted=trusted)]
        (found,) = contained.attach([service], boxes, {4194304: process}, catalog.load())
        return found.container_details

    assert told(trusted=True) == box.container
    assert told(trusted=False) is None


def test_no_engine(tmp_path: Path) -> None:
    """A socket on which nobody listens, or that is not there, is no engine and no gap."""
    with socket.socket(socket.AF_UNIX) as one:
        path = Path("/tmp") / f"lsg-{os.getpid()}-{time.monotonic_ns()}.sock"  # noqa: S108 - a socket's path must be short
        one.bind(str(path))
    try:
        assert engines.read_containers([("docker", str(path)), ("podman", str(tmp_path / "x"))]) == ((), ())
    finally:
        path.unlink()
