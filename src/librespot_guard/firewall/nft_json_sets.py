"""Sets, maps and their elements as `nft -j` prints them."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from librespot_guard.firewall.model import (
    SET_ANONYMOUS,
    SET_CONCAT,
    SET_CONSTANT,
    SET_EVAL,
    SET_INTERVAL,
    SET_MAP,
    SET_OBJECT,
    SET_TIMEOUT,
    Element,
    Set,
    Verdict,
)
from librespot_guard.firewall.nft_json_code import Code, keys, only, shown
from librespot_guard.firewall.nft_json_load import fields
from librespot_guard.firewall.nft_json_types import TYPES, Type, Unsupported, encoded, literal, number, wildcard

FLAGS = {"constant": SET_CONSTANT, "interval": SET_INTERVAL, "timeout": SET_TIMEOUT, "dynamic": SET_EVAL}
OBJECTS = {
    "counter": 1,
    "quota": 2,
    "ct helper": 3,
    "limit": 4,
    "ct timeout": 7,
    "secmark": 8,
    "ct expectation": 9,
    "synproxy": 10,
}
_VERDICTS = ("accept", "drop", "continue", "return", "queue")
_CONDITIONS = ("limit", "quota", "ct count", "connlimit")
_ASIDE = ("counter", "last")


def verdict(value: Any) -> Verdict | None:
    """A verdict such as {"jump": {"target": "x"}}; None if it is none."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((name, body),) = value.items()
    if name in _VERDICTS:
        if body is not None and name != "queue":
            raise Unsupported(f"the verdict {shown(value)}")
        return Verdict(name)
    if name in ("jump", "goto"):
        target = keys(body, ("target",))["target"]
        if not isinstance(target, str):
            raise Unsupported(f"the chain {shown(target)}")
        return Verdict(name, target)
    return None


def types(value: Any, family: str, interfaces: Mapping[str, int]) -> list[Type]:
    """The fields of a key: type names, or `typeof` with expressions."""
    if isinstance(value, dict):
        body = keys(value, ("typeof",))["typeof"]
        return [loaded.kind for loaded in fields(Code(family, interfaces), body)]
    # the fields of a concatenation in the data of a map are one text
    names = value if isinstance(value, list) else value.split(" . ") if isinstance(value, str) else [value]
    out = []
    for name in names:
        if not isinstance(name, str) or name not in TYPES or name in ("integer", "string"):
            raise Unsupported(f"the type {shown(name)}")
        out.append(TYPES[name])
    return out


class Elements:
    """Reads the elements of one set with fields of these types; `network` if its keys are compared as intervals."""

    def __init__(self, kinds: Sequence[Type], interfaces: Mapping[str, int], *, interval: bool) -> None:
        self.kinds, self.interfaces, self.interval = kinds, interfaces, interval

    def _constant(self, kind: Type, value: int) -> bytes:
        return value.to_bytes(kind.length, "big") if self.interval else encoded(kind, value)

    def _field(self, kind: Type, value: Any) -> tuple[bytes, bytes]:
        low, high = bounds(kind, value, self.interfaces)
        if low != high and not self.interval:
            raise Unsupported(f"the interval {shown(value)} in a set without intervals")
        return self._constant(kind, low), self._constant(kind, high)

    def key(self, value: Any) -> tuple[bytes, bytes]:
        """The first and the last key that an element stands for."""
        if len(self.kinds) == 1:
            return self._field(self.kinds[0], value)
        parts = keys(value, ("concat",))["concat"]
        if not isinstance(parts, list) or len(parts) != len(self.kinds):
            raise Unsupported(f"the key {shown(value)}")
        low = high = b""
        for kind, part in zip(self.kinds, parts, strict=True):
            first, last = self._field(kind, part)
            padding = bytes(-kind.length % 4)
            low, high = low + first + padding, high + last + padding
        return low, high

    def read(self, value: Any, data: bytes | Verdict | None = None) -> list[Element]:
        """The elements of the model for one element of the listing. Raises Unsupported."""
        timeout = expires = None
        conditional = False
        if isinstance(value, dict) and list(value) == ["elem"]:
            body = keys(value["elem"], ("val",), ("timeout", "expires", "comment", *_CONDITIONS, *_ASIDE))
            value = body["val"]
            timeout, expires = _milliseconds(body.get("timeout")), _milliseconds(body.get("expires"))
            conditional = any(name in body for name in _CONDITIONS)
        if value == "*":
            return [Element(b"", None, False, True, data, timeout, expires, conditional)]
        low, high = self.key(value)
        concatenated = len(self.kinds) > 1
        if not self.interval:
            return [Element(low, None, False, False, data, timeout, expires, conditional)]
        if concatenated:
            return [Element(low, high, False, False, data, timeout, expires, conditional)]
        out = [Element(low, None, False, False, data, timeout, expires, conditional)]
        if (after := int.from_bytes(high, "big") + 1) < 1 << 8 * len(high):
            out.append(Element(after.to_bytes(len(high), "big"), interval_end=True))
        return out


def _milliseconds(seconds: Any) -> int | None:
    if seconds is None:
        return None
    if not isinstance(seconds, int) or seconds < 0:
        raise Unsupported(f"the time {shown(seconds)}")
    return seconds * 1000


def bounds(kind: Type, value: Any, interfaces: Mapping[str, int]) -> tuple[int, int]:
    """The least and greatest number that a constant, prefix, range or wildcard stands for."""
    if (start := wildcard(value)) is not None and kind.name == "ifname":
        return int.from_bytes(start.ljust(16, b"\0"), "big"), int.from_bytes(start.ljust(16, b"\xff"), "big")
    if isinstance(value, dict) and list(value) == ["prefix"]:
        body = keys(value["prefix"], ("addr", "len"))
        low, size = number(kind, body["addr"], interfaces), body["len"]
        if not isinstance(size, int) or not 0 <= size <= kind.bits:
            raise Unsupported(f"the prefix {shown(value)}")
        rest = (1 << kind.bits - size) - 1
        return low & ~rest, low | rest
    if isinstance(value, dict) and list(value) == ["range"]:
        ends = value["range"]
        if not isinstance(ends, list) or len(ends) != 2:
            raise Unsupported(f"the range {shown(value)}")
        low, high = (number(kind, end, interfaces) for end in ends)
        if low > high:
            raise Unsupported(f"the range {shown(value)}")
        return low, high
    found = number(kind, literal(value), interfaces)
    return found, found


def has_intervals(values: Any) -> bool:
    """Whether elements are given as prefixes, ranges or wildcards."""
    if isinstance(values, dict):
        return any(name in ("prefix", "range") or has_intervals(v) for name, v in values.items())
    if isinstance(values, list):
        return any(has_intervals(v) for v in values)
    return wildcard(values) not in (None, b"")


def build(name: str, kinds: Sequence[Type], elements: Sequence[Element], *, flags: int, data_length: int = 0) -> Set:
    """A finished set."""
    if len(kinds) == 1:
        return Set(name, flags, kinds[0].length, tuple(elements), data_length=data_length)
    lengths = tuple(k.length for k in kinds)
    size = sum((n + 3) // 4 * 4 for n in lengths)
    return Set(name, flags | SET_CONCAT, size, tuple(elements), lengths, data_length)


def data_bytes(kinds: Sequence[Type], value: Any, interfaces: Mapping[str, int]) -> bytes:
    """The data of a map element: one constant, or the fields of a concatenation."""
    if len(kinds) == 1:
        return encoded(kinds[0], number(kinds[0], literal(value), interfaces))
    parts = keys(value, ("concat",))["concat"]
    if not isinstance(parts, list) or len(parts) != len(kinds):
        raise Unsupported(f"the data {shown(value)}")
    return b"".join(
        encoded(k, number(k, literal(p), interfaces)) + bytes(-k.length % 4) for k, p in zip(kinds, parts, strict=True)
    )


def address_kinds(value: Any) -> list[Type]:
    """The types of map data that stand in a rule: addresses, or an address and a port."""
    parts = value["concat"] if isinstance(value, dict) and list(value) == ["concat"] else [value]
    out = []
    for part in parts if isinstance(parts, list) else [parts]:
        if isinstance(part, int):
            out.append(TYPES["inet_service"])
            continue
        try:
            out.append(TYPES["ipv4_addr" if ip_address(str(part)).version == 4 else "ipv6_addr"])
        except ValueError:
            raise Unsupported(f"the data {shown(value)}") from None
    return out


ANONYMOUS = SET_ANONYMOUS | SET_CONSTANT
MAP, OBJECT = SET_MAP, SET_OBJECT


def set_body(value: Any) -> list[Any]:
    """The elements of an anonymous set."""
    name, body = only(value)
    if name != "set":
        raise Unsupported(f"the set {shown(value)}")
    return body if isinstance(body, list) else [body]
