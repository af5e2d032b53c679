"""`scan` of services whose answer to getInfo is junk: it says why there is none, and says nothing about what is no Spotify Connect listener."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from librespot_guard.lab.sandbox import Host, Sandbox
from support import UNSEEN_IN_A_SANDBOX, Schema

pytestmark = pytest.mark.kernel

# what a program holds that is taken for these (collect/programs.py)
LIBRESPOT = b"_spotify-connect._tcp librespot_core addUser"
SNAPSERVER = b"Server.GetStatus _snapcast._tcp librespot"
ANSWER = "HTTP/1.1 200 OK\r\n\r\n" + json.dumps(
    dict.fromkeys(("deviceID", "remoteName", "brandDisplayName", "modelDisplayName"), "librespot")
)
HOSTILE = r"""
import json, socket, sys, threading
def serve(listener, answer):
    while True:
        c, _ = listener.accept()
        threading.Thread(target=talk, args=(c, answer), daemon=True).start()
def talk(c, answer):
    try:
        c.recv(65536)
        if answer == "SILENCE":
            c.recv(1)
        elif answer == "FLOOD":
            c.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True: c.sendall(b"\x1b[2J{" * 9000)
        elif answer == "DRIP":
            c.sendall(b"HTTP/1.1 200 OK\r\n\r\n{")
            while True: c.sendall(b" "); threading.Event().wait(0.05)
        else:
            c.sendall(answer.encode("latin-1"))
        c.close()
    except OSError:
        pass
for port, answer in json.load(open(sys.argv[1])):
    listener = socket.create_server(("", port))
    threading.Thread(target=serve, args=(listener, answer)).start()
print("ready", flush=True)
"""
JUNK = {
    37001: ("SILENCE", "it takes the connection, and says nothing within 2 seconds"),
    37002: ("FLOOD", "its answer is longer than 64 KiB"),
    37003: ("DRIP", "its answer does not end within 2 seconds"),
    37004: ("SSH-2.0-\x1b]0;owned\x07\x1b[2J\r\n", "what it answers is no HTTP"),
    37005: ("HTTP/1.1 404 \x1b[31mOwned\r\n\r\n", "it answers with HTTP status 404 instead of 200"),
    37006: ("HTTP/1.1 200 OK\r\n\r\n<html>\x1b[2J", "what it answers by HTTP is no JSON"),
    37007: (
        'HTTP/1.1 200 OK\r\n\r\n{"remoteName": "\\u001b[2Jowned"}',
        "the JSON that it answers has no text for deviceID, brandDisplayName",
    ),
}
ENVIRONMENT = {"PYTHONPATH": ":".join(sys.path)}
SCAN = [sys.executable, "-m", "librespot_guard", "scan"]


@pytest.fixture
def host() -> Iterator[Host]:
    """A host ready for daemons."""
    with Sandbox(hostname="speaker") as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24")
        yield one


def program(folder: Path, name: str, holds: bytes) -> tuple[str, dict[str, str]]:
    """A Python under another name which holds what a family member holds, and the environment in which it finds its library."""
    path = folder / name
    shutil.copy(Path(sys._base_executable).resolve(), path)  # type: ignore[attr-defined]
    with path.open("ab") as file:
        file.write(holds)
    return str(path), {**os.environ, "PYTHONHOME": sys.base_prefix}


def started(
    stack: ExitStack, host: Host, folder: Path, command: tuple[str, dict[str, str]], *answers: tuple[int, str]
) -> None:
    """Start the program with these ports and what each answers."""
    script, said = folder / "server", folder / f"{answers[0][0]}"
    script.write_text(HOSTILE)
    said.write_text(json.dumps(answers))
    argv = [command[0], str(script), str(said)]
    running = host.popen(argv, env=command[1], stdout=subprocess.PIPE)
    stack.callback(running.stop)
    assert running.popen.stdout is not None
    assert running.popen.stdout.readline() == "ready\n"


def test_why_there_is_no_answer(host: Host, schema: Schema, tmp_path: Path) -> None:
    """Each listener which should say who it is and answers junk is named with the reason, for people and programs; no byte of it is printed."""
    librespot = program(tmp_path, "librespot", LIBRESPOT)
    with ExitStack() as stack:
        for port, (answer, _) in JUNK.items():
            started(stack, host, tmp_path, librespot, (port, answer))
        document = json.loads(host.run([*SCAN, "--format", "json"], env=ENVIRONMENT, check=True).stdout)
        text = host.run(SCAN, env=ENVIRONMENT, check=True)
    schema("scan").validate(document)

    assert [s["info"] for s in document["services"]] == [None] * len(JUNK)
    said = {gap["what"]: gap["why"] for gap in document["incomplete"] if "getInfo" in gap["what"]}
    assert len(said) == len(JUNK)
    for port, (_, why) in JUNK.items():
        assert [w for what, w in said.items() if f"port {port})" in what] == [why]
        assert f"port {port}): {why}" in text.stderr
    assert "owned" not in (text.stdout + text.stderr + json.dumps(document["incomplete"])).lower()
    assert "\x1b" not in text.stdout + text.stderr


def test_another_protocol_is_no_news(host: Host, tmp_path: Path) -> None:
    """Nothing is said of the ports of a snapserver, of a second port beside one that answers, and of a stranger's junk."""
    with ExitStack() as stack:
        junk = "SSH-2.0-x\r\n"
        started(
            stack, host, tmp_path, program(tmp_path, "snapserver", SNAPSERVER), (1704, junk), (1705, junk), (1780, junk)
        )
        started(stack, host, tmp_path, program(tmp_path, "librespot", LIBRESPOT), (37001, ANSWER), (37002, junk))
        started(stack, host, tmp_path, (sys.executable, {**os.environ}), (37003, junk))
        document = json.loads(host.run([*SCAN, "--format", "json"], env=ENVIRONMENT, check=True).stdout)

    assert [s["flavour"] for s in document["services"]].count("librespot") == 1
    assert {gap["what"] for gap in document["incomplete"]} <= UNSEEN_IN_A_SANDBOX


def test_nobody_is_asked(host: Host, tmp_path: Path) -> None:
    """With --no-ask nothing is missing: nobody was asked."""
    with ExitStack() as stack:
        started(stack, host, tmp_path, program(tmp_path, "librespot", LIBRESPOT), (37001, "SILENCE"))
        document = json.loads(host.run([*SCAN, "--no-ask", "--format", "json"], env=ENVIRONMENT, check=True).stdout)

    assert [s["flavour"] for s in document["services"]] == ["librespot"]
    assert {gap["what"] for gap in document["incomplete"]} <= UNSEEN_IN_A_SANDBOX
