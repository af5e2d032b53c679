"""Where the rules can tell two addresses apart: a run of the register machine over every rule, with sets that know nothing.

Only the tagged fields (source and destination address) keep their identity; every other bit is `OPAQUE`. Each comparison of a
tagged field notes the ends of its intervals. They become the ranks of the real run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from librespot_guard.reach.bdd._algebra import Algebra
from librespot_guard.reach.bdd._bits import NeedRawError
from librespot_guard.reach.bdd._packet import Packet

if TYPE_CHECKING:
    from librespot_guard.reach.bdd._bits import Function, Pairs, Vector


class _Opaque:
    """A function that may be anything."""

    def __and__(self, other: Self, /) -> Self:
        return self

    def __or__(self, other: Self, /) -> Self:
        return self

    def __xor__(self, other: Self, /) -> Self:
        return self

    def __invert__(self) -> Self:
        return self

    def ite(self, t: Self, e: Self, /) -> Self:  # noqa: ARG002 - whatever they are
        """Anything."""
        return self

    def satisfiable(self) -> bool:
        """It may be true."""
        return True

    def valid(self) -> bool:
        """It may be false."""
        return False


OPAQUE: Function = _Opaque()


class EdgeAlgebra(Algebra):
    """Collects the ends of all intervals of tagged fields, by field; raises NeedRawError as the real run would."""

    def __init__(self, widths: dict[str, int]) -> None:
        self.true = self.false = OPAQUE
        self._widths = widths
        self.edges: dict[str, set[int]] = {name: set() for name in widths}

    def width(self, field: str) -> int:
        """How many bits a tagged field has."""
        return self._widths[field]

    def of_tagged(self, field: str, pairs: Pairs) -> Function:
        """Note both ends of each interval."""
        self.edges[field].update(edge for low, high in pairs for edge in (low, high + 1))
        return OPAQUE

    def oracle(self, reason: str) -> Function:  # noqa: ARG002 - nobody asks for reasons here
        """Anything."""
        return OPAQUE

    def same(self, one: Vector, other: Vector) -> Function:  # noqa: ARG002 - what rules change is not followed here
        """Anything."""
        return OPAQUE

    def spelled(self, bits: Vector, pairs: Pairs) -> Function:  # noqa: ARG002 - it is no tagged field
        """Anything."""
        return OPAQUE


class EdgePacket(Packet):
    """A packet whose addresses stay what they were on the wire, whatever rules change: both are told apart by the same edges."""

    def assign(self, name: str, bits: Vector, where: Function) -> None:
        """Nothing changes; a source that changes needs its bits (`where` and `bits` do not matter)."""
        del bits, where
        if name == "saddr" and name in self._algebra_edges():
            raise NeedRawError(name)

    def _algebra_edges(self) -> dict[str, set[int]]:
        edges: dict[str, set[int]] = getattr(self.algebra, "edges", {})
        return edges
