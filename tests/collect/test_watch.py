"""Watching a real daemon that is restarted, asked, and connects to somewhere."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click
import pytest

from librespot_guard.cli._watch import duration
from librespot_guard.collect import getinfo
from librespot_guard.lab import daemons
from librespot_guard.lab.daemons import Daemon
from librespot_guard.lab.sandbox import Host, Sandbox
from support import Schema


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts on one cable, ready for daemons."""
    with Sandbox(hostname="speaker", names={"speaker": "192.168.10.2"}) as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24")
        other.address("eth0", "192.168.10.3/24")
        one.multicast("eth0")
        yield one, other


@pytest.fixture
def daemon() -> Daemon:
    """A librespot, or a skip that says why there is none."""
    found = daemons.available("librespot")
    if found is None:
        pytest.skip("librespot is not installed; `python -m librespot_guard.lab.daemons obtain librespot` gets it")
    return found


@contextmanager
def watching(host: Host) -> Iterator[Callable[[], tuple[dict[str, Any], str]]]:
    """A `scan --watch` in a host; what is given interrupts it and returns its document and what it said meanwhile."""
    command = [sys.executable, "-m", "librespot_guard", "scan", "--watch", "--interval", "0.3s", "--format", "json"]
    watch = host.popen(command, env={"PYTHONPATH": ":".join(sys.path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end() -> tuple[dict[str, Any], str]:
        pid = watch.inner_pid
        host.run(["kill", "-INT", str(pid)], check=True)
        out, err = watch.popen.communicate(timeout=30)
        assert watch.popen.returncode == 0, err
        return json.loads(out), err

    try:
        yield end
    finally:
        watch.stop()


@pytest.mark.kernel
@pytest.mark.family
def test_a_random_port_is_followed_and_short_visits_are_seen(
    hosts: tuple[Host, Host], daemon: Daemon, schema: Schema
) -> None:
    """Both ports of a daemon that was restarted are its own; a peer that came and went between two looks is known."""
    one, other = hosts
    ports, pids = [], []
    with watching(one) as watch:
        for _ in range(2):
            with daemon.start(one, name="kitchen") as running:
                port = running.port
                ports.append(port)
                pids.append(running.pid)
                time.sleep(3)
                other.call(partial(getinfo.ask, "192.168.10.2", port))
                time.sleep(1)
        document, err = watch()
    schema("watch").validate(document)
    (service,) = document["services"]

    assert service["name"] == "kitchen"
    assert [s["pid"] for s in service["starts"]] == pids
    assert service["ports"]["connect"]["seen"] == sorted(set(ports))
    assert [p["address"] for p in service["inbound"]] == ["192.168.10.3"]
    assert "kitchen: 192.168.10.3 is connected" in err
    assert "kitchen: started again" in err


@pytest.mark.kernel
@pytest.mark.family
def test_endpoints_are_learned_and_ctrl_c_prints_the_profile(
    hosts: tuple[Host, Host], daemon: Daemon, schema: Schema
) -> None:
    """An outbound connection of the daemon is in the profile with what the catalogue says of its port; an interrupt ends with exit 0."""
    one, other = hosts
    server = other.popen(
        [
            sys.executable,
            "-c",
            "import socket,time; s=socket.create_server(('192.168.10.3',443)); print('ready',flush=True); c=s.accept(); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert server.popen.stdout is not None
    assert server.popen.stdout.readline() == "ready\n"
    argv = [
        *daemon.launch(title="bath", port=37001, folder="/run").argv,
        "--proxy",
        "http://192.168.10.3:443",
        "-k",
        "token",
    ]
    process = one.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with watching(one) as watch:
            time.sleep(4)
            document, err = watch()
    finally:
        process.stop()
        server.stop()
    schema("watch").validate(document)
    (service,) = document["services"]

    assert service["name"] == "bath"
    assert [(f["proto"], f["address"], f["port"]) for f in service["outbound"]] == [("tcp", "192.168.10.3", 443)]
    assert any("spotify" in purpose for purpose in service["outbound"][0]["purposes"])
    assert "connects to 192.168.10.3 tcp port 443" in err


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("0.5h", 1800), ("1d", 86400)])
def test_durations(text: str, seconds: float) -> None:
    """A length of time is written as people write it."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1s", "ten", "1w", "1m30s"])
def test_wrong_durations(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(click.BadParameter):
        duration(text)
