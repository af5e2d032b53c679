"""A speaker, its router and a stranger on the outside of that, in a sandbox; asking the router as `--probe` does, and scripts that run there."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from family.ask import guard_on
from librespot_guard import collect
from librespot_guard.collect import routers
from librespot_guard.lab import stranger
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Gap, Namespace, Router

SPEAKER, INSIDE, OUTSIDE, STRANGER = "192.168.10.2", "192.168.10.1", "1.2.3.4", "1.2.3.9"
PORT, FORWARDED = 37878, 4070


@dataclass
class Home:
    """A speaker, its router, and a stranger on the outside of that."""

    speaker: Host
    router: Host
    stranger: Host

    def audit(self, *arguments: str) -> dict[str, object]:
        """The report of the speaker."""
        found: dict[str, object] = json.loads(guard_on(self.speaker, "audit", "--format", "json", *arguments))
        return found

    def seen(self) -> str | None:
        """What the speaker calls itself to the stranger through the router; None if there is no way."""
        try:
            return str(self.stranger.call(lambda: stranger.get_info(OUTSIDE, FORWARDED, timeout=1))["remoteName"])
        except OSError:
            return None


@contextmanager
def household() -> Iterator[Home]:
    """The three of them."""
    with Sandbox(hostname="speaker", names={"speaker": SPEAKER}) as box:
        speaker, router, outside = (box.host(n) for n in ("speaker", "router", "stranger"))
        box.link(speaker, "eth0", router, "eth0")
        box.link(router, "wan", outside, "eth0")
        speaker.address("eth0", f"{SPEAKER}/24")
        router.address("eth0", f"{INSIDE}/24")
        router.address("wan", f"{OUTSIDE}/24")
        outside.address("eth0", f"{STRANGER}/24")
        speaker.route("default", via=INSIDE)
        speaker.multicast("eth0")
        router.multicast("eth0")
        router.sysctl({"net.ipv4.ip_forward": 1})
        yield Home(speaker, router, outside)


def asked() -> tuple[tuple[Router, ...], tuple[Gap, ...]]:
    """Ask as `--probe` does, in the network namespace of the calling process."""
    space, _gaps = collect.read_namespace(home=True, owners={}, cgroups={})
    spaces, gaps = routers.ask_all({space.id: space}, ())
    found: Namespace = spaces[space.id]
    assert found.routers is not None
    return found.routers, gaps


@contextmanager
def running(host: Host, log: Path, script: str, *arguments: str) -> Iterator[None]:
    """A script that has said "ready" into its log."""
    with log.open("w") as file:
        process = host.popen([sys.executable, "-c", script, *arguments], stdout=file)
    try:
        while "ready" not in log.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        yield
    finally:
        process.stop()
