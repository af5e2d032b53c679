"""The second engine: who reaches a port, on binary decision diagrams.

It answers the questions of the first (`reach.engine`) and shares with it the facts, the routing and what a stranger may send
(`_fields.domain`), but not a line of how rules are understood. Every load, mask, shift and mark is exact here; what nobody can
know is a variable of its own ("oracle"): `may` is what some outcome delivers, `must` what all of them do.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain as chained
from typing import TYPE_CHECKING

from oxidd.util import DDMemoryError

from librespot_guard.firewall.model import (
    Chain,
    Ct,
    CtSet,
    Expr,
    Immediate,
    Masquerade,
    Nat,
    PayloadSet,
    Redirect,
    Table,
    Unknown,
    Verdict,
    Xt,
)
from librespot_guard.firewall.model_beyond import Connlimit
from librespot_guard.reach import _fields as question
from librespot_guard.reach import _headers as headers
from librespot_guard.reach import routing
from librespot_guard.reach._hooks import apart, reassembles
from librespot_guard.reach.bdd._bits import Function, NeedRawError, Tag, Vector, constant
from librespot_guard.reach.bdd._edges import OPAQUE, EdgeAlgebra, EdgePacket
from librespot_guard.reach.bdd._machine import Machine
from librespot_guard.reach.bdd._packet import Packet, Wire
from librespot_guard.reach.bdd._space import Space, TooManyOraclesError
from librespot_guard.reach.bdd._walk import CONNTRACK, NAT_DST, TooManyStepsError, Walk
from librespot_guard.reach.engine import Answer
from librespot_guard.reach.intervals import IntervalSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from librespot_guard.reach.world import World

# nodes of 16 bytes; the larger tables are taken only where the smaller did not do
_CAPACITIES = (1 << 16, 1 << 20, 1 << 23)
_MOST_ENTRIES = 64
_WIDTH = {"ipv4": 32, "ipv6": 128}


@dataclass(frozen=True, slots=True)
class BddAnswer(Answer):
    """An answer of the second engine.

    `listed` is false if there are too many separate ranges of addresses to list them: the bounds then are coarse.
    """

    listed: bool = True
    _spaces: tuple[tuple[int, int, Space, Function, Function], ...] = field(default=(), repr=False, compare=False)
    # the same answer with more room, where a packet can't be found in this one
    _larger: Callable[[], BddAnswer] | None = field(default=None, repr=False, compare=False)

    def choices(self, source: int) -> dict[str, int]:
        """Fields of a packet of `source` that gets through, and its "daddr" and "dport"; KeyError if there is none."""
        try:
            return self._chosen(source)
        except DDMemoryError:
            if self._larger is None:
                raise KeyError(source) from None
            return self._larger().choices(source)

    def _chosen(self, source: int) -> dict[str, int]:
        for dst, dport, space, delivered, sure in self._spaces:
            found = space.choice(delivered, sure, source)
            if found is not None:
                return {"dport": dport, **found, "daddr": dst}
        raise KeyError(source)


class BddEngine:
    """Questions about one world, ingress interface, family and protocol, as `reach.engine.Engine`; not for loopback."""

    def __init__(self, world: World, iface: str, family: str, proto: str) -> None:
        self.world, self.iface, self.family, self.proto = world, iface, family, proto
        self.width = _WIDTH[family]
        self._raw = False

    @cached_property
    def _hooks(self) -> dict[str, list[tuple[Table, Chain]]]:
        chains = self.world.base_chains
        return {
            "ingress": chains("ingress", self.family, self.iface),
            "prerouting": chains("prerouting", self.family),
            "input": chains("input", self.family),
        }

    @cached_property
    def _tracks(self) -> bool:
        """Whether some rule of the family, met or not, turns connection tracking on (nf_ct_netns_get)."""
        name = {"ipv4": "ip", "ipv6": "ip6"}[self.family]
        tables = (t for t in self.world.ruleset.tables if t.family in ("inet", name))
        return any(_wants_tracking(e, name) for t in tables for c in t.chains for r in c.rules for e in r.exprs)

    @cached_property
    def _doubts(self) -> tuple[str, ...]:
        """Reasons that hold for every answer."""
        out = list(self.world.doubts_about(self.iface, self.family))
        chains = self._hooks["prerouting"] if self._tracks else []
        own = {CONNTRACK} | ({NAT_DST} if any(c.hook and c.hook.kind == "nat" for _, c in chains) else set())
        for table, chain in chains:
            if chain.hook and chain.hook.kind != "nat" and chain.hook.priority in own:
                out.append(
                    f"{table.family} {table.name} {chain.name} has the priority of connection tracking or NAT itself"
                )
        return tuple(out)

    @cached_property
    def _cone(self) -> list[tuple[Table, Chain]]:
        """Every chain that a packet of these questions can come through."""
        return self._reached(list(chained.from_iterable(self._hooks.values())))

    @staticmethod
    def _reached(todo: list[tuple[Table, Chain]]) -> list[tuple[Table, Chain]]:
        out: dict[tuple[str, str, str], tuple[Table, Chain]] = {}
        while todo:
            table, chain = todo.pop()
            if out.setdefault((table.family, table.name, chain.name), (table, chain))[1] is not chain:
                continue
            named = {name for r in chain.rules for e in r.exprs for name in _targets(table, e)}
            todo += [
                (table, c) for c in table.chains if c.name in named and (table.family, table.name, c.name) not in out
            ]
        return list(out.values())

    @cached_property
    def _unclear(self) -> frozenset[str]:
        """Free fields about which nothing is said."""
        whole = reassembles(self.world, self.family)
        parts: dict[bool, list[tuple[Table, Chain]]] = {True: [], False: []}
        for placed in chained.from_iterable(self._hooks.values()):
            parts[apart(placed[1], self.family, whole=whole)].append(placed)
        early, late = (
            (e for _, c in self._reached(parts[part]) for r in c.rules for e in r.exprs) for part in (True, False)
        )
        return headers.hidden(early, late, self.family, self.proto, tracks=self._tracks, whole=whole)

    @cached_property
    def _translates(self) -> bool:
        exprs = [e for _, c in self._cone for r in c.rules for e in r.exprs]
        return any(
            isinstance(e, Redirect)
            or (isinstance(e, Nat) and e.kind == "dnat")
            or isinstance(e, PayloadSet)
            or (isinstance(e, Xt) and e.name in ("DNAT", "REDIRECT"))
            for e in exprs
        )

    @cached_property
    def _edges(self) -> tuple[list[int] | None, set[int]]:
        """First addresses of the ranks of the source (None: a rule needs its bits), and edges of the destination."""
        tagged = {"saddr": self.width, "daddr": self.width}
        while True:
            algebra = EdgeAlgebra(tagged)
            try:
                self._collect(algebra)
            except NeedRawError as error:
                del tagged[str(error)]
                continue
            break
        known = {low for low, _ in routing.elementary(self.world, self.family)}
        top = 1 << self.width
        starts = None
        if "saddr" in tagged:
            starts = sorted({0, *known, *(e for e in algebra.edges["saddr"] if e < top)})
        return starts, algebra.edges.get("daddr", set())

    def _collect(self, algebra: EdgeAlgebra) -> None:
        def bits(name: str) -> Vector:
            if name in algebra.edges:
                return [Tag(name, i) for i in range(self.width)]
            return [OPAQUE] * self.width

        wire = Wire(self.world, self.iface, self.family, self.proto, bits("saddr"), bits("daddr"), [OPAQUE] * 16)
        packet = EdgePacket(algebra, wire, lambda _, width: [OPAQUE] * width)
        machine = Machine(algebra, packet, lambda expr, _: [OPAQUE] * (128 if expr.result == "oifname" else 32))
        for table, chain in self._cone:
            for rule in chain.rules:
                machine.rule(table, rule, OPAQUE, lambda *_: None)

    def ask(self, dst: int, dport: int) -> BddAnswer:
        """Who reaches `dport` at the address `dst` (a number) of this host over the interface."""
        return self._within(dst, dport, _CAPACITIES)

    def _within(self, dst: int, dport: int, capacities: tuple[int, ...]) -> BddAnswer:
        reason = "the ruleset is too large for the second engine"
        for number, nodes in enumerate(capacities, 1):
            try:
                found = self._ask(dst, dport, nodes)
                more = capacities[number:]
                return replace(found, _larger=partial(self._within, dst, dport, more)) if more else found
            except DDMemoryError:
                continue
            except NeedRawError:
                # bits of the source went into a mark or an address
                self._raw = True
                return self._within(dst, dport, capacities)
            except (TooManyOraclesError, TooManyStepsError) as error:
                reason = str(error) or reason
                break
        everything = IntervalSet.full(self.width)
        return BddAnswer(
            everything,
            IntervalSet(),
            (reason, *self._doubts, *self.world.doubts_at(self.proto, dport)),
            shown_may=everything,
        )

    def _ask(self, dst: int, dport: int, nodes: int) -> BddAnswer:
        starts = None if self._raw else self._edges[0]
        bounds: dict[str, list[tuple[int, int]]] = {"may": [], "must": [], "shown_may": [], "shown_must": []}
        martian = IntervalSet()
        listed = True
        passes: list[tuple[int, int, Space, Function, Function]] = []
        doubts = (*self._doubts, *self.world.doubts_at(self.proto, dport))
        because: dict[str, None] = dict.fromkeys(doubts)
        space = Space(self.width, starts, nodes)
        for entry in self._entries(dst):
            space.begin()
            port = space.field("dport", 16, [(0, 65535)]) if self._translates else constant(dport, 16)
            wire = Wire(
                self.world, self.iface, self.family, self.proto, space.source(), constant(entry, self.width), port
            )
            packet = Packet(space, wire, self._free(space), self._unclear)
            outcome = Walk(space, packet, self._hooks, tracks=self._tracks).deliver(dst, dport)
            martian |= outcome.martian
            delivered = outcome.delivered & ~outcome.refused
            for name, found in (("", delivered), ("shown_", outcome.delivered)):
                outer, inner = space.ranges(space.may(found)), space.ranges(space.must(found))
                bounds[name + "may"] += outer[0]
                bounds[name + "must"] += inner[1]
                listed = listed and outer[0] == outer[1] and inner[0] == inner[1]
            because |= dict.fromkeys(space.because(outcome.delivered))
            passes.append((entry, dport, space, delivered, space.sure(delivered)))
        if not space.roomy():
            raise DDMemoryError("no room for questions about the answer")
        sets = {name: IntervalSet.of(pairs) for name, pairs in bounds.items()}
        if doubts:
            sets["must"] = sets["shown_must"] = IntervalSet()
        if not listed:
            because["more separate ranges of addresses than can be listed"] = None
        if sets["may"] == sets["must"]:
            because = {}
        return BddAnswer(
            may=sets["may"],
            must=sets["must"],
            because=tuple(because),
            martian=martian,
            shown_may=sets["shown_may"],
            shown_must=sets["shown_must"],
            listed=listed,
            _spaces=tuple(passes),
        )

    def _free(self, space: Space) -> Callable[[str, int], Vector]:
        """The variables of a field that the stranger chooses."""

        def free(name: str, width: int) -> Vector:
            domain = question.domain(name, self.family, self.proto)
            if name == "exthdrs" and self._tracks:
                domain = question.unfragmented(self.family, self.proto)
            if domain is None:
                raise AssertionError(name)
            return space.field(name, width, list(domain))

        return free

    def _entries(self, dst: int) -> Iterator[int]:
        """Destinations on the wire, one for each class that rules or routing can tell apart, if NAT can lead from them to `dst`."""
        yield dst
        if not self._translates:
            return
        edges = self._edges[1] | {low for low, _ in routing.elementary(self.world, self.family)}
        starts = sorted({0, *edges} - {1 << self.width})
        own = starts[bisect_right(starts, dst) - 1]
        others = [start for start in starts if start != own]
        if len(others) > _MOST_ENTRIES:
            raise TooManyStepsError(f"destination NAT with {len(others)} classes of destinations")
        yield from others


def _wants_tracking(expr: Expr, family: str) -> bool:
    if isinstance(expr, Nat):
        return expr.family in ("inet", family)
    return isinstance(expr, Connlimit | Ct | CtSet | Redirect | Masquerade | Xt | Unknown)


def _targets(table: Table, expr: Expr) -> Iterator[str]:
    if isinstance(expr, Immediate):
        yield from (expr.data.chain,) if isinstance(expr.data, Verdict) and expr.data.chain else ()
    elif name := getattr(expr, "set_name", None):
        for table_set in table.sets:
            if table_set.name == name:
                yield from (e.data.chain for e in table_set.elements if isinstance(e.data, Verdict) and e.data.chain)


__all__ = ["BddAnswer", "BddEngine"]
