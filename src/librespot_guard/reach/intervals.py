"""Sets of integers as sorted, disjoint, non-adjacent closed intervals, and addresses as such sets.

The canonical form makes equality of sets equality of tuples. All operations are linear in the number of intervals.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, summarize_address_range
from operator import itemgetter

Pair = tuple[int, int]
WIDTH = {"ipv4": 32, "ipv6": 128}
_first, _last = itemgetter(0), itemgetter(1)


@dataclass(frozen=True, slots=True)
class IntervalSet:
    """A set of non-negative integers. Build it with `of`, `single`, `full` or `networks`, never with unsorted pairs."""

    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "IntervalSet":
        """The union of closed intervals given in any order; empty ones (low > high) are ignored."""
        merged: list[Pair] = []
        for low, high in sorted(p for p in pairs if p[0] <= p[1]):
            if merged and low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    @classmethod
    def single(cls, value: int) -> "IntervalSet":
        """The set of one value."""
        return cls(((value, value),))

    @classmethod
    def full(cls, bits: int) -> "IntervalSet":
        """All values of that many bits."""
        return cls(((0, (1 << bits) - 1),))

    @classmethod
    def networks(cls, networks: Iterable[IPv4Network | IPv6Network]) -> "IntervalSet":
        """The addresses of networks of one family."""
        return cls.of((int(n.network_address), int(n.broadcast_address)) for n in networks)

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self.pairs, (value, 1 << 200)) - 1
        return index >= 0 and self.pairs[index][1] >= value

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __or__(self, other: "IntervalSet") -> "IntervalSet":
        if not other.pairs:
            return self
        if not self.pairs:
            return other
        return IntervalSet.of((*self.pairs, *other.pairs))

    def __and__(self, other: "IntervalSet") -> "IntervalSet":
        out: list[Pair] = []
        a, b = self.pairs, other.pairs
        i = j = 0
        while i < len(a) and j < len(b):
            low, high = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
            if low <= high:
                out.append((low, high))
            if a[i][1] < b[j][1]:
                i += 1
            else:
                j += 1
        return IntervalSet(tuple(out))

    def __sub__(self, other: "IntervalSet") -> "IntervalSet":
        pairs, out, at = list(self.pairs), list[Pair](), 0
        for low, high in other.pairs:
            # whole runs are copied at once: most often little is cut out of much
            first = at if at < len(pairs) and pairs[at][1] >= low else bisect_left(pairs, low, at, key=_last)
            out += pairs[at:first]
            at = first
            if at == len(pairs):
                break
            start, end = pairs[at]
            if start > high:
                continue
            if start < low:
                out.append((start, low - 1))
            if end <= high:
                at = bisect_right(pairs, high, at, key=_first)
                end = pairs[at - 1][1]
                if end <= high:
                    continue
                at -= 1
            pairs[at] = (high + 1, end)
        return IntervalSet((*out, *pairs[at:]))

    def complement(self, bits: int) -> "IntervalSet":
        """All values of that many bits that are not in the set."""
        return IntervalSet.full(bits) - self

    def size(self) -> int:
        """How many values the set holds."""
        return sum(high - low + 1 for low, high in self.pairs)

    def lowest(self) -> int:
        """The smallest value; ValueError if the set is empty."""
        if not self.pairs:
            raise ValueError("an empty set has no lowest value")
        return self.pairs[0][0]


def cidrs(family: str, addresses: IntervalSet) -> list[str]:
    """The minimal sorted list of networks that covers exactly these addresses of "ipv4" or "ipv6"."""
    kind = IPv4Address if family == "ipv4" else IPv6Address
    return [str(network) for low, high in addresses for network in summarize_address_range(kind(low), kind(high))]


def parse_cidrs(family: str, texts: Iterable[str]) -> IntervalSet:
    """The addresses of networks written as text; the inverse of `cidrs`."""
    kind = IPv4Network if family == "ipv4" else IPv6Network
    return IntervalSet.networks(kind(text) for text in texts)
