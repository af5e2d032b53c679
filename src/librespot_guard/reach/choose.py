"""Which engine answers: intervals always; binary decision diagrams where intervals could only give bounds.

The second engine is behind the extra `[bdd]`. Where it would help and is not installed, the answer's reasons name the extra.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from librespot_guard.reach import bdd

if TYPE_CHECKING:
    from librespot_guard.reach.engine import Answer, Engine

INTERVALS, BDD = "intervals", "bdd"
# what no engine can know: it depends on other packets than the one that is asked about
_UNKNOWABLE = ("a rate limit", "is filled by rules", "adding to set", "with a limit of its own", "that expires")
# what is no interval: the beginnings of reasons that the first engine gives
NO_INTERVAL = (
    "a mask on",
    "an ordered comparison",
    "bits beyond",
    "bytes of the packet",
    "`ttl`",
    "`mark`",
    "`ct_mark`",
)
MISSING = "the extra [bdd] would tell more: pip install 'librespot-guard[bdd]'"


def ask(engine: Engine, dst: int, dport: int) -> tuple[Answer, str]:
    """The better of the two answers to a question of `engine`, and the name of the engine that gave it."""
    first = engine.ask(dst, dport)
    link = engine.world.link(engine.iface)
    world = engine.world
    doubts = (*world.doubts_about(engine.iface, engine.family), *world.doubts_at(engine.proto, dport))
    open_reasons = [r for r in first.because if r not in doubts and not any(word in r for word in _UNKNOWABLE)]
    # the second engine knows one order of chains and one namespace
    apart = engine.forwards or any(r.startswith("order-dependent") for r in first.because)
    if first.exact or apart or not open_reasons or link is None or link.loopback:
        return first, INTERVALS
    if not bdd.available():
        if any(reason.startswith(NO_INTERVAL) for reason in open_reasons):
            return replace(first, because=(*first.because, MISSING)), INTERVALS
        return first, INTERVALS
    from librespot_guard.reach.bdd.engine import BddEngine  # noqa: PLC0415 - an extra

    second = BddEngine(engine.world, engine.iface, engine.family, engine.proto).ask(dst, dport)
    tighter = not (second.may - first.may) and not (first.must - second.must)
    better = (second.may, second.must) != (first.may, first.must)
    if not tighter or not better:
        return first, INTERVALS
    return replace(second, passes=first.passes, sure=first.sure), BDD
