"""Values in rules of iptables: ports, marks, flags, interfaces, and the comparisons that they make."""

import struct
from collections.abc import Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

from librespot_guard.firewall.iptables_save import Module
from librespot_guard.firewall.model import (
    Bitwise,
    Cmp,
    Expr,
    Limit,
    Meta,
    Xt,
)
from librespot_guard.firewall.nft_json_types import PROTOCOLS, Unsupported

Option = tuple[bool, str, tuple[str, ...]]
_RATES = {
    "sec": 1,
    "second": 1,
    "s": 1,
    "min": 60,
    "minute": 60,
    "m": 60,
    "hour": 3600,
    "h": 3600,
    "day": 86400,
    "d": 86400,
}


def protocol(text: str, *, inverted: bool) -> list[Expr]:
    """`-p`: the protocol behind IPv6 extension headers, as ip6tables finds it. Raises Unsupported."""
    if text in ("all", "0") and not inverted:
        return []
    value = PROTOCOLS.get(text.lower(), int(text) if text.isdecimal() else -1)
    if not 0 < value < 256:
        raise Unsupported(f"the protocol {text}")
    return [Meta("l4proto", 0), Cmp("neq" if inverted else "eq", 0, bytes([value]))]


def interface(key: str, text: str, *, inverted: bool) -> list[Expr]:
    """`-i` or `-o`: a name, or all that begin so. Raises Unsupported."""
    op = "neq" if inverted else "eq"
    raw = text.encode()
    if len(raw) > 15:
        raise Unsupported(f"the interface {text}")
    if text == "+":
        # every name begins so; with `!` none does
        return [Meta(key, 0), Cmp("eq", 0, b"\xff" * 16)] if inverted else []
    return [Meta(key, 0), Cmp(op, 0, raw[:-1] if raw.endswith(b"+") else raw.ljust(16, b"\0"))]


def bits(load: Expr, mask: int, op: str) -> list[Expr]:
    """Whether any of these bits is set (op "neq"), or none ("eq")."""
    return [load, Bitwise("mask-xor", 0, 0, 4, mask.to_bytes(4, "little"), bytes(4)), Cmp(op, 0, bytes(4))]


def masked_mark(load: Expr, option: Option) -> list[Expr]:
    """`--mark value/mask`. Raises Unsupported."""
    inverted, name, values = option
    if name != "--mark" or len(values) != 1:
        raise Unsupported(f"mark {name}")
    value, mask = masked(values[0])
    return [
        load,
        Bitwise("mask-xor", 0, 0, 4, mask.to_bytes(4, "little"), bytes(4)),
        Cmp("neq" if inverted else "eq", 0, value.to_bytes(4, "little")),
    ]


def masked(text: str) -> tuple[int, int]:
    """`value[/mask]` of 32 bits. Raises Unsupported."""
    value, _, mask = text.partition("/")
    try:
        found = int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF
    except ValueError:
        raise Unsupported(f"the mark {text}") from None
    if not all(0 <= n < 1 << 32 for n in found):
        raise Unsupported(f"the mark {text}")
    return found


def flags(text: str, names: Mapping[str, int]) -> int:
    """Names joined by commas, as a number. Raises Unsupported."""
    out = 0
    for word in text.split(","):
        if word not in names:
            raise Unsupported(f"the flag {word}")
        out |= names[word]
    return out


def bounds(text: str, most: int) -> tuple[int, int]:
    """`low:high` or one number. Raises Unsupported."""
    low, colon, high = text.partition(":")
    try:
        ends = int(low or "0", 0), int(high or str(most), 0) if colon else int(low, 0)
    except ValueError:
        raise Unsupported(f"the number {text}") from None
    if not 0 <= ends[0] <= ends[1] <= most:
        raise Unsupported(f"the range {text}")
    return ends


def network(text: str, family: str) -> IPv4Network | IPv6Network | None:
    """A prefix; None for an address with another mask."""
    try:
        return IPv4Network(text, strict=False) if family == "ip" else IPv6Network(text, strict=False)
    except ValueError:
        return None


def address(text: str, family: str) -> bytes:
    """An address as bytes. Raises Unsupported."""
    try:
        return IPv4Address(text).packed if family == "ip" else IPv6Address(text).packed
    except AddressValueError:
        raise Unsupported(f"the address {text}") from None


def either_port(ranges: Sequence[tuple[int, int]], *, inverted: bool) -> Xt:
    """`--ports`, the source or the destination: struct xt_multiport_v1, since no comparison of nf_tables asks for either."""
    ports: list[int] = []
    more: list[int] = []
    for low, high in ranges:
        ports += [low] if low == high else [low, high]
        more += [0] if low == high else [1, 0]
    if len(ports) > 15:
        raise Unsupported("multiport with more than 15 ports")
    padding = [0] * (15 - len(ports))
    info = struct.pack("<BB15H15BB", 2, len(ports), *ports, *padding, *more, *padding, inverted)
    return Xt("match", "multiport", 1, info)


def limit(module: Module) -> Limit:
    """`-m limit`. Raises Unsupported."""
    options = {name: values[0] for inverted, name, values in module.options if len(values) == 1 and not inverted}
    rate, _, unit = options.get("--limit", "3/hour").partition("/")
    seconds = _RATES.get(unit or "sec")
    burst = options.get("--limit-burst", "5")
    if seconds is None or not rate.isdecimal() or not burst.isdecimal():
        raise Unsupported("xt match limit")
    return Limit(int(rate), seconds, int(burst), inverted=False)
