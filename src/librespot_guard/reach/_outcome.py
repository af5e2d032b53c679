"""What a shape of rule does in one environment, if that can be said in one line: these packets, this verdict.

Most rules of a long ruleset are of that kind: tests, then accept or drop. A run of them is worked off in one go (`_paint`).
The others (jumps, doubts, marks, translations) are walked one by one.
"""

from dataclasses import dataclass

from librespot_guard.reach._environment import Reader
from librespot_guard.reach._lower import Branch, Decide, Need, Test, Translate
from librespot_guard.reach._shapes import Shape, Sourced
from librespot_guard.reach.intervals import Pair

_VERDICTS = Decide | Branch | Translate
_PLAIN = frozenset(("accept", "drop", "reject", "return"))


@dataclass(frozen=True, slots=True)
class Plain:
    """Packets in these slots (None: all; beside the rule's own interval) and classes (None: all) get this verdict, surely."""

    ranges: list[Pair] | None
    classes: int | None
    kind: str


class Complex:
    """A shape that must be walked rule by rule."""


COMPLEX = Complex()


def outcome(shape: Shape, reader: Reader) -> Plain | Complex | None:
    """What a shape does in the reader's environment; None if nothing, whatever the packet."""
    if shape.effective:
        return COMPLEX
    if shape.dead or not any(isinstance(op, _VERDICTS) for op in shape.ops):
        return None
    ranges: list[Pair] | None = None
    classes: int | None = None
    for op in shape.ops:
        match op:
            case Need(name):
                state = reader.state(name)
                if state == "broken":
                    return None
                if state == "unknown":
                    return COMPLEX
            case Sourced():
                if reader.state("saddr") != "source":
                    return COMPLEX
            case Test():
                found = _tested(op, reader)
                if not isinstance(found, tuple):
                    return found
                if found[0] is not None:
                    ranges = found[0] if ranges is None else common(ranges, found[0])
                    if not ranges:
                        return None
                if found[1] is not None:
                    classes = found[1] if classes is None else classes & found[1]
                    if not classes:
                        return None
            case Decide(verdict) if verdict.kind in _PLAIN:
                return Plain(ranges, classes, verdict.kind)
            case _:
                return COMPLEX
    return None


def _tested(test: Test, reader: Reader) -> tuple[list[Pair] | None, int | None] | Complex | None:
    """Where a test holds (slots, classes), None if nowhere."""
    found = [f for f in map(reader.holds, test.any_of) if f is not None]
    if any(doubt is not None for _, _, doubt in found):
        return COMPLEX
    if any(ranges is None and classes is None for ranges, classes, _ in found):
        return None if test.inverted else (None, None)
    if not found:
        return (None, None) if test.inverted else None
    every = (1 << reader.universe.classes) - 1
    if all(ranges is None for ranges, _, _ in found):
        classes = 0
        for _, some, _ in found:
            classes |= some or 0
        return (None, every & ~classes if test.inverted else classes)
    if all(classes is None for _, classes, _ in found):
        ranges = joined([pair for some, _, _ in found for pair in some or ()])
        return (complement(ranges, len(reader.universe.starts)) if test.inverted else ranges, None)
    if len(found) == 1 and not test.inverted:
        return found[0][0], found[0][1]
    return COMPLEX


def common(first: list[Pair], second: list[Pair]) -> list[Pair]:
    """The intersection of sorted half-open ranges."""
    out = []
    i = j = 0
    while i < len(first) and j < len(second):
        low, high = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if low < high:
            out.append((low, high))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return out


def joined(pairs: list[Pair]) -> list[Pair]:
    """The union of half-open ranges, sorted."""
    out: list[Pair] = []
    for low, high in sorted(pairs):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def complement(ranges: list[Pair], size: int) -> list[Pair]:
    """What sorted half-open ranges leave of 0..size."""
    edges = [0, *(edge for pair in ranges for edge in pair), size]
    return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]
