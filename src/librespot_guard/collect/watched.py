"""What a watch keeps of a service: its starts, listeners, peers and endpoints, each table bounded.

A service that dies and comes back for weeks, or a stranger who sends from a thousand addresses, must not fill the memory: where a table is
full, what was not seen for longest gives way, and that is counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
MAX_KEPT = 2000
"""Entries of one table of one service."""


@dataclass(slots=True)
class Span:
    """How often and when something was seen; times are seconds since the watch began. `by`: "sockets" or "conntrack".

    `open`: a connection that is counted already was there at the last look.
    """

    first: float
    last: float
    count: int = 0
    by: str = "sockets"
    open: bool = False


@dataclass(slots=True)
class Watched:
    """What was seen of one service. Keys: listeners (proto, address, port, surface), peers (proto, address), outbound (proto, address, port)."""

    name: str
    flavour: str
    version: str | None
    starts: dict[int, Span] = field(default_factory=dict)
    listeners: dict[tuple[str, str, int, str], Span] = field(default_factory=dict)
    inbound: dict[tuple[str, str], Span] = field(default_factory=dict)
    outbound: dict[tuple[str, str, int], Span] = field(default_factory=dict)
    left_out: int = 0

    def ports(self) -> dict[str, tuple[int, ...]]:
        """The TCP ports seen of each surface."""
        found: dict[str, set[int]] = {}
        for proto, _, port, surface in self.listeners:
            if proto == "tcp":
                found.setdefault(surface, set()).add(port)
        return {surface: tuple(sorted(ports)) for surface, ports in found.items()}

    def seen(self, table: dict[K, Span], key: K, now: float, by: str = "sockets") -> tuple[Span, bool]:
        """The span of a key, last seen now, and whether it is new."""
        span = table.get(key)
        if span is not None:
            span.last = now
            return span, False
        if len(table) >= MAX_KEPT:
            del table[min(table, key=lambda k: table[k].last)]
            self.left_out += 1
        table[key] = Span(now, now, by=by)
        return table[key], True


def keep_newest(table: dict[K, V], limit: int, but: Iterable[K] = ()) -> None:
    """Let the oldest entries of a table go until no more than `limit` are left, but never those of `but`."""
    kept = set(but)
    for key in [k for k in table if k not in kept][: max(0, len(table) - limit)]:
        del table[key]
