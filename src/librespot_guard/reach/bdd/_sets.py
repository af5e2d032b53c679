"""Look-ups in sets with a symbolic key: under which condition which element is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from librespot_guard.firewall.model import SET_EVAL, SET_INTERVAL, Dynset, Element, Set, Table, Verdict
from librespot_guard.reach.bdd._algebra import Algebra, merged

if TYPE_CHECKING:
    from librespot_guard.reach.bdd._bits import Function, Vector

Data = bytes | Verdict | None


@dataclass(slots=True)
class Found:
    """What a look-up gives: disjoint conditions with their data, and where of those an element's own limit may still refuse."""

    hits: list[tuple[Function, Data]]
    refusable: Function

    def anywhere(self, algebra: Algebra) -> Function:
        """Where some element is found."""
        out = algebra.false
        for condition, _ in self.hits:
            out = out | condition
        return out


def changed_by_packets(table: Table) -> set[str]:
    """The sets of a table whose content packets change: marked so, or written to by a rule."""
    out = {s.name for s in table.sets if s.flags & SET_EVAL}
    return out | {e.set_name for c in table.chains for r in c.rules for e in r.exprs if isinstance(e, Dynset)}


def look_up(algebra: Algebra, table_set: Set, key: Vector) -> Found:
    """Every element that the key may hit; of overlapping ones the first counts, after all of them the catch-all."""
    concat = bool(table_set.field_lengths)
    hits: list[tuple[Function, Data]] = []
    refusable = algebra.false
    groups: dict[tuple[Data, bool], list[tuple[int, int]]] = {}
    rest = algebra.true
    catchall: Element | None = None
    for low, high, element in _ranges(table_set):
        if element.catchall:
            catchall = element
        elif concat:
            condition = rest & _fields(algebra, table_set, element, key)
            rest = rest & ~condition
            hits.append((condition, element.data))
            refusable = refusable | condition if element.conditional else refusable
        else:
            groups.setdefault((element.data, element.conditional), []).append((low, high))
    bits = key[: 8 * table_set.key_length]
    for (data, conditional), pairs in groups.items():
        condition = algebra.among(bits, merged(iter(pairs)))
        rest = rest & ~condition
        hits.append((condition, data))
        refusable = refusable | condition if conditional else refusable
    if catchall is not None:
        hits.append((rest, catchall.data))
        refusable = refusable | rest if catchall.conditional else refusable
    return Found(hits, refusable)


def _fields(algebra: Algebra, table_set: Set, element: Element, key: Vector) -> Function:
    """Where every field of the key lies in its interval of a concatenation (each field is padded to 4 bytes)."""
    out = algebra.true
    last = element.key if element.key_end is None else element.key_end
    at = 0
    for length in table_set.field_lengths:
        low, high = (int.from_bytes(end[at : at + length], "big") for end in (element.key, last))
        out = out & algebra.among(key[8 * at : 8 * (at + length)], [(low, high)] if low <= high else [])
        at += (length + 3) & ~3
    return out


def _ranges(table_set: Set) -> list[tuple[int, int, Element]]:
    """Elements with the closed interval of keys that each stands for; ends of intervals are elements of their own."""
    size = table_set.key_length
    if not table_set.flags & SET_INTERVAL or table_set.field_lengths:
        return [(n, n, e) for e in table_set.elements for n in (int.from_bytes(e.key[:size], "big"),)]
    out = [(0, 0, e) for e in table_set.elements if e.catchall]
    plain = [e for e in table_set.elements if not e.catchall]
    # where one interval ends at the begin of the next, the begin counts
    plain.sort(key=lambda e: (e.key, not e.interval_end))
    top = (1 << 8 * size) - 1
    for element, following in zip(plain, [*plain[1:], None], strict=True):
        if element.interval_end:
            continue
        low = int.from_bytes(element.key[:size], "big")
        if element.key_end is not None:
            high = int.from_bytes(element.key_end[:size], "big")
        else:
            high = top if following is None else int.from_bytes(following.key[:size], "big") - 1
        out.append((low, high, element))
    return out
