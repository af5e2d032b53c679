"""Every cause that `doctor` knows, made for real: a real daemon in namespaces, and what is wrong around it."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from container_stage import ENGINES, stage
from librespot_guard.errors import MachineError
from librespot_guard.lab import daemons, mdns
from librespot_guard.lab._enter import Process
from librespot_guard.lab.daemons import Daemon, Unavailable
from librespot_guard.lab.sandbox import Host, Sandbox
from support import SOURCE

pytestmark = [pytest.mark.kernel, pytest.mark.family]

ADDRESS = "192.168.10.2"
HOLDER = "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5353)); print('held', flush=True); time.sleep(300)"
SHARER = HOLDER.replace("s.bind", "s.setsockopt(1, 2, 1); s.setsockopt(1, 15, 1); s.bind")
# a second, real responder that announces a speaker of the same name on a port of long ago
STALE = """
import socket, sys, time
from zeroconf import ServiceInfo, Zeroconf
info = ServiceInfo("_spotify-connect._tcp.local.", "living-room._spotify-connect._tcp.local.", port=4070,
                   addresses=[socket.inet_aton(sys.argv[1])], server="old.local.", properties={"CPath": "/", "VERSION": "1.0"})
Zeroconf(interfaces=[sys.argv[1]]).register_service(info, cooperating_responders=True)
print("announced", flush=True)
time.sleep(300)
"""


def _daemon(name: str) -> Daemon:
    try:
        return daemons.obtain(name)
    except Unavailable as error:
        pytest.skip(f"{name}: {error}")


@pytest.fixture(scope="module")
def python() -> Daemon:
    """The Python member."""
    return _daemon("librespot-python")


@pytest.fixture(scope="module")
def rust() -> Daemon:
    """The Rust member."""
    return _daemon("librespot")


@dataclass(frozen=True, slots=True)
class House:
    """A speaker's host and a phone's, joined by one network."""

    box: Sandbox
    speaker: Host
    phone: Host

    def doctor(self, *arguments: str, host: Host | None = None) -> tuple[int, list[dict[str, Any]]]:
        """Run `doctor` on the speaker's host; its exit status and diagnoses."""
        done = (host or self.speaker).run(
            [sys.executable, "-m", "librespot_guard", "doctor", "--format", "json", "--seconds", "1.3", *arguments],
            env={"PYTHONPATH": os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])},
        )
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)["diagnoses"]

    def rules(self, *lines: str) -> None:
        """A firewall on the speaker's host that drops what these rules do not accept."""
        text = "\n".join(lines)
        self.speaker.run(
            ["nft", "-f", "-"],
            input=f"table inet filter {{ chain input {{ type filter hook input priority 0; policy drop;\n"
            f"iifname lo accept\nct state established,related accept\nicmpv6 type {{ 133, 134, 135, 136 }} accept\n{text}\n}}\n}}",
            check=True,
        )

    @contextlib.contextmanager
    def running(self, host: Host, *argv: str, says: str) -> Iterator[Process]:
        """A helper process of the house, from when it says so until the block ends."""
        process = host.popen([*argv], stdout=-1)
        try:
            assert process.popen.stdout is not None
            assert says in process.popen.stdout.readline()
            yield process
        finally:
            process.stop()


@contextlib.contextmanager
def house(name: str = ADDRESS) -> Iterator[House]:
    """Build a house; `name` is what the host name of the speaker resolves to."""
    with Sandbox(hostname="speaker", names={"speaker": name}) as box:
        speaker, phone = box.host("speaker"), box.host("phone")
        box.link(speaker, "eth0", phone, "eth0")
        speaker.address("eth0", f"{ADDRESS}/24", "fd00:10::2/64")
        phone.address("eth0", "192.168.10.20/24", "fd00:10::20/64")
        speaker.multicast("eth0")
        phone.multicast("eth0")
        yield House(box, speaker, phone)


def _causes(found: list[dict[str, Any]]) -> dict[str, str]:
    return {one["cause"]: one["certainty"] for one in found}


def _last_words(daemon: Daemon, host: Host) -> str:
    """What a daemon says that ends by itself: it may have listened for a moment before its responder fails, or not have got that far."""
    try:
        with daemon.start(host) as running:
            assert running.wait(10.0) is not None, "it runs on"
            return running.log()
    except MachineError as error:
        return str(error)


@pytest.mark.parametrize("name", ["librespot-python", "librespot"])
def test_a_healthy_speaker(name: str) -> None:
    """Announced as it is and open to its network: nothing is found, and the exit status says so."""
    daemon = _daemon(name)
    with house() as home, daemon.start(home.speaker):
        assert home.doctor() == (0, [])


def test_udp_5353_was_held_when_it_started(rust: Daemon) -> None:
    """A program that does not share UDP 5353 ends librespot at its start: nothing runs, and who holds the port is named."""
    with house() as home, home.running(home.speaker, sys.executable, "-c", HOLDER, says="held") as holder:
        said = _last_words(rust, home.speaker)
        status, found = home.doctor()
    assert "Address already in use" in said
    assert status == 1
    assert _causes(found) == {"not-running": "sure", "responder-conflict": "possible"}
    assert f"process {holder.inner_pid}," in found[1]["evidence"][0]


def test_udp_5353_is_held_and_it_runs_on() -> None:
    """Librespot-java outlives that its responder can't start: it listens and answers, nobody announces it, and who holds the port is named."""
    java = _daemon("librespot-java")
    with (
        house() as home,
        home.running(home.speaker, sys.executable, "-c", HOLDER, says="held") as holder,
        java.start(home.speaker) as running,
    ):
        deadline = time.monotonic() + 20
        while "Address already in use" not in running.log():  # it tries after it listens
            assert time.monotonic() < deadline, running.log()
            time.sleep(0.05)
        _, found = home.doctor()
        assert running.alive()
    assert _causes(found) == {"responder-conflict": "sure"}
    assert f"process {holder.inner_pid}," in found[0]["evidence"][0]


def test_two_responders_that_share_are_no_fault(rust: Daemon) -> None:
    """Another program beside it on UDP 5353 that shares the port is not blamed."""
    with (
        house() as home,
        home.running(home.speaker, sys.executable, "-c", SHARER, says="held"),
        rust.start(home.speaker),
    ):
        assert home.doctor() == (0, [])


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.1.1", "loopback"),
        ("172.17.0.1", "docker0, a bridge"),
        ("10.8.0.2", "tun0, another interface"),
        ("198.51.100.7", "no address of this host"),
    ],
)
def test_a_wrong_address_is_announced(python: Daemon, address: str, says: str) -> None:
    """The host name resolves to an address that no phone can use, and librespot-python announces that."""
    with house(address) as home:
        home.speaker.run(["ip", "link", "add", "docker0", "type", "bridge"], check=True)
        home.speaker.address("docker0", "172.17.0.1/16")
        home.box.link(home.speaker, "tun0", home.box.host("vpn"), "tun0")
        home.speaker.address("tun0", "10.8.0.2/24")
        with python.start(home.speaker):
            _, found = home.doctor()
    wrong = [one for one in found if one["cause"] == "wrong-address"]
    assert wrong
    assert wrong[0]["certainty"] == "sure"
    assert says in wrong[0]["evidence"][0]
    assert {one["cause"] for one in found} <= {"wrong-address", "not-joined"}


def test_the_firewall_lets_discovery_in_only(python: Daemon) -> None:
    """UDP 5353 is open, the port of the speaker is not."""
    with house() as home, python.start(home.speaker, port=37001):
        home.rules("udp dport 5353 accept")
        status, found = home.doctor()
    assert status == 1
    assert _causes(found) == {"port-blocked": "sure"}
    assert "tcp/37001" in found[0]["evidence"][1]


def test_a_rule_for_another_port(python: Daemon) -> None:
    """A rule opens a fixed port, and the speaker, not pinned, listens on another."""
    with house() as home, python.start(home.speaker) as running:
        home.rules("udp dport 5353 accept", "tcp dport 4070 accept")
        _, found = home.doctor()
    assert _causes(found) == {"random-port": "sure"}
    assert "opens tcp/4070" in found[0]["evidence"][0]
    assert "4070" in found[0]["fix"][0]
    assert "37878" not in found[0]["fix"][0]
    assert f"tcp/{running.port}" in found[0]["evidence"][1]


def test_a_rule_that_fits_until_the_next_start(rust: Daemon) -> None:
    """A rule opens the very port of today, which is random: it will not fit tomorrow."""
    with house() as home, rust.start(home.speaker) as running:
        home.rules("udp dport 5353 accept", f"tcp dport {running.port} accept")
        _, found = home.doctor()
    assert {(one["cause"], one["certainty"]) for one in found} == {("random-port", "likely")}


def test_multicast_is_filtered(python: Daemon) -> None:
    """The port is open, but the questions for speakers are dropped."""
    with house() as home, python.start(home.speaker, port=37002):
        home.rules("tcp dport 37002 accept")
        _, found = home.doctor()
    assert _causes(found) == {"multicast-filtered": "sure"}


def test_multicast_is_denied_by_one_rule_of_a_firewall_that_lets_all_else_in(rust: Daemon) -> None:
    """For both families, and nothing else is wrong: that a crafted fragment may slip through by IPv6 helps no phone."""
    with house() as home, rust.start(home.speaker, port=37002):
        text = "table inet filter { chain input { type filter hook input priority 0\nudp dport 5353 drop\n}\n}"
        home.speaker.run(["nft", "-f", "-"], input=text, check=True)
        _, found = home.doctor()
    assert [one["cause"] for one in found] == ["multicast-filtered", "multicast-filtered"]


def test_everything_is_closed(python: Daemon) -> None:
    """Neither questions nor connections pass: one diagnosis, not two."""
    with house() as home, python.start(home.speaker):
        home.rules()
        _, found = home.doctor()
    assert _causes(found) == {"closed": "sure"}


def test_answers_do_not_get_out(python: Daemon) -> None:
    """A responder whose answers never leave is as silent as none."""
    with house() as home, python.start(home.speaker):
        home.speaker.run(
            ["nft", "-f", "-"],
            input="table ip o { chain o { type filter hook output priority 0; udp sport 5353 drop; }\n}",
            check=True,
        )
        _, found = home.doctor()
    assert _causes(found) == {"not-announced": "likely"}


def test_the_kernel_has_no_ipv6(rust: Daemon) -> None:
    """The Rust member ends where the kernel gives no IPv6 sockets; `doctor` there says that this may be why nothing runs."""
    if os.uname().machine != "x86_64":
        pytest.skip("the filter that takes IPv6 sockets away is written for x86_64")
    without = Path(__file__).with_name("without_ipv6.py")
    with house() as home:
        home.box.call(lambda: Path("/run/cache").mkdir())
        done = home.speaker.run(
            [
                sys.executable,
                str(without),
                str(rust.files[0]),
                "-n",
                "x",
                "-B",
                "pipe",
                "-d",
                "/dev/null",
                "-c",
                "/run/cache",
            ]
        )
        assert done.returncode == 1
        assert "Address family not supported" in done.stdout + done.stderr
        done = home.speaker.run(
            [sys.executable, str(without), sys.executable, "-m", "librespot_guard", "doctor", "--format", "json"],
            env={"PYTHONPATH": os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])},
        )
    assert _causes(json.loads(done.stdout)["diagnoses"]) == {"not-running": "sure", "no-ipv6": "possible"}


def test_ipv6_switched_off_by_sysctl_does_no_harm(rust: Daemon) -> None:
    """With disable_ipv6=1 the sockets are still there: discovery works over IPv4 and nothing is found."""
    with house() as home:
        home.speaker.sysctl({"net.ipv6.conf.all.disable_ipv6": 1})
        with rust.start(home.speaker):
            assert home.doctor() == (0, [])


def test_it_runs_in_another_namespace(python: Daemon) -> None:
    """A speaker in a namespace whose only cable ends in this host is not in the network."""
    with house() as home:
        inside = home.box.host("inside")
        home.box.link(home.speaker, "ve0", inside, "eth0")
        home.speaker.address("ve0", "10.0.3.1/24")
        inside.address("eth0", "10.0.3.2/24")
        inside.multicast("eth0")
        with python.start(inside):
            _, found = home.doctor()
    assert "other-namespace" in _causes(found)
    assert _causes(found)["other-namespace"] == "sure"


@pytest.mark.parametrize("engine", ENGINES)
def test_it_runs_in_a_bridged_container(tmp_path: Path, engine: str) -> None:
    """A speaker in a container of a real engine, on its bridge, is not in the network; one on the host's network is.

    That one announces the bridge's address beside its own, which is no more than possible trouble.
    """
    found = stage(engine, tmp_path, "doctor --seconds 1.3", hosted=True)["diagnoses"]
    assert {(one["service"], one["cause"], one["certainty"]) for one in found} == {
        ("kitchen", "bridged-container", "sure"),
        ("porch", "wrong-address", "possible"),
    }
    cut_off, announced = sorted(found, key=lambda one: str(one["service"]))
    assert cut_off["evidence"][0].startswith("container ")
    assert "(veth) end in this host" in cut_off["evidence"][1]
    assert "on eth0 it announces 1" in announced["evidence"][0]
    assert "a bridge (as of containers)" in announced["evidence"][0]


def test_discovery_is_off_by_configuration(rust: Daemon) -> None:
    """`--disable-discovery` is found on the command line of a speaker that waits for a login."""
    with house() as home:
        home.box.call(lambda: Path("/run/cache").mkdir())
        argv = [
            str(rust.files[0]),
            "-n",
            "x",
            "-B",
            "pipe",
            "-d",
            "/dev/null",
            "-c",
            "/run/cache",
            "--disable-discovery",
            "-j",
        ]
        process = home.speaker.popen(argv, stdout=-3, stderr=-3)
        try:
            time.sleep(1.0)
            assert process.poll() is None
            _, found = home.doctor()
        finally:
            process.stop()
    assert _causes(found) == {"discovery-off": "sure"}
    assert "disable-discovery" in found[0]["evidence"][0]


def test_a_stale_announcement(python: Daemon) -> None:
    """A second responder announces a speaker of the same name on a port on which nobody listens."""
    with house() as home, python.start(home.speaker, port=37003):
        assert home.phone.call(lambda: mdns.discover("eth0"))  # it has the name first: otherwise it would give up
        with home.running(home.speaker, str(python.files[0]), "-c", STALE, ADDRESS, says="announced"):
            _, found = home.doctor()
    assert _causes(found)["wrong-port"] == "sure"
    evidence = next(one["evidence"][0] for one in found if one["cause"] == "wrong-port")
    assert "tcp/4070" in evidence
    assert "tcp/37003" in evidence


def test_an_interface_that_came_later(rust: Daemon) -> None:
    """The responder joined the group on what was there at its start; on a card that came later it is deaf."""
    with house() as home, rust.start(home.speaker):
        other = home.box.host("other")
        home.box.link(home.speaker, "wlan0", other, "eth0")
        home.speaker.address("wlan0", "192.168.20.2/24")
        _, found = home.doctor()
    late = [one for one in found if one["cause"] == "not-joined"]
    assert late
    assert all("wlan0" in one["evidence"][0] for one in late)
    # it answers there with the address that it knew at its start
    assert {one["cause"] for one in found} == {"not-joined", "wrong-address"}


def test_a_host_without_a_network(python: Daemon) -> None:
    """Only loopback is up."""
    with house() as home, python.start(home.speaker):
        home.speaker.run(["ip", "link", "set", "eth0", "down"], check=True)
        home.speaker.run(["ip", "address", "flush", "dev", "eth0"], check=True)
        _, found = home.doctor()
    assert _causes(found) == {"no-network": "sure"}
