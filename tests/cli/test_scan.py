"""`scan` as a person and a program use it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from librespot_guard.lab import daemons
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import (
    Gap,
    Info,
    Link,
    Listener,
    Namespace,
    Secret,
    Service,
    ServiceListener,
    Snapshot,
    dumps,
)
from support import UNSEEN_IN_A_SANDBOX, Guard, Schema

LISTENERS = (
    ServiceListener(
        Listener("tcp", "ipv6", "::", 37123, v6only=False),
        "connect",
        pinned=False,
        pinned_by="random port (changes at restart)",
        known_by="asked",
    ),
    ServiceListener(
        Listener("udp", "ipv4", "0.0.0.0", 5353),
        "discovery",
        pinned=True,
        pinned_by="mDNS is always UDP 5353 (RFC 6762)",
    ),
    ServiceListener(
        Listener("tcp", "ipv4", "127.0.0.1", 5588), "login", pinned=True, pinned_by="always 5588 unless set"
    ),
    ServiceListener(
        Listener("tcp", "ipv6", "::", 9000, v6only=True, device="eth0"),
        "unknown",
        pinned=False,
        pinned_by="not in the catalogue",
    ),
)
SERVICE = Service(
    name="living-room",
    flavour="librespot",
    version="0.8.0",
    pid=812,
    uid=998,
    executable="/usr/bin/librespot",
    netns="1",
    listeners=LISTENERS,
    argv=("/usr/bin/librespot", "--name", "Living Room", "-k", "***", "a\x1b[31m"),
    environment={"LIBRESPOT_NAME": "x"},
    secrets=(Secret("argv", "-k"), Secret("environment", "LIBRESPOT_PASSWORD")),
    user="librespot",
    unit="librespot.service",
    info=Info(account="alice"),
)
HOST = Snapshot(
    "2026-11-24T12:00:00+00:00",
    "0.1.0",
    "speaker",
    "6.1.0",
    "little",
    (Namespace("1", home=True, links=(Link(1, "lo", up=True),)), Namespace("2", home=False, name="guest")),
    (SERVICE, replace(SERVICE, name="bath", unit="\x1b]0;x.service", netns="2", listeners=(), secrets=(), version=None, container="ab12" * 16, flavour="of-the-future")),
    incomplete=(Gap("x", "not allowed", "run it with `sudo`"), Gap("/etc/\x1b[31mx", "not there")),
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a snapshot."""
    path = tmp_path / "host.json"
    path.write_text(dumps(HOST), encoding="utf-8")
    return path


def test_json_is_what_design_section_5_says(guard: Guard, schema: Schema, file: Path) -> None:
    """The document validates, and every key that other programs rely on is there with its value."""
    done = guard("scan", "--snapshot", file, "--format", "json")
    document = json.loads(done.stdout)
    schema("scan").validate(document)
    first = document["services"][0]

    assert done.returncode == 0
    assert document["schema"] == "librespot-guard/scan/1"
    assert {
        k: first[k] for k in ("name", "flavour", "version", "pid", "uid", "executable", "unit", "container", "netns")
    } == {
        "name": "living-room",
        "flavour": "librespot",
        "version": "0.8.0",
        "pid": 812,
        "uid": 998,
        "executable": "/usr/bin/librespot",
        "unit": "librespot.service",
        "container": None,
        "netns": "1",
    }
    keys = ("proto", "address", "port", "v6only", "surface", "pinned")
    assert [tuple(one[k] for k in keys) for one in first["listeners"][:2]] == [
        ("tcp", "::", 37123, False, "connect", False),
        ("udp", "0.0.0.0", 5353, False, "discovery", True),
    ]
    assert [one["families"] for one in first["listeners"]] == [["ipv4", "ipv6"], ["ipv4"], ["ipv4"], ["ipv6"]]
    assert document["services"][1]["version"] is None
    assert document["incomplete"][:1] == [{"what": "x", "why": "not allowed", "hint": "run it with `sudo`"}]


def test_text_is_understood_at_once(guard: Guard, file: Path) -> None:
    """Who, where, what it opens, what a stranger can do, and what secrets are in the open."""
    done = guard("scan", "--snapshot", file)

    assert done.returncode == 0
    for expected in (
        "living-room  librespot 0.8.0",
        "pid 812, user librespot, unit librespot.service\n",
        "tcp [::]:37123 connect  dual-stack: IPv4 and IPv6  random port (changes at restart)",
        "a stranger who gets there can:\n        - read its name",
        "udp 0.0.0.0:5353 discovery  IPv4",
        "tcp 127.0.0.1:5588 login  IPv4  port always 5588 unless set",
        "a stranger can do nothing from the network",
        "tcp [::]:9000 unknown  IPv6 on eth0 only",
        "secret: -k on the command line",
        "secret: LIBRESPOT_PASSWORD in the environment",
        "logged in: alice, as it tells anybody who asks",
        "container ab12ab12ab12, network namespace guest",
        "(version not known)",
        "no listener of it was seen",
    ):
        assert expected in done.stdout
    assert "incomplete: x: not allowed (run it with `sudo`)" in done.stderr


def test_plain_where_there_is_no_terminal(guard: Guard, file: Path) -> None:
    """No escape sequence is printed into a pipe, not even one that a service put into its own command line."""
    done = guard("scan", "--snapshot", file)

    assert "\x1b" not in done.stdout + done.stderr
    assert "a\\x1b[31m" in done.stdout
    assert "unit \\x1b]0;x.service" in done.stdout
    assert "incomplete: /etc/\\x1b[31mx: not there" in done.stderr


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_on_a_terminal_only_if_wanted(file: Path, no_color: bool) -> None:
    """A terminal gets colours, unless NO_COLOR is set; a long line goes on under its own beginning."""
    command = f"{sys.executable} -m librespot_guard scan --snapshot {file}"
    environment = {
        "PYTHONPATH": ":".join(sys.path),
        "TERM": "xterm",
        "COLUMNS": "80",
        "PATH": "/usr/bin:/bin",
        **({"NO_COLOR": "1"} if no_color else {}),
    }
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )

    assert "living-room" in done.stdout
    assert ("\x1b[36m" in done.stdout) is not no_color
    assert (
        "        plays\n" in done.stdout.replace("\r", "").replace(" \n", "\n")
        or "        - take it over" in done.stdout
    )


def test_nothing_runs(guard: Guard, tmp_path: Path) -> None:
    """A host without services is an answer too: exit 0."""
    path = tmp_path / "host.json"
    path.write_text(dumps(replace(HOST, services=(), incomplete=())), encoding="utf-8")
    done = guard("scan", "--snapshot", path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no service of the librespot family runs on speaker\n"


def test_a_broken_snapshot(guard: Guard, file: Path) -> None:
    """A truncated or missing file is wrong input: exit 2, with its name."""
    file.write_text(file.read_text(encoding="utf-8")[:500], encoding="utf-8")
    for path in (file, file.with_name("gone.json")):
        done = guard("scan", "--snapshot", path)
        assert done.returncode == 2
        assert str(path) in done.stderr
        assert done.stdout == ""


@pytest.fixture
def host() -> Iterator[Host]:
    """A host ready for daemons."""
    with Sandbox(hostname="speaker", names={"speaker": "192.168.10.2"}) as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24")
        one.multicast("eth0")
        yield one


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("name", ["librespot-python", "librespot"])
def test_a_real_daemon(host: Host, schema: Schema, name: str) -> None:
    """On a live host the document validates and shows the daemon; --no-ask asks nobody."""
    daemon = daemons.available(name)
    if daemon is None:
        pytest.skip(
            f"{name} is not installed; `python -m librespot_guard.lab.daemons obtain {name}` gets it or says why not"
        )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    argv = [sys.executable, "-m", "librespot_guard", "scan", "--format", "json"]
    with daemon.start(host, name="Küche", port=37001):
        asked = json.loads(host.run(argv, env=environment, check=True).stdout)
        silent = json.loads(host.run([*argv, "--no-ask"], env=environment, check=True).stdout)
    for document in (asked, silent):
        schema("scan").validate(document)
        assert [s["flavour"] for s in document["services"]] == [name]
        assert {gap["what"] for gap in document["incomplete"]} <= UNSEEN_IN_A_SANDBOX

    assert asked["services"][0]["name"] == "kuche"
    assert asked["services"][0]["info"]["remote_name"] == "Küche"
    assert silent["services"][0]["info"] is None


# something that listens for all, speaks mDNS, and answers getInfo as a family member whose every word plays with the terminal
HOSTILE = r"""
import json, socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", 5353))
s = socket.create_server(("", 37001))
evil = "\x1b]0;x\x07\x1b[2J\u202e\r\n" + "A" * 9000
keys = ("deviceID", "remoteName", "libraryVersion", "version", "activeUser")
body = json.dumps({**dict.fromkeys(keys, evil), "brandDisplayName": "librespot", "modelDisplayName": "librespot"}, ensure_ascii=False).encode()
print("ready", flush=True)
while True:
    c, _ = s.accept(); c.recv(65536); c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body); c.close()
"""


@pytest.mark.kernel
def test_a_hostile_answer_is_shown_and_not_obeyed(host: Host, schema: Schema) -> None:
    """What answers as a speaker is listed, with what it says cut to a length and cleaned, for people and for programs."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    argv = [sys.executable, "-m", "librespot_guard", "scan"]
    hostile = host.popen([sys.executable, "-c", HOSTILE], stdout=subprocess.PIPE)
    try:
        assert hostile.popen.stdout is not None
        hostile.popen.stdout.readline()
        document = json.loads(host.run([*argv, "--format", "json"], env=environment, check=True).stdout)
        text = host.run(argv, env=environment, check=True)
    finally:
        hostile.stop()
    schema("scan").validate(document)
    (service,) = document["services"]

    assert service["flavour"] == "librespot"
    assert len(service["name"]) <= 60
    for said in (*service["info"].values(), service["version"]):
        assert len(said) <= 200
        assert said.isprintable()
    assert "logged in" in text.stdout
    for character in ("\x1b", "\x07", "\u202e", "\r"):
        assert character not in text.stdout + text.stderr
    assert "A" * 201 not in text.stdout
