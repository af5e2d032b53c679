"""Which destinations on the wire destination NAT may lead to a port that is asked about.

A host that publishes many ports has many rules that translate. Most lead elsewhere, whatever packet they meet, so only destinations that
some rule may lead where it was asked for are followed through the chains. A socket is looked up behind the last input hook, so a rule
that writes another port into the packet there counts too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from librespot_guard.reach import _limits as limits
from librespot_guard.reach import routing
from librespot_guard.reach._environment import Environment
from librespot_guard.reach._hooks import cone, reads
from librespot_guard.reach._lower import Op, Rewrite, Test, Translate
from librespot_guard.reach._passage import Passage
from librespot_guard.reach._shapes import Code, Shape, Sourced, impossible
from librespot_guard.reach._walk import TooComplexError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from librespot_guard.reach._bits import Value
    from librespot_guard.reach._walk import Walker
    from librespot_guard.reach.engine import Engine
    from librespot_guard.reach.world import World

Entry = tuple[int, int]
Ends = set[tuple[int | None, int | None]]


def moves(op: Op | Sourced) -> bool:
    """Whether an operation sends packets to another destination."""
    return (isinstance(op, Translate) and not op.source) or (isinstance(op, Rewrite) and op.moves)


def dead(shape: Shape, fixed: dict[str, int]) -> bool:
    """Whether the rule does nothing with any packet whose fields have these values."""
    return any(isinstance(op, Test) and impossible(op, fixed) for op in shape.premises)


def shapes_with(wanted: Callable[[Op | Sourced], bool], codes: list[Code]) -> list[Shape]:
    """The shapes of rules of some chains with an operation of a kind."""
    found = dict.fromkeys(shape for code in codes for shape in code.distinct)
    return [shape for shape in found if any(map(wanted, shape.ops))]


class Landings:
    """Destinations before prerouting, as (address, port), for the questions of one engine; what was found is kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        hooks, shapes = engine.hooks(engine.world), engine.shapes(engine.world)
        before, after = [*hooks.at("ingress", engine.iface), *hooks.at("prerouting")], hooks.at("input")
        late = cone(after, shapes.code)
        # known only when the rules were looked at
        self._late = shapes_with(moves, late) if shapes.moves else []
        self._codes = cone([*before, *after] if self._late else before, shapes.code)
        self._moving = shapes_with(moves, self._codes) if shapes.moves else []
        self._ends: dict[Entry, Ends] = {}
        self._borders: tuple[list[int], list[int]] | None = None

    def candidates(self, dst: int, dport: int) -> list[Entry]:
        """Destinations other than the one asked about that some rule may lead there. Raises TooComplexError."""
        wanted = [shape for shape in self._moving if any(self._may_end(op, dst, dport) for op in shape.ops)]
        if not wanted:
            return []
        addresses, ports = self._tellable()
        if self._late:
            addresses = list(dict.fromkeys((*addresses, dst)))
        # translation of the address alone keeps the port
        ports = list(dict.fromkeys((*ports, dport)))
        found: dict[Entry, None] = {}
        for shape in wanted:
            some = [a for a in addresses if not dead(shape, {"daddr": a})]
            others = [p for p in ports if not dead(shape, {"dport": p})]
            if len(some) * len(others) > limits.CANDIDATES:
                raise TooComplexError(
                    f"destination NAT with {len(some) * len(others)} combinations of addresses and ports"
                )
            found |= dict.fromkeys((a, p) for a in some for p in others if not dead(shape, {"daddr": a, "dport": p}))
        found.pop((dst, dport), None)
        if len(found) > limits.CANDIDATES:
            raise TooComplexError(f"destination NAT with {len(found)} combinations of addresses and ports")
        return list(found)

    def entries(
        self, dst: int, dport: int, candidates: list[Entry], walkers: Callable[[World, str], Walker]
    ) -> Iterator[Entry]:
        """The destination asked about, and those that prerouting does lead there. Raises TooComplexError."""
        yield dst, dport
        count = 1
        for entry in candidates:
            if entry not in self._ends:
                self._ends[entry] = self._translated(walkers, entry)
            # what is written into the packet behind prerouting is seen only by following it to its end
            if self._late or any(
                p in (dport, None) and (self._here(a) or a in (dst, None)) for a, p in self._ends[entry]
            ):
                yield entry
                count += 1
                if count > limits.ENTRIES:
                    raise TooComplexError(f"destination NAT with more than {limits.ENTRIES} entries")

    def _may_end(self, op: Op | Sourced, dst: int, dport: int) -> bool:
        """Whether an operation may lead some packet to a destination."""
        if not isinstance(op, Translate):
            return moves(op)
        if op.source:
            return False
        if op.ranged:
            return True
        port = None if op.port is None else _constant(op.port)
        address = None if op.redirect or op.address is None else _constant(op.address)
        return port in (dport, None) and (address in (dst, None) or self._here(address))

    def _here(self, address: int | None) -> bool:
        """Whether an address is one of this namespace, and it is this namespace that is asked about."""
        engine = self._engine
        if engine.target is not engine.world or address is None:
            return False
        return routing.fib(engine.world, engine.family, address, iif=engine.iface).kind in ("local", "broadcast")

    def _tellable(self) -> tuple[list[int], list[int]]:
        """One of each kind of addresses and ports that rules before the routing decision tell apart."""
        if self._borders is None:
            engine = self._engine
            addresses = dict.fromkeys(routing.tables(engine.world, engine.family).addresses)
            ports: dict[int, None] = {}
            for name, values in reads(self._codes, engine.shapes(engine.world).maps):
                if name in ("dport", "ct_dport"):
                    # both sides of every border: the ports in between are like one of them
                    borders = (edge for low, high in values for edge in (low - 1, low, high, high + 1))
                    ports |= dict.fromkeys(edge for edge in borders if 0 < edge < 65536)
                elif name in ("daddr", "ct_daddr"):
                    addresses |= dict.fromkeys(low for low, high in values if low == high)
            self._borders = list(addresses), list(ports) or [1]
        return self._borders

    def _translated(self, walkers: Callable[[World, str], Walker], entry: Entry) -> Ends:
        """To where prerouting translates one destination, whatever the source."""
        engine = self._engine
        run = Passage(engine.family, engine.proto, engine.universe, engine.hooks, walkers, forward=False)
        current = run.before_routing(engine.world, engine.iface, {Environment(*entry): engine.universe.full()})
        return {(e.dst, e.dport) for e, region in current.items() if region and (e.translated or e.dst is None)}


def _constant(value: Value) -> int | None:
    """The number that a value is, or None if it depends on the packet."""
    number = 0
    for piece in value:
        if piece.field is not None:
            return None
        number = number << piece.width | piece.bits
    return number
