"""The walk through chains with regions of packets: what each rule takes, where its verdict sends it, what goes on.

Where a rule can't be decided, its packets are in two places at once: where the verdict leads, and with the next rule.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import compress

from librespot_guard.firewall.model import Chain, Table, Verdict
from librespot_guard.reach import _fields as fields
from librespot_guard.reach import _limits as limits
from librespot_guard.reach import routing
from librespot_guard.reach._conditions import All, Entries
from librespot_guard.reach._environment import Environment, Reader
from librespot_guard.reach._lower import Assign, Branch, Decide, Maybe, Need, Rewrite, Test, Translate, Untrack
from librespot_guard.reach._outcome import Complex, Plain, outcome
from librespot_guard.reach._paint import Strokes, paint
from librespot_guard.reach._region import Region, Universe, add, less, meet, remove, restricted, union
from librespot_guard.reach._shapes import Code, Shape, Sourced
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.world import World

Regions = dict[Environment, Region]


class TooComplexError(Exception):
    """The ruleset needs more steps than allowed: no exact answer."""


def merge(into: Regions, environment: Environment, region: Region) -> None:
    """Add a region to those of an environment."""
    if region:
        have = into.get(environment)
        if have is None:
            into[environment] = dict(region)
        else:
            add(have, region)


@dataclass(slots=True)
class Outcome:
    """Where packets went: `stop` is dropped (or elsewhere), `fall` left the chain at its end or by return, by environment."""

    accept: Regions = field(default_factory=dict)
    stop: Region = field(default_factory=dict)
    fall: Regions = field(default_factory=dict)


@dataclass(slots=True)
class _Frame:
    """One rule at work in one chain: `stays` loses what surely leaves, what verdicts send on goes to `after`."""

    code: Code
    result: Outcome
    depth: int
    stays: Region
    after: Regions


@dataclass(slots=True)
class _Known:
    """What is known of one environment: its reader, and the outcome of the shapes met so far."""

    reader: Reader
    outcomes: dict[Shape, Plain | Complex | None] = field(default_factory=dict)
    _complex: dict[int, list[int]] = field(default_factory=dict)

    def next_complex(self, code: Code, first: int) -> int:
        """The number of the first rule from `first` on that is not plain here, or the number of rules."""
        found = self._complex.get(id(code))
        if found is None:
            for shape in code.distinct:
                if shape not in self.outcomes:
                    self.outcomes[shape] = outcome(shape, self.reader)
            found = []
            if any(isinstance(self.outcomes[shape], Complex) for shape in code.distinct):
                found = [i for i, shape in enumerate(code.shapes) if isinstance(self.outcomes[shape], Complex)]
            self._complex[id(code)] = found
        at = bisect_left(found, first)
        return found[at] if at < len(found) else len(code.shapes)


@dataclass(slots=True)
class Walker:
    """Walks chains for one world, ingress interface, family and protocol.

    `idle` are shapes that do nothing, whatever the environment; `reasons` collects why a rule was undecided.
    """

    world: World
    iface: str
    family: str
    proto: str
    universe: Universe
    code: Callable[[Table, Chain], Code]
    maps: dict[str, Entries]
    idle: dict[Shape, Plain | Complex | None] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    calls: int = 0
    where: str = ""
    _environments: dict[Environment, _Known] = field(default_factory=dict)

    def chain(self, table: Table, chain: Chain, environment: Environment, region: Region, depth: int = 0) -> Outcome:
        """Walk one chain with a region, which is not changed. Raises TooComplexError."""
        result = Outcome()
        self.calls += 1
        if depth > limits.DEPTH:
            raise TooComplexError("chains nested deeper than the kernel allows")
        if self.calls > limits.CALLS:
            raise TooComplexError(f"the ruleset needs too many steps: more than {limits.CALLS} entries into chains")
        code = self.code(table, chain)
        pending = {environment: dict(region)}
        at, end = 0, len(code.shapes)
        while at < end and pending:
            last = self._run(code, at, pending, result)
            pending = {where: part for where, part in pending.items() if part}
            if last < end and pending:
                self.where = f"{table.family} {table.name} {chain.name} handle {chain.rules[last].handle}"
                after: Regions = {}
                for where, part in pending.items():
                    self._count(1)
                    self._rule(_Frame(code, result, depth, part, after), last, where)
                for where, part in after.items():
                    merge(pending, where, part)
                pending = {where: part for where, part in pending.items() if part}
            at = last + 1
        for where, part in pending.items():
            merge(result.fall, where, part)
        return result

    def _run(self, code: Code, first: int, pending: Regions, result: Outcome) -> int:
        """Work off plain rules from `first` on, as far as they are plain in every environment; the index behind them."""
        known = [self._known(where) for where in pending]
        last = min(one.next_complex(code, first) for one in known)
        self._count(last - first)
        for (where, region), one in zip(pending.items(), known, strict=True):
            done = paint(region, self._strokes(code, first, last, one), len(self.universe.starts))
            merge(result.accept, where, done.accept)
            merge(result.fall, where, done.fall)
            add(result.stop, done.stop)
        return last

    def _known(self, where: Environment) -> _Known:
        known = self._environments.get(where)
        if known is None:
            reader = Reader(self.world, self.iface, self.family, self.proto, where, self.universe, self.maps)
            known = self._environments[where] = _Known(reader, dict(self.idle))
        return known

    def _strokes(self, code: Code, first: int, last: int, known: _Known) -> Strokes:
        """The effect of rules first..last-1, which are plain."""
        plain = {shape: found for shape, found in known.outcomes.items() if isinstance(found, Plain)}
        run = slice(first, last)
        outcomes = list(map(plain.get, code.shapes[run]))
        rank = self.universe.ranks.__getitem__
        firsts, ends = (list(map(rank, compress(edges[run], outcomes))) for edges in (code.lows, code.ends))
        strokes = Strokes(firsts, ends, list(filter(None, outcomes)))
        if all(found.ranges is None for found in plain.values()):
            return strokes
        out = Strokes([], [], [])
        for low, end, found in zip(strokes.firsts, strokes.ends, strokes.plains, strict=True):
            for a, b in ((low, end),) if found.ranges is None else found.ranges:
                if a < end and b > low:
                    out.firsts.append(max(a, low))
                    out.ends.append(min(b, end))
                    out.plains.append(found)
        return out

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > limits.STEPS:
            raise TooComplexError(f"the ruleset needs too many steps: more than {limits.STEPS}")

    def _doubt(self, reason: str) -> None:
        self.reasons[f"{reason} ({self.where})"] += 1

    def _rule(self, frame: _Frame, index: int, environment: Environment) -> None:
        """One rule. The work is in proportion to what the rule matches, not to all that passes it by."""
        shape = frame.code.shapes[index]
        reader = self._known(environment).reader
        sure: Region = frame.stays
        maybe: Region = {}
        where = environment
        for op in shape.ops:
            if not sure and not maybe:
                break
            match op:
                case Need(name):
                    state = reader.state(name)
                    if state == "broken":
                        break
                    if state == "unknown":
                        maybe, sure = union(sure, maybe), {}
                        self._doubt(f"whether `{name}` can be read is not known")
                case Maybe(reason):
                    maybe, sure = union(sure, maybe), {}
                    self._doubt(reason)
                case Test() | Sourced():
                    test = op if isinstance(op, Test) else _own_interval(frame.code, index)
                    if maybe:
                        holds, perhaps = self._test(reader, test, union(sure, maybe))
                        maybe = less(union(meet(sure, perhaps), meet(maybe, union(holds, perhaps))), meet(sure, holds))
                        sure = meet(sure, holds)
                    else:
                        sure, maybe = self._test(reader, test, sure)
                case Assign() | Untrack() | Rewrite():
                    moved = self._changed(op, where, reader)
                    if moved != where:
                        frame, sure, maybe = self._moved(frame, where, environment, sure, maybe)
                        where, reader = moved, self._known(moved).reader
                case Translate():
                    self._settle(frame, Verdict("accept"), self._translated(op, where, reader), sure, maybe)
                    break
                case Branch(entries):
                    sure, maybe = self._branch(frame, entries, reader, sure, maybe)
                case Decide(verdict):
                    self._settle(frame, verdict, where, sure, maybe)
                    break
        if where != environment:
            # whatever the rest of the rule did not take goes on with what the rule changed
            merge(frame.after, where, frame.stays)

    @staticmethod
    def _moved(
        frame: _Frame, where: Environment, environment: Environment, sure: Region, maybe: Region
    ) -> tuple[_Frame, Region, Region]:
        """The packets that came to a statement which changes them go on apart, whether the rest of the rule matches them or not."""
        going = dict(union(sure, maybe))
        surely = dict(sure)
        _leave(frame.stays, sure)
        if where != environment:
            merge(frame.after, where, frame.stays)
        # what only perhaps came here is in both places
        return replace(frame, stays=going), surely, less(going, surely)

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
            number = int.from_bytes(
                number.to_bytes(fields.CT_HOST["zone"] // 8 if op.name == "ct_zone" else 4, "big"), "little"
            )
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
            if dst is not None and routing.link_scoped(self.family, dst):
                own = [a for a in own if routing.link_scoped(self.family, routing.number(a.address))]
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

    def _branch(
        self, frame: _Frame, entries: Entries, reader: Reader, sure: Region, maybe: Region
    ) -> tuple[Region, Region]:
        """A verdict map: each entry's packets go where it says; a miss ends the rule.

        What "continue" sends on in the rule: surely, and only perhaps.
        """
        taken: Region = {}
        onward: tuple[Region, Region] = ({}, {})
        sure = dict(sure) if sure is frame.stays else sure
        every = union(sure, maybe)
        if entries.doubt:
            self._doubt(entries.doubt)
        for condition, data in entries.entries:
            holds, perhaps = self._test(reader, Test((condition,)), every)
            surely = {} if entries.doubt else meet(sure, holds)
            add(taken, surely)
            if not entries.doubt:
                add(taken, meet(maybe, holds))
            self._led(frame, data, reader.environment, (surely, less(union(holds, perhaps), surely)), onward)
        if entries.catchall:
            rest = less(every, taken)
            self._led(frame, entries.otherwise, reader.environment, (meet(sure, rest), meet(maybe, rest)), onward)
        return onward

    def _led(
        self,
        frame: _Frame,
        data: Verdict | bytes | None,
        where: Environment,
        packets: tuple[Region, Region],
        onward: tuple[Region, Region],
    ) -> None:
        """Carry out what a verdict map says of packets that surely, or only perhaps, are in one of its entries."""
        if isinstance(data, Verdict) and data.kind == "continue":
            for into, part in zip(onward, packets, strict=True):
                add(into, part)
        elif isinstance(data, Verdict):
            self._settle(frame, data, where, *packets)

    def _settle(self, frame: _Frame, verdict: Verdict, where: Environment, sure: Region, maybe: Region) -> None:
        """Carry a verdict out on packets that surely or maybe came to it."""
        going = dict(union(sure, maybe))
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
            called = self._called(frame, verdict, where, going)
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

    def _called(self, frame: _Frame, verdict: Verdict, where: Environment, going: Region) -> Outcome:
        table = frame.code.table
        return self.chain(table, table.chain(verdict.chain or ""), where, going, frame.depth + 1)

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
            rest = less(region, holds) if holds else region
            return (less(rest, perhaps) if perhaps else rest), perhaps
        return holds, perhaps


def _leave(stays: Region, sure: Region) -> None:
    """Take out of `stays` what surely left it, which may be all of it."""
    if sure is stays:
        stays.clear()
    else:
        remove(stays, sure)


def _own_interval(code: Code, index: int) -> Test:
    """The test for a rule's own interval of sources."""
    return Test((All({"saddr": IntervalSet.of([(code.lows[index], code.ends[index] - 1)])}),))
