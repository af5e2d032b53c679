"""Asking a daemon as anybody on the network can, byte by byte, and a place to run it in."""

import base64
import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from librespot_guard.lab import daemons, stranger
from librespot_guard.lab.daemons import Daemon, Running
from librespot_guard.lab.sandbox import Host, Sandbox
from support import SOURCE

SPEAKER, SPEAKER6 = "192.168.10.2", "fd00:10::2"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FOREIGN = {"Origin": "http://evil.example"}
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
# RFC 6455 section 1.3: the answer to this key
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

# what go-librespot, librespot-java and librespot-python tell of themselves, in this order
KEYS = [
    "status",
    "statusString",
    "spotifyError",
    "version",
    "libraryVersion",
    "accountReq",
    "brandDisplayName",
    "modelDisplayName",
    "voiceSupport",
    "availability",
    "productID",
    "tokenType",
    "groupStatus",
    "resolverVersion",
    "scope",
    "deviceID",
    "remoteName",
    "publicKey",
    "deviceType",
    "activeUser",
]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `end` is "closed" or "open" (nothing more within the time); `status` 0 when no byte came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    end: str

    def json(self) -> Any:
        """The body as JSON."""
        import json  # noqa: PLC0415

        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `host` None leaves the Host header out; `raw` is sent instead of all else."""

    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    host: str | None = "h"
    raw: bytes = b""

    def data(self) -> bytes:
        """Its bytes."""
        if self.raw:
            return self.raw
        said = {**({} if self.host is None else {"Host": self.host}), "Connection": "close"}
        if self.body:
            said["Content-Length"] = str(len(self.body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**said, **self.headers}.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body

    def __str__(self) -> str:
        return self.raw.decode("latin-1") or f"{self.method} {self.path} {dict(self.headers)} {self.body[:60].decode()}"


def ask(host: Host, port: int, request: Ask, *, address: str = SPEAKER, patience: float = 5.0) -> Reply:
    """Send a request from a host and read until the other side closes, the answer is whole, or `patience` (seconds) ends."""
    return host.call(lambda: exchange(address, port, request.data(), patience))


def exchange(address: str, port: int, data: bytes, patience: float) -> Reply:
    """The same, in the calling process's network."""
    received, end = b"", "closed"
    with socket.create_connection((address, port), patience) as connection:
        # end by a reset: librespot-python can't bind its port again while a connection waits in TIME-WAIT
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        while True:
            try:
                part = connection.recv(65536)
            except TimeoutError:
                end = "open"
                break
            except ConnectionError:
                break
            received += part
            if not part:
                break
            if received.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in received:
                end = "open"
                break
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}
    return Reply(int(first.split()[1]) if first else 0, headers, body, end)


def login(
    info: Mapping[str, Any],
    user: str,
    changed: Mapping[str, str] | None = None,
    *,
    wrong_mac: bool = False,
    key: int | None = None,
) -> bytes:
    """The form of an `addUser`: well formed with an invalid login inside, or changed ("-" leaves a parameter out). `key` is a DH value to send in place of one's own."""
    private = secrets.randbits(95 * 8)
    shared = pow(int.from_bytes(base64.b64decode(str(info["publicKey"])), "big"), private, stranger.PRIME)
    public = pow(2, private, stranger.PRIME)
    if key is not None:
        # 0, 1 and p: the shared secret is known without knowing any private key
        shared, public = key % stranger.PRIME, key
    inner = stranger.inner_blob(user, str(info["deviceID"]), b"no such login")
    form = {
        "action": "addUser",
        "userName": user,
        "blob": base64.b64encode(stranger.outer_blob(shared + wrong_mac, inner)).decode(),
        "clientKey": base64.b64encode(public.to_bytes((public.bit_length() + 7) // 8 or 1, "big")).decode(),
        "deviceName": "stranger",
        **(changed or {}),
    }
    return urlencode({name: value for name, value in form.items() if value != "-"}).encode()


@contextlib.contextmanager
def street() -> Iterator[tuple[Host, Host]]:
    """A speaker and a phone on one cable."""
    with Sandbox(hostname="speaker", names={"speaker": SPEAKER}) as box:
        speaker, phone = box.host("speaker"), box.host("phone")
        box.link(speaker, "eth0", phone, "eth0")
        speaker.address("eth0", f"{SPEAKER}/24", f"{SPEAKER6}/64")
        phone.address("eth0", "192.168.10.9/24", "fd00:10::9/64")
        for host in (speaker, phone):
            host.multicast("eth0")
        yield speaker, phone


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon that runs on the speaker, and the phone to ask it from."""

    running: Running
    speaker: Host
    phone: Host

    def connect(self, request: Ask, **options: Any) -> Reply:
        """Ask the Spotify Connect listener."""
        return ask(self.phone, self.running.port, request, **options)

    def api(self, request: Ask, port: int, **options: Any) -> Reply:
        """Ask another listener of it."""
        return ask(self.phone, port, request, **options)

    def info(self) -> Any:
        """What `getInfo` answers."""
        return self.connect(Ask(path="/?action=getInfo")).json()

    def guard(self, *arguments: str) -> str:
        """Run librespot-guard on the speaker and return what it prints."""
        return guard_on(self.speaker, *arguments)


def guard_on(host: Host, *arguments: str) -> str:
    """Run librespot-guard on a host and return what it prints."""
    paths = os.pathsep.join(filter(None, [str(SOURCE.parent), os.environ.get("PYTHONPATH", "")]))
    argv = [sys.executable, "-m", "librespot_guard", *arguments]
    return host.run(argv, env={"PYTHONPATH": paths}, check=True).stdout


def obtained(name: str) -> Daemon:
    """The daemon, or a skip that says why there is none."""
    daemon = daemons.available(name)
    if daemon is None:
        pytest.skip(
            f"{name} is not installed; `python -m librespot_guard.lab.daemons obtain {name}` gets it or says why not"
        )
    return daemon


@contextlib.contextmanager
def scene(
    name: str, *, port: int | None = None, options: Mapping[str, str] | None = None, logins_wait: bool = False
) -> Iterator[Scene]:
    """A daemon that runs, announced as `kitchen`; the rest as `Daemon.start`."""
    daemon = obtained(name)
    with (
        street() as (speaker, phone),
        daemon.start(speaker, name="kitchen", port=port, options=options, logins_wait=logins_wait) as running,
    ):
        yield Scene(running, speaker, phone)
