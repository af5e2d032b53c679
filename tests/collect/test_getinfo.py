"""Asking getInfo: bounded in time and size, cleaned, and never an exception, whoever answers."""

import json
import socket
import struct
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import getinfo
from librespot_guard.collect.http import SECONDS, Received
from librespot_guard.snapshot import Info

ANSWER = {
    "deviceID": "0" * 40,
    "remoteName": "Küche",
    "brandDisplayName": "librespot",
    "modelDisplayName": "librespot",
    "libraryVersion": "0.8.0",
    "version": "2.9.0",
    "activeUser": "alice",
    "aliases": [],
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def received(data: bytes, ended: str = "closed") -> Received:
    """What came back, when the other side ended it so."""
    return Received(data, ended)


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An HTTP answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


@contextmanager
def server(behave: Callable[[socket.socket], None], family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """A listener on loopback that does something with the first connection."""
    with socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    behave(connection)
                except OSError:
                    return  # the client went away, as it should

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_one_request_in_one_piece(family: socket.AddressFamily) -> None:
    """The whole request arrives with a single recv, is polite, and the answer is read without Content-Length."""
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        seen.append(connection.recv(1 << 20))
        connection.sendall(http(json.dumps(ANSWER).encode()))

    with server(behave, family) as port:
        info = getinfo.ask("::1" if family == socket.AF_INET6 else "127.0.0.1", port)

    assert info == Info("librespot", "librespot", "2.9.0", "0.8.0", "Küche", "0" * 40, "alice")
    assert seen[0].startswith(b"GET /?action=getInfo HTTP/1.1\r\n")
    assert b"\r\nConnection: close\r\n" in seen[0]
    assert seen[0].endswith(b"\r\n\r\n")


def test_an_answer_with_a_length_is_not_waited_for() -> None:
    """With Content-Length the answer is complete although the connection stays open."""
    body = json.dumps(ANSWER).encode()

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(http(body, f"Content-Length: {len(body)}"))
        connection.recv(1)  # wait for the client to go

    started = time.monotonic()
    with server(behave) as port:
        assert isinstance(getinfo.ask("127.0.0.1", port), Info)
    assert time.monotonic() - started < SECONDS


def silent(connection: socket.socket) -> None:
    """Take everything, say nothing."""
    while connection.recv(65536):
        pass


def drip(connection: socket.socket) -> None:
    """An answer that goes on for ever, one byte at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def flood(connection: socket.socket) -> None:
    """An answer that goes on for ever, as fast as it can."""
    connection.sendall(http(b""))
    while True:
        connection.sendall(b"x" * 65536)


def nothing(connection: socket.socket) -> None:
    """Read the request and go."""
    connection.recv(65536)


def away(connection: socket.socket) -> None:
    """End without having read: the kernel resets the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))


def noise(connection: socket.socket) -> None:
    """Another protocol, which greets first."""
    connection.sendall(b"SSH-2.0-\x1b]0;owned\x07\r\n")
    connection.recv(65536)


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (silent, "says nothing within 2 seconds"),
        (drip, "does not end within 2 seconds"),
        (flood, "longer than 64 KiB"),
        (nothing, "ends the connection without an answer"),
        (away, "resets the connection without an answer"),
        (noise, "is no HTTP"),
    ],
)
def test_silence_drips_and_floods_end(behave: Callable[[socket.socket], None], why: str) -> None:
    """A listener that says nothing, drips, floods or leaves costs no more than the time and bytes allowed, and it is said which it was."""
    started = time.monotonic()
    with server(behave) as port:
        told = getinfo.ask("127.0.0.1", port, seconds=0.4)
    assert time.monotonic() - started < 2

    assert isinstance(told, getinfo.NoInfo)
    assert why in told.why


def test_nobody_there() -> None:
    """Where nothing listens, the caller learns that, so that it can try another address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        getinfo.ask("127.0.0.1", port)


@given(st.binary(max_size=400))
def test_bytes_never_raise(data: bytes) -> None:
    """Any bytes are either a clean Info or a reason in our own words."""
    for answer in (data, http(data)):
        for ended in ("whole", "closed", "reset", "late", "large"):
            told = getinfo.parse_answer(received(answer, ended))
            assert isinstance(told, getinfo.NoInfo)
            assert told.why.isascii()
            assert told.why.isprintable()
            assert len(told.why) < 100


@given(st.dictionaries(st.sampled_from(list(ANSWER)), values), st.booleans())
def test_any_json_is_cleaned(changes: dict[str, object], chunked: bool) -> None:
    """Whatever the values are, what is kept is bounded text without control characters; wrong kinds are left out."""
    body = json.dumps({**ANSWER, **changes}).encode()
    if chunked:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    info = getinfo.parse_answer(received(http(body, *(["Transfer-Encoding: chunked"] if chunked else []))))

    must = all(isinstance({**ANSWER, **changes}[key], str) for key in ("deviceID", "remoteName", "brandDisplayName"))
    assert isinstance(info, Info) == must
    if isinstance(info, Info):
        for name in Info.__slots__:
            text = getattr(info, name)
            assert len(text) <= getinfo.MAX_TEXT
            assert not any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in text)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(json.dumps(ANSWER).encode(), status="404 Not Found"), "it answers with HTTP status 404 instead of 200"),
        (http(b"{}", status="\x1b[31m7"), "it answers with HTTP without a status instead of 200"),
        (http(b"[]"), "the JSON that it answers is no object"),
        (http(b"{}"), "the JSON that it answers has no text for deviceID, remoteName, brandDisplayName"),
        (http(b"[" * 100_000), "what it answers by HTTP is no JSON"),
        (http(b"<html>\x1b[2J"), "what it answers by HTTP is no JSON"),
        (http(json.dumps({**ANSWER, "deviceID": 7}).encode()), "the JSON that it answers has no text for deviceID"),
        (json.dumps(ANSWER).encode(), "what it answers is no HTTP"),
        (b"SSH-2.0-x\r\n\r\n{}", "what it answers is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX", "its answer ends within the headers"),
    ],
)
def test_what_is_no_getinfo(answer: bytes, why: str) -> None:
    """Another status, another document, another protocol: not a family member, and why not."""
    assert getinfo.parse_answer(received(answer)) == getinfo.NoInfo(why)


def test_terminal_tricks_are_taken_out() -> None:
    """Escape sequences, line breaks and direction marks of a hostile name do not reach a terminal."""
    assert getinfo.clean("a\x1b[31mb\r\n\u202ec\u2028d\x00") == "a[31mbcd"
