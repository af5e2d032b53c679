"""When two tables are the same: everything but what the kernel numbers, orders or counts down by itself."""

from dataclasses import replace

from librespot_guard.firewall.model import SET_MAP, Chain, Element, Set, Table


def _element(value: Element) -> Element:
    return replace(value, timeout=None, expires=None)


def _set(value: Set) -> Set:
    # trees and hash tables are dumped in the order of the kernel's version; a verdict's size is that of its pointers
    ordered = sorted(map(_element, value.elements), key=lambda e: (e.key, e.interval_end))
    verdicts = value.flags & SET_MAP and any(not isinstance(e.data, bytes) for e in ordered)
    length = 0 if verdicts or (value.flags & SET_MAP and not ordered) else value.data_length
    return replace(value, elements=tuple(ordered), handle=0, data_length=length)


def _chain(value: Chain) -> Chain:
    return replace(value, handle=0, rules=tuple(replace(rule, handle=0, text=None) for rule in value.rules))


def canonical(table: Table) -> Table:
    """The table without handles, printed texts and running times, and with the elements of its sets sorted."""
    sets = tuple(sorted(map(_set, table.sets), key=lambda s: s.name))
    return replace(table, handle=0, chains=tuple(map(_chain, table.chains)), sets=sets)
