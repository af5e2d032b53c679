"""First match wins: a run of rules with sure verdicts, worked off in one go.

Where every rule takes all classes of its slots, the rules are painted over each other from the last to the first, a byte for a
slot: what is seen in the end is the first. Else a segment tree over the slots keeps, at the inner nodes, the classes that some rule
took of all slots below; since a node takes only what no node above it has, the deepest node that has a class is the one that took it
first.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from operator import attrgetter, sub

from librespot_guard.reach._outcome import Plain
from librespot_guard.reach._region import Region

# below this many looks at a slot, no tree is worth its building
_FEW = 50_000
# bytes that are painted before the tree is faster
_STRIPES = 1 << 31
_COLOURS = {"accept": 1, "drop": 2, "reject": 2, "return": 3}
_STRIPE = [bytes([colour]) for colour in range(4)]
_kind, _classes = attrgetter("kind"), attrgetter("classes")
_ONLY = [bytes(c) + b"\1" + bytes(255 - c) for c in (1, 2, 3, 0)]


@dataclass(slots=True)
class Strokes:
    """Rules in their order: the slots from `firsts` to before `ends`, and what happens there (`Plain.ranges` aside).

    Three lists of what is there already, as a tuple for each rule would be work for the garbage collector.
    """

    firsts: list[int]
    ends: list[int]
    plains: list[Plain]


@dataclass(slots=True)
class Painted:
    """Where the packets of a region went. Of the three regions no two share a packet."""

    accept: Region = field(default_factory=dict)
    stop: Region = field(default_factory=dict)
    fall: Region = field(default_factory=dict)

    def of(self, kind: str) -> Region:
        """The region of a verdict: accept, drop, reject or return."""
        return self.accept if kind == "accept" else self.fall if kind == "return" else self.stop


def paint(region: Region, strokes: Strokes, slots: int) -> Painted:
    """Work off rules in their order. What they take leaves the region, which has slots from 0 to `slots` - 1."""
    held = sorted(region)
    if len(held) < slots:
        # strokes in terms of the slots that there are
        at = partial(bisect_left, held)
        strokes = Strokes(list(map(at, strokes.firsts)), list(map(at, strokes.ends)), strokes.plains)
    looks = sum(map(sub, strokes.ends, strokes.firsts))
    if looks < _STRIPES and list(map(_classes, strokes.plains)).count(None) == len(strokes.plains):
        return _whole(region, held, strokes)
    return _in_tree(region, held, strokes) if looks > _FEW else _by_slot(region, held, strokes)


def _whole(region: Region, held: list[int], strokes: Strokes) -> Painted:
    """Every stroke takes its slots whole."""
    canvas = bytearray(len(held))
    colours = map(_COLOURS.__getitem__, map(_kind, reversed(strokes.plains)))
    for first, end, colour in zip(reversed(strokes.firsts), reversed(strokes.ends), colours, strict=True):
        if end - first == 1:
            canvas[first] = colour
        else:
            canvas[first:end] = _STRIPE[colour] * (end - first)
    parts = [list(compress(held, canvas.translate(only))) for only in _ONLY]
    classes = set(region.values())
    if len(classes) == 1:
        # most often no rule tells classes apart
        accept, stop, fall, rest = (dict.fromkeys(part, *classes) for part in parts)
    else:
        accept, stop, fall, rest = ({slot: region[slot] for slot in part} for part in parts)
    region.clear()
    region.update(rest)
    return Painted(accept, stop, fall)


def _by_slot(region: Region, held: list[int], strokes: Strokes) -> Painted:
    """Few looks: slot by slot."""
    out = Painted()
    for first, end, plain in zip(strokes.firsts, strokes.ends, strokes.plains, strict=True):
        into, classes = out.of(plain.kind), plain.classes
        for slot in held[first:end]:
            bits = region.get(slot, 0)
            taken = bits if classes is None else bits & classes
            if taken:
                into[slot] = into.get(slot, 0) | taken
                if taken == bits:
                    del region[slot]
                else:
                    region[slot] = bits ^ taken
    return out


def _in_tree(region: Region, held: list[int], strokes: Strokes) -> Painted:
    size = 1 << (len(held) - 1).bit_length()
    own = [0] * (2 * size)
    kinds = {"accept": [0] * (2 * size), "return": [0] * (2 * size)}
    every = 0
    for bits in region.values():
        every |= bits
    for first, end, plain in zip(strokes.firsts, strokes.ends, strokes.plains, strict=True):
        if first >= end:
            continue
        of_kind, classes = kinds.get(plain.kind), plain.classes
        stack = [(1, 0, size, every if classes is None else classes & every)]
        while stack:
            node, low, high, need = stack.pop()
            need &= ~own[node]
            if not need:
                continue
            if first <= low and high <= end:
                own[node] |= need
                if of_kind is not None:
                    of_kind[node] |= need
                continue
            middle = (low + high) >> 1
            if first < middle:
                stack.append((2 * node, low, middle, need))
            if end > middle:
                stack.append((2 * node + 1, middle, high, need))
    return _settled(region, held, own, kinds["accept"], kinds["return"])


def _settled(region: Region, held: list[int], own: list[int], accept: list[int], fall: list[int]) -> Painted:
    """Carry what inner nodes have down to the slots."""
    size = len(own) // 2
    for node in range(2, 2 * size):
        above, mine = node >> 1, own[node]
        own[node] = own[above] | mine
        accept[node] |= accept[above] & ~mine
        fall[node] |= fall[above] & ~mine
    out = Painted()
    for at, slot in enumerate(held, size):
        bits = region[slot]
        taken = bits & own[at]
        if not taken:
            continue
        parts = (taken & accept[at], taken & fall[at])
        for into, part in zip((out.accept, out.fall, out.stop), (*parts, taken & ~parts[0] & ~parts[1]), strict=True):
            if part:
                into[slot] = part
        if taken == bits:
            del region[slot]
        else:
            region[slot] = bits ^ taken
    return out
