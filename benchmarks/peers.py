"""The same questions answered by binary decision diagrams (`oxidd`), on rules that were lowered for it beforehand."""

from bisect import bisect_left
from typing import Any

from oxidd.bcdd import BCDDManager
from workload import ASKED, Line

# 2^24 nodes and a cache of 2^20 entries: enough for every question here without collecting garbage
_NODES, _CACHE = 1 << 24, 1 << 20
Pair = tuple[int, int]


class Diagrams:
    """Sets of numbers of so many bits, most significant bit first."""

    def __init__(self, bits: int) -> None:
        self.manager = BCDDManager(_NODES, _CACHE, 1)
        first = self.manager.add_vars(bits)[0]
        self.yes = [self.manager.var(first + i) for i in range(bits)]
        self.no = [self.manager.not_var(first + i) for i in range(bits)]
        self.true, self.false = self.manager.true(), self.manager.false()

    def prefix(self, value: int, length: int, first: int, size: int) -> Any:
        """The numbers of `size` bits from variable `first` on whose leading bits are those of `value`."""
        out = self.true
        for index in range(length - 1, -1, -1):
            bit = self.yes if value >> (size - 1 - index) & 1 else self.no
            out &= bit[first + index]
        return out

    def interval(self, low: int, high: int, first: int, size: int) -> Any:
        """The numbers low..high of `size` bits from variable `first` on."""
        above, below = self.true, self.true
        for index in range(size - 1, -1, -1):
            at, shift = first + index, size - 1 - index
            above = (self.yes[at] & above) if low >> shift & 1 else (self.yes[at] | above)
            below = (self.no[at] | below) if high >> shift & 1 else (self.no[at] & below)
        return above & below

    def sorted_list(self, pairs: list[Pair], size: int, first: int = 0) -> Any:
        """The union of sorted disjoint intervals by halving the space: the fastest way we know to build it."""
        lows = [low for low, _ in pairs]
        highs = [high for _, high in pairs]

        def half(start: int, level: int, begin: int, end: int) -> Any:
            if begin == end:
                return self.false
            width = 1 << (size - level)
            if lows[begin] <= start and highs[begin] >= start + width - 1:
                return self.true
            middle = start + (width >> 1)
            cut = bisect_left(lows, middle, begin, end)
            left_end = cut
            right = cut - 1 if cut > begin and highs[cut - 1] >= middle else cut
            low = half(start, level + 1, begin, left_end)
            high = half(middle, level + 1, right, end)
            return self.yes[first + level].ite(high, low)

        return half(0, 0, 0, len(pairs))


def who_reaches(lines: list[Line], size: int, port: int = ASKED) -> tuple[Diagrams, Any]:
    """The sources that the rules let reach a tcp port: raw address bits, rules for other ports left out beforehand."""
    diagrams = Diagrams(size)
    accepted = diagrams.false
    # last rule first: each rule decides where it matches, else what stands behind it
    for line in reversed(lines):
        if line.proto == "udp" or (line.ports and not line.ports[0] <= port <= line.ports[1]):
            continue
        match = diagrams.prefix(line.address, line.prefix, 0, size)
        accepted = (match | accepted) if line.accept else (accepted & ~match)
    return diagrams, accepted


def shadowed(lines: list[Line], size: int) -> list[int]:
    """The rules that decide nothing, on rank-compressed bits: source ranks first, then protocol, then port ranks."""
    top = 1 << size
    sources = sorted({e for line in lines for e in _span(line, size)} | {0})
    ports = sorted({e for line in lines if line.ports for e in (line.ports[0], line.ports[1] + 1)} | {0})
    source_bits, port_bits = len(sources).bit_length(), len(ports).bit_length()
    source_rank = {e: i for i, e in enumerate(sources)} | {top: len(sources)}
    port_rank = {e: i for i, e in enumerate(ports)} | {65536: len(ports)}
    diagrams = Diagrams(source_bits + 2 + port_bits)
    known: dict[object, Any] = {}
    claimed = diagrams.false
    out = []
    for index, line in enumerate(lines):
        low, end = _span(line, size)
        match = diagrams.interval(source_rank[low], source_rank[end] - 1, 0, source_bits)
        if line.proto is not None:
            key = (line.proto, line.ports)
            if key not in known:
                known[key] = diagrams.prefix(1 if line.proto == "tcp" else 2, 2, source_bits, 2)
                if line.ports:
                    a, b = port_rank[line.ports[0]], port_rank[line.ports[1] + 1] - 1
                    known[key] &= diagrams.interval(a, b, source_bits + 2, port_bits)
            match &= known[key]
        else:
            # the codes 0 (another protocol), 1 (tcp) and 2 (udp) are in use
            match &= diagrams.interval(0, 2, source_bits, 2)
        if not (match & ~claimed).satisfiable():
            out.append(index)
        else:
            claimed |= match
    return out


def _span(line: Line, size: int) -> Pair:
    return line.address, line.address + (1 << (size - line.prefix))
