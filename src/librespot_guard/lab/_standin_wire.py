"""What both stand-ins need: reading HTTP/1.1 from a connection, the WebSocket handshake, and the protocol's check of `addUser`.

RFC 9112 (HTTP/1.1), RFC 6455 section 4.2 (WebSocket), RFC 2409 section 6.1 (the group). Standard library only.
"""

import base64
import ctypes
import hashlib
import hmac
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate

from librespot_guard.lab.stranger import PRIME

_HEAD_LIMIT = 1 << 20  # Go's default for the head of a request
_PR_SET_NAME = 15  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. `headers` by lower-case name; `target` is the request target, path and query."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query without its question mark."""
        return self.target.partition("?")[2]

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this request."""
        said = self.headers.get("connection", "").lower()
        return "close" in said or (self.version == "HTTP/1.0" and "keep-alive" not in said)


class RefusedRequest(Exception):  # noqa: N818 - it is an answer
    """Bytes that are no request; the text is what the server says to them."""


@dataclass(slots=True)
class Reader:
    """Requests out of a connection, one after the other."""

    connection: socket.socket
    _rest: bytes = field(default=b"", repr=False)

    def next(self) -> Request | None:
        """The next request, None at the end. Raises RefusedRequest, OSError."""
        while b"\r\n\r\n" not in self._rest:
            if not self._more() or len(self._rest) > _HEAD_LIMIT:
                return None
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise RefusedRequest("400 Bad Request")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise RefusedRequest("400 Bad Request")
            headers.setdefault(name.strip().lower(), value.strip())
        if words[2] == "HTTP/1.1" and "host" not in headers:
            raise RefusedRequest("400 Bad Request: missing required Host header")
        return Request(words[0], words[1], words[2], headers, self._body(headers))

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            whole = b""
            while True:
                size = int(self.line().split(b";")[0], 16)
                whole += self.exactly(size)
                self.line()
                if size == 0:
                    return whole
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise RefusedRequest("400 Bad Request")
        return self.exactly(int(length))

    def _more(self) -> bool:
        data = self.connection.recv(65536)
        self._rest += data
        return bool(data)

    def line(self) -> bytes:
        """A line without its end. Raises RefusedRequest at the end of the connection, OSError."""
        while b"\r\n" not in self._rest:
            if not self._more():
                raise RefusedRequest("400 Bad Request")
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def exactly(self, count: int) -> bytes:
        """That many bytes. Raises RefusedRequest at the end of the connection, OSError."""
        parts, have = [self._rest], len(self._rest)
        while have < count:
            data = self.connection.recv(1 << 16)
            if not data:
                raise RefusedRequest("400 Bad Request")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._rest = whole[count:]
        return whole[:count]


def rendered(status: str, headers: Mapping[str, str], body: bytes = b"", *, version: str = "HTTP/1.1") -> bytes:
    """An answer as bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{version} {status}\r\n{lines}\r\n".encode("latin-1") + body


def date() -> str:
    """The value of a Date header."""
    return formatdate(usegmt=True)


def websocket_accept(key: str) -> str:
    """Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # noqa: S324 - RFC 6455
    return base64.b64encode(digest).decode()


def await_end_of_websocket(connection: socket.socket) -> None:
    """Read a client's frames until it closes, answering a ping and a close (RFC 6455 section 5.5)."""
    reader = Reader(connection)
    with suppress(RefusedRequest, OSError):
        while True:
            first, second = reader.exactly(2)
            length = second & 0x7F
            if length > 125:
                length = int.from_bytes(reader.exactly(2 if length == 126 else 8), "big")
            mask = reader.exactly(4) if second & 0x80 else b"\0" * 4
            text = bytes(b ^ mask[i % 4] for i, b in enumerate(reader.exactly(min(length, 1 << 20))))
            kind = first & 0x0F
            if kind in (8, 9):
                connection.sendall(bytes([0x80 | (8 if kind == 8 else 10), len(text)]) + text)
            if kind == 8:
                return


def serve(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    """Accept for ever, each connection in a thread of its own."""

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            handle(connection)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def listen(address: str, port: int) -> socket.socket:
    """A TCP listener; "::" is dual-stack, as Go and Java make it. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, port))
        sock.listen(1024)
    except BaseException:
        sock.close()
        raise
    return sock


class Exchange:
    """The key exchange of `addUser`: a key pair, and the check of a blob. What is inside the blob needs no looking at."""

    def __init__(self) -> None:
        self._private = secrets.randbits(95 * 8)
        self.public = base64.b64encode(_bytes(pow(2, self._private, PRIME))).decode()

    def holds(self, blob: bytes, client_key: bytes) -> bool:
        """Whether the blob's HMAC is right for this client key; its range is not checked (0, 1 and p pass)."""
        shared = _bytes(pow(int.from_bytes(client_key, "big"), self._private, PRIME))
        base = hashlib.sha1(shared).digest()[:16]  # noqa: S324 - the protocol's own
        key = hmac.digest(base, b"checksum", "sha1")
        return hmac.compare_digest(hmac.digest(key, blob[16:-20], "sha1"), blob[-20:])


def _bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def base64_bytes(text: str) -> bytes:
    """Decode strictly. Raises ValueError (`binascii.Error` is one)."""
    return base64.b64decode(text, validate=True)


def call_myself(name: str) -> None:
    """Set the name that `ps` shows for this process (at most 15 characters)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def text_frame(text: str) -> bytes:
    """A WebSocket text frame from a server (RFC 6455 section 5.2)."""
    data = text.encode()
    head = bytes([0x81, len(data)]) if len(data) < 126 else bytes([0x81, 126]) + struct.pack(">H", len(data))
    return head + data
