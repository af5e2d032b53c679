"""The walk through chains with regions of packets: what each rule takes, where its verdict sends it, what goes on.

Where a rule can't be decided, its packets are in two places at once: where the verdict leads, and with the next rule.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from librespot_guard.firewall.model import Chain, Rule, Table, Verdict
from librespot_guard.reach import routing
from librespot_guard.reach._conditions import Entries
from librespot_guard.reach._environment import Environment, Reader
from librespot_guard.reach._lower import Assign, Branch, Decide, Lowered, Maybe, Need, Rewrite, Test, Translate, Untrack
from librespot_guard.reach._region import Region, Universe, add, meet, remove, restricted
from librespot_guard.reach.world import World

_MOST_STEPS = 1_000_000
Regions = dict[Environment, Region]


class TooComplexError(Exception):
    """The ruleset needs more steps than allowed: no exact answer."""


def merge(into: Regions, environment: Environment, region: Region) -> None:
    """Add a region to those of an environment."""
    if region:
        add(into.setdefault(environment, {}), region)


@dataclass(slots=True)
class Outcome:
    """Where packets went: `stop` is dropped (or elsewhere), `fall` left the chain at its end or by return, by environment."""

    accept: Regions = field(default_factory=dict)
    stop: Region = field(default_factory=dict)
    fall: Regions = field(default_factory=dict)


@dataclass(slots=True)
class _Frame:
    """One rule at work in one chain: `stays` loses what surely leaves, what verdicts send on goes to `after`."""

    table: Table
    result: Outcome
    depth: int
    stays: Region
    after: Regions


@dataclass(slots=True)
class Walker:
    """Walks chains for one world, ingress interface, family and protocol. `reasons` collects why a rule was undecided."""

    world: World
    iface: str
    family: str
    proto: str
    universe: Universe
    lowered: Callable[[Table, Rule], Lowered]
    reasons: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    where: str = ""

    def chain(self, table: Table, chain: Chain, environment: Environment, region: Region, depth: int = 0) -> Outcome:
        """Walk one chain with a region, which is not changed. Raises TooComplexError."""
        result = Outcome()
        if depth > 16:  # NFT_JUMP_STACK_SIZE: the kernel refuses to load deeper
            raise TooComplexError("chains nested deeper than the kernel allows")
        pending = {environment: dict(region)}
        for rule in chain.rules:
            lowered = self.lowered(table, rule)
            self.where = f"{table.family} {table.name} {chain.name} handle {rule.handle}"
            after: Regions = {}
            for where, part in pending.items():
                self._count(1)
                self._rule(_Frame(table, result, depth, part, after), lowered, where)
            for where, part in after.items():
                merge(pending, where, part)
            pending = {where: part for where, part in pending.items() if part}
            if not pending:
                break
        for where, part in pending.items():
            merge(result.fall, where, part)
        return result

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise TooComplexError("the ruleset needs too many steps")

    def _doubt(self, reason: str) -> None:
        self.reasons[f"{reason} ({self.where})"] += 1

    def _rule(self, frame: _Frame, lowered: Lowered, environment: Environment) -> None:
        """One rule. The work is in proportion to what the rule matches, not to all that passes it by."""
        reader = Reader(self.world, self.iface, self.family, self.proto, environment, self.universe, lowered.maps)
        sure: Region = frame.stays
        maybe: Region = {}
        where = environment
        for op in lowered.ops:
            if not sure and not maybe:
                return
            match op:
                case Need(name):
                    state = reader.state(name)
                    if state == "broken":
                        return
                    if state == "unknown":
                        maybe, sure = _union(sure, maybe), {}
                        self._doubt(f"whether `{name}` can be read is not known")
                case Maybe(reason):
                    maybe, sure = _union(sure, maybe), {}
                    self._doubt(reason)
                case Test():
                    if maybe:
                        holds, perhaps = self._test(reader, op, _union(sure, maybe))
                        maybe = _less(
                            _union(meet(sure, perhaps), meet(maybe, _union(holds, perhaps))), meet(sure, holds)
                        )
                        sure = meet(sure, holds)
                    else:
                        sure, maybe = self._test(reader, op, sure)
                case Assign() | Untrack() | Rewrite():
                    where = self._changed(op, where, reader)
                    reader = reader.moved(where)
                case Translate():
                    self._settle(frame, Verdict("accept"), self._translated(op, where, reader), sure, maybe)
                    return
                case Branch(entries):
                    before = dict(sure) if where != environment else {}
                    self._branch(frame, entries, reader, sure, maybe)
                    if where != environment:
                        # what the map did not send away goes on as the rule changed it
                        going = dict(_union(left := meet(before, frame.stays), maybe))
                        _leave(frame.stays, left)
                        merge(frame.after, where, going)
                    return
                case Decide(verdict) if verdict.kind != "continue":
                    self._settle(frame, verdict, where, sure, maybe)
                    return
        if where != environment and (sure or maybe):
            # the rule ended without a verdict, but it changed what later rules see
            going = dict(_union(sure, maybe))
            _leave(frame.stays, sure)
            merge(frame.after, where, going)

    def _changed(self, op: Assign | Untrack | Rewrite, where: Environment, reader: Reader) -> Environment:
        """The environment after a statement that changes the packet or what is known of it."""
        if isinstance(op, Untrack):
            return replace(where, ct="untracked") if where.ct == "none" else where
        if isinstance(op, Rewrite):
            self._doubt(op.reason)
            if op.moves:
                return replace(where, tainted=True, dst=None, dport=None)
            return replace(where, tainted=True)
        number = reader.constant(op.value)
        if number is not None and self.world.ruleset.byteorder == "little":
            number = int.from_bytes(number.to_bytes(4, "big"), "little")
        return where.assigned(op.name, number)

    def _translated(self, op: Translate, where: Environment, reader: Reader) -> Environment:
        """The environment after address translation."""
        if op.source:
            return replace(where, masked=True, source=self._masked(op, where, reader))
        dst: int | None = where.dst
        dport: int | None = where.dport
        if op.redirect:
            # nf_nat_redirect: the first address of the ingress interface
            own = [a for a in self.world.namespace.addresses if a.family == self.family and a.dev == self.iface]
            dst = routing.number(own[0].address) if own else None
        elif op.address is not None:
            dst = reader.constant(op.address)
        if op.port is not None:
            dport = reader.constant(op.port)
        if op.ranged:
            dst = dport = None
        return replace(
            where, dst=dst, dport=dport, original=where.original or (where.dst, where.dport), translated=True
        )

    def _masked(self, op: Translate, where: Environment, reader: Reader) -> int | None:
        """The source after snat or masquerade; None if it is not one constant."""
        if op.ranged or where.oif is None:
            return None
        if not op.redirect:
            return None if op.address is None else reader.constant(op.address)
        # nf_nat_masquerade: an address of the interface the packet leaves by
        own = [a for a in self.world.namespace.addresses if a.family == self.family and a.dev == where.oif]
        return routing.number(own[0].address) if len(own) == 1 else None

    def _branch(self, frame: _Frame, entries: Entries, reader: Reader, sure: Region, maybe: Region) -> None:
        """A verdict map: each entry's packets go where it says; a miss goes on."""
        taken: Region = {}
        sure = dict(sure) if sure is frame.stays else sure
        every = _union(sure, maybe)
        if entries.doubt:
            self._doubt(entries.doubt)
        for condition, data in entries.entries:
            holds, perhaps = self._test(reader, Test((condition,)), every)
            surely = {} if entries.doubt else meet(sure, holds)
            add(taken, surely)
            if not entries.doubt:
                add(taken, meet(maybe, holds))
            self._settle(frame, data, reader.environment, surely, _less(_union(holds, perhaps), surely))
        if entries.catchall:
            rest = _less(every, taken)
            self._settle(frame, entries.otherwise, reader.environment, meet(sure, rest), meet(maybe, rest))

    def _settle(
        self, frame: _Frame, verdict: Verdict | bytes | None, where: Environment, sure: Region, maybe: Region
    ) -> None:
        """Carry a verdict out on packets that surely or maybe came to it."""
        if not isinstance(verdict, Verdict) or verdict.kind == "continue":
            return
        going = dict(_union(sure, maybe))
        if not going:
            return
        _leave(frame.stays, sure)
        result, kind = frame.result, verdict.kind
        if kind == "accept":
            merge(result.accept, where, going)
        elif kind in ("drop", "reject"):
            add(result.stop, going)
        elif kind == "return":
            merge(result.fall, where, going)
        elif kind in ("jump", "goto"):
            called = self.chain(frame.table, frame.table.chain(verdict.chain or ""), where, going, frame.depth + 1)
            add(result.stop, called.stop)
            for environment, part in called.accept.items():
                merge(result.accept, environment, part)
            for environment, part in called.fall.items():
                merge(frame.after if kind == "jump" else result.fall, environment, part)
        else:
            self._doubt("a verdict that is not analysed (a userspace queue, or an unknown target)")
            merge(result.accept, where, going)
            add(result.stop, going)
            merge(frame.after, where, going)

    def _test(self, reader: Reader, test: Test, region: Region) -> tuple[Region, Region]:
        """The parts of a region in which a test surely, and only perhaps, holds."""
        holds: Region = {}
        perhaps: Region = {}
        for condition in test.any_of:
            found = reader.holds(condition)
            if found is None:
                continue
            ranges, classes, doubt = found
            if found == (None, None, None):
                return ({}, {}) if test.inverted else (region, {})
            part = restricted(region, ranges, classes)
            self._count(len(part))
            if doubt is None:
                add(holds, part)
            elif part:
                self._doubt(doubt)
                add(perhaps, part)
        remove(perhaps, holds)
        if test.inverted:
            rest = _less(region, holds) if holds else region
            return (_less(rest, perhaps) if perhaps else rest), perhaps
        return holds, perhaps


def _leave(stays: Region, sure: Region) -> None:
    """Take out of `stays` what surely left it, which may be all of it."""
    if sure is stays:
        stays.clear()
    else:
        remove(stays, sure)


def _union(first: Region, second: Region) -> Region:
    """The union; one of the two themselves if the other is empty, so never change it in place."""
    if not second:
        return first
    if not first:
        return second
    out = dict(first)
    add(out, second)
    return out


def _less(first: Region, second: Region) -> Region:
    out = dict(first)
    remove(out, second)
    return out
