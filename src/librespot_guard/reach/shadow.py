"""Every rule against all others: which decide nothing, which only in part, which could go, which contradict each other.

The vocabulary is that of FIREMAN and Margrave. A rule is *shadowed* if earlier rules surely take every packet that it matches, in
all places from which its chain is called; *partly shadowed* if they take some; *redundant* if without it every packet that it
matches would surely get the same verdict from later rules or the policy; two rules *contradict* each other if they give
different verdicts to common packets and neither is an exception of the other. Redundant rules are looked for among those of the
base chain itself that are not shadowed; all shadowed and redundant rules of one scan may go together.

What is said is sure: a rule behind a rate limit, or one that is not understood, takes nothing surely, and packets that cannot
exist count as packets. So a rule may be dead that is not reported, but none is reported that is not. Each base chain is looked
at for itself: what an earlier base chain of the hook drops is not subtracted.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from librespot_guard.firewall.model import Chain, Table
from librespot_guard.reach import _limits as limits
from librespot_guard.reach._arms import Arms, domain, doubtful, readable, reads
from librespot_guard.reach._claims import Box, Claims
from librespot_guard.reach._fields import FRAGMENTED
from librespot_guard.reach._hooks import apart, reassembles
from librespot_guard.reach._region import Universe
from librespot_guard.reach._shapes import Code, Shapes
from librespot_guard.reach._suffix import redundant
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.world import World


@dataclass(frozen=True, slots=True, order=True)
class RuleId:
    """Where a rule stands: `index` counts from 0 in its chain."""

    family: str
    table: str
    chain: str
    index: int
    handle: int


@dataclass(frozen=True, slots=True)
class Left:
    """A part of a rule that it still decides: these sources, with the values of other fields that `fields` tells."""

    sources: IntervalSet
    _universe: Universe = field(repr=False, compare=False)
    _classes: int = field(repr=False)

    def fields(self, most: int = limits.NAMED) -> tuple[dict[str, IntervalSet], ...]:
        """At most so many boxes of fields, as `dport` or `l4proto`; a field that a box does not name may have any value in it.

        A value one beyond the width of a field stands for packets in which it can't be read. () if it takes more boxes.
        """
        return self._universe.described(self._classes, most)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one rule on the path of a hook, for one family of packets ("ipv4"/"ipv6").

    `kind` is "shadowed", "partly", "redundant" or "contradiction". `covered_by` are the rules that take its packets, for a
    contradiction the one that it contradicts; `complete` is false if there are more. `left` is what a partly shadowed rule
    still decides, None if that is more than a few parts.
    """

    kind: str
    rule: RuleId
    hook: str
    family: str
    covered_by: tuple[RuleId, ...] = ()
    complete: bool = True
    left: tuple[Left, ...] | None = None


@dataclass(slots=True)
class _Details:
    """What covers one rule, and what is left of it, over all places from which its chain is called."""

    coverers: dict[int, None] = field(default_factory=dict)
    complete: bool = True
    rest: list[Box] | None = field(default_factory=list)


@dataclass(slots=True)
class _Context:
    """From where a chain was called: with these boxes at most, and with all of them if `sure`.

    `trees` are those of all chains on the way, the last its own. `leaks`: a rule that is not sure may have sent packets back already.
    """

    boxes: tuple[Box, ...]
    sure: bool
    trees: tuple[Claims, ...]
    depth: int
    leaks: bool = False


class _TooManyError(Exception):
    """More calls than the scan follows."""


@dataclass(slots=True)
class Scan:
    """The scan of one base chain for one family. `incomplete` says why it says less than it could; "" if nothing does."""

    findings: tuple[Finding, ...]
    incomplete: str = ""


def scan(world: World, family: str, hook: str, *, details: bool = True) -> list[tuple[Table, Chain, Scan]]:
    """Every base chain of a hook with what is wrong with the rules that its packets of `family` come through.

    Without `details` only shadowed rules are found, and the rules that cover them are not named.
    """
    shapes = Shapes(family, "tcp", world.ruleset.byteorder, settled=False)
    devices = [link.name for link in world.namespace.links] if hook in ("ingress", "egress") else [None]
    found = {
        (t.family, t.name, c.name): (t, c) for device in devices for t, c in world.base_chains(hook, family, device)
    }
    return [(t, c, _Scanner(shapes, world, family, hook, details=details).base(t, c)) for t, c in found.values()]


class _Scanner:
    def __init__(self, shapes: Shapes, world: World, family: str, hook: str, *, details: bool) -> None:
        self.shapes, self.world, self.family, self.hook, self.details = shapes, world, family, hook, details
        self.match: dict[int, tuple[tuple[Box, ...], bool, str | None]] = {}
        self.details_of: dict[int, _Details] = {}
        # the chains, the number of the first rule of each, and the same by the identity of the chain
        self._codes: list[Code] = []
        self._firsts: list[int] = []
        self._numbers: dict[int, int] = {}
        self._calls = 0

    def base(self, table: Table, chain: Chain) -> Scan:
        """One base chain with all it leads to."""
        self._codes = codes = self._cone(table, chain)
        *self._firsts, many = accumulate((len(code.shapes) for code in codes), initial=0)
        self._numbers = {id(code): first for code, first in zip(codes, self._firsts, strict=True)}
        changed = doubtful(shape for code in codes for shape in code.distinct)
        whole = not apart(chain, self.family, whole=reassembles(self.world, self.family))
        self.universe = _universe(self.family, codes, changed, whole=whole)
        self.arms = Arms(self.universe, self.family, changed)
        # by number of a rule: whether some of it was left, and some of it taken, when it was its turn
        self.left, self.taken = bytearray(many), bytearray(many)
        tree = Claims.empty(len(self.universe.starts), named=self.details)
        everything = (0, len(self.universe.starts), self.arms.every)
        try:
            self._walk(codes[0], _Context((everything,), sure=True, trees=(tree,), depth=0))
        except _TooManyError:
            return Scan((), f"the chains call each other in more than {limits.SCAN_CALLS} ways")
        findings = list(self._findings(many))
        if self.details:
            dead = {f.rule.index for f in findings if f.kind == "shadowed" and f.rule.chain == chain.name}
            policy = chain.hook.policy if chain.hook else "accept"
            going = redundant(codes[0], self.arms, self.boxes, policy, dead)
            findings += [Finding("redundant", self._rule(i), self.hook, self.family) for i in going]
        names = ", ".join(sorted(self.universe.dropped))
        return Scan(tuple(findings), f"too many values are told apart; left out: {names}" if names else "")

    def _cone(self, table: Table, chain: Chain) -> list[Code]:
        todo, seen, out = [chain], {chain.name}, []
        while todo:
            code = self.shapes.code(table, todo.pop())
            out.append(code)
            for name in dict.fromkeys(n for shape in code.distinct for n in shape.targets()):
                if name not in seen:
                    seen.add(name)
                    todo.append(table.chain(name))
        return out

    def boxes(self, code: Code, index: int, parts: tuple[tuple[list[tuple[int, int]] | None, int], ...]) -> list[Box]:
        """The parts of a rule, with its own interval of sources, as boxes."""
        low, high = 0, len(self.universe.starts)
        if code.shapes[index].sourced:
            if code.lows[index] >= code.ends[index]:
                return []
            low, high = self.universe.ranks[code.lows[index]], self.universe.ranks[code.ends[index]]
        out = []
        for ranges, classes in parts:
            if ranges is None:
                out.append((low, high, classes))
            else:
                out += [(max(a, low), min(b, high), classes) for a, b in ranges if a < high and b > low]
        return out

    def _walk(self, code: Code, context: _Context) -> None:
        self._calls += 1
        if self._calls > limits.SCAN_CALLS or context.depth > limits.DEPTH:
            raise _TooManyError
        first = self._numbers[id(code)]
        whole = len(context.boxes) == 1 and context.boxes[0] == (0, len(self.universe.starts), self.arms.every)
        for index, shape in enumerate(code.shapes):
            for arm in self.arms.of(shape):
                boxes = self.boxes(code, index, arm.parts)
                sure = arm.sure
                if not whole:
                    boxes, exact = _within(boxes, context.boxes)
                    sure = sure and exact
                self._arm(code, first + index, arm.verdict, boxes, sure=sure, context=context)

    def _arm(self, code: Code, rule: int, verdict: object, boxes: list[Box], *, sure: bool, context: _Context) -> None:
        tree = context.trees[-1]
        details = self.details_of.setdefault(rule, _Details()) if self.details else None
        asked = []
        for box in boxes:
            left, taken, nodes = tree.ask(box)
            if left:
                self.left[rule] = True
            if taken:
                self.taken[rule] = True
            if details and taken:
                self._name(details, tree, box)
            if details and left and details.rest is not None:
                rest = tree.rest(box, limits.NAMED) if taken else [box]
                details.rest = None if rest is None else details.rest + rest
            asked.append((box, left, nodes))
        kind = getattr(verdict, "kind", None)
        if self.details and kind in ("accept", "drop", "reject"):
            known, certain, _ = self.match.get(rule, ((), True, None))
            self.match[rule] = ((*known, *boxes), certain and sure, "accept" if kind == "accept" else "drop")
        context.leaks = context.leaks or (kind in ("return", "goto") and not sure)
        if kind in ("jump", "goto"):
            self._call(code, rule, verdict, [b for b, left, _ in asked if left], sure=sure, context=context)
        elif sure and kind in ("accept", "drop", "reject", "return"):
            above = len(context.trees) > 1 and kind != "return" and context.sure and not context.leaks
            others = _others(context.trees) if above else []
            for box, _, nodes in asked:
                # what returned from this chain before is not taken from its callers
                rest = tree.rest(box, limits.PARTS) if others else None
                for other in others:
                    for part in rest or ():
                        other.take(part, rule)
                if len(asked) == 1:
                    tree.claim(nodes, rule)
                else:
                    tree.take(box, rule)

    def _call(self, code: Code, rule: int, verdict: object, boxes: list[Box], *, sure: bool, context: _Context) -> None:
        name = getattr(verdict, "chain", None) or ""
        if not boxes:
            return
        target = self.shapes.code(code.table, code.table.chain(name))
        # what leaves the chain, or perhaps never came to it, is taken in this chain alone
        own = context.trees[-1].copy() if _leaves(target) or not sure else context.trees[-1]
        trees = (*context.trees, own)
        self._walk(target, _Context(tuple(boxes), sure and context.sure, trees, context.depth + 1, context.leaks))
        if getattr(verdict, "kind", None) == "goto" and sure:
            # what comes back from a goto has left this chain too; `_leaves` gave it a tree of its own
            for box in boxes:
                context.trees[-1].take(box, rule)

    def _name(self, details: _Details, tree: Claims, box: Box) -> None:
        if len(details.coverers) >= limits.NAMED:
            details.complete = False
            return
        found, complete = tree.owners_of(box, limits.NAMED)
        details.coverers.update(dict.fromkeys(found))
        details.complete = details.complete and complete

    def _rule(self, number: int) -> RuleId:
        place = bisect_right(self._firsts, number) - 1
        code, index = self._codes[place], number - self._firsts[place]
        return RuleId(code.table.family, code.table.name, code.chain.name, index, code.chain.rules[index].handle)

    def _findings(self, many: int) -> Iterator[Finding]:
        for number in range(many):
            # of a rule that is about other packets than those of this family, nothing is left nor taken
            if not self.taken[number] or (self.left[number] and not self.details):
                continue
            rule, known = self._rule(number), self.details_of.get(number) or _Details()
            covered = tuple(map(self._rule, known.coverers))
            if not self.left[number]:
                yield Finding("shadowed", rule, self.hook, self.family, covered, known.complete)
                continue
            left = None if known.rest is None or len(known.rest) > limits.NAMED else tuple(map(self._left, known.rest))
            yield Finding("partly", rule, self.hook, self.family, covered, known.complete, left)
            for other in known.coverers:
                if self._contradict(number, other):
                    yield Finding("contradiction", rule, self.hook, self.family, (self._rule(other),))

    def _left(self, box: Box) -> Left:
        first, end, classes = box
        starts = [*self.universe.starts, 1 << (32 if self.family == "ipv4" else 128)]
        return Left(IntervalSet(((starts[first], starts[end] - 1),)), self.universe, classes)

    def _contradict(self, later: int, earlier: int) -> bool:
        """Whether two rules with common packets have different verdicts, and neither matches only what the other does."""
        mine, theirs = self.match.get(later), self.match.get(earlier)
        if mine is None or theirs is None or mine[2] == theirs[2] or not (mine[1] and theirs[1]):
            return False
        return not _inside(mine[0], theirs[0]) and not _inside(theirs[0], mine[0])


def _others(trees: tuple[Claims, ...]) -> list[Claims]:
    """The trees on the way to a chain that are not its own."""
    return list({id(t): t for t in trees if t is not trees[-1]}.values())


def _leaves(code: Code) -> bool:
    """Whether packets can leave a chain before its end without a verdict."""
    kinds = {v.kind for shape in code.distinct for v in shape.verdicts()}
    return bool(kinds & {"return", "goto"})


def _within(boxes: list[Box], context: tuple[Box, ...]) -> tuple[list[Box], bool]:
    """The common part of two lists of boxes; if that would be too many, boxes around it, and False."""
    if len(boxes) * len(context) > limits.PARTS * limits.PARTS:
        return boxes, False
    out = []
    for first, end, classes in boxes:
        for low, high, some in context:
            a, b = max(first, low), min(end, high)
            if a < b and classes & some:
                out.append((a, b, classes & some))
    return out, True


def _inside(first: tuple[Box, ...], second: tuple[Box, ...]) -> bool:
    """Whether each box of the first lies in one of the second."""
    return all(any(c <= a and b <= d and not m & ~n for c, d, n in second) for a, b, m in first)


def _universe(family: str, codes: list[Code], changed: frozenset[str], *, whole: bool) -> Universe:
    """The universe of these rules; `whole`: they see no fragments."""
    found: dict[str, list[IntervalSet]] = {}
    seen: set[tuple[str, IntervalSet]] = set()
    shapes = dict.fromkeys(shape for code in codes for shape in code.distinct)
    for shape in shapes:
        for name, values in reads(shape, family, changed):
            if (name, values) not in seen:
                seen.add((name, values))
                found.setdefault(name, []).append(values)
    edges = {edge for values in found.pop("saddr", ()) for low, high in values for edge in (low, high + 1)}
    for code in codes:
        edges.update(code.edges())
    domains = {name: domain(name, family) for name in found if readable(name, changed)}
    if whole:
        domains |= {name: IntervalSet.single(0) for name in FRAGMENTED if name in domains}
    most = max(64, min(limits.SCAN_CLASSES, limits.SCAN_CELLS // (len(edges) + 1)))
    return Universe.over(family, edges, found, domains, most=most)
