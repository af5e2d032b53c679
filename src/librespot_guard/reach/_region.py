"""Sets of packets: source addresses in slots, the stranger's free choices in classes.

The universe cuts the source address space where any rule or route can tell two sources apart (slots), and the product of the
free fields where any rule can tell two choices apart (classes, numbered in mixed radix). A region maps a slot to the bit set
of its classes; slots without classes are absent. Exact, for IPv4 and IPv6 alike.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from librespot_guard.reach import _fields as fields
from librespot_guard.reach.intervals import IntervalSet, Pair

Region = dict[int, int]
MOST_CLASSES = 65_536


@dataclass(slots=True)
class _Dimension:
    name: str
    atoms: list[Pair]
    stride: int = 1


@dataclass(slots=True)
class Universe:
    """The slots and classes of one question. `dropped` are free fields left out because there would be too many classes."""

    family: str
    starts: list[int]
    dimensions: list[_Dimension]
    classes: int
    dropped: frozenset[str]
    _masks: dict[tuple[str, tuple[Pair, ...]], int] = field(default_factory=dict)
    _slots: dict[int, tuple[IntervalSet, list[Pair]]] = field(default_factory=dict)

    @classmethod
    def build(
        cls, family: str, proto: str, source_edges: Iterable[int], reads: dict[str, list[IntervalSet]]
    ) -> "Universe":
        """The universe in which every set of `reads` (by free field) and every edge of the source space is a union of cells."""
        dimensions = []
        for name in sorted(reads):
            domain = fields.domain(name, family, proto)
            if domain is not None:
                atoms = _atoms(domain, reads[name])
                # a field of one atom has no classes of its own, but a rule may still ask for another value
                if atoms:
                    dimensions.append(_Dimension(name, atoms))
        dimensions.sort(key=lambda d: len(d.atoms))
        kept: list[_Dimension] = []
        classes = 1
        dropped = set()
        for dimension in dimensions:
            if classes * len(dimension.atoms) > MOST_CLASSES:
                dropped.add(dimension.name)
                continue
            dimension.stride = classes
            classes *= len(dimension.atoms)
            kept.append(dimension)
        top = 1 << fields.saddr_bits(family)
        starts = sorted({0, *(e for e in source_edges if 0 < e < top)})
        return cls(family, starts, kept, classes, frozenset(dropped))

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
            if dimension.name != name:
                continue
            count, stride = len(dimension.atoms), dimension.stride
            block = 0
            for index, (low, _) in enumerate(dimension.atoms):
                if low in values:
                    block |= ((1 << stride) - 1) << (index * stride)
            mask = 0
            for start in range(0, self.classes, count * stride):
                mask |= block << start
            return mask
        # no rule reads it
        return (1 << self.classes) - 1

    def slots(self, values: IntervalSet) -> list[Pair]:
        """Half-open ranges of slots inside a set of source addresses."""
        cached = self._slots.get(id(values))
        if cached is not None and cached[0] is values:
            return cached[1]
        ranges = []
        for low, high in values:
            first = bisect_left(self.starts, low)
            last = bisect_right(self.starts, high)
            if first < last:
                ranges.append((first, last))
        self._slots[id(values)] = (values, ranges)
        return ranges

    def sources(self, region: Region) -> IntervalSet:
        """The source addresses of a region."""
        top = (1 << fields.saddr_bits(self.family)) - 1
        last = len(self.starts) - 1
        return IntervalSet.of(
            (self.starts[s], self.starts[s + 1] - 1 if s < last else top) for s, classes in region.items() if classes
        )

    def choice(self, region: Region, source: int) -> dict[str, int]:
        """One choice of the free fields (lowest values) with which `source` is in the region; KeyError if it is not."""
        classes = region[bisect_right(self.starts, source) - 1]
        index = (classes & -classes).bit_length() - 1
        return {d.name: d.atoms[index // d.stride % len(d.atoms)][0] for d in self.dimensions if len(d.atoms) > 1}


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
    out: Region = {}
    if sum(high - low for low, high in ranges) <= len(region):
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
    for slot, bits in more.items():
        region[slot] = region.get(slot, 0) | bits


def remove(region: Region, less: Region) -> None:
    """Take `less` out of a region in place."""
    for slot, bits in less.items():
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
