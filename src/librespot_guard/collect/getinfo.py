"""Asking a Spotify Connect listener who it is: one bounded, polite `GET /?action=getInfo`.

What comes back was written by whoever listens there: it is bounded, cleaned, and never trusted. The request leaves in one
send, because librespot-python reads only once (facts: librespot/zeroconf.py:280-325).
"""

import json
import re
import socket
import struct
import time
import unicodedata
from dataclasses import dataclass

from librespot_guard.snapshot import Info

SECONDS = 2.0
MAX_BYTES = 64 * 1024
MAX_TEXT = 200

_KEYS = {
    "brand": "brandDisplayName",
    "model": "modelDisplayName",
    "version": "version",
    "library_version": "libraryVersion",
    "remote_name": "remoteName",
    "device_id": "deviceID",
    "account": "activeUser",
}
# what every family member gives; something else that answers JSON is none
_MUST = ("deviceID", "remoteName", "brandDisplayName")

_UNANSWERED = {
    "late": f"it takes the connection, and says nothing within {SECONDS:g} seconds",
    "closed": "it ends the connection without an answer",
    "reset": "it resets the connection without an answer",
}
_ENDS = {
    "late": f"its answer does not end within {SECONDS:g} seconds",
    "large": f"its answer is longer than {MAX_BYTES // 1024} KiB",
    "reset": "it resets the connection in the middle of its answer",
}


@dataclass(frozen=True, slots=True)
class NoInfo:
    """Why there is no answer to getInfo. The words are this program's own: nothing that came from the other side is in them."""

    why: str


@dataclass(frozen=True, slots=True)
class Received:
    """What came back, and how it `ended`: "whole" (by its length), "closed", "reset", "late" (the time was up) or "large" (too much came)."""

    data: bytes
    ended: str


def ask(address: str, port: int, *, seconds: float = SECONDS) -> Info | NoInfo:
    """What the listener at an address answers, or why that is no answer of a Spotify Connect listener.

    Raises OSError when nothing accepts a connection there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # RFC 9110 7.2: a zone is of this host only and no part of the name
    host = f"[{address.partition('%')[0]}]" if family == socket.AF_INET6 else address
    request = (
        f"GET /?action=getInfo HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )
    return parse_answer(exchange(address, port, request, seconds=seconds))


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
                connection.settimeout(max(0.001, deadline - time.monotonic()))
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
    """Whether an answer that says how long it is has come whole."""
    head, separator, body = bytes(received).partition(b"\r\n\r\n")
    length = _headers(head).get("content-length", "") if separator else ""
    return length.isascii() and length.isdigit() and len(length) < 9 and len(body) >= int(length)


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def parse_answer(answer: Received) -> Info | NoInfo:
    """What an HTTP answer to getInfo says, or why it is none; never raises."""
    head, separator, body = answer.data.partition(b"\r\n\r\n")
    if not answer.data:
        return NoInfo(_UNANSWERED.get(answer.ended, _UNANSWERED["closed"]))
    if not (answer.data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(answer.data)):
        return NoInfo("what it answers is no HTTP")
    if not separator:
        return NoInfo(_ENDS.get(answer.ended, "its answer ends within the headers"))
    status = head.split(b"\r\n", 1)[0].split()[1:2]
    if status != [b"200"]:
        return NoInfo(f"it answers with HTTP {_status(status)} instead of 200")
    if "chunked" in _headers(head).get("transfer-encoding", "").lower():
        body = _unchunk(body)
    try:
        document = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return NoInfo(_ENDS.get(answer.ended, "what it answers by HTTP is no JSON"))
    if not isinstance(document, dict):
        return NoInfo("the JSON that it answers is no object")
    lacking = [key for key in _MUST if not isinstance(document.get(key), str)]
    if lacking:
        return NoInfo(f"the JSON that it answers has no text for {', '.join(lacking)}")
    return Info(**{name: clean(document.get(key, "")) for name, key in _KEYS.items()})


def _status(words: list[bytes]) -> str:
    """A status code if it is one (RFC 9110 15): three digits."""
    return f"status {words[0].decode()}" if words and re.fullmatch(rb"[1-5][0-9]{2}", words[0]) else "without a status"


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


def clean(value: object) -> str:
    """A text without characters that could play with a terminal or a report (all of Unicode's C and line separators), bounded."""
    if not isinstance(value, str):
        return ""
    # bounded first, so that a long one costs nothing
    return "".join(
        c
        for c in value[: MAX_TEXT * 2]
        if unicodedata.category(c)[0] != "C" and unicodedata.category(c) not in ("Zl", "Zp")
    )[:MAX_TEXT]
