"""Interval sets behave as the sets of integers they stand for."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.reach.intervals import IntervalSet, cidrs, parse_cidrs

pairs = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63)), max_size=8)


def members(intervals: IntervalSet) -> set[int]:
    """The integers of an interval set, one by one."""
    return {value for low, high in intervals for value in range(low, high + 1)}


def plain(raw: list[tuple[int, int]]) -> set[int]:
    """The same union, made without intervals."""
    return {value for low, high in raw for value in range(low, high + 1)}


@given(pairs)
def test_of_is_the_union_in_canonical_form(raw: list[tuple[int, int]]) -> None:
    """`of` keeps every value and leaves neither overlapping nor touching intervals."""
    intervals = IntervalSet.of(raw)

    assert plain(raw) == members(intervals)
    assert all(a[1] + 1 < b[0] for a, b in zip(intervals.pairs, intervals.pairs[1:], strict=False))


@given(pairs, pairs)
def test_algebra_is_that_of_sets(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """Union, intersection, difference and complement are those of sets, and canonical."""
    a, b = IntervalSet.of(first), IntervalSet.of(second)

    assert plain(first) | plain(second) == members(a | b)
    assert plain(first) & plain(second) == members(a & b)
    assert plain(first) - plain(second) == members(a - b)
    assert set(range(64)) - plain(first) == members(a.complement(6))
    assert IntervalSet.of((a - b).pairs) == a - b


@given(pairs, st.integers(0, 63))
def test_membership(raw: list[tuple[int, int]], value: int) -> None:
    """`in` answers as the plain set does."""
    assert (value in plain(raw)) == (value in IntervalSet.of(raw))


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=6), st.integers(8, 32))
def test_cidrs_round_trip(addresses: list[str], prefix: int) -> None:
    """The list of networks covers exactly the addresses, and is minimal for one network."""
    networks = [ip_network(f"{a}/{prefix}", strict=False) for a in addresses]
    intervals = IntervalSet.networks(networks)

    assert intervals == parse_cidrs("ipv4", cidrs("ipv4", intervals))
    if len(set(networks)) == 1:
        assert [str(networks[0])] == cidrs("ipv4", intervals)


def test_everything_of_ipv6_is_one_network() -> None:
    """All of IPv6 prints as ::/0."""
    assert cidrs("ipv6", IntervalSet.full(128)) == ["::/0"]


def test_the_empty_set_has_no_lowest() -> None:
    """Asking an empty set for its lowest value is an error, not a made-up address."""
    with pytest.raises(ValueError, match="empty"):
        IntervalSet().lowest()
