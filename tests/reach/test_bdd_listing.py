"""How the second engine writes a set of sources down as intervals: the right ones, and never for minutes.

The diagrams are handmade here: a process that used oxidd must not be forked afterwards, as the sandbox does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.reach.bdd._listing import blocks, listed

if TYPE_CHECKING:
    from oxidd.bcdd import BCDDFunction

BITS = 6


@dataclass(frozen=True)
class Node:
    """A function as oxidd gives it: a constant, or what it is where its first variable is true, and where it is false."""

    constant: bool = False
    level: int | None = None
    parts: tuple[Node, Node] | None = None

    def cofactors(self) -> tuple[Node, Node] | None:
        """Both parts."""
        return self.parts

    def node_var(self) -> int | None:
        """The first variable."""
        return self.level

    def valid(self) -> bool:
        """Whether it is always true."""
        return self.parts is None and self.constant


def holding(values: set[int], level: int = 0) -> Node:
    """The function of numbers of `BITS - level` bits that is true for these."""
    size = 1 << (BITS - level)
    if len(values) in (0, size):
        return Node(bool(values))
    one = holding({v - size // 2 for v in values if v >= size // 2}, level + 1)
    none = holding({v for v in values if v < size // 2}, level + 1)
    return one if one == none else Node(level=level, parts=(one, none))


def function(node: Node) -> BCDDFunction:
    """A handmade function in the place of one of oxidd's."""
    return cast("BCDDFunction", node)


@given(st.sets(st.integers(0, (1 << BITS) - 1)), st.integers(0, BITS))
def test_the_intervals_are_those_of_the_set(values: set[int], deepest: int) -> None:
    """Spelled out they hold just the values; looked at in part, the outer ones hold all of them and the inner ones nothing else."""
    f = function(holding(values))

    def spelled(pairs: list[tuple[int, int]]) -> set[int]:
        assert pairs == sorted(pairs)
        return {n for low, high in pairs for n in range(low, high + 1)}

    assert spelled(listed(f, BITS)) == values
    assert blocks(f, BITS) == len(listed(f, BITS))
    outer, inner = (spelled(listed(f, BITS, deepest, outer=way)) for way in (True, False))
    assert inner <= values <= outer
    step = 1 << (BITS - deepest)
    assert outer == {n for n in range(1 << BITS) if any(v // step == n // step for v in values)}


def test_bits_in_the_midst_of_a_source_cost_no_time() -> None:
    """`@nh,128,32` is a part of an IPv6 source: 2^64 ranges, which are counted and not tried one by one (that took minutes)."""
    f = Node(constant=True)
    for level in reversed(range(64, 96)):
        f = Node(level=level, parts=(f, Node()) if level % 3 else (Node(), f))
    assert blocks(function(f), 128) == 1 << 64
    assert listed(function(f), 128, 12, outer=True) == [(0, (1 << 128) - 1)]
    assert listed(function(f), 128, 12, outer=False) == []
