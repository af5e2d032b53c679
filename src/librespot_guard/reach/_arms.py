"""A rule, for the scan of all rules against each other: which packets it takes at most, which verdict they get, and whether surely.

Unlike in a question about one listener, every field is open here: protocol, ports, interface and connection state are classes like
the stranger's own choices. A field that may be absent (a port of a packet without transport header) has one value more than its
width, which stands for that. Whatever a load gives is a function of the packet, so any load can be a field, as long as no rule
of the hook changes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from librespot_guard.firewall.model import Verdict
from librespot_guard.reach import _fields as fields
from librespot_guard.reach import _limits as limits
from librespot_guard.reach._bits import UNKNOWN
from librespot_guard.reach._conditions import All, Entries
from librespot_guard.reach._lower import Assign, Branch, Decide, Maybe, Need, Rewrite, Test, Translate, Untrack
from librespot_guard.reach._outcome import common, complement, joined
from librespot_guard.reach._region import Universe
from librespot_guard.reach._shapes import Shape, Sourced
from librespot_guard.reach.intervals import IntervalSet, Pair

# always there: they need no value for "absent"
_PRESENT = frozenset(("saddr", "daddr", "nfproto", "l4proto", "version", "tos", "ttl", "iif", "iifname", "iiftype", "iifgroup", "mark",
                      "protocol", "pkttype", "length", "ct_state", *fields.FRAGMENTED))  # fmt: skip
# the five states that a packet can be in: invalid, established, related, new, untracked
_STATES = IntervalSet.of((n, n) for n in (1, 2, 4, 8, 64))
_KEEPS = frozenset(("iif", "iifname", "iiftype", "iifgroup", "nfproto"))
_CONTINUE = Verdict("continue")
Part = tuple[list[Pair] | None, int]  # slots (None: all) and classes


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that a rule does: packets of these parts, beside the rule's own interval of sources, get this verdict (None: none)."""

    parts: tuple[Part, ...]
    sure: bool
    verdict: Verdict | None


def doubtful(shapes: Iterable[Shape]) -> frozenset[str]:
    """The fields that some rule changes: reading them says nothing about the packet. "*" stands for all of the packet's own."""
    out = set()
    for shape in shapes:
        for op in shape.ops:
            if isinstance(op, Assign):
                out.add(op.name)
            elif isinstance(op, Untrack):
                out.add("ct")
            elif isinstance(op, Rewrite):
                out.add("*")
    return frozenset(out)


def readable(name: str, changed: frozenset[str]) -> bool:
    """Whether a field can be a dimension of the scan."""
    if name.startswith((UNKNOWN, "map:", "socket:", "rt_")):
        return False
    if name.startswith("ct") and "ct" in changed:
        return False
    if name.startswith("fib:") and ("mark" in changed or "*" in changed):
        return False
    return name not in changed and ("*" not in changed or name in _KEEPS)


@cache
def domain(name: str, family: str) -> IntervalSet:
    """Every value that a field can have, and one more for "absent" where it may be."""
    if name == "ct_state":
        return _STATES
    if name == "ct":
        return IntervalSet(((1, 2),))
    if name in ("nfproto", "protocol", "version"):
        v4, v6 = {"nfproto": (2, 10), "protocol": (0x0800, 0x86DD), "version": (4, 6)}[name]
        return IntervalSet.single(v4 if family == "ipv4" else v6)
    width = fields.field_width(name, family)
    return IntervalSet(((0, (1 << width) - (1 if name in _PRESENT else 0)),))


def values_of(key: str, values: IntervalSet, family: str) -> tuple[str, IntervalSet | None]:
    """A condition's key and values as a field and its values; None if they would be too many intervals."""
    name, _, part = key.partition("@")
    if not part:
        return name, values
    low, size = (int(n) for n in part.split(":"))
    if name == "ct_state":
        return name, IntervalSet.of((s, s) for s, _ in _STATES if (s >> low & (1 << size) - 1) in values)
    above = fields.field_width(name, family) - low - size
    if (1 << above) * max(len(values), 1) > limits.REPEATS:
        return name, None
    pairs = [
        ((high << low + size) + (a << low), (high << low + size) + (b << low) + (1 << low) - 1)
        for high in range(1 << above)
        for a, b in values
    ]
    return name, IntervalSet.of(pairs)


def reads(shape: Shape, family: str, changed: frozenset[str]) -> Iterator[tuple[str, IntervalSet]]:
    """Every field that a shape reads, with the values that it tells apart."""
    for op in shape.ops:
        conditions: Iterable[All] = ()
        if isinstance(op, Need) and readable(op.field, changed) and op.field not in _PRESENT:
            yield op.field, _there(op.field, family)
        elif isinstance(op, Test):
            conditions = op.any_of
        elif isinstance(op, Branch):
            conditions = [c for c, _ in op.entries.entries]
        for condition in conditions:
            for key, values in condition.sets.items():
                name, found = values_of(key, values, family)
                if found is not None and readable(name, changed):
                    yield name, found


def _there(name: str, family: str) -> IntervalSet:
    return IntervalSet.single(1) if name == "ct" else IntervalSet.full(fields.field_width(name, family))


class Arms:
    """Works out what shapes do, in one universe."""

    def __init__(self, universe: Universe, family: str, changed: frozenset[str]) -> None:
        self.universe, self.family, self.changed = universe, family, changed
        self.every = (1 << universe.classes) - 1
        self._known: dict[Shape, tuple[Arm, ...]] = {}

    def of(self, shape: Shape) -> tuple[Arm, ...]:
        """The arms of a shape; none if it never matches."""
        found = self._known.get(shape)
        if found is None:
            found = self._known[shape] = tuple(self._work(shape))
        return found

    def _work(self, shape: Shape) -> Iterator[Arm]:
        if shape.dead:
            return
        parts: tuple[Part, ...] = ((None, self.every),)
        sure = True
        for op in shape.ops:
            if not parts:
                return
            match op:
                case Need(name):
                    parts, sure = self._met(parts, sure, [self._present(name)], inverted=False)
                case Sourced():
                    sure = sure and "*" not in self.changed
                case Maybe() | Rewrite():
                    sure = sure and not isinstance(op, Maybe)
                case Test():
                    parts, sure = self._met(parts, sure, [self._box(c) for c in op.any_of], inverted=op.inverted)
                case Branch(entries):
                    arms = list(self._branch(entries, parts, sure=sure))
                    yield from (a for a in arms if a.verdict != _CONTINUE)
                    onward = [a for a in arms if a.verdict == _CONTINUE]
                    sure = all(a.sure for a in onward)
                    going = tuple(part for a in onward for part in a.parts)
                    if len(going) > limits.PARTS:
                        sure = False
                    else:
                        parts = going
                case Decide(verdict):
                    yield Arm(parts, sure, verdict)
                    return
                case Translate():
                    yield Arm(parts, sure, Verdict("accept"))
                    return
        if parts:
            yield Arm(parts, sure, None)

    def _branch(self, entries: Entries, parts: tuple[Part, ...], *, sure: bool) -> Iterator[Arm]:
        """The entries of a verdict map, those that lead on in the rule included."""
        for condition, data in entries.entries:
            some, certain = self._met(parts, sure and entries.doubt is None, [self._box(condition)], inverted=False)
            if some and isinstance(data, Verdict):
                yield Arm(some, certain, data)
        if entries.catchall and isinstance(entries.otherwise, Verdict):
            yield Arm(parts, sure=False, verdict=entries.otherwise)

    def _present(self, name: str) -> tuple[Part, bool]:
        if not readable(name, self.changed):
            return (None, self.every), False
        if name in _PRESENT:
            return (None, self.every), True
        return self._classes(name, _there(name, self.family))

    def _classes(self, name: str, values: IntervalSet) -> tuple[Part, bool]:
        if name in self.universe.dropped:
            return (None, self.every), False
        return (None, self.universe.class_mask(name, values)), True

    def _box(self, condition: All) -> tuple[Part, bool]:
        """At most where a condition holds, and whether it holds everywhere there."""
        ranges: list[Pair] | None = None
        classes, sure = self.every, condition.doubt is None
        for key, values in condition.sets.items():
            name, found = values_of(key, values, self.family)
            if found is None or not readable(name, self.changed):
                sure = False
            elif name == "saddr":
                slots = self.universe.slots(found)
                ranges = slots if ranges is None else common(ranges, slots)
            else:
                (_, mask), known = self._classes(name, found)
                classes, sure = classes & mask, sure and known
        return (ranges, classes), sure

    def _met(
        self, parts: tuple[Part, ...], sure: bool, boxes: list[tuple[Part, bool]], *, inverted: bool
    ) -> tuple[tuple[Part, ...], bool]:
        """Parts after a test for any of the boxes, or for none of them."""
        if inverted:
            known = [part for part, certain in boxes if certain]
            sure = sure and len(known) == len(boxes)
            if all(ranges is None for ranges, _ in known):
                gone = 0
                for _, classes in known:
                    gone |= classes
                found: list[Part] = [(None, self.every & ~gone)]
            elif all(classes == self.every for _, classes in known):
                slots = joined([pair for ranges, _ in known for pair in ranges or [(0, len(self.universe.starts))]])
                found = [(complement(slots, len(self.universe.starts)), self.every)]
            else:
                return parts, False
        else:
            sure = sure and all(certain for _, certain in boxes)
            found = [part for part, _ in boxes]
        if len(parts) * len(found) > limits.PARTS:
            return parts, False
        out = []
        for ranges, classes in parts:
            for others, more in found:
                both = others if ranges is None else ranges if others is None else common(ranges, others)
                if classes & more and (both is None or both):
                    out.append((both, classes & more))
        return tuple(out), sure
