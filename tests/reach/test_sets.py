"""Interval sets of the kernel as intervals: the quick way and the general one agree."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.firewall.model import SET_INTERVAL, Element, Set
from librespot_guard.reach._bits import Piece
from librespot_guard.reach._conditions import entries_of
from librespot_guard.reach._intervals_of import plain_intervals
from librespot_guard.reach.intervals import IntervalSet

KEY = (Piece(8, "tos", 0, 0),)
edges = st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=12)


@given(edges)
def test_both_ways_to_read_an_interval_set_agree(raw: list[tuple[int, bool]]) -> None:
    """Whatever starts and ends a set holds, the quick reading is refused or equal to the general one."""
    elements = tuple(Element(bytes((n,)), interval_end=end) for n, end in raw)
    table_set = Set("s", SET_INTERVAL, 1, elements)
    quick = plain_intervals(table_set)
    # an element of a map is read in the general way
    general = entries_of(replace(table_set, flags=SET_INTERVAL | 8), KEY, "ipv4").entries

    if quick is not None:
        assert [c.sets.get("tos", IntervalSet.full(8)) for c, _ in general] == [IntervalSet(tuple(quick))]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=6))
def test_an_interval_set_holds_its_intervals(raw: list[tuple[int, int]]) -> None:
    """Disjoint intervals written as the kernel keeps them are read back as they were."""
    wanted = IntervalSet.of(raw)
    elements = [Element(bytes((low,))) for low, _ in wanted]
    elements += [Element(bytes((high + 1,)), interval_end=True) for _, high in wanted if high < 255]
    if wanted and wanted.lowest() > 0:
        elements.append(Element(b"\0", interval_end=True))

    assert plain_intervals(Set("s", SET_INTERVAL, 1, tuple(elements))) == (list(wanted) or None)
