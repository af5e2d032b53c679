"""The symbolic engine: the exact set of sources from which a new flow reaches a port of this host.

It walks the chains with regions of packets instead of packets. Where a rule can't be decided (a rate limit, an expression that is
not analysed), both continuations are followed: `may` is what gets through in some of them, `must` what gets through in all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from librespot_guard.firewall.model import (
    Chain,
    Ct,
    CtSet,
    Masquerade,
    Nat,
    Redirect,
    Rule,
    Table,
    Unknown,
    Verdict,
    Xt,
)
from librespot_guard.reach import _fields as fields
from librespot_guard.reach import routing
from librespot_guard.reach._environment import Environment
from librespot_guard.reach._lower import Branch, Decide, Lowered, Lowering, Rewrite, Test, Translate
from librespot_guard.reach._region import Region, Universe, add, remove, restricted
from librespot_guard.reach._walk import Regions, TooComplexError, Walker, merge
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.world import World

CONNTRACK_PRIORITY = -200  # NF_IP_PRI_CONNTRACK
NAT_PRIORITIES = {"prerouting": -100, "input": 100}  # NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC
_MOST_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """Who reaches a port: `must` surely, `may` at most; `because` are the reasons if they differ.

    `martian` are sources that routing refuses, whatever the filters say (the host's own addresses, 127.0.0.0/8, multicast);
    they are in neither set. `shown_may` and `shown_must` are the same sets with those of them that the filters would let
    through: that is what people are shown, "192.168.10.0/24" rather than that network without one address.
    """

    may: IntervalSet
    must: IntervalSet
    because: tuple[str, ...] = ()
    martian: IntervalSet = field(default_factory=IntervalSet)
    shown_may: IntervalSet = field(default_factory=IntervalSet)
    shown_must: IntervalSet = field(default_factory=IntervalSet)
    _passes: tuple[tuple[int, int, Universe, Region], ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the bounds meet."""
        return self.may == self.must

    def choices(self, source: int) -> dict[str, int]:
        """Fields of a packet of `source` that gets through: free ones ("sport", "tcp_flags", …), and "daddr" and "dport".

        The destination differs from the one asked for where NAT leads from it to the listener. KeyError if the source is
        not in `may`.
        """
        # what surely gets through stands before what perhaps does
        for dst, dport, universe, region in self._passes:
            try:
                return universe.choice(region, source) | {"daddr": dst, "dport": dport}
            except KeyError:
                continue
        raise KeyError(source)


class Engine:
    """Questions about one world, one ingress interface, one family and one protocol share their preparation here."""

    def __init__(self, world: World, iface: str, family: str, proto: str) -> None:
        self.world, self.iface, self.family, self.proto = world, iface, family, proto
        self._lowering = Lowering(family, proto, world.ruleset.byteorder)
        self._lowered: dict[int, Lowered] = {}

    @cached_property
    def _hooks(self) -> dict[str, list[tuple[Table, Chain]]]:
        chains = self.world.base_chains
        return {
            "ingress": chains("ingress", self.family, self.iface),
            "prerouting": self._nat_in_place(chains("prerouting", self.family), NAT_PRIORITIES["prerouting"]),
            "input": self._nat_in_place(chains("input", self.family), NAT_PRIORITIES["input"]),
        }

    def _nat_in_place(self, chains: list[tuple[Table, Chain]], priority: int) -> list[tuple[Table, Chain]]:
        """NAT chains run together at a priority of the kernel's own, and only where connections are tracked (nf_nat_inet_fn)."""
        kept = [pair for pair in chains if self._tracks or pair[1].hook is None or pair[1].hook.kind != "nat"]
        return sorted(kept, key=lambda pair: effective_priority(pair[1], priority))

    @cached_property
    def _tracks(self) -> bool:
        """Whether connections of this family are tracked: only if some rule needs it (nf_ct_netns_get), reached or not."""
        name = {"ipv4": "ip", "ipv6": "ip6"}[self.family]
        tables = [t for t in self.world.ruleset.tables if t.family in ("inet", name)]
        exprs = [e for t in tables for c in t.chains for r in c.rules for e in r.exprs]
        if any(isinstance(e, Ct | CtSet | Redirect | Masquerade | Xt | Unknown) for e in exprs):
            return True
        return any(isinstance(e, Nat) and e.family in ("inet", name) for e in exprs)

    @cached_property
    def _unordered(self) -> tuple[str, ...]:
        """Chains at the very priority of connection tracking or NAT: which of the two runs first can't be seen."""
        out = []
        if self._tracks:
            chains = self._hooks["prerouting"]
            own = {CONNTRACK_PRIORITY}
            if any(c.hook and c.hook.kind == "nat" for _, c in chains):
                own.add(NAT_PRIORITIES["prerouting"])
            for table, chain in chains:
                if chain.hook and chain.hook.kind != "nat" and chain.hook.priority in own:
                    out.append(
                        f"{table.family} {table.name} {chain.name} has the priority of connection tracking or NAT itself"
                    )
        return tuple(out)

    def lowered(self, table: Table, rule: Rule) -> Lowered:
        """A rule, lowered once."""
        found = self._lowered.get(id(rule))
        if found is None:
            found = self._lowered[id(rule)] = self._lowering.rule(table, rule)
        return found

    @cached_property
    def _cone(self) -> list[Lowered]:
        """Every rule that a packet of these questions can come through."""
        seen: dict[tuple[str, str, str], None] = {}
        todo = [pair for pairs in self._hooks.values() for pair in pairs]
        out = []
        while todo:
            table, chain = todo.pop()
            if (key := (table.family, table.name, chain.name)) in seen:
                continue
            seen[key] = None
            for rule in chain.rules:
                lowered = self.lowered(table, rule)
                out.append(lowered)
                todo += [(table, c) for name in _targets(lowered) for c in table.chains if c.name == name]
        return out

    @cached_property
    def _universe(self) -> Universe:
        reads: dict[str, list[IntervalSet]] = {}
        for lowered in self._cone:
            for name, values in _reads(lowered):
                reads.setdefault(name, []).append(values)
        edges = {edge for values in reads.get("saddr", ()) for low, high in values for edge in (low, high + 1)}
        edges |= {low for low, _ in routing.elementary(self.world, self.family)}
        return Universe.build(self.family, self.proto, edges, reads)

    def ask(self, dst: int, dport: int) -> Answer:
        """Who reaches `dport` at the address `dst` (a number) of this host over the interface."""
        everything = IntervalSet.full(fields.saddr_bits(self.family))
        doubts = (*self.world.doubts_about(self.iface, self.family), *self._unordered)
        may = must = shown_may = shown_must = martian = IntervalSet()
        passes, certain = [], []
        walker = Walker(self.world, self.iface, self.family, self.proto, self._universe, self.lowered)
        try:
            for entry in self._entries(dst, dport):
                delivered, stopped, refused = self._packets(walker, entry, (dst, dport))
                sure = dict(delivered)
                remove(sure, stopped)
                # what routing refuses at one entry it may let through at another
                here, surely = self._universe.sources(delivered), self._universe.sources(sure)
                may, must = may | (here - refused), must | (surely - refused)
                shown_may, shown_must, martian = shown_may | here, shown_must | surely, martian | refused
                passes.append((*entry, self._universe, delivered))
                certain.append((*entry, self._universe, sure))
        except TooComplexError as error:
            return Answer(everything, IntervalSet(), (str(error), *doubts), shown_may=everything)
        if doubts:
            must = shown_must = IntervalSet()
        reasons = (*doubts, *(reason for reason, _ in walker.reasons.most_common()))
        because = tuple(dict.fromkeys(reasons)) if may != must else ()
        return Answer(may, must, because, martian, shown_may, shown_must, (*certain, *passes))

    def _entries(self, dst: int, dport: int) -> list[tuple[int, int]]:
        """The destinations on the wire that can end at (dst, dport): itself, and where destination NAT may lead there from."""
        ports: set[int] = {dport}
        addresses: set[int] = {dst}
        for lowered in self._cone:
            for name, values in _reads(lowered):
                if name in ("dport", "ct_dport"):
                    ports |= {
                        edge for low, high in values for edge in (low - 1, low, high, high + 1) if 0 < edge < 65536
                    }
                elif name in ("daddr", "ct_daddr"):
                    addresses |= {low for low, high in values if low == high}
        if not any(
            isinstance(op, Translate) or (isinstance(op, Rewrite) and op.diverts)
            for lowered in self._cone
            for op in lowered.ops
        ):
            return [(dst, dport)]
        found = [
            (a, p) for a in sorted(addresses, key=lambda a: a != dst) for p in sorted(ports, key=lambda p: p != dport)
        ]
        if len(found) > _MOST_ENTRIES:
            raise TooComplexError(f"destination NAT with {len(found)} combinations of addresses and ports")
        return found

    def _packets(
        self, walker: Walker, entry: tuple[int, int], wanted: tuple[int, int]
    ) -> tuple[Region, Region, IntervalSet]:
        """Packets to an entry that are delivered where wanted, and that are not (overlapping where in doubt); martian sources."""
        current: Regions = {Environment(*entry): self._universe.full()}
        stopped: Region = {}
        martian = IntervalSet()
        for hook in ("ingress", "prerouting", "routing", "input"):
            if hook == "routing":
                current, martian = self._routed(walker, current, stopped)
                continue
            for table, chain in self._hooks[hook]:
                current = self._base(walker, table, chain, current, stopped)
        delivered: Region = {}
        for environment, region in current.items():
            if environment.dport is None or environment.dst is None:
                walker.reasons["a rule sends packets to a destination that is not a constant"] += 1
                add(delivered, region)
                add(stopped, region)
            elif environment.dport == wanted[1] and (environment.dst == wanted[0] or environment.translated):
                add(delivered, region)
            else:
                add(stopped, region)
        return delivered, stopped, martian

    def _routed(self, walker: Walker, current: Regions, stopped: Region) -> tuple[Regions, IntervalSet]:
        """The routing decision: what is delivered here goes on."""
        out: Regions = {}
        martian = IntervalSet()
        for environment, region in current.items():
            if environment.dst is None:
                out[environment] = region
                continue
            sources = routing.local_sources(self.world, self.family, self.iface, environment.dst, mark=environment.mark)
            walker.reasons.update(sources.doubts)
            martian |= sources.martian
            going = restricted(region, self._universe.slots(sources.may), None)
            rest = dict(region)
            remove(rest, restricted(region, self._universe.slots(sources.must), None))
            add(stopped, rest)
            if going:
                out[environment] = going
        return out, martian

    @staticmethod
    def _base(walker: Walker, table: Table, chain: Chain, current: Regions, stopped: Region) -> Regions:
        """One base chain of a hook."""
        if chain.hook is None:
            raise AssertionError(chain.name)
        out: Regions = {}
        for start, region in current.items():
            environment = start
            priority = effective_priority(chain, NAT_PRIORITIES.get(chain.hook.hook, 0))
            if chain.hook.hook != "ingress" and priority > CONNTRACK_PRIORITY and environment.ct == "none":
                environment = replace(environment, ct="new")
            if chain.hook.kind == "nat" and (environment.ct != "new" or environment.translated):
                merge(out, environment, region)
                continue
            result = walker.chain(table, chain, environment, region)
            add(stopped, result.stop)
            for where, part in result.accept.items():
                merge(out, where, part)
            for where, part in result.fall.items():
                if chain.hook.policy == "accept":
                    merge(out, where, part)
                else:
                    add(stopped, part)
        return out


def effective_priority(chain: Chain, nat: int) -> int:
    """The priority at which a base chain runs: its own, or that of NAT (`nat`) if it is a NAT chain."""
    if chain.hook is None:
        raise AssertionError(chain.name)
    return nat if chain.hook.kind == "nat" else chain.hook.priority


def _targets(lowered: Lowered) -> Iterator[str]:
    """The chains a rule can lead to."""
    for op in lowered.ops:
        data: list[object] = []
        if isinstance(op, Decide):
            data = [op.verdict]
        elif isinstance(op, Branch):
            data = [*(d for _, d in op.entries.entries), op.entries.otherwise]
        yield from (d.chain for d in data if isinstance(d, Verdict) and d.chain)


def _reads(lowered: Lowered) -> Iterator[tuple[str, IntervalSet]]:
    """Every field a rule tests, with the values it tests for."""
    for op in lowered.ops:
        if isinstance(op, Test):
            for condition in op.any_of:
                yield from condition.sets.items()
        elif isinstance(op, Branch):
            for condition, _ in op.entries.entries:
                yield from condition.sets.items()
    for entries in lowered.maps.values():
        for condition, _ in entries.entries:
            yield from condition.sets.items()


def reachable(world: World, *, iface: str, family: str, proto: str, dst: str, dport: int) -> Answer:
    """Who reaches a port: see `Engine.ask`. To ask many questions about one interface, keep an `Engine`."""
    return Engine(world, iface, family, proto).ask(routing.number(dst), dport)
