"""A phone's question for Spotify Connect speakers by multicast DNS, and the answers, read with suspicion.

RFC 6762 (multicast DNS), RFC 6763 (service discovery), RFC 1035 section 4 (messages, name compression).
"""

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

SERVICE = "_spotify-connect._tcp.local"
PORT = 5353
GROUP = {"ipv4": "224.0.0.251", "ipv6": "ff02::fb"}
_A, _PTR, _TXT, _AAAA, _SRV = 1, 12, 16, 28, 33
_LONGEST_MESSAGE = 9000  # RFC 6762 section 17
_MOST_RECORDS = 256
_MOST_JUMPS = 64


@dataclass(slots=True)
class Found:
    """A speaker that answered: its announced name, where it listens, and its TXT record."""

    name: str
    host: str = ""
    port: int = 0
    addresses: tuple[str, ...] = ()
    txt: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Record:
    name: str
    kind: int
    start: int
    data: bytes


class _MalformedError(ValueError):
    """A message that is no DNS message."""


def question(service: str = SERVICE, *, unicast: bool = False) -> bytes:
    """A query for the instances of a service, answered by multicast, or (RFC 6762 section 5.4) straight to who asks."""
    labels = b"".join(bytes([len(label)]) + label for label in service.encode().split(b"."))
    return (
        struct.pack(">HHHHHH", 0, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", _PTR, 0x8001 if unicast else 1)
    )


def discover(dev: str, *, family: str = "ipv4", timeout: float = 2.0, service: str = SERVICE) -> list[Found]:
    """Ask on an interface of the calling thread's network namespace; returns as soon as one answer is complete.

    As a phone does that has just come (RFC 6762 sections 5.2 and 5.4), the first question asks for an answer straight to us, and
    it is repeated every second as one to be answered by multicast. (librespot-python answers the second kind only in the first
    seconds after its start.) Every speaker that answered within the time is returned; none is an empty list. Raises OSError if
    nothing can be sent.
    """
    found: dict[str, Found] = {}
    index = socket.if_nametoindex(dev)
    target = (GROUP[family], PORT) if family == "ipv4" else (GROUP[family], PORT, 0, index)
    with _socket(family, index) as sock:
        begun = time.monotonic()
        asked = 0
        while (now := time.monotonic() - begun) < timeout:
            if now >= asked:
                sock.sendto(question(service, unicast=asked == 0), target)
                asked += 1
            sock.settimeout(max(0.001, min(asked, timeout) - now))
            try:
                message, sender = sock.recvfrom(_LONGEST_MESSAGE)
            except TimeoutError:
                continue
            if sender[1] != PORT:  # RFC 6762 section 6: answers come from 5353
                continue
            read(message, found, service=service)
            if any(f.port and f.addresses for f in found.values()):
                break
    return list(found.values())


def _socket(family: str, index: int) -> socket.socket:
    sock = socket.socket(
        socket.AF_INET if family == "ipv4" else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == "ipv4":
            member = socket.inet_aton(GROUP["ipv4"]) + struct.pack("=4si", b"\0" * 4, index)
            sock.bind(("", PORT))
            sock.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"\0" * 4, b"\0" * 4, index)
            )
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("::", PORT))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            sock.setsockopt(
                socket.IPPROTO_IPV6,
                socket.IPV6_JOIN_GROUP,
                socket.inet_pton(socket.AF_INET6, GROUP["ipv6"]) + struct.pack("=i", index),
            )
    except BaseException:
        sock.close()
        raise
    return sock


def read(message: bytes, found: dict[str, Found], *, service: str = SERVICE) -> None:
    """Add what a message says of speakers to `found` (by instance name). A message that is no DNS answer adds nothing."""
    try:
        records = list(_records(message))
        instances = [_name(message, r.start)[0] for r in records if r.kind == _PTR and r.name.lower() == service]
        for instance in instances:
            if instance.lower().endswith("." + service):
                found.setdefault(instance, Found(_printable(instance[: -len(service) - 1])))
        for record in records:
            known = found.get(record.name)
            if known is None:
                continue
            if record.kind == _SRV and len(record.data) > 6:
                known.port = struct.unpack_from(">H", record.data, 4)[0]
                known.host = _printable(_name(message, record.start + 6)[0])
            elif record.kind == _TXT:
                known.txt = _text(record.data)
    except _MalformedError:
        return
    for known in found.values():
        known.addresses = tuple(
            dict.fromkeys(
                (
                    *known.addresses,
                    *(_address(r) for r in records if known.host and r.name == known.host and _is_address(r)),
                )
            )
        )


def _is_address(record: _Record) -> bool:
    return (record.kind, len(record.data)) in ((_A, 4), (_AAAA, 16))


def _address(record: _Record) -> str:
    return str(IPv4Address(record.data) if record.kind == _A else IPv6Address(record.data))


def _records(message: bytes) -> Iterator[_Record]:
    if len(message) < 12:
        raise _MalformedError("shorter than a header")
    _, flags, questions, *counts = struct.unpack_from(">HHHHHH", message)
    if not flags & 0x8000 or questions > _MOST_RECORDS or sum(counts) > _MOST_RECORDS:
        raise _MalformedError("no answer, or too many records")
    offset = 12
    for _ in range(questions):
        _, offset = _name(message, offset)
        offset += 4
    for _ in range(sum(counts)):
        name, offset = _name(message, offset)
        if offset + 10 > len(message):
            raise _MalformedError("a record is cut off")
        kind, _, _, length = struct.unpack_from(">HHIH", message, offset)
        offset += 10
        if offset + length > len(message):
            raise _MalformedError("a record is cut off")
        yield _Record(name, kind, offset, message[offset : offset + length])
        offset += length


def _name(message: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset` and the offset behind it."""
    labels: list[str] = []
    end = None
    for _ in range(_MOST_JUMPS * 2):
        if offset >= len(message):
            break
        length = message[offset]
        if length == 0:
            return ".".join(labels), end if end is not None else offset + 1
        if length & 0xC0 == 0xC0 and offset + 1 < len(message):
            end = end if end is not None else offset + 2
            offset = struct.unpack_from(">H", message, offset)[0] & 0x3FFF
        elif length & 0xC0 == 0:
            labels.append(message[offset + 1 : offset + 1 + length].decode("utf-8", "replace"))
            offset += 1 + length
        else:
            break
    raise _MalformedError("a name is cut off or turns in a circle")


def _text(data: bytes) -> dict[str, str]:
    out: dict[str, str] = {}
    offset = 0
    while offset < len(data):
        entry = data[offset + 1 : offset + 1 + data[offset]].decode("utf-8", "replace")
        key, _, value = entry.partition("=")
        if key:
            out.setdefault(_printable(key), _printable(value))
        offset += 1 + data[offset]
    return out


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:255]
