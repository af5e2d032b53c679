"""Asking a Spotify Connect listener who it is: one bounded, polite `GET /?action=getInfo`.

What comes back was written by whoever listens there: it is bounded, cleaned, and never trusted. The request leaves in one
send, because librespot-python reads only once (facts: librespot/zeroconf.py:280-325).
"""

import json
import re
import unicodedata
from dataclasses import dataclass

from librespot_guard.collect.http import MAX_BYTES, SECONDS, Received, exchange, whole_body
from librespot_guard.snapshot import Info

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


def ask(address: str, port: int, *, host: str | None = None, seconds: float = SECONDS) -> Info | NoInfo:
    """What the listener at an address answers, or why that is no answer of a Spotify Connect listener.

    `host` is the name it is called by (RFC 9110 7.2), its address if None. Raises OSError when nothing accepts a connection there.
    """
    if host is None:  # a zone is of this host only and no part of the name
        host = f"[{address.partition('%')[0]}]" if ":" in address else address
    request = (
        f"GET /?action=getInfo HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )
    return parse_answer(exchange(address, port, request, seconds=seconds))


def parse_answer(answer: Received) -> Info | NoInfo:
    """What an HTTP answer to getInfo says, or why it is none; never raises."""
    head, separator, _ = answer.data.partition(b"\r\n\r\n")
    if not answer.data:
        return NoInfo(_UNANSWERED.get(answer.ended, _UNANSWERED["closed"]))
    if not (answer.data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(answer.data)):
        return NoInfo("what it answers is no HTTP")
    if not separator:
        return NoInfo(_ENDS.get(answer.ended, "its answer ends within the headers"))
    status = head.split(b"\r\n", 1)[0].split()[1:2]
    if status != [b"200"]:
        return NoInfo(f"it answers with HTTP {_status(status)} instead of 200")
    try:
        document = json.loads(whole_body(answer.data).decode("utf-8", "replace"))
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
