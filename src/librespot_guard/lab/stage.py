"""The stage of the demo: a speaker with two networks, a phone at home, a stranger on the guest network.

::

    phone 192.168.10.20  ---- home LAN ----  eth0 192.168.10.2   speaker   eth1 192.168.30.2  ---- guests ----  192.168.30.66 stranger
    fd00:10::20                              fd00:10::2                    fd00:30::2                          fd00:30::66
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from librespot_guard.lab import mdns, stranger
from librespot_guard.lab.sandbox import Host, Sandbox

HOME4, HOME6 = "192.168.10.2", "fd00:10::2"
GUEST4, GUEST6 = "192.168.30.2", "fd00:30::2"
STRANGER4, STRANGER6 = "192.168.30.66", "fd00:30::66"
FOLDER = "/run/librespot-guard/demo"
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Three hosts in one sandbox."""

    box: Sandbox
    speaker: Host
    phone: Host
    stranger: Host

    def guard(self, *arguments: str) -> CompletedProcess[str]:
        """Run librespot-guard itself on the speaker, as its administrator would."""
        package = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        return self.speaker.run(
            [sys.executable, "-m", "librespot_guard", *arguments],
            env={"PYTHONPATH": paths, "COLUMNS": "96"},
            cwd=FOLDER,
        )

    def write(self, name: str, text: str) -> None:
        """Write a file into the administrator's folder on the speaker."""
        self.box.call(lambda: Path(FOLDER, name).write_text(text, encoding="utf-8"))

    def read(self, name: str) -> str:
        """Read a file of the administrator's folder on the speaker."""
        return self.box.call(lambda: Path(FOLDER, name).read_text(encoding="utf-8"))


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Build the stage; it is gone when the block ends. Raises MachineError where namespaces can't be made."""
    with Sandbox(hostname="speaker", names={"speaker": HOME4}) as box:
        box.call(lambda: Path(FOLDER).mkdir(parents=True))
        speaker, phone, guest = box.host("speaker"), box.host("phone"), box.host("stranger")
        box.link(speaker, "eth0", phone, "eth0")
        box.link(speaker, "eth1", guest, "eth0")
        speaker.address("eth0", f"{HOME4}/24", f"{HOME6}/64")
        speaker.address("eth1", f"{GUEST4}/24", f"{GUEST6}/64")
        phone.address("eth0", "192.168.10.20/24", "fd00:10::20/64")
        guest.address("eth0", f"{STRANGER4}/24", f"{STRANGER6}/64")
        for host in (speaker, phone, guest):
            host.multicast("eth0")
        # the speaker is a host, not a router, but it takes packets for its home address on any interface
        guest.route("192.168.10.0/24", via=GUEST4)
        yield Stage(box, speaker, phone, guest)


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody got: `got` is the answer, or None with the reason in `why`."""

    got: Any
    why: str = ""


def ask(host: Host, address: str, port: int) -> Seen:
    """`getInfo` from a host."""
    return seen(host, lambda: stranger.get_info(address, port, timeout=_PATIENCE))


def take_over(host: Host, address: str, port: int, user: str) -> Seen:
    """One unauthenticated `addUser` from a host; `got` is the HTTP status and the protocol's own status."""

    def request() -> tuple[int, Any]:
        answer = stranger.add_user(address, port, user, timeout=5.0)
        return answer.status, answer.json().get("status") if answer.body else None

    return seen(host, request)


def connects(host: Host, address: str, port: int) -> Seen:
    """A bare TCP connection from a host."""
    import socket  # noqa: PLC0415

    def request() -> bool:
        with socket.create_connection((address, port), _PATIENCE):
            return True

    return seen(host, request)


def look_around(host: Host, *, timeout: float = 4.0) -> Seen:
    """A phone's mDNS question; `got` is a `mdns.Found`."""

    def request() -> mdns.Found:
        for found in mdns.discover("eth0", timeout=timeout):
            if found.port:
                return found
        raise TimeoutError("no answer")

    return seen(host, request)


def seen(host: Host, request: Callable[[], Any]) -> Seen:
    """What somebody gets by a request that is made from a host."""

    def attempt() -> Seen:
        try:
            return Seen(request())
        except TimeoutError:
            return Seen(None, "no answer")
        except ConnectionRefusedError:
            return Seen(None, "nobody listens there")
        except (OSError, ValueError, KeyError) as error:
            return Seen(None, str(error))

    return host.call(attempt)
