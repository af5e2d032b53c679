"""The symbolic engine: the exact set of sources from which a new flow reaches a port of this host, or of a container behind it.

It walks the chains with regions of packets instead of packets. Where a rule can't be decided (a rate limit, an expression that is
not analysed), both continuations are followed: `may` is what gets through in some of them, `must` what gets through in all.
"""

from collections import Counter
from functools import cached_property, reduce
from typing import NamedTuple

from librespot_guard.reach import _fields as fields
from librespot_guard.reach import _headers as headers
from librespot_guard.reach import _limits as limits
from librespot_guard.reach import routing
from librespot_guard.reach._environment import Environment, interface_number
from librespot_guard.reach._hooks import Hooks, Placed, cone, effective_priority, operations, reads
from librespot_guard.reach._landings import Landings, dead, moves, shapes_with
from librespot_guard.reach._lower import Op, Rewrite, Test
from librespot_guard.reach._outcome import Complex, Plain
from librespot_guard.reach._passage import Arrival, Passage
from librespot_guard.reach._region import Region, Universe, add, meet, remove, restricted
from librespot_guard.reach._shapes import Code, Shape, Shapes, Sourced, impossible, read_by
from librespot_guard.reach._walk import TooComplexError, Walker
from librespot_guard.reach.answer import Answer, Forwarded
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.world import World

__all__ = ["Answer", "Engine", "Forwarded", "effective_priority", "reachable"]


_NO, _YES = IntervalSet.single(0), IntervalSet.single(1)
# the choices of extension headers with one of fragments
_FRAGMENT = fields.exthdrs_where(fields.EXTENSION_BITS[44], 1, _YES)


class Engine:
    """Questions about one world, one ingress interface, one family and one protocol share their preparation here.

    Args:
        world: the namespace in which packets come in.
        iface: the interface by which they come.
        family: "ipv4" or "ipv6".
        proto: "tcp" or "udp".
        target: the namespace to reach: this one by default, or one behind it, into which this host forwards.
        onward: also ask about what this host forwards to hosts that are not of the snapshot.
    """

    def __init__(
        self,
        world: World,
        iface: str,
        family: str,
        proto: str,
        *,
        target: World | None = None,
        onward: bool = False,
    ) -> None:
        self.world, self.iface, self.family, self.proto = world, iface, family, proto
        self.target = target or world
        self.forwards = onward or self.target is not world
        self._narrow: _Scope | None = None
        self._hooks: dict[str, Hooks] = {}
        self._order: dict[tuple[str, int], tuple[int, ...]] = {}
        self.asked: dict[tuple[str, bool], bool] = {}

    def hooks(self, world: World) -> Hooks:
        """The hooks of a namespace on the way."""
        found = self._hooks.get(world.namespace.id)
        if found is None:
            found = self._hooks[world.namespace.id] = Hooks(world, self.family, self.shapes(world).code)
        return found

    def shapes(self, world: World) -> Shapes:
        """The rules of a namespace, lowered for this family and protocol; shared by all engines that ask about it."""
        return self._shapes(world, settled=self._settled)

    def _shapes(self, world: World, *, settled: bool) -> Shapes:
        key = ("shapes", self.family, self.proto, str(settled))
        if key not in world.shared:
            world.shared[key] = Shapes(self.family, self.proto, world.ruleset.byteorder, settled=settled)
        found: Shapes = world.shared[key]
        return found

    @cached_property
    def _settled(self) -> bool:
        """Whether no rule on the way rewrites packets, so that a packet of this protocol stays one."""
        for world in self._worlds:
            shapes = self._shapes(world, settled=True)
            cone(self.starts(Hooks(world, self.family, shapes.code)), shapes.code)
            if shapes.rewrites:
                return False
        return True

    @cached_property
    def _worlds(self) -> list[World]:
        """The namespaces that packets may come through: this one, and those behind it if it is asked about forwarding."""
        found = [self.world]
        if self.forwards and self.world.around is not None:
            for here in found:
                for link in here.namespace.links:
                    for other, _ in self.world.around.far_ends(here, link.name):
                        if all(other is not one for one in found) and len(found) < limits.ENTRIES:
                            found.append(other)
        return found

    def starts(self, hooks: Hooks) -> list[Placed]:
        """The base chains of a namespace that packets of these questions can meet."""
        found = [*hooks.at("ingress", self.iface), *hooks.at("prerouting"), *hooks.at("input")]
        if self.forwards:
            found += [*hooks.at("forward"), *hooks.at("postrouting")]
            for link in hooks.world.namespace.links:
                found += [*hooks.at("ingress", link.name), *hooks.at("egress", link.name)]
        return found

    @property
    def universe(self) -> Universe:
        """The slots and classes of the question that was asked last, or of all of them."""
        return self._scope.universe

    @property
    def _scope(self) -> "_Scope":
        return self._narrow or self._wide

    @cached_property
    def _wide(self) -> "_Scope":
        return self._scoped(frozenset())

    @cached_property
    def _cones(self) -> list[tuple[World, list[Code]]]:
        """Every chain that packets of these questions can come through, by namespace."""
        return [(w, cone(self.starts(self.hooks(w)), self.shapes(w).code)) for w in self._worlds]

    @property
    def worlds_on_the_way(self) -> list[tuple[World, list[Code]]]:
        """The namespaces that packets may come through, with the chains there."""
        return self._cones

    @cached_property
    def _operations(self) -> list[Op | Sourced]:
        return list(dict.fromkeys(op for _, codes in self._cones for op in operations(codes)))

    @cached_property
    def _changing(self) -> list[Shape]:
        """What may send a packet elsewhere or rewrite it."""
        return [
            shape
            for world, codes in self._cones
            if self.shapes(world).moves
            for shape in shapes_with(lambda op: isinstance(op, Rewrite) or moves(op), codes)
        ]

    @cached_property
    def _landings(self) -> Landings:
        return Landings(self)

    def _specialised(self, dst: int, dport: int) -> "_Scope | None":
        """A universe for one question, without what only rules need that cannot match it; None if the packet may change on its way."""
        if self.forwards:
            return None
        link = self.world.link(self.iface)
        fixed = {"daddr": dst, "dport": dport, "iifname": interface_number(self.iface)}
        if link is not None:
            fixed |= {"iif": link.index, "iiftype": link.arp_type}
            fixed |= {"iifgroup": link.group} if link.told else {}
        if not all(dead(shape, fixed) for shape in self._changing):
            return None
        return self._scoped(frozenset(op for op in self._operations if isinstance(op, Test) and impossible(op, fixed)))

    def _scoped(self, dead: frozenset[Op | Sourced]) -> "_Scope":
        """The universe of all rules but those with one of these premises, which never holds."""
        tested: dict[str, list[IntervalSet]] = {}
        edges: set[int] = set()
        idle: dict[Shape, Plain | Complex | None] = {}
        for world, codes in self._cones:
            live = set()
            for shape in dict.fromkeys(shape for code in codes for shape in code.distinct):
                if shape.dead or not dead.isdisjoint(shape.premises):
                    idle[shape] = None
                else:
                    live.add(shape)
            for op in dict.fromkeys(op for shape in live for op in shape.ops):
                for name, values in read_by(op):
                    tested.setdefault(name, []).append(values)
            for name, values in reads([], self.shapes(world).maps):
                tested.setdefault(name, []).append(values)
            for code in codes:
                edges.update(code.edges(live))
            edges.update(low for low, _ in routing.elementary(world, self.family))
        edges.update(edge for values in tested.get("saddr", ()) for low, high in values for edge in (low, high + 1))
        if tested.keys().isdisjoint(fields.CHOSEN_HEADERS.union(fields.OF_ONE_PIECE)):
            return _Scope(Universe.build(self.family, self.proto, edges, tested), idle)
        return _Scope(Universe.build(self.family, self.proto, edges, tested, *headers.seen(self, tested)), idle)

    def ask(self, dst: int, dport: int) -> Answer:
        """Who reaches `dport` at the address `dst` (a number) of the target over the interface."""
        ways, unclear = self.hooks(self.world).orders(("prerouting", "input", *(("forward",) * self.forwards)))
        answer = self._ask(dst, dport, ways[0])
        if len(ways) == 1:
            return answer
        others = [self._ask(dst, dport, way) for way in ways[1:]]
        may, must = answer.may, answer.must
        shown_may, shown_must, passes = answer.shown_may, answer.shown_must, answer.passes
        for other in others:
            may, must = may | other.may, must & other.must
            shown_may, shown_must, passes = (
                shown_may | other.shown_may,
                shown_must & other.shown_must,
                passes + other.passes,
            )
        because = answer.because
        if may != must:
            because = tuple(
                dict.fromkeys((*because, *(f"order-dependent: which of {n} runs first can't be seen" for n in unclear)))
            )
        certain = {
            entry: reduce(IntervalSet.__and__, (o.sure.get(entry, IntervalSet()) for o in others), sure)
            for entry, sure in answer.sure.items()
        }
        return Answer(
            may, must, because, answer.martian, shown_may, shown_must, answer.forwarded, passes, certain, answer.reasons
        )

    def _ask(self, dst: int, dport: int, order: dict[tuple[str, int], tuple[int, ...]]) -> Answer:
        """The answer with one order of the chains of equal priority."""
        self.hooks(self.world).order = order
        self._narrow = None
        everything = IntervalSet.full(fields.saddr_bits(self.family))
        doubts = dict.fromkeys((*self.world.doubts_about(self.iface, self.family), *self.hooks(self.world).unordered()))
        may = must = shown_may = shown_must = martian = IntervalSet()
        passes, sure_passes = [], []
        certain: dict[tuple[int, int], IntervalSet] = {}
        onward: dict[Forwarded, None] = {}
        walkers = _Walkers(self)
        try:
            candidates = self._landings.candidates(dst, dport)
            if not candidates:
                self._narrow = self._specialised(dst, dport)
            for entry in self._landings.entries(dst, dport, candidates, walkers.of):
                run = self._run(walkers, entry)
                delivered: Region = {}
                parts: dict[IntervalSet, Region] = {}
                for arrival in run.arrivals:
                    if self._wanted(walkers, arrival, entry, (dst, dport)):
                        if arrival.world is not None:
                            doubts |= dict.fromkeys(arrival.world.doubts_at(self.proto, arrival.environment.dport))
                        add(delivered, arrival.region)
                        add(parts.setdefault(run.refused(arrival), {}), arrival.region)
                        if arrival.crossed:
                            onward[_forwarded(self.family, arrival)] = None
                sure = dict(delivered)
                remove(sure, run.stopped)
                for arrival in run.arrivals:
                    if not self._surely(arrival, entry, (dst, dport)):
                        remove(sure, arrival.region)
                sure = self._uncut(sure, walkers)
                here = self.universe.sources(delivered)
                surely = here if sure == delivered else self.universe.sources(sure)
                for refused, part in parts.items():
                    may |= (here if len(parts) == 1 else self.universe.sources(part)) - refused
                    must |= (surely if len(parts) == 1 else self.universe.sources(meet(sure, part))) - refused
                shown_may, shown_must, martian = shown_may | here, shown_must | surely, martian | run.martian
                certain[entry] = surely
                passes.append((*entry, self.universe, delivered))
                sure_passes.append((*entry, self.universe, sure))
                doubts |= run.doubts
        except TooComplexError as error:
            return Answer(everything, IntervalSet(), (str(error), *doubts), shown_may=everything)
        if doubts:
            must = shown_must = IntervalSet()
            certain.clear()
        reasons = (*doubts, *(reason for reason, _ in walkers.reasons.most_common()))
        reasons = tuple(dict.fromkeys(reasons))
        because = reasons if may != must else ()
        # what surely gets through stands before what perhaps does
        passes = [*sure_passes, *passes]
        return Answer(
            may, must, because, martian, shown_may, shown_must, tuple(onward), tuple(passes), certain, reasons
        )

    def _uncut(self, sure: Region, walkers: "_Walkers") -> Region:
        """What of a region surely gets through, where fragments may hide a part of the header: of those only the first is followed."""
        universe = self.universe
        whole = every = (1 << universe.classes) - 1
        for name in filter(universe.free, fields.FRAGMENTED):
            whole &= universe.class_mask(name, _NO)
        if whole == every or not universe.fragmented:
            return sure
        walkers.reasons[headers.CUT] += 1
        return restricted(sure, None, whole)

    def walker(self, world: World, iface: str) -> Walker:
        """A walker for the question that was asked last."""
        shapes, (universe, idle) = self.shapes(world), self._scope
        return Walker(world, iface, self.family, self.proto, universe, shapes.code, shapes.maps, idle)

    def _run(self, walkers: "_Walkers", entry: tuple[int, int]) -> Passage:
        """Send every packet to an entry."""
        run = Passage(self.family, self.proto, self.universe, self.hooks, walkers.of, self.forwards)
        run.enter(self.world, self.iface, {Environment(*entry): self._sent()})
        return run

    def _sent(self) -> Region:
        """Every packet that can be sent: a header is cut only in a fragment, and hidden only behind a fragment header."""
        universe = self.universe
        header = universe.class_mask("exthdrs", _FRAGMENT)
        never = 0
        if universe.free("tcp_cut", "more_fragments"):
            never |= universe.class_mask("tcp_cut", _YES) & universe.class_mask("more_fragments", _NO)
        # where rules see headers only behind defragmentation, that one is gone
        if universe.free("l4_hidden", "exthdrs") and header:
            never |= universe.class_mask("l4_hidden", _YES) & ~header
        every = (1 << universe.classes) - 1
        return restricted(universe.full(), None, every & ~never) if never else universe.full()

    def _wanted(self, walkers: "_Walkers", arrival: Arrival, entry: tuple[int, int], wanted: tuple[int, int]) -> bool:
        """Whether packets arrive (or may arrive) where it was asked for."""
        environment = arrival.environment
        if environment.dport is None or environment.dst is None:
            walkers.reasons["a rule sends packets to a destination that is not a constant"] += 1
            return True
        return self._surely(arrival, entry, wanted)

    def _surely(self, arrival: Arrival, entry: tuple[int, int], wanted: tuple[int, int]) -> bool:
        environment = arrival.environment
        if environment.dport is None or environment.dst is None:
            return False
        if arrival.world is self.world and self.target is self.world:
            return environment.dport == wanted[1] and (environment.dst == wanted[0] or bool(environment.moved))
        if self.target is not self.world:
            return arrival.world is self.target and (environment.dst, environment.dport) == wanted
        # asked about a port of this host, which it hands on
        return bool(arrival.crossed) and entry == wanted and arrival.crossed[0][0] == self.world.namespace.id


class _Scope(NamedTuple):
    """The slots and classes of a question, and the shapes that do nothing with any of its packets, whose edges are not among them."""

    universe: Universe
    idle: dict[Shape, Plain | Complex | None]


class _Walkers:
    """The walkers of one question, one for each namespace and interface; they count their steps and doubts together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: dict[tuple[str, str], Walker] = {}
        self.reasons: Counter[str] = Counter()

    def of(self, world: World, iface: str) -> Walker:
        """The walker of a namespace and an interface."""
        key = (world.namespace.id, iface)
        if key not in self._made:
            engine = self._engine
            walker = engine.walker(world, iface)
            walker.reasons = self.reasons
            self._made[key] = walker
        return self._made[key]


def _forwarded(family: str, arrival: Arrival) -> Forwarded:
    environment = arrival.environment
    return Forwarded(
        None if environment.dst is None else routing.text(family, environment.dst),
        environment.dport,
        arrival.world.namespace.id if arrival.world is not None else None,
        arrival.crossed,
    )


def reachable(world: World, *, iface: str, family: str, proto: str, dst: str, dport: int) -> Answer:
    """Who reaches a port: see `Engine.ask`. To ask many questions about one interface, keep an `Engine`."""
    return Engine(world, iface, family, proto).ask(routing.number(dst), dport)
