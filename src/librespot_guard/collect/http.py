"""One bounded request by HTTP/1.1, and what came back: written by whoever listens there, so it is read carefully and never trusted.

The request leaves in one send, because librespot-python reads only once (facts: librespot/zeroconf.py:280-325). No redirection is followed.
"""

import socket
import struct
import time
from dataclasses import dataclass

SECONDS = 2.0
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """What came back, and how it `ended`: "whole" (by its length), "closed", "reset", "late" (the time was up) or "large" (too much came)."""

    data: bytes
    ended: str


def exchange(address: str, port: int, request: str, *, seconds: float = SECONDS) -> Received:
    """Send a request and give what comes back, at most `MAX_BYTES` within the time. Raises OSError when nothing accepts a connection there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    deadline = time.monotonic() + seconds
    received = bytearray()
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect((address, port))
        except ConnectionResetError:
            # it was accepted, and reset before this side looked
            return Received(b"", "reset")
        # end by a reset: a daemon whose answer ends with the connection would keep TIME-WAIT on its port, and one that
        # binds without SO_REUSEADDR (librespot-python) could not start again after a mere look at it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        try:
            connection.sendall(request.encode("ascii"))
            while not _complete(received):
                if len(received) == MAX_BYTES:
                    return Received(bytes(received), "large")
                if (left := deadline - time.monotonic()) <= 0:  # however fast one byte follows another
                    return Received(bytes(received), "late")
                connection.settimeout(left)
                data = connection.recv(min(8192, MAX_BYTES - len(received)))
                if not data:
                    return Received(bytes(received), "closed")
                received += data
        except TimeoutError:  # what came before that may still be whole
            return Received(bytes(received), "late")
        except OSError:
            return Received(bytes(received), "reset")
    return Received(bytes(received), "whole")


def _complete(received: bytes | bytearray) -> bool:
    """Whether an answer that says how long it is, or where it ends, has come whole."""
    head, separator, body = bytes(received).partition(b"\r\n\r\n")
    headers = _headers(head) if separator else {}
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return body.endswith(b"0\r\n\r\n")
    length = headers.get("content-length", "")
    return length.isascii() and length.isdigit() and len(length) < 9 and len(body) >= int(length)


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def status_of(answer: bytes) -> int | None:
    """The status of an answer (RFC 9112 4), None if it is no HTTP."""
    words = answer.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return None
    return int(words[1])


def whole_body(answer: bytes) -> bytes:
    """The body of an answer, its chunks put together."""
    head, _, body = answer.partition(b"\r\n\r\n")
    chunked = "chunked" in _headers(head).get("transfer-encoding", "").lower()
    return _unchunk(body) if chunked else body


def _unchunk(body: bytes) -> bytes:
    """The chunks of a body put together (RFC 9112 7.1); what is broken ends it."""
    whole = b""
    while True:
        line, separator, rest = body.partition(b"\r\n")
        size = line.split(b";")[0].strip()
        if (
            not separator
            or not size
            or len(size) > 8
            or not all(c in b"0123456789abcdefABCDEF" for c in size)
            or int(size, 16) == 0
        ):
            return whole
        length = int(size, 16)
        whole += rest[:length]
        body = rest[length + 2 :]
