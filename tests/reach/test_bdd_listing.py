"""How the second engine writes a set of sources down as intervals: the right ones, and never for minutes."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.firewall.model import Cmp, Meta, Payload
from reach.hosts import ACCEPT, input_world

pytest.importorskip("oxidd", reason="the extra [bdd] (oxidd) is not installed")
from oxidd.bcdd import BCDDManager

from librespot_guard.reach.bdd._listing import blocks, listed
from librespot_guard.reach.bdd.engine import BddEngine
from librespot_guard.reach.routing import number

BITS = 6
# one for all examples: each has a thread of its own
MANAGER = BCDDManager(1 << 14, 1 << 14, 1)
VARIABLES = [MANAGER.var(v) for v in MANAGER.add_vars(BITS)]


@given(st.sets(st.integers(0, (1 << BITS) - 1)), st.integers(0, BITS))
def test_the_intervals_are_those_of_the_set(values: set[int], deepest: int) -> None:
    """Spelled out they hold just the values; looked at in part, the outer ones hold all of them and the inner ones nothing else."""
    f = MANAGER.false()
    for value in values:
        one = MANAGER.true()
        for place, bit in enumerate(VARIABLES):
            one &= bit if value >> (BITS - 1 - place) & 1 else ~bit
        f |= one

    def spelled(pairs: list[tuple[int, int]]) -> set[int]:
        assert pairs == sorted(pairs)
        return {n for low, high in pairs for n in range(low, high + 1)}

    assert spelled(listed(f, BITS)) == values
    assert blocks(f, BITS) == len(listed(f, BITS))
    outer, inner = (spelled(listed(f, BITS, deepest, outer=way)) for way in (True, False))
    assert inner <= values <= outer
    step = 1 << (BITS - deepest)
    assert outer == {n for n in range(1 << BITS) if any(v // step == n // step for v in values)}


def test_bits_in_the_midst_of_a_source_cost_no_time() -> None:
    """`@nh,128,32` is a part of an IPv6 source: 2^64 ranges, which are counted and not tried one by one."""
    rule = (
        Meta("nfproto", 0),
        Cmp("eq", 0, b"\x0a"),
        Payload("network", 16, 4, 0),
        Cmp("eq", 0, b"\xc0\xa8\x0a\x02"),
        ACCEPT,
    )
    start = time.process_time()
    answer = BddEngine(input_world(rule), "eth0", "ipv6", "udp").ask(number("fd00:10::2"), 5353)
    assert not answer.listed
    assert not answer.exact
    assert answer.may
    assert not answer.must
    # each question took five seconds and more
    assert time.process_time() - start < 2
