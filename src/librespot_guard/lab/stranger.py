"""What anybody on the network can say to a Spotify Connect listener: the real protocol, without any secret.

`getInfo` reads; `addUser` hands over a login. The only protection of `addUser` is an unauthenticated Diffie-Hellman exchange (RFC
2409 group 1, generator 2), so whoever can reach the port can make a well-formed one. Format of the outer and the inner blob:
librespot `discovery/src/server.rs` and `core/src/authentication.rs`. AES comes from `cryptography`, imported only when needed.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from librespot_guard.errors import MachineError

# RFC 2409 section 6.1
PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A63A3620FFFFFFFFFFFFFFFF",
    16,
)
_MOST = 1 << 20
# seconds in which a peer that says no length closes, if it does
_CLOSING = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ValueError if it is none."""
        # librespot-java writes a second answer behind the first when the login fails at once
        document, _ = json.JSONDecoder().raw_decode(self.body.decode("utf-8", "replace"))
        if not isinstance(document, dict):
            raise ValueError("the answer is no JSON object")  # noqa: TRY004 - what the peer sent, not what a caller passed
        return document


def get_info(address: str, port: int, *, timeout: float = 2.0) -> dict[str, Any]:
    """What the listener says of itself to anybody. Raises OSError (TimeoutError when packets vanish) or ValueError."""
    answer = _ask(address, port, "GET", "/?action=getInfo", b"", timeout)
    if answer.status != 200:
        raise ValueError(f"getInfo was answered with status {answer.status}")
    return answer.json()


def add_user(address: str, port: int, user: str, *, info: dict[str, Any] | None = None, timeout: float = 5.0) -> Answer:
    """One well-formed `addUser` with an invalid login inside. Raises OSError, ValueError, or MachineError without `cryptography`."""
    info = info or get_info(address, port, timeout=timeout)
    server_key = int.from_bytes(base64.b64decode(str(info["publicKey"])), "big")
    private = secrets.randbits(95 * 8)
    shared = pow(server_key, private, PRIME)
    form = {
        "action": "addUser",
        "userName": user,
        "blob": base64.b64encode(
            outer_blob(shared, inner_blob(user, str(info["deviceID"]), b"no such login"))
        ).decode(),
        "clientKey": base64.b64encode(_number(pow(2, private, PRIME))).decode(),
        "deviceName": "stranger",
        "deviceId": hashlib.sha1(b"stranger").hexdigest(),  # noqa: S324 - the protocol's own
        "loginId": secrets.token_hex(16),
        "tokenType": "default",
        "version": "2.7.1",
    }
    return _ask(address, port, "POST", "/", urlencode(form).encode(), timeout)


def rename(address: str, port: int, name: str, *, timeout: float = 5.0) -> Answer:
    """Change the announced name by the API of go-librespot, which asks nobody who he is. Raises OSError, ValueError."""
    return _ask(address, port, "POST", "/set_device_name", json.dumps({"name": name}).encode(), timeout)


def inner_blob(user: str, device_id: str, login: bytes, *, kind: int = 1) -> bytes:
    """The login (`kind` 1: a reusable credential) encrypted for one user name and device, base64 (authentication.rs)."""
    name = user.encode()
    plain = b"I" + _with_length(name) + b"P" + _varint(kind) + b"Q" + _with_length(login)
    plain += b"\0" * (-len(plain) % 16)
    chained = bytearray(plain)
    for i in range(16, len(chained)):
        chained[i] ^= chained[i - 16]
    secret = hashlib.sha1(device_id.encode()).digest()  # noqa: S324 - the protocol's own
    base = hashlib.pbkdf2_hmac("sha1", secret, name, 0x100, 20)
    key = hashlib.sha1(base).digest() + struct.pack(">I", 20)  # noqa: S324 - the protocol's own
    return base64.b64encode(_aes(key, None, bytes(chained)))


def outer_blob(shared: int, inner: bytes) -> bytes:
    """Initialisation vector, AES-128-CTR of the inner blob, HMAC-SHA1: both keys from the shared secret (server.rs)."""
    base = hashlib.sha1(_number(shared)).digest()[:16]  # noqa: S324 - the protocol's own
    checksum_key = hmac.digest(base, b"checksum", "sha1")
    encryption_key = hmac.digest(base, b"encryption", "sha1")[:16]
    vector = secrets.token_bytes(16)
    encrypted = _aes(encryption_key, vector, inner)
    return vector + encrypted + hmac.digest(checksum_key, encrypted, "sha1")


def _aes(key: bytes, vector: bytes | None, data: bytes) -> bytes:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415 - an extra
    except ImportError:
        raise MachineError(
            "the stranger needs the Python package `cryptography`",
            hint="install it with `pip install 'librespot-guard[lab]'`",
        ) from None
    mode = modes.ECB() if vector is None else modes.CTR(vector)  # noqa: S305 - the protocol's own
    encryptor = Cipher(algorithms.AES(key), mode).encryptor()
    result: bytes = encryptor.update(data) + encryptor.finalize()
    return result


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80, value >> 7])


def _with_length(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _ask(address: str, port: int, method: str, path: str, body: bytes, timeout: float) -> Answer:
    """One request in one segment (librespot-python reads no more than one), and the answer until the peer closes or is complete."""
    bare = address.partition("%")[0]
    host = f"[{bare}]:{port}" if ":" in address else f"{address}:{port}"
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
    deadline = time.monotonic() + timeout
    with socket.create_connection((address, port), timeout) as sock:
        # end by a reset, so that no TIME-WAIT at the daemon keeps it from binding its port again after a restart
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        sock.sendall(head.encode() + b"\r\n" + body)
        data = b""
        while len(data) < _MOST and not _complete(data):
            sock.settimeout(max(0.01, deadline - time.monotonic()))
            part = sock.recv(65536)
            if not part:
                break
            data += part
        if _length(data.partition(b"\r\n\r\n")[0]) is None:
            # librespot-python closes what it accepted last, not what it answered: the next request must not come before it has closed this
            sock.settimeout(_CLOSING)
            with contextlib.suppress(OSError):
                sock.recv(1)
    return _parse(data)


def _complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = _length(head) if end else None
    if length is not None:
        return len(body) >= length
    # librespot-java does not say how long its answer is, and keeps the connection while a login is under way
    return body.endswith(b"}") and _is_json(body)


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None


def _parse(data: bytes) -> Answer:
    head, end, body = data.partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split()
    if not end or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("no HTTP answer" if data else "the connection was closed without an answer")
    return Answer(int(words[1]), body[: _length(head)])
