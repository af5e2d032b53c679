"""The set algebra on OxiDD's binary decision diagrams with complement edges, and the way back from a set to intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oxidd.bcdd import BCDDFunction, BCDDManager
from oxidd.util import DDMemoryError

from librespot_guard.reach.bdd._algebra import Algebra, slots
from librespot_guard.reach.bdd._bits import Function, Pairs, Tag, Vector
from librespot_guard.reach.bdd._listing import blocks, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

# more separate ranges than this are not spelled out: the answer is then bounds
MOST_RANGES = 65_536
# variables for what cannot be known, for one packet
MOST_ORACLES = 4_096
_COARSE = 12


class TooManyOraclesError(Exception):
    """The rules hold more questions without an answer than are followed."""


class Space(Algebra):
    """Functions over variables: the source first (its ranks, or each of its bits), then what the rules read, as they read it.

    The order source first is the fast one (research: 6 times faster than ports first). `starts` are the first addresses of
    the ranks; without them each bit of the source is a variable. Raises oxidd's DDMemoryError where `nodes` are not enough.
    """

    def __init__(self, source_bits: int, starts: Sequence[int] | None, nodes: int) -> None:
        self.nodes = nodes
        self.manager = BCDDManager(nodes, nodes, 1)
        self.true: BCDDFunction = self.manager.true()
        self.false: BCDDFunction = self.manager.false()
        self.source_bits = source_bits
        self.starts = starts
        count = source_bits if starts is None else max(1, (len(starts) - 1).bit_length())
        self._source: Vector = [self.manager.var(v) for v in self.manager.add_vars(count)]
        self._fields: dict[str, Vector] = {}
        self._spelled: dict[tuple[tuple[int, int], ...], BCDDFunction] = {}
        self._free: BCDDFunction = self.true
        self._asked: BCDDFunction = self.true
        self._oracles: list[BCDDFunction] = []
        self.reasons: list[str] = []
        # which assignments stand for packets at all: free fields within their domains
        self.possible: BCDDFunction = self.true
        if starts is not None:
            self.possible = self._function(self.spelled(self._source, [(0, len(starts) - 1)]))

    def width(self, field: str) -> int:  # noqa: ARG002 - only the source is tagged here
        """How many bits the source has."""
        return self.source_bits

    def source(self) -> Vector:
        """The source address as the packet holds it on the wire."""
        return self._source if self.starts is None else [Tag("saddr", i) for i in range(self.source_bits)]

    def of_tagged(self, field: str, pairs: Pairs) -> Function:
        """Where the source lies in intervals whose ends are ranks."""
        if field != "saddr" or self.starts is None:
            raise AssertionError(field)
        return self.sources(pairs)

    def sources(self, pairs: Pairs) -> Function:
        """Where the source on the wire lies in these intervals; rules and routes name the same ones again and again."""
        key = tuple(pairs)
        found = self._spelled.get(key)
        if found is None:
            if self.starts is not None:
                pairs = slots(self.starts, pairs, (1 << self.source_bits) - 1)
            found = self._spelled[key] = self._function(self.spelled(self._source, pairs))
        return found

    def field(self, name: str, width: int, domain: Pairs) -> Vector:
        """A free field of the packet: the stranger chooses its value within the domain."""
        found = self._fields.get(name)
        if found is None:
            new = [self.manager.var(v) for v in self.manager.add_vars(width)]
            found = self._fields[name] = list(new)
            for variable in new:
                self._free = self._free & variable
            self.possible = self.possible & self._function(self.spelled(found, domain))
        return found

    def oracle(self, reason: str) -> Function:
        """A fresh variable for what may turn out either way. Raises TooManyOraclesError."""
        at = len(self.reasons)
        if at >= MOST_ORACLES:
            raise TooManyOraclesError(f"more than {MOST_ORACLES} times a rule asks what can't be known")
        if at == len(self._oracles):
            (number,) = self.manager.add_vars(1)
            self._oracles.append(self.manager.var(number))
            self._asked = self._asked & self._oracles[at]
        self.reasons.append(reason)
        return self._oracles[at]

    def begin(self) -> None:
        """Another packet, of which nothing is known yet: the variables of unknowns stand for new ones."""
        self.reasons.clear()
        if self.manager.num_inner_nodes() > self.nodes // 4:
            self.manager.gc()

    def some_value(self, bits: Vector, region: Function) -> int:
        """The value of the bits for one packet of a region."""
        number = 0
        cube = self._function(region)
        for bit in bits:
            if isinstance(bit, bool):
                number = number << 1 | bit
                continue
            on = cube & self._function(bit)
            number = number << 1 | on.satisfiable()
            cube = on if on.satisfiable() else cube
        return number

    def may(self, delivered: Function) -> BCDDFunction:
        """The sources for which some choice of the packet is delivered if all turns out well for it."""
        known = self._function(delivered) & self.possible
        return known.exists(self._asked).exists(self._free)

    def must(self, delivered: Function) -> BCDDFunction:
        """The sources for which some choice of the packet is delivered however all turns out."""
        return (self.sure(delivered) & self.possible).exists(self._free)

    def sure(self, delivered: Function) -> BCDDFunction:
        """The packets that are delivered however all turns out."""
        return self._function(delivered).forall(self._asked)

    def because(self, delivered: Function) -> list[str]:
        """The reasons since `begin` that make a difference to which packets are delivered."""
        known = self._function(delivered) & self.possible
        out: dict[str, None] = {}
        for variable, reason in zip(self._oracles, self.reasons, strict=False):
            if reason not in out and known.exists(variable) != known:
                out[reason] = None
        return list(out)

    def roomy(self) -> bool:
        """Whether there is room left for what is asked about the answer afterwards (`choice`)."""
        self.manager.gc()
        return self.manager.num_inner_nodes() <= self.nodes // 2

    def choice(self, delivered: Function, sure: Function, source: int) -> dict[str, int] | None:
        """The lowest values of the free fields with which a packet of `source` is surely delivered, else perhaps; None if never.

        Raises oxidd's DDMemoryError.
        """
        try:
            return self._choice(delivered, sure, source)
        except DDMemoryError:
            # what earlier questions left behind goes only when asked to
            self.manager.gc()
            return self._choice(delivered, sure, source)

    def _choice(self, delivered: Function, sure: Function, source: int) -> dict[str, int] | None:
        here = self._function(self.sources([self._slot(source)])) & self.possible
        surely = self._function(sure) & here
        region = surely if surely.satisfiable() else self._function(delivered) & here
        if not region.satisfiable():
            return None
        out = {}
        for name, bits in self._fields.items():
            number = 0
            for bit in bits:
                off = region & ~self._function(bit)
                number = number << 1 | (not off.satisfiable())
                region = off if off.satisfiable() else region & self._function(bit)
            out[name] = number
        return out

    def _slot(self, source: int) -> tuple[int, int]:
        if self.starts is None:
            return source, source
        at = max(i for i, start in enumerate(self.starts) if start <= source)
        top = (1 << self.source_bits) - 1
        return self.starts[at], (self.starts[at + 1] - 1 if at + 1 < len(self.starts) else top)

    def ranges(self, sources: BCDDFunction) -> tuple[Pairs, Pairs]:
        """A set of sources as intervals: at most these, and at least these; the same where they can be spelled out."""
        count = len(self._source)
        if blocks(sources, count) <= MOST_RANGES:
            exact = self._addresses(listed(sources, count))
            return exact, exact
        outer, inner = (listed(sources, count, _COARSE, outer=outer) for outer in (True, False))
        return self._addresses(outer), self._addresses(inner)

    def _addresses(self, pairs: Pairs) -> Pairs:
        if self.starts is None:
            return pairs
        top = (1 << self.source_bits) - 1
        last = len(self.starts) - 1
        return [(self.starts[a], top if b >= last else self.starts[b + 1] - 1) for a, b in pairs if a <= last]

    @staticmethod
    def _function(f: object) -> BCDDFunction:
        if not isinstance(f, BCDDFunction):
            raise TypeError(f"not a function of this space: {f!r}")
        return f
