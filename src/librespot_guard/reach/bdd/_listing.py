"""From a function over the variables of a source to the intervals of its values.

Each node of the diagram is looked at once, whatever the number of ways to it: one condition on bits in the midst of an address means
as many intervals as there are values of the bits in front of them, and that is known before the first is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oxidd.bcdd import BCDDFunction

    from librespot_guard.reach.bdd._bits import Pairs


def blocks(f: BCDDFunction, bits: int) -> int:
    """Into how many blocks of a power of two, from the first variable on, the values of `bits` variables fall."""
    known: dict[BCDDFunction, int] = {}

    def at(f: BCDDFunction, level: int) -> int:
        parts = f.cofactors()
        if parts is None:
            return int(f.valid())
        own = _level(f)
        if f not in known:
            known[f] = sum(at(part, own + 1) for part in parts)
        return known[f] << (own - level)

    return at(f, 0) if bits else int(f.valid())


def listed(f: BCDDFunction, bits: int, deepest: int | None = None, *, outer: bool = True) -> Pairs:
    """The values of `bits` variables as sorted intervals.

    With `deepest`, only so many variables are looked at: a block that is partly in the set is whole in it (`outer`) or not at all.
    """
    deepest = bits if deepest is None else min(deepest, bits)
    known: dict[BCDDFunction, Pairs] = {}

    def at(f: BCDDFunction, level: int) -> Pairs:
        whole = [(0, (1 << (bits - level)) - 1)]
        parts = f.cofactors()
        if parts is None:
            return whole if f.valid() else []
        own = _level(f)
        if own >= deepest:
            return whole if outer else []
        if f not in known:
            one, none = (at(part, own + 1) for part in parts)
            known[f] = none + _moved(one, 1 << (bits - own - 1))
        size = 1 << (bits - own)
        return [pair for n in range(1 << (own - level)) for pair in _moved(known[f], n * size)]

    return at(f, 0)


def _moved(pairs: Pairs, by: int) -> Pairs:
    return [(low + by, high + by) for low, high in pairs]


def _level(f: BCDDFunction) -> int:
    """The place of the first variable that a function depends on: the variables of the source come first, in their order."""
    level = f.node_var()
    if level is None:
        raise AssertionError("a constant depends on no variable")
    return level
