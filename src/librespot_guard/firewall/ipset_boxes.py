"""What the entries of an ipset hold, as boxes: for each field of the key the values from a first to a last one.

Which of several entries decides is that of mtype_test_cidrs of net/netfilter/ipset/ip_set_hash_gen.h: the longest prefix of the first
network, then that of the second; an entry with `nomatch` ends the search without a match.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from librespot_guard.firewall.model import Element
from librespot_guard.firewall.nft_json_types import Unsupported

Sides = tuple[tuple[int, int], ...]

_MOST_CUTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Box:
    """An entry: closed intervals of every field, and the prefix lengths of its networks.

    `nomatch` takes it out of wider ones. `expires`: milliseconds until it goes away, or None. `doubtful`: it may hold less than this.
    """

    sides: Sides
    rank: tuple[int, ...] = ()
    nomatch: bool = False
    expires: int | None = None
    doubtful: bool = False

    @property
    def unsure(self) -> bool:
        """Whether it may be gone, or be smaller, when a packet comes."""
        return self.doubtful or self.expires is not None


def elements(boxes: Sequence[Box], sizes: Sequence[int], *, blocking: bool = False) -> list[Element]:
    """The elements of a set with these entries: disjoint intervals for one field, else boxes, those first that are sure.

    Args:
        boxes: the entries.
        sizes: bytes of each field.
        blocking: the longest prefix of the first field decides alone, whatever the second is (hash:net,iface).

    Raises:
        Unsupported: too many entries cut holes into too many others.
    """
    region = _one_field if len(sizes) == 1 else _blocked if blocking else _several
    if not any(box.unsure for box in boxes):
        sure, perhaps = list(region(boxes)), []
    elif blocking:
        # what has expired may still stand before a wider entry until it is collected
        sure, perhaps = [], [(box.sides, box) for box in boxes if not box.nomatch]
    else:
        sure = list(region([box for box in boxes if box.nomatch or not box.unsure]))
        perhaps = list(region([box for box in boxes if not (box.nomatch and box.unsure)]))
    if len(sizes) == 1:
        return list(_intervals(sure, _without(perhaps, sure), sizes[0]))
    return [
        *(Element(_key(sides, sizes, 0), _key(sides, sizes, 1)) for sides, _ in sure),
        *(_conditional(_key(sides, sizes, 0), box, _key(sides, sizes, 1)) for sides, box in perhaps),
    ]


def _conditional(key: bytes, box: Box, end: bytes | None = None) -> Element:
    return Element(key, end, timeout=box.expires, expires=box.expires, conditional=True)


def _key(sides: Sides, sizes: Sequence[int], end: int) -> bytes:
    """The lowest (0) or highest (1) key of a box: each field padded to four bytes."""
    return b"".join(side[end].to_bytes(size, "big") + bytes(-size % 4) for side, size in zip(sides, sizes, strict=True))


def _intervals(sure: Iterable[tuple[Sides, Box]], perhaps: Iterable[tuple[Sides, Box]], size: int) -> Iterator[Element]:
    for held, certain in ((sure, True), (perhaps, False)):
        for ((first, last),), box in held:
            key = first.to_bytes(size, "big")
            yield Element(key) if certain else _conditional(key, box)
            if last + 1 < 1 << 8 * size:
                yield Element((last + 1).to_bytes(size, "big"), interval_end=True)


def _without(held: Iterable[tuple[Sides, Box]], taken: Iterable[tuple[Sides, Box]]) -> Iterator[tuple[Sides, Box]]:
    """Sorted intervals without those in `taken`, sorted too."""
    gone = [sides[0] for sides, _ in taken]
    at = 0
    for ((first, last),), box in held:
        while at < len(gone) and gone[at][1] < first:
            at += 1
        start, here = first, at
        while start <= last and here < len(gone) and gone[here][0] <= last:
            low, high = gone[here]
            if low > start:
                yield ((start, low - 1),), box
            start = max(start, high + 1)
            here += 1
        if start <= last:
            yield ((start, last),), box


def _one_field(boxes: Sequence[Box]) -> Iterator[tuple[Sides, Box]]:
    return ((((first, last),), box) for first, last, box in _painted(boxes) if not box.nomatch)


def _painted(boxes: Iterable[Box]) -> list[tuple[int, int, Box]]:
    """Disjoint intervals of the first field, with the narrowest of the boxes that hold each."""
    out: list[tuple[int, int, Box]] = []
    stack: list[Box] = []
    at = 0

    def emit(upto: int | None) -> None:
        nonlocal at
        while stack and (upto is None or at <= upto):
            last = stack[-1].sides[0][1]
            end = last if upto is None else min(last, upto)
            if end >= at:
                out.append((at, end, stack[-1]))
            at = max(at, end + 1)
            if upto is not None and last > upto:
                break
            stack.pop()

    for box in sorted(boxes, key=lambda b: (b.sides[0][0], -b.sides[0][1])):
        emit(box.sides[0][0] - 1)
        at = max(at, box.sides[0][0])
        stack.append(box)
    emit(None)
    return out


def _blocked(boxes: Sequence[Box]) -> Iterator[tuple[Sides, Box]]:
    """Of the networks that hold an address the longest decides, for the interfaces that it was added with."""
    by_network: dict[tuple[int, int], list[Box]] = {}
    for box in boxes:
        by_network.setdefault(box.sides[0], []).append(box)
    for first, last, owner in _painted(found[0] for found in by_network.values()):
        found = by_network[owner.sides[0]]
        for box in found:
            if box.nomatch:
                continue
            if any(o.nomatch and _meet(o.sides, box.sides) for o in found):
                raise Unsupported("entries of one network whose interfaces overlap, with and without `nomatch`")
            yield ((first, last), *box.sides[1:]), box


def _several(boxes: Sequence[Box]) -> Iterator[tuple[Sides, Box]]:
    holes = [box for box in boxes if box.nomatch]
    if len(holes) * (len(boxes) - len(holes)) > _MOST_CUTS:
        raise Unsupported(f"more than {_MOST_CUTS} pairs of entries with and without `nomatch`")
    for box in boxes:
        if box.nomatch:
            continue
        parts = [box.sides]
        for hole in holes:
            if hole.rank > box.rank and _meet(hole.sides, box.sides):
                parts = [rest for part in parts for rest in _minus(part, hole.sides)]
        for part in parts:
            yield part, box


def _meet(one: Sides, other: Sides) -> bool:
    return all(a[0] <= b[1] and b[0] <= a[1] for a, b in zip(one, other, strict=True))


def _minus(sides: Sides, hole: Sides) -> list[Sides]:
    """A box without another, as disjoint boxes."""
    if not _meet(sides, hole):
        return [sides]
    out: list[Sides] = []
    rest = list(sides)
    for index, ((low, high), (first, last)) in enumerate(zip(sides, hole, strict=True)):
        if first > low:
            out.append((*rest[:index], (low, first - 1), *rest[index + 1 :]))
        if last < high:
            out.append((*rest[:index], (last + 1, high), *rest[index + 1 :]))
        rest[index] = max(low, first), min(high, last)
    return out
