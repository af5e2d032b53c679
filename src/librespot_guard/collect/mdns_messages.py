"""Questions for Spotify Connect speakers by multicast DNS, and the answers, read with suspicion.

RFC 6762 (multicast DNS), RFC 6763 (service discovery), RFC 1035 section 4 (messages, name compression).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

SERVICE = "_spotify-connect._tcp.local"
PORT = 5353
GROUP = {"ipv4": "224.0.0.251", "ipv6": "ff02::fb"}
_A, _PTR, _TXT, _AAAA, _SRV = 1, 12, 16, 28, 33
LONGEST = 9000  # bytes of a message, RFC 6762 section 17
_MOST_RECORDS = 256
MOST_FOUND = 256
_MOST_ADDRESSES = 32
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


def read(message: bytes, found: dict[str, Found], *, service: str = SERVICE) -> bool:
    """Add what a message says of speakers to `found` (by instance name). False for a message that is broken, which adds little or nothing.

    What is kept is bounded and printable; nothing that it says is believed.
    """
    try:
        records = list(_records(message))
        instances = [_name(message, r.start)[0] for r in records if r.kind == _PTR and r.name.lower() == service]
        for instance in instances:
            if instance.lower().endswith("." + service) and (instance in found or len(found) < MOST_FOUND):
                found.setdefault(instance, Found(_printable(instance[: -len(service) - 1])))
        for record in records:
            if record.kind == _SRV and len(record.data) > 6:
                port = struct.unpack_from(">H", record.data, 4)[0]
                _located(found, record.name, _printable(_name(message, record.start + 6)[0]), port)
            elif record.kind == _TXT:
                for known in _of(found, record.name):
                    known.txt = _text(record.data)
    except _MalformedError:
        return False
    hosts: dict[str, list[str]] = {}
    for record in records:
        if _is_address(record):
            hosts.setdefault(_printable(record.name).lower(), []).append(_address(record))
    for known in found.values():
        more = hosts.get(known.host.lower(), ()) if known.host else ()
        known.addresses = tuple(dict.fromkeys((*known.addresses, *more)))[:_MOST_ADDRESSES]
    return True


def _of(found: dict[str, Found], instance: str) -> list[Found]:
    """What was found under an instance name: more than one if two responders differ about where it listens."""
    return [one for key, one in found.items() if key.partition("\0")[0] == instance]


def _located(found: dict[str, Found], instance: str, host: str, port: int) -> None:
    """An SRV record: where an instance listens. What contradicts an earlier one is kept beside it, not in its place."""
    same = _of(found, instance)
    if not same or any((one.host, one.port) == (host, port) for one in same):
        return
    for one in same:
        if not one.port:
            one.host, one.port = host, port
            return
    if len(found) < MOST_FOUND:
        found[f"{instance}\0{host}\0{port}"] = Found(same[0].name, host, port, txt=dict(same[0].txt))


def _is_address(record: _Record) -> bool:
    return (record.kind, len(record.data)) in ((_A, 4), (_AAAA, 16))


def _address(record: _Record) -> str:
    return str(IPv4Address(record.data) if record.kind == _A else IPv6Address(record.data))


def _records(message: bytes) -> Iterator[_Record]:
    if len(message) < 12:
        raise _MalformedError("shorter than a header")
    _, flags, questions, *counts = struct.unpack_from(">HHHHHH", message)
    if not flags & 0x8000:
        return  # a question
    if questions > _MOST_RECORDS or sum(counts) > _MOST_RECORDS:
        raise _MalformedError("too many records")
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
