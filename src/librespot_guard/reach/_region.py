"""Sets of packets: source addresses in slots, the stranger's free choices in classes.

The universe cuts the source address space where any rule or route can tell two sources apart (slots), and the product of the
free fields where any rule can tell two choices apart (classes, numbered in mixed radix). A region maps a slot to the bit set
of its classes; slots without classes are absent. Exact, for IPv4 and IPv6 alike.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import sub

from librespot_guard.reach import _fields as fields
from librespot_guard.reach import _limits as limits
from librespot_guard.reach.intervals import IntervalSet, Pair

Region = dict[int, int]


@dataclass(slots=True)
class _Dimension:
    name: str
    atoms: list[Pair]
    stride: int = 1
    lows: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lows = [low for low, _ in self.atoms]


@dataclass(slots=True)
class Universe:
    """The slots and classes of one question. `dropped` are free fields left out because there would be too many classes.

    `single` has a value of each field whose values no rule tells apart.
    """

    family: str
    starts: list[int]
    dimensions: list[_Dimension]
    classes: int
    dropped: frozenset[str]
    single: dict[str, int]
    _masks: dict[tuple[str, tuple[Pair, ...]], int] = field(default_factory=dict)
    _slots: dict[int, tuple[IntervalSet, list[Pair]]] = field(default_factory=dict)
    _ranks: dict[int, int] = field(default_factory=dict)

    @property
    def fragmented(self) -> bool:
        """Whether rules that see fragments can tell them from whole packets."""
        return any(map(self.free, fields.FRAGMENTED)) or not self.dropped.isdisjoint(fields.FRAGMENTED)

    def free(self, *names: str) -> bool:
        """Whether rules tell values of all these fields apart."""
        return {d.name for d in self.dimensions}.issuperset(names)

    @classmethod
    def build(
        cls,
        family: str,
        proto: str,
        source_edges: Iterable[int],
        reads: dict[str, list[IntervalSet]],
        narrower: Mapping[str, IntervalSet] | None = None,
        unclear: frozenset[str] = frozenset(),
    ) -> "Universe":
        """The universe in which every set of `reads` (by free field) and every edge of the source space is a union of cells.

        `narrower` has the values of fields of which rules see less than a stranger may send. Fields that are `unclear` are left out:
        nothing is said about them.
        """
        domains = {
            name: found
            for name in reads
            if name not in unclear and (found := fields.domain(name, family, proto)) is not None
        }
        domains |= {name: values for name, values in (narrower or {}).items() if name in domains}
        out = cls.over(family, source_edges, reads, domains)
        return replace(out, dropped=out.dropped | unclear) if unclear else out

    @classmethod
    def over(
        cls,
        family: str,
        source_edges: Iterable[int],
        reads: dict[str, list[IntervalSet]],
        domains: dict[str, IntervalSet],
        *,
        most: int = limits.CLASSES,
    ) -> "Universe":
        """The same for any fields with these domains, and at most so many classes."""
        dimensions = [_Dimension(name, _atoms(domains[name], reads[name])) for name in sorted(domains)]
        kept: list[_Dimension] = []
        classes = 1
        dropped = set()
        single = {}
        for dimension in sorted(dimensions, key=lambda d: len(d.atoms)):
            if len(dimension.atoms) < 2:
                # the rules do not tell its values apart: all of them match, or none does
                single[dimension.name] = dimension.atoms[0][0]
                continue
            if classes * len(dimension.atoms) > most:
                dropped.add(dimension.name)
                continue
            dimension.stride = classes
            classes *= len(dimension.atoms)
            kept.append(dimension)
        top = 1 << fields.saddr_bits(family)
        points = set(source_edges)
        points.discard(top)
        points.add(0)
        return cls(family, sorted(points), kept, classes, frozenset(dropped), single)

    def full(self) -> Region:
        """Every packet."""
        every = (1 << self.classes) - 1
        return dict.fromkeys(range(len(self.starts)), every)

    def class_mask(self, name: str, values: IntervalSet) -> int:
        """The classes in which a free field lies in `values`."""
        key = (name, values.pairs)
        if key not in self._masks:
            self._masks[key] = self._class_mask(name, values)
        return self._masks[key]

    def _class_mask(self, name: str, values: IntervalSet) -> int:
        for dimension in self.dimensions:
            if dimension.name == name:
                block = 0
                for low, high in values:
                    first, end = bisect_left(dimension.lows, low), bisect_right(dimension.lows, high)
                    if first < end:
                        block |= ((1 << (end - first) * dimension.stride) - 1) << first * dimension.stride
                return block * self._repeated(len(dimension.atoms) * dimension.stride)
        return (1 << self.classes) - 1 if self.single.get(name, values.lowest()) in values else 0

    def _repeated(self, period: int) -> int:
        """The number whose bits at the multiples of a period are set, as far as there are classes."""
        return ((1 << self.classes) - 1) // ((1 << period) - 1)

    def slot(self, edge: int) -> int:
        """The first slot that does not lie below an address."""
        found = self.ranks.get(edge)
        return bisect_left(self.starts, edge) if found is None else found

    @property
    def ranks(self) -> dict[int, int]:
        """The slot that begins at an address, and the number of slots for the end of the address space."""
        if not self._ranks:
            self._ranks = dict(zip(self.starts, range(len(self.starts)), strict=True))
            self._ranks[1 << fields.saddr_bits(self.family)] = len(self.starts)
        return self._ranks

    def slots(self, values: IntervalSet) -> list[Pair]:
        """Half-open ranges of slots inside a set of source addresses."""
        cached = self._slots.get(id(values))
        if cached is not None and cached[0] is values:
            return cached[1]
        ranges = []
        for low, high in values:
            first, last = self.slot(low), self.slot(high + 1)
            if first < last:
                ranges.append((first, last))
        self._slots[id(values)] = (values, ranges)
        return ranges

    def sources(self, region: Region) -> IntervalSet:
        """The source addresses of a region."""
        if not region:
            return IntervalSet()
        edges = [*self.starts, 1 << fields.saddr_bits(self.family)]
        slots = sorted(region)
        gaps = [at for at, gap in enumerate(map(sub, slots[1:], slots), 1) if gap != 1]
        bounds = zip([0, *gaps], [*gaps, len(slots)], strict=True)
        return IntervalSet(tuple([(edges[slots[first]], edges[slots[end - 1] + 1] - 1) for first, end in bounds]))

    def described(self, classes: int, most: int) -> tuple[dict[str, IntervalSet], ...]:
        """Classes as at most so many boxes of fields; () if it takes more. A field that is not named may have any value."""
        boxes = self._described(classes, len(self.dimensions), most)
        return tuple(boxes) if len(boxes) <= most else ()

    def _described(self, classes: int, depth: int, most: int) -> list[dict[str, IntervalSet]]:
        if depth == 0:
            return [{}] if classes else []
        dimension = self.dimensions[depth - 1]
        below = (1 << dimension.stride) - 1
        groups: dict[int, list[Pair]] = {}
        for index, atom in enumerate(dimension.atoms):
            inner = classes >> index * dimension.stride & below
            if inner:
                groups.setdefault(inner, []).append(atom)
        out: list[dict[str, IntervalSet]] = []
        for inner, atoms in groups.items():
            found = self._described(inner, depth - 1, most)
            if len(atoms) < len(dimension.atoms):
                found = [{**box, dimension.name: IntervalSet.of(atoms)} for box in found]
            out += found
            if len(out) > most:
                break
        return out

    def choice(self, region: Region, source: int) -> dict[str, int]:
        """One choice of the free fields (lowest values) with which `source` is in the region; KeyError if it is not."""
        classes = region[bisect_right(self.starts, source) - 1]
        index = (classes & -classes).bit_length() - 1
        return {d.name: d.atoms[index // d.stride % len(d.atoms)][0] for d in self.dimensions}


def _atoms(domain: IntervalSet, sets: list[IntervalSet]) -> list[Pair]:
    """The domain cut at every edge of the sets."""
    edges = sorted({edge for values in sets for low, high in values for edge in (low, high + 1)})
    out = []
    for low, high in domain:
        start = low
        for edge in edges[bisect_right(edges, low) :]:
            if edge > high:
                break
            out.append((start, edge - 1))
            start = edge
        out.append((start, high))
    return out


def restricted(region: Region, ranges: list[Pair] | None, classes: int | None) -> Region:
    """The part of a region in these slots and classes (None: all)."""
    if ranges is None:
        if classes is None:
            return dict(region)
        return {slot: both for slot, bits in region.items() if (both := bits & classes)}
    inside = sum(high - low for low, high in ranges)
    if classes is None and 2 * inside > len(region):
        out = dict(region)
        edges = [0, *(edge for pair in ranges for edge in pair), max(region, default=0) + 1]
        for low, high in zip(edges[::2], edges[1::2], strict=True):
            for slot in range(low, high):
                out.pop(slot, None)
        return out
    out = {}
    if inside <= len(region):
        for low, high in ranges:
            for slot in range(low, high):
                bits = region.get(slot, 0)
                if classes is not None:
                    bits &= classes
                if bits:
                    out[slot] = bits
        return out
    lows = [low for low, _ in ranges]
    for slot, bits in region.items():
        at = bisect_right(lows, slot) - 1
        if at >= 0 and slot < ranges[at][1]:
            both = bits if classes is None else bits & classes
            if both:
                out[slot] = both
    return out


def add(region: Region, more: Region) -> None:
    """Add `more` to a region in place."""
    if region.keys().isdisjoint(more.keys()):
        region.update(more)
        return
    for slot, bits in more.items():
        region[slot] = region.get(slot, 0) | bits


def remove(region: Region, less: Region) -> None:
    """Take `less` out of a region in place."""
    both = less if len(less) <= len(region) else {slot: less[slot] for slot in region if slot in less}
    for slot, bits in both.items():
        have = region.get(slot)
        if have is not None:
            rest = have & ~bits
            if rest:
                region[slot] = rest
            else:
                del region[slot]


def meet(first: Region, second: Region) -> Region:
    """The intersection of two regions."""
    if len(first) > len(second):
        first, second = second, first
    return {slot: both for slot, bits in first.items() if (both := bits & second.get(slot, 0))}


def union(first: Region, second: Region) -> Region:
    """The union; one of the two themselves if the other is empty, so never change it in place."""
    if not second:
        return first
    if not first:
        return second
    out = dict(first)
    add(out, second)
    return out


def less(first: Region, second: Region) -> Region:
    """The first without the second, as a region of its own."""
    out = dict(first)
    remove(out, second)
    return out
