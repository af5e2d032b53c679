"""What the register machine needs of a set algebra: comparisons of bit vectors, and answers that nobody can foresee."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from librespot_guard.reach.bdd._bits import (
    Function,
    NeedRawError,
    Pairs,
    Tag,
    Vector,
    both,
    constant,
    lifted,
    prefix,
    tagged,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Algebra(ABC):
    """Boolean functions of packets. `true` holds for every packet, `false` for none."""

    true: Function
    false: Function

    @abstractmethod
    def of_tagged(self, field: str, pairs: Pairs) -> Function:
        """Where a tagged field lies in sorted, disjoint closed intervals."""

    @abstractmethod
    def width(self, field: str) -> int:
        """How many bits a tagged field has."""

    @abstractmethod
    def oracle(self, reason: str) -> Function:
        """A fresh variable for something that can turn out either way, whatever the packet; `reason` says what."""

    def oracles(self, count: int, reason: str) -> Vector:
        """That many bits of which nothing is known."""
        return [self.oracle(reason) for _ in range(count)]

    def equal(self, bits: Vector, number: int) -> Function:
        """Where the bits have this value."""
        out = self.true
        at = len(bits)
        for part in _runs(bits):
            at -= len(part)
            here = number >> at & (1 << len(part)) - 1
            out = out & (self._among(part, [(here, here)]) if isinstance(part[0], Tag) else self._cube(part, here))
        return out

    def _cube(self, bits: Vector, number: int) -> Function:
        """`equal` for bits that all are constants or functions."""
        wanted = constant(number, len(bits))
        if any(bit is not want for bit, want in zip(bits, wanted, strict=True) if isinstance(bit, bool)):
            return self.false
        out = self.true
        # from the last variable to the first: each step adds one node above what is there
        for bit, want in zip(reversed(bits), reversed(wanted), strict=True):
            if not isinstance(bit, bool):
                function = lifted(bit, self.true)
                out = out & (function if want else ~function)
        return out

    def same(self, one: Vector, other: Vector) -> Function:
        """Where two vectors have the same value."""
        out = self.true
        for a, b in zip(one, other, strict=True):
            if a is b or (isinstance(a, bool | Tag) and a == b):
                continue
            out = out & ~(lifted(a, self.true) ^ lifted(b, self.true))
        return out

    def among(self, bits: Vector, pairs: Pairs) -> Function:
        """Where the value of the bits lies in one of sorted, disjoint closed intervals."""
        if not pairs:
            return self.false
        if len(pairs) == 1 and pairs[0][0] == pairs[0][1]:
            return self.equal(bits, pairs[0][0])
        if tagged(bits) is None:
            return self._among(bits, pairs)
        return self._mixed(bits, pairs)

    def _mixed(self, bits: Vector, pairs: Pairs) -> Function:
        """Bits of a tagged field among others: all values equal, or one run with constants around it."""
        lead = 0
        while isinstance(bits[lead], bool):
            lead += 1
        rest = len(bits) - lead
        head = value(bits[:lead]) or 0
        base = head << rest
        inner = [(max(a, base) - base, min(b, base + (1 << rest) - 1) - base) for a, b in pairs]
        inner = [(a, b) for a, b in inner if a <= b]
        if inner == [(0, (1 << rest) - 1)]:
            return self.true
        if not inner or len(_runs(bits[lead:])) == 1 or prefix(bits[lead:]):
            return self._among(bits[lead:], inner)
        if all(a == b for a, b in inner):
            out = self.false
            for a, _ in inner:
                out = out | self.equal(bits[lead:], a)
            return out
        raise NeedRawError(tagged(bits))

    def _among(self, bits: Vector, pairs: Pairs) -> Function:
        if not pairs:
            return self.false
        found = prefix(bits)
        if found is not None:
            width = self.width(found.field)
            return self.of_tagged(found.field, merged(p for a, b in pairs for p in found.ranges(a, b, width)))
        return self.spelled(bits, pairs)

    def spelled(self, bits: Vector, pairs: Pairs) -> Function:
        """`among` for bits that all are constants or functions: halve the range of values bit by bit."""
        return self._halve(bits, 0, pairs)

    def _halve(self, bits: Vector, at: int, pairs: Sequence[tuple[int, int]]) -> Function:
        if not pairs:
            return self.false
        size = 1 << (len(bits) - at)
        if pairs[0] == (0, size - 1):
            return self.true
        half = size >> 1
        bit = bits[at]
        low = [(a, min(b, half - 1)) for a, b in pairs if a < half]
        high = [(max(a, half) - half, b - half) for a, b in pairs if b >= half]
        if isinstance(bit, bool):
            return self._halve(bits, at + 1, high if bit else low)
        if low == high:
            return self._halve(bits, at + 1, low)
        return lifted(bit, self.true).ite(self._halve(bits, at + 1, high), self._halve(bits, at + 1, low))

    def by_value(
        self, bits: Vector, region: Function, evaluate: Callable[[Function], int], most: int
    ) -> Iterator[tuple[int | None, Function]]:
        """The region in parts, by the value that the bits have there; None with what is left after `most` values.

        `evaluate` gives the value of the bits for some packet of a region.
        """
        known = value(bits)
        if known is not None:
            if region.satisfiable():
                yield known, region
            return
        for _ in range(most):
            if not region.satisfiable():
                return
            number = evaluate(region)
            part = region & self.equal(bits, number)
            yield number, part
            region = region & ~part
        if region.satisfiable():
            yield None, region

    def conjunction(self, *parts: Function) -> Function:
        """Where all hold."""
        out = self.true
        for part in parts:
            out = out & part
        return out


def merged(pairs: Iterator[tuple[int, int]]) -> Pairs:
    """Closed intervals, sorted and with those that touch made one."""
    out: Pairs = []
    for low, high in sorted(pairs):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return out


def slots(starts: Sequence[int], pairs: Pairs, top: int) -> Pairs:
    """Intervals as intervals of slots, where slot i begins at starts[i]. Raises AssertionError if one cuts a slot."""
    out = []
    for low, high in pairs:
        first, last = bisect_right(starts, low) - 1, bisect_right(starts, high) - 1
        end = starts[last + 1] - 1 if last + 1 < len(starts) else top
        if starts[first] != low or end != high:
            raise AssertionError(f"the interval {low:x}-{high:x} cuts a slot")
        out.append((first, last))
    return out


def _runs(bits: Vector) -> list[Vector]:
    """The bits in runs: bits of one tagged field that follow each other, and what lies between."""
    if not bits:
        return []
    out: list[Vector] = [[bits[0]]]
    for before, bit in pairwise(bits):
        goes_on = before == Tag(bit.field, bit.index - 1) if isinstance(bit, Tag) else not isinstance(before, Tag)
        if goes_on:
            out[-1].append(bit)
        else:
            out.append([bit])
    return out


__all__ = ["Algebra", "both", "merged", "slots"]
