"""Asking getInfo: bounded in time and size, cleaned, and never an exception, whoever answers."""

import json
import socket
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import getinfo
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
        assert getinfo.ask("127.0.0.1", port) is not None
    assert time.monotonic() - started < getinfo.SECONDS


def test_silence_drips_and_floods_end() -> None:
    """A listener that says nothing, drips or floods costs no more than the time and the bytes allowed."""
    sent = [0]

    def silent(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    def drip(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"H")
            time.sleep(0.05)

    def flood(connection: socket.socket) -> None:
        connection.sendall(http(b""))
        while True:
            sent[0] += connection.send(b"x" * 65536)

    for behave in (silent, drip, flood):
        started = time.monotonic()
        with server(behave) as port:
            assert getinfo.ask("127.0.0.1", port, seconds=0.4) is None
        assert time.monotonic() - started < 2
    assert sent[0] < 32 << 20  # what socket buffers hold, not more


def test_nobody_there() -> None:
    """Where nothing listens, the caller learns that, so that it can try another address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        getinfo.ask("127.0.0.1", port)


@given(st.binary(max_size=400))
def test_bytes_never_raise(data: bytes) -> None:
    """Any bytes are either no answer or a clean Info."""
    assert getinfo.parse_answer(data) is None
    assert getinfo.parse_answer(http(data)) is None or data.strip().startswith(b"{")


@given(st.dictionaries(st.sampled_from(list(ANSWER)), values), st.booleans())
def test_any_json_is_cleaned(changes: dict[str, object], chunked: bool) -> None:
    """Whatever the values are, what is kept is bounded text without control characters; wrong kinds are left out."""
    body = json.dumps({**ANSWER, **changes}).encode()
    if chunked:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    info = getinfo.parse_answer(http(body, *(["Transfer-Encoding: chunked"] if chunked else [])))

    must = all(isinstance({**ANSWER, **changes}[key], str) for key in ("deviceID", "remoteName", "brandDisplayName"))
    assert (info is not None) == must
    if info is not None:
        for name in Info.__slots__:
            text = getattr(info, name)
            assert len(text) <= getinfo.MAX_TEXT
            assert not any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in text)


@pytest.mark.parametrize(
    "answer",
    [
        http(json.dumps(ANSWER).encode(), status="404 Not Found"),
        http(b"[]"),
        http(b"{}"),
        http(b"[" * 100_000),
        http(json.dumps({**ANSWER, "deviceID": 7}).encode()),
        json.dumps(ANSWER).encode(),
        b"SSH-2.0-x\r\n\r\n{}",
    ],
)
def test_what_is_no_getinfo(answer: bytes) -> None:
    """Another status, another document, another protocol: not a family member."""
    assert getinfo.parse_answer(answer) is None


def test_terminal_tricks_are_taken_out() -> None:
    """Escape sequences, line breaks and direction marks of a hostile name do not reach a terminal."""
    assert getinfo.clean("a\x1b[31mb\r\n\u202ec\u2028d\x00") == "a[31mbcd"
