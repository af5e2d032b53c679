"""The stranger's protocol: what is built is what a daemon takes apart, and answers are read with bounds."""

import base64
import hashlib
import hmac
import json
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.lab import stranger


def _open_outer(shared: int, blob: bytes) -> bytes:
    """What librespot's discovery server does with a blob: check the MAC, decrypt (server.rs)."""
    secret = shared.to_bytes((shared.bit_length() + 7) // 8, "big")
    base = hashlib.sha1(secret).digest()[:16]  # noqa: S324 - the protocol's own
    vector, encrypted, mac = blob[:16], blob[16:-20], blob[-20:]
    assert hmac.digest(hmac.digest(base, b"checksum", "sha1"), encrypted, "sha1") == mac
    key = hmac.digest(base, b"encryption", "sha1")[:16]
    cipher = Cipher(algorithms.AES(key), modes.CTR(vector)).decryptor()
    opened: bytes = cipher.update(encrypted) + cipher.finalize()
    return opened


def _open_inner(user: str, device: str, inner: bytes) -> tuple[int, bytes]:
    """What librespot's authentication does with the inner blob: kind and login (authentication.rs)."""
    base = hashlib.pbkdf2_hmac("sha1", hashlib.sha1(device.encode()).digest(), user.encode(), 0x100, 20)  # noqa: S324
    key = hashlib.sha1(base).digest() + struct.pack(">I", 20)  # noqa: S324 - the protocol's own
    cipher = Cipher(algorithms.AES(key), modes.ECB()).decryptor()  # noqa: S305 - the protocol's own
    data = bytearray(cipher.update(base64.b64decode(inner)) + cipher.finalize())
    for i in range(len(data) - 16):
        data[len(data) - i - 1] ^= data[len(data) - i - 17]
    position = 0

    def number() -> int:
        nonlocal position
        low = data[position]
        position += 1
        if not low & 0x80:
            return low
        high = data[position]
        position += 1
        return low & 0x7F | high << 7

    def text() -> bytes:
        nonlocal position
        length = number()
        position += length
        return bytes(data[position - length : position])

    position += 1
    assert text() == user.encode()
    position += 1
    kind = number()
    position += 1
    return kind, text()


@given(st.text(min_size=1, max_size=60), st.binary(min_size=1, max_size=300), st.integers(0, 200))
def test_a_daemon_can_open_what_the_stranger_wraps(user: str, login: bytes, kind: int) -> None:
    """Inner and outer blob come apart to the same login, whatever the name, its length, and the shared secret's leading zeros."""
    device = hashlib.sha1(b"living-room").hexdigest()  # noqa: S324 - the protocol's own
    shared = secrets.randbits(700)
    inner = stranger.inner_blob(user, device, login, kind=kind)
    assert _open_inner(user, device, _open_outer(shared, stranger.outer_blob(shared, inner))) == (kind, login)


def _serve(answer: bytes | Callable[[bytes], bytes]) -> tuple[int, threading.Thread, list[bytes]]:
    """A server on loopback that reads once, as librespot-python does, answers and closes."""
    server = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def run() -> None:
        with server:
            connection, _ = server.accept()
            with connection:
                seen.append(connection.recv(1 << 20))
                connection.sendall(answer(seen[0]) if callable(answer) else answer)

    thread = threading.Thread(target=run)
    thread.start()
    return server.getsockname()[1], thread, seen


def test_add_user_is_one_segment_that_the_daemon_side_can_verify() -> None:
    """Head and body arrive in one read, the form is complete, and the key exchange leads both sides to the same secret."""
    private = secrets.randbits(760)
    public = pow(2, private, stranger.PRIME)
    info = {"publicKey": base64.b64encode(public.to_bytes(96, "big")).decode(), "deviceID": "d" * 40}
    port, thread, seen = _serve(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"status":101}and more')
    answer = stranger.add_user("127.0.0.1", port, "mallory", info=info)
    thread.join()
    assert (answer.status, answer.json()) == (200, {"status": 101})
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
    shared = pow(int.from_bytes(base64.b64decode(form["clientKey"]), "big"), private, stranger.PRIME)
    inner = _open_outer(shared, base64.b64decode(form["blob"]))
    assert _open_inner("mallory", "d" * 40, inner) == (1, b"no such login")


def test_an_answer_without_length_is_read_until_the_end() -> None:
    """Java and python send no Content-Length with getInfo."""
    port, thread, _ = _serve(b'HTTP/1.1 200 OK\r\n\r\n{"remoteName": "x"}')
    assert stranger.get_info("127.0.0.1", port) == {"remoteName": "x"}
    thread.join()


@pytest.mark.parametrize(
    "said", [b"", b"nonsense", b"HTTP/1.1 200 OK\r\n\r\n[1]", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1 404 No\r\n\r\n"]
)
def test_what_is_no_answer_is_a_value_error(said: bytes) -> None:
    """A peer that speaks something else gives an error that callers expect."""
    port, thread, _ = _serve(said)
    with pytest.raises(ValueError, match=r"."):
        stranger.get_info("127.0.0.1", port)
    thread.join()


def test_a_silent_peer_times_out() -> None:
    """A listener that never answers costs no more than the time given."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(TimeoutError):
        stranger.get_info("127.0.0.1", server.getsockname()[1], timeout=0.2)


def test_info_survives_json() -> None:
    """An Answer's body is read as one JSON object."""
    assert stranger.Answer(200, json.dumps({"a": 1}).encode()).json() == {"a": 1}
