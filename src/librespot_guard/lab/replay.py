"""Loading a recorded ruleset again: the messages of a dump become one transaction for another namespace of the same kernel.

A dump and a request have the same messages, except for what the kernel numbers, counts or binds by itself (handles, use counts,
positions, running times, owners), which is left out here, and what a dump leaves out, which is put back: the id that a new set must
have, and the protocol that an xt match or target is checked against (net/netfilter/nft_compat.c).
Attribute numbers: include/uapi/linux/netfilter/nf_tables.h.
"""

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from librespot_guard.errors import InputError, MachineError
from librespot_guard.lab import _nfnetlink
from librespot_guard.lab._nfnetlink import NLM_F_APPEND, NLM_F_CREATE, attribute
from librespot_guard.snapshot import NftDump

_TABLE, _CHAIN, _RULE, _SET, _ELEMENTS, _OBJECT, _FLOWTABLE = 0, 3, 6, 9, 12, 18, 22
_KEPT = {
    _TABLE: {1, 2, 6},  # name, flags, userdata
    _CHAIN: {
        1,
        3,
        4,
        5,
        7,
        12,
    },  # table, name, hook, policy, type, userdata; no flags: a bound chain becomes an ordinary one
    _RULE: {1, 2, 4, 7},  # table, chain, expressions, userdata
    _SET: {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 17, 18},  # all but id, handle, type, count
    _ELEMENTS: {1, 2},  # table, set; the list (3) is rebuilt
    _OBJECT: {1, 2, 3, 4, 8},  # table, name, type, data, userdata
    _FLOWTABLE: {1, 2, 3, 7},  # table, name, hook, flags
}
_NAMED = {
    _TABLE: "table",
    _CHAIN: "chain",
    _RULE: "a rule of chain",
    _SET: "set",
    _ELEMENTS: "elements of set",
    _OBJECT: "object",
    _FLOWTABLE: "flowtable",
}
_NESTED = 0x8000
_TABLE_DORMANT = 1
_ELEM_TIMEOUT, _ELEM_EXPIRATION = 4, 5
_AN_HOUR = 3_600_000
_INTERVAL = 0x4


@dataclass(frozen=True, slots=True)
class _Raw:
    """An attribute as it stands in a message."""

    kind: int
    flags: int
    value: bytes

    def packed(self) -> bytes:
        return attribute(self.kind | self.flags, self.value)


@dataclass(frozen=True, slots=True)
class Request:
    """One message of the transaction, and how to name it to a person."""

    kind: int
    flags: int
    payload: bytes
    what: str


def attributes(data: bytes) -> Iterator[_Raw]:
    """The attributes of a message or of a nested attribute. Raises InputError if they are cut."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4 or offset + length > len(data):
            raise InputError("packet filter dump: an attribute is cut")
        yield _Raw(kind & 0x3FFF, kind & 0xC000, data[offset + 4 : offset + length])
        offset += (length + 3) & ~3


def requests(dump: NftDump) -> list[Request]:
    """The transaction that loads what the dump holds. Raises InputError if the dump is cut."""
    out: list[Request] = []
    data, offset = dump.data, 0
    while offset + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 20 or offset + length > len(data):
            raise InputError("packet filter dump: a message is cut")
        if kind >> 8 == 10 and kind & 0xFF in _KEPT:
            out.append(
                _request(
                    kind & 0xFF, data[offset + 16 : offset + 20], data[offset + 20 : offset + length], len(out) + 1
                )
            )
        offset += (length + 3) & ~3
    return out


def _request(kind: int, head: bytes, data: bytes, number: int) -> Request:
    found = list(attributes(data))
    kept = [a for a in found if a.kind in _KEPT[kind]]
    if kind == _TABLE:
        kept = [_dormant_only(a) if a.kind == 2 else a for a in kept]
    elif kind == _SET:
        kept.append(_Raw(10, 0, struct.pack(">I", number)))
    elif kind == _ELEMENTS:
        kept += [_Raw(3, _NESTED, _elements(a.value)) for a in found if a.kind == 3]
    elif kind == _RULE:
        kept = [_Raw(4, a.flags, _expressions(a.value)) if a.kind == 4 else a for a in kept]
        expressions = next((a.value for a in kept if a.kind == 4), b"")
        if (compat := _compat(expressions)) is not None:
            kept.append(compat)
    flags = NLM_F_CREATE | (NLM_F_APPEND if kind == _RULE else 0)
    payload = head[:2] + b"\0\0" + b"".join(a.packed() for a in kept)
    return Request(kind, flags, payload, _what(kind, found))


def _what(kind: int, found: list[_Raw]) -> str:
    texts = {a.kind: a.value.split(b"\0")[0].decode("utf-8", "replace") for a in found if a.kind in (1, 2, 3)}
    if kind == _TABLE:
        return f"table {texts.get(1, '?')}"
    return f"{_NAMED[kind]} {texts.get(3 if kind == _CHAIN else 2, '?')} in table {texts.get(1, '?')}"


def _dormant_only(flags: _Raw) -> _Raw:
    """A table's flags without those that tie it to a process."""
    (value,) = struct.unpack(">I", flags.value)
    return _Raw(flags.kind, flags.flags, struct.pack(">I", value & _TABLE_DORMANT))


def _elements(data: bytes) -> bytes:
    """The list of elements, each without its running time, so that none ends while packets are sent."""
    out = []
    for element in attributes(data):
        kept = []
        for a in attributes(element.value):
            if a.kind == _ELEM_EXPIRATION:
                continue
            if a.kind == _ELEM_TIMEOUT:
                (milliseconds,) = struct.unpack(">Q", a.value)
                kept.append(
                    _Raw(a.kind, a.flags, struct.pack(">Q", max(milliseconds, _AN_HOUR) if milliseconds else 0))
                )
            else:
                kept.append(a)
        out.append(_Raw(element.kind, element.flags | _NESTED, b"".join(a.packed() for a in kept)).packed())
    return b"".join(out)


def _expressions(data: bytes) -> bytes:
    """The expressions of a rule, without what the kernel prints of an expression but does not take back."""
    out = []
    for item in attributes(data):
        parts = list(attributes(item.value))
        if any(p.kind == 1 and p.value.rstrip(b"\0") == b"exthdr" for p in parts):
            parts = [_Raw(p.kind, p.flags, _exthdr(p.value)) if p.kind == 2 else p for p in parts]
        out.append(_Raw(item.kind, item.flags, b"".join(p.packed() for p in parts)).packed())
    return b"".join(out)


def _exthdr(data: bytes) -> bytes:
    """Where it writes (it has a source register, 7), `exthdr` takes no flags (5)."""
    found = list(attributes(data))
    writes = any(a.kind == 7 for a in found)
    return b"".join(a.packed() for a in found if not (writes and a.kind == 5))


def _compat(expressions: bytes) -> _Raw | None:
    """NFTA_RULE_COMPAT for a rule with an xt match or target: the protocol that the rule compares, 0 if it compares none."""
    names, protocol, loads = [], 0, False
    for item in attributes(expressions):
        parts = {a.kind: a.value for a in attributes(item.value)}
        name = parts.get(1, b"").rstrip(b"\0")
        body = {a.kind: a.value for a in attributes(parts.get(2, b""))}
        names.append(name)
        if name == b"cmp" and loads and not protocol and body.get(2) == struct.pack(">I", 0):
            data = {a.kind: a.value for a in attributes(body.get(3, b""))}.get(1, b"")
            protocol = data[0] if data else 0
        loads = (name == b"meta" and body.get(2) == struct.pack(">I", 16)) or (
            # ip protocol, ip6 nexthdr
            name == b"payload"
            and body.get(2) == struct.pack(">I", 1)
            and body.get(4) == struct.pack(">I", 1)
            and body.get(3) in (struct.pack(">I", 9), struct.pack(">I", 6))
        )
    if not {b"match", b"target"} & set(names):
        return None
    return _Raw(5, _NESTED, attribute(1, struct.pack(">I", protocol)) + attribute(2, struct.pack(">I", 0)))


def load(dump: NftDump, *, byteorder: str) -> None:
    """Load a dump into the (empty) ruleset of the calling thread's network namespace, as one transaction.

    Raises:
        MachineError: the kernel refuses a part; it is named, and nothing is loaded.
        InputError: the dump is cut.
    """
    if byteorder != sys.byteorder:
        raise MachineError(
            "the rules come from a machine of the other byte order and can't be loaded here",
            hint="run this on a machine of the same kind",
        )
    wanted = requests(dump)
    if not wanted:
        return
    try:
        _nfnetlink.transact([(r.kind, r.flags, r.payload) for r in wanted])
    except _nfnetlink.RefusedError as error:
        what = wanted[error.number - 1].what if 0 < error.number <= len(wanted) else "the whole"
        raise MachineError(f"the kernel of this machine refused {what}: {error.reason}") from None
