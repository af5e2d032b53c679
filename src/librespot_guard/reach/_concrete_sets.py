"""Look-ups in sets as the kernel's back ends do them.

These are hash tables, interval trees (nft_set_rbtree) and concatenated intervals (nft_set_pipapo); after a miss the catch-all
element counts.
"""

from bisect import bisect_right
from dataclasses import dataclass

from librespot_guard.firewall.model import SET_INTERVAL, Element, Set
from librespot_guard.reach._concrete_values import Value, between, equal, is_sure

Fields = tuple[tuple[int, int], ...]  # (offset, length) of each field of a key


@dataclass(frozen=True, slots=True)
class Hit:
    """What a look-up may find: an element, or None for a miss. `certain` is false if it may also turn out otherwise."""

    element: Element | None
    certain: bool = True


class Index:
    """A set, ready for look-ups."""

    def __init__(self, found: Set) -> None:
        self.set = found
        self.catchall = next((e for e in found.elements if e.catchall), None)
        plain = [e for e in found.elements if not e.catchall]
        self.fields = _fields(found)
        self._ranges: list[Element] = []
        self._hash: dict[bytes, Element] = {}
        self._starts: list[tuple[bytes, int]] = []
        self._elements: list[Element] = []
        if found.flags & SET_INTERVAL and found.field_lengths:
            self._ranges = plain
        elif found.flags & SET_INTERVAL:
            # where an interval begins at the end of another, the beginning is what counts
            self._elements = sorted(plain, key=lambda e: (e.key, 0 if e.interval_end else 1))
            self._starts = [(e.key, 0 if e.interval_end else 1) for e in self._elements]
        else:
            for element in plain:
                self._hash.setdefault(element.key, element)

    def find(self, key: Value) -> list[Hit]:
        """Every possible outcome of a look-up; one certain outcome where the key is known."""
        if not is_sure(key):
            return self._possible(key)
        return [self._or_catchall(self._exact(key[0]))]

    def _exact(self, key: bytes) -> Element | None:
        if self._starts:
            position = bisect_right(self._starts, (key, 2)) - 1
            element = self._elements[position] if position >= 0 else None
            return None if element is None or element.interval_end else element
        if self._ranges:
            return next((e for e in self._ranges if self._inside((key, b"\xff" * len(key)), e)), None)
        return self._hash.get(key)

    def _or_catchall(self, element: Element | None) -> Hit:
        found = self.catchall if element is None else element
        return Hit(found, certain=found is None or not found.conditional)

    def _inside(self, key: Value, element: Element) -> bool | None:
        """Whether a key lies in an element of concatenated intervals, field by field."""
        top = element.key if element.key_end is None else element.key_end
        answer: bool | None = True
        for offset, length in self.fields:
            part = slice(offset, offset + length)
            inside = between((key[0][part], key[1][part]), element.key[part], top[part])
            if inside is False:
                return False
            answer = answer if inside else None
        return answer

    def _possible(self, key: Value) -> list[Hit]:
        """The outcomes of a look-up of a key with unknown bits: every element that may match, and a miss if none must."""
        hits: list[Hit] = []
        missing = True
        for element, inside in self._candidates(key):
            if inside is False:
                continue
            hits.append(Hit(element, certain=not element.conditional))
            if inside:
                missing = False
                break
        return [*hits, self._or_catchall(None)] if missing else hits

    def _candidates(self, key: Value) -> list[tuple[Element, bool | None]]:
        if self._starts:
            out: list[tuple[Element, bool | None]] = []
            for number, element in enumerate(self._elements):
                if element.interval_end:
                    continue
                end = self._elements[number + 1].key if number + 1 < len(self._elements) else None
                top = b"\xff" * len(element.key) if end is None else _before(end)
                out.append((element, between(key, element.key, top)))
            return out
        if self._ranges:
            return [(e, self._inside(key, e)) for e in self._ranges]
        return [(e, equal(key, e.key)) for e in self._hash.values()]


def _before(key: bytes) -> bytes:
    """The key that comes before this one."""
    number = int.from_bytes(key, "big")
    return (number - 1).to_bytes(len(key), "big") if number else key


def _fields(found: Set) -> Fields:
    if not found.field_lengths:
        return ((0, found.key_length),)
    out, offset = [], 0
    for length in found.field_lengths:
        out.append((offset, length))
        offset += (length + 3) & ~3
    return tuple(out)
