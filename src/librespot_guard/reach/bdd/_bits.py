"""Bits of registers: constants, Boolean functions of the packet, or bits of a field that is not spelled out bit by bit.

Rank-compressed fields (the source address) have no variable for each bit: their bits are `Tag`s, which can be moved, cut and
compared as a prefix. Whoever needs one alone raises `NeedRawError`, and the question is asked again with a variable for each bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

Pairs = list[tuple[int, int]]


class Function(Protocol):
    """A Boolean function of the packet (an OxiDD function, or the stand-in of `_edges`)."""

    def __and__(self, other: Self, /) -> Self: ...
    def __or__(self, other: Self, /) -> Self: ...
    def __xor__(self, other: Self, /) -> Self: ...
    def __invert__(self) -> Self: ...
    def ite(self, t: Self, e: Self, /) -> Self:
        """If this then `t` else `e`."""

    def satisfiable(self) -> bool:
        """Whether some packet makes it true."""

    def valid(self) -> bool:
        """Whether every packet makes it true."""


@dataclass(frozen=True, slots=True)
class Tag:
    """Bit `index` (0 is the most significant) of a field that has no variables of its own."""

    field: str
    index: int


Bit = bool | Tag | Function
Vector = list[Bit]


class NeedRawError(Exception):
    """A rule looks at single bits of a field that was to be rank-compressed: its name is the argument."""


def constant(number: int, width: int) -> Vector:
    """A number, the most significant bit first."""
    return [bool(number >> (width - 1 - i) & 1) for i in range(width)]


def octets(data: bytes) -> Vector:
    """Bytes as bits in memory order."""
    return constant(int.from_bytes(data, "big"), 8 * len(data))


def swapped(bits: Vector, size: int) -> Vector:
    """The bytes of each unit of `size` bytes reversed; a last unit may be shorter."""
    out: Vector = []
    for start in range(0, len(bits), 8 * size):
        unit = bits[start : start + 8 * size]
        for at in range(len(unit) - 8, -1, -8):
            out += unit[at : at + 8]
    return out


def negated(bit: Bit) -> Bit:
    """The opposite bit."""
    if isinstance(bit, bool):
        return not bit
    if isinstance(bit, Tag):
        raise NeedRawError(bit.field)
    return ~bit


def both(one: Bit, other: Bit) -> Bit:
    """And."""
    if isinstance(one, bool):
        return other if one else False
    if isinstance(other, bool):
        return one if other else False
    one, other = _plain(one), _plain(other)
    return one & other


def either(one: Bit, other: Bit) -> Bit:
    """Or."""
    if isinstance(one, bool):
        return True if one else other
    if isinstance(other, bool):
        return True if other else one
    one, other = _plain(one), _plain(other)
    return one | other


def differs(one: Bit, other: Bit) -> Bit:
    """Exclusive or."""
    if isinstance(one, bool):
        return negated(other) if one else other
    if isinstance(other, bool):
        return negated(one) if other else one
    one, other = _plain(one), _plain(other)
    return one ^ other


def chosen(condition: Function, one: Bit, other: Bit, true: Function) -> Bit:
    """`one` where the condition holds, else `other`. `true` is the function that always holds."""
    if one is other or (isinstance(one, bool | Tag) and one == other):
        return one
    if condition.valid():
        return one
    if not condition.satisfiable():
        return other
    first, second = (lifted(bit, true) for bit in (one, other))
    return condition.ite(first, second)


def lifted(bit: Bit, true: Function) -> Function:
    """The bit as a function."""
    if isinstance(bit, bool):
        return true if bit else ~true
    return _plain(bit)


def _plain(bit: Tag | Function) -> Function:
    if isinstance(bit, Tag):
        raise NeedRawError(bit.field)
    return bit


def value(bits: Vector) -> int | None:
    """The number that constant bits make; None if one is not constant."""
    number = 0
    for bit in bits:
        if not isinstance(bit, bool):
            return None
        number = number << 1 | bit
    return number


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `length` bits of a tagged field, moved up by `tail` constant bits of value `low`."""

    field: str
    length: int
    tail: int
    low: int

    def ranges(self, first: int, last: int, width: int) -> Pairs:
        """The values of the field (of `width` bits) for which first <= these bits <= last."""
        if first > last:
            return []
        below = max(0, (first - self.low + (1 << self.tail) - 1) >> self.tail)
        above = (last - self.low) >> self.tail
        above = min(above, (1 << self.length) - 1)
        if last < self.low or below > above:
            return []
        rest = width - self.length
        return [(below << rest, ((above + 1) << rest) - 1)]


def prefix(bits: Vector) -> Prefix | None:
    """The bits as a prefix of a tagged field with constant bits behind; None if they hold no tag or something else besides."""
    tags = 0
    while tags < len(bits) and isinstance(bits[tags], Tag):
        tags += 1
    if not tags:
        return None
    head = bits[:tags]
    name = head[0].field if isinstance(head[0], Tag) else ""
    if any(bit != Tag(name, i) for i, bit in enumerate(head)):
        raise NeedRawError(name)
    low = value(bits[tags:])
    if low is None:
        return None
    return Prefix(name, tags, len(bits) - tags, low)


def tagged(bits: Vector) -> str | None:
    """The name of a tagged field among the bits, if there is one."""
    return next((bit.field for bit in bits if isinstance(bit, Tag)), None)
