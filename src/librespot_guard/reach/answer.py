"""The answer to one question: the bounds, the reasons between them, and the packets behind them."""

from dataclasses import dataclass, field, replace

from librespot_guard.reach._region import Region, Universe
from librespot_guard.reach.intervals import IntervalSet


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Where packets to a port of this host end after address translation and forwarding.

    `namespace` is the id of the namespace behind the cables, None for a host that is not of this snapshot; `crossed` are the
    interfaces on the way as (namespace id, interface in, interface out).
    """

    address: str | None
    port: int | None
    namespace: str | None
    crossed: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Who reaches a port: `must` surely, `may` at most; `because` are the reasons if they differ.

    `martian` are sources that routing refuses, whatever the filters say (the host's own addresses, 127.0.0.0/8, multicast);
    they are in neither set. `shown_may` and `shown_must` are the same sets with those of them that the filters would let
    through: that is what people are shown, "192.168.10.0/24" rather than that network without one address. `forwarded` says
    where packets end that this host sends on. `passes` are the regions behind it, by destination and port on the wire. `reasons` are
    those of every way there, also where another way makes the answer exact.
    """

    may: IntervalSet
    must: IntervalSet
    because: tuple[str, ...] = ()
    martian: IntervalSet = field(default_factory=IntervalSet)
    shown_may: IntervalSet = field(default_factory=IntervalSet)
    shown_must: IntervalSet = field(default_factory=IntervalSet)
    forwarded: tuple["Forwarded", ...] = ()
    passes: tuple[tuple[int, int, Universe, Region], ...] = ()
    sure: dict[tuple[int, int], IntervalSet] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the bounds meet."""
        return self.may == self.must

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """The destinations (address, port) on the wire by which somebody may get there."""
        return tuple(dict.fromkeys((dst, port) for dst, port, _, region in self.passes if region))

    def only(self, dst: int, port: int) -> "Answer":
        """The part of the answer that comes by one destination on the wire; bounds and reasons of the others are left out."""
        mine = [(universe, region) for a, p, universe, region in self.passes if (a, p) == (dst, port)]
        may = IntervalSet()
        for universe, region in mine:
            may |= universe.sources(region)
        if not mine:
            return replace(
                self, may=IntervalSet(), must=IntervalSet(), shown_may=IntervalSet(), shown_must=IntervalSet()
            )
        sure = self.sure.get((dst, port), IntervalSet())
        return replace(
            self,
            # routing may refuse a sender for another destination only
            may=may & self.may,
            must=(may & sure) - self.martian,
            shown_may=may,
            shown_must=may & sure,
            passes=tuple(p for p in self.passes if p[:2] == (dst, port)),
            because=self.reasons if may - sure else (),
        )

    def joined(self, other: "Answer") -> "Answer":
        """Who gets through one way or the other."""
        return replace(
            other,
            may=self.may | other.may,
            must=self.must | other.must,
            because=tuple(dict.fromkeys((*self.because, *other.because)))
            if self.may | other.may != self.must | other.must
            else (),
            martian=self.martian | other.martian,
            shown_may=self.shown_may | other.shown_may,
            shown_must=self.shown_must | other.shown_must,
            passes=(*self.passes, *other.passes),
            sure=self.sure | other.sure,
            reasons=tuple(dict.fromkeys((*self.reasons, *other.reasons))),
        )

    def choices(self, source: int) -> dict[str, int]:
        """Fields of a packet of `source` that gets through: free ones ("sport", "tcp_flags", …), and "daddr" and "dport".

        The destination differs from the one asked for where NAT leads from it to the listener. KeyError if the source is
        not in `may`.
        """
        for dst, dport, universe, region in self.passes:
            try:
                return universe.choice(region, source) | {"daddr": dst, "dport": dport}
            except KeyError:
                continue
        raise KeyError(source)
