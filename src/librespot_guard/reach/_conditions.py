"""Conditions on packet fields, and how comparisons and set look-ups become such conditions."""

from dataclasses import dataclass, field

from librespot_guard.firewall.model import SET_CONCAT, SET_EVAL, SET_INTERVAL, Element, Set, Verdict
from librespot_guard.reach import _limits as limits
from librespot_guard.reach._bits import UNKNOWN, Value, cut, joined, width
from librespot_guard.reach._fields import FREE, SOURCE_ROUTES, exthdrs_where, field_width
from librespot_guard.reach._intervals_of import plain_intervals
from librespot_guard.reach.intervals import IntervalSet, Pair


@dataclass(frozen=True, slots=True)
class All:
    """A conjunction: every field's value lies in its set. `doubt` names what could not be analysed: it may also fail.

    A key is the name of a field, or `NAME@LOW:WIDTH` for some bits of a field that is not the stranger's to choose.
    """

    sets: dict[str, IntervalSet] = field(default_factory=dict)
    doubt: str | None = None


def both(first: All | None, second: All | None) -> All | None:
    """The conjunction of two conjunctions; None is one that never holds."""
    if first is None or second is None:
        return None
    sets = dict(first.sets)
    for name, values in second.sets.items():
        sets[name] = sets[name] & values if name in sets else values
        if not sets[name]:
            return None
    return All(sets, first.doubt or second.doubt)


def _on_field(name: str, low: int, size: int, values: IntervalSet, family: str) -> All | None:
    """The condition that bits low..low+size-1 of a field lie in `values`."""
    if not values:
        return None
    if name.startswith(UNKNOWN):
        if values.pairs == ((0, (1 << size) - 1),):
            return All()
        return All({}, name[1:] or "bytes of the packet that are not analysed")
    if name == "exthdrs":
        found = exthdrs_where(low, size, values)
        return All({name: found}) if found else None
    if name in SOURCE_ROUTES and values.pairs == ((1, 1),):
        return All({name: values}, "whether this host accepts source routes")
    total = field_width(name, family)
    if low + size > total:
        return All({}, f"bits beyond `{name}`")
    above = total - low - size
    if size < total and name != "saddr" and name not in FREE:
        # such a field has one known value, of which these bits can be read
        return All({f"{name}@{low}:{size}": values})
    if len(values) == 1 and values.pairs[0] == (0, (1 << size) - 1):
        return All()
    if above and (1 << above) * len(values) > limits.REPEATS:
        return All({}, f"a mask on `{name}` that is no prefix")
    if not above and not low:
        return All({name: values})
    pairs = []
    for high in range(1 << above):
        base = high << (low + size)
        pairs += [(base + (a << low), base + (b << low) + (1 << low) - 1) for a, b in values]
    return All({name: IntervalSet.of(pairs)})


def equal(value: Value, data: bytes, family: str) -> All | None:
    """Value == data, or None if that never holds."""
    total = width(value)
    number = int.from_bytes(data, "big")
    if len(data) * 8 < total:
        value, total = cut(value, 0, 8 * len(data)), 8 * len(data)
    elif len(data) * 8 > total:
        number >>= 8 * len(data) - total
    out: All | None = All()
    after = total
    for piece in value:
        after -= piece.width
        wanted = (number >> after & (1 << piece.width) - 1) ^ piece.bits
        if piece.field is None:
            if wanted:
                return None
        else:
            out = both(out, _on_field(piece.field, piece.low, piece.width, IntervalSet.single(wanted), family))
    return out


def between(value: Value, low: bytes, high: bytes, family: str) -> All | None:
    """Low <= value <= high, comparing bytes as memcmp does."""
    value = joined(cut(value, 0, 8 * len(low)))
    if low == high:
        return equal(value, low, family)
    first, last = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    if first > last:
        return None
    # leading constant pieces decide or drop out
    while value and value[0].field is None:
        after = width(value[1:])
        top_first, top_last = first >> after, last >> after
        if not top_first <= value[0].bits <= top_last:
            return None
        rest = (1 << after) - 1
        first = first & rest if value[0].bits == top_first else 0
        last = last & rest if value[0].bits == top_last else rest
        value = value[1:]
    if not value:
        return All()
    if len(value) == 1 and not value[0].bits and value[0].field is not None:
        piece = value[0]
        return _on_field(piece.field or UNKNOWN, piece.low, piece.width, IntervalSet(((first, last),)), family)
    if len(value) > 1 and first == 0 and last == (1 << width(value)) - 1:
        return All()
    return All({}, "an ordered comparison of several fields at once")


@dataclass(frozen=True, slots=True)
class Entries:
    """A set or map, looked up with a symbolic key: which condition leads to which data.

    `entries` are disjoint conditions with their data (None in a plain set); `otherwise` is the catch-all's data, if `catchall`.
    `doubt` is why the content may change while packets pass.
    """

    entries: tuple[tuple[All, bytes | Verdict | None], ...]
    catchall: bool = False
    otherwise: bytes | Verdict | None = None
    doubt: str | None = None


def entries_of(table_set: Set, key: Value, family: str) -> Entries:
    """The conditions under which `key` is found in a set."""
    doubt = f"set `{table_set.name}` is filled by rules while packets pass" if table_set.flags & SET_EVAL else None
    catchall, otherwise = False, None
    found: list[tuple[All, bytes | Verdict | None]] = []
    singles: dict[bytes | Verdict | None, list[Pair]] = {}
    concat = bool(table_set.field_lengths) and (
        table_set.flags & SET_CONCAT or any(e.key_end for e in table_set.elements)
    )
    key = joined(cut(key, 0, 8 * table_set.key_length))
    if len(key) == 1 and key[0].field not in (None, UNKNOWN) and not key[0].bits:
        plain = plain_intervals(table_set)
        if plain is not None:
            whole = _on_field(key[0].field or UNKNOWN, key[0].low, key[0].width, IntervalSet(tuple(plain)), family)
            return Entries(() if whole is None else ((whole, None),), doubt=doubt)
    for element, pair in _ranges(table_set):
        if element.catchall:
            catchall, otherwise = True, element.data
            continue
        if element.conditional:
            condition = _element(table_set, element, pair, key, family, concat=bool(concat))
            if condition is not None:
                own = "that expires" if element.expires is not None else "with a limit of its own"
                found.append((All(condition.sets, f"an element of `{table_set.name}` {own}"), element.data))
            continue
        if len(key) == 1 and key[0].field not in (None, UNKNOWN) and not concat and not key[0].bits:
            singles.setdefault(element.data, []).append(pair)
            continue
        condition = _element(table_set, element, pair, key, family, concat=bool(concat))
        if condition is not None:
            found.append((condition, element.data))
    for data, pairs in singles.items():
        piece = key[0]
        condition = _on_field(piece.field or UNKNOWN, piece.low, piece.width, IntervalSet.of(pairs), family)
        if condition is not None:
            found.append((condition, data))
    return Entries(tuple(_grouped(found)), catchall, otherwise, doubt)


def _element(table_set: Set, element: Element, pair: Pair, key: Value, family: str, *, concat: bool) -> All | None:
    """The condition that `key` equals one element, or lies in its interval."""
    size = table_set.key_length
    if not concat:
        return between(key, pair[0].to_bytes(size, "big"), pair[1].to_bytes(size, "big"), family)
    out: All | None = All()
    at = 0
    last = element.key_end or element.key
    for length in table_set.field_lengths:
        part = cut(key, 8 * at, 8 * length)
        out = both(out, between(part, element.key[at : at + length], last[at : at + length], family))
        at += (length + 3) // 4 * 4
    return out


def _ranges(table_set: Set) -> list[tuple[Element, Pair]]:
    """Every element with the closed interval of keys it stands for (rbtree sets mark the first key after an interval)."""
    size = table_set.key_length
    numbered = []
    out: list[tuple[Element, Pair]] = []
    for element in table_set.elements:
        if element.catchall:
            out.append((element, (0, 0)))
        else:
            # at the same key an end sorts before a start: two intervals that touch
            numbered.append((int.from_bytes(element.key[:size], "big"), 0 if element.interval_end else 1, element))
    if not table_set.flags & SET_INTERVAL or table_set.field_lengths:
        out += [(e, (k, k)) for k, _, e in numbered]
        return out
    numbered.sort(key=lambda item: item[:2])
    top = (1 << 8 * size) - 1
    for index, (start, kind, element) in enumerate(numbered):
        if kind == 0:
            continue
        if element.key_end is not None:
            out.append((element, (start, int.from_bytes(element.key_end[:size], "big"))))
            continue
        end = numbered[index + 1][0] - 1 if index + 1 < len(numbered) else top
        out.append((element, (start, end)))
    return out


def _grouped(found: list[tuple[All, bytes | Verdict | None]]) -> list[tuple[All, bytes | Verdict | None]]:
    """Merge conditions that differ only in the source address: their union is one condition."""
    out: list[tuple[All, bytes | Verdict | None]] = []
    groups: dict[tuple[tuple[tuple[str, tuple[Pair, ...]], ...], bytes | Verdict | None], list[All]] = {}
    for condition, data in found:
        if "saddr" not in condition.sets or condition.doubt:
            out.append((condition, data))
            continue
        rest = tuple(sorted((n, v.pairs) for n, v in condition.sets.items() if n != "saddr"))
        groups.setdefault((rest, data), []).append(condition)
    for (_, data), conditions in groups.items():
        pairs = [pair for c in conditions for pair in c.sets["saddr"]]
        out.append((All(conditions[0].sets | {"saddr": IntervalSet.of(pairs)}), data))
    return out
