"""A plain interval set of the kernel (rbtree: starts, and the first keys behind each interval) as sorted intervals, in one pass."""

from librespot_guard.firewall.model import SET_INTERVAL, SET_MAP, Set
from librespot_guard.reach.intervals import Pair


def plain_intervals(table_set: Set) -> list[Pair] | None:
    """The intervals of a set whose elements are nothing but starts and ends; None if it is not that simple."""
    elements = table_set.elements
    if not table_set.flags & SET_INTERVAL or table_set.flags & SET_MAP or table_set.field_lengths or not elements:
        return None
    if any(e.catchall or e.conditional or e.key_end is not None for e in elements):
        return None
    size, number = table_set.key_length, int.from_bytes
    starts = sorted([number(e.key[:size], "big") for e in elements if not e.interval_end])
    ends = sorted([number(e.key[:size], "big") for e in elements if e.interval_end])
    if not starts:
        return None
    if ends and ends[0] <= starts[0]:
        del ends[0]  # the kernel keeps an end at zero before the first interval
    if len(ends) == len(starts) - 1:
        ends.append(1 << 8 * size)  # the last interval is open
    if len(ends) != len(starts):
        return None
    out: list[Pair] = []
    behind = -1
    for start, end in zip(starts, ends, strict=True):
        if end <= start or start < behind:
            return None
        if start == behind:
            out[-1] = (out[-1][0], end - 1)
        else:
            out.append((start, end - 1))
        behind = end
    return out
