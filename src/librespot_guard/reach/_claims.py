"""Which rule takes which packets first: a segment tree over the slots, with the classes taken of all slots below at each node."""

from dataclasses import dataclass, field

from librespot_guard.reach.intervals import Pair

# how far a search for covering rules, or for what is left of a rule, may go
_VISITS = 400
Box = tuple[int, int, int]  # first slot, end, classes


@dataclass(slots=True)
class Claims:
    """What rules so far took surely. Without `named`, it is not kept which rules took something, nor where only some of it is gone."""

    slots: int
    named: bool = True
    size: int = 1
    own: list[int] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    some: list[int] = field(default_factory=list)
    owners: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def empty(cls, slots: int, *, named: bool = True) -> "Claims":
        """Nothing is taken yet."""
        size = 1 << max(slots - 1, 0).bit_length()
        return cls(slots, named, size, [0] * (2 * size), [0] * (2 * size), [0] * (2 * size if named else 0))

    def copy(self) -> "Claims":
        """An independent copy."""
        owners = {node: list(found) for node, found in self.owners.items()}
        return Claims(self.slots, self.named, self.size, self.own.copy(), self.full.copy(), self.some.copy(), owners)

    def ask(self, box: Box) -> tuple[int, int, list[Pair]]:
        """The classes of a box that are left somewhere, those that are taken somewhere, and the nodes to claim it at.

        Unless the tree is `named`, of the first two only whether there are any, of the second only if all of some node is taken.
        """
        first, end, mask = box
        # what a node has alone is in its `full`, so nothing that is taken higher up comes down
        full, some, named = self.full, self.some, self.named
        left = taken = 0
        nodes = []
        stack = [(1, 0, self.size, mask)]
        pop, push = stack.pop, stack.append
        while stack:
            node, low, high, need = pop()
            if there := full[node]:
                gone = need & there
                if gone:
                    taken = taken | gone if named else 1
                    need ^= gone
                    if not need:
                        continue
            if first <= low and high <= end:
                if named:
                    left |= need
                    taken |= need & some[node]
                else:
                    left = 1
                nodes.append((node, need))
                continue
            middle, node = (low + high) >> 1, node << 1
            if first < middle:
                push((node, low, middle, need))
            if end > middle:
                push((node | 1, middle, high, need))
        return left, taken, nodes

    def claim(self, nodes: list[Pair], rule: int) -> None:
        """Let a rule take what `ask` said is left."""
        own, full, some = self.own, self.full, self.some
        for node, need in nodes:
            # the same number, not an equal one, where nothing was: numbers of many classes are large
            own[node] = own[node] | need if own[node] else need
            full[node] = full[node] | need if full[node] else need
            if self.named:
                some[node] = some[node] | need if some[node] else need
                self.owners.setdefault(node, []).append((rule, need))
        for start, _ in nodes:
            node = start >> 1
            while node:
                low, high = full[2 * node], full[2 * node + 1]
                both = low & high if low and high else 0
                both = both | own[node] if own[node] else both
                changed = both != full[node]
                if changed:
                    full[node] = both
                if self.named:
                    low, high = some[2 * node], some[2 * node + 1]
                    any_below = low | high if low and high else low or high
                    any_below = any_below | own[node] if own[node] else any_below
                    if any_below != some[node]:
                        some[node], changed = any_below, True
                if not changed:
                    break
                node >>= 1

    def take(self, box: Box, rule: int) -> None:
        """Let a rule take what is left of a box."""
        self.claim(self.ask(box)[2], rule)

    def owners_of(self, box: Box, most: int) -> tuple[list[int], bool]:
        """The rules that took parts of a box, at most so many, and whether that is all of them."""
        first, end, mask = box
        found: dict[int, None] = {}
        visits = 0
        stack = [(1, 0, self.size, mask)]
        while stack:
            node, low, high, need = stack.pop()
            visits += 1
            if visits > _VISITS:
                return list(found), False
            for rule, bits in self.owners.get(node, ()):
                if bits & need:
                    if rule not in found and len(found) == most:
                        return list(found), False
                    found[rule] = None
            need &= self.some[node] & ~self.own[node]
            if need and node < self.size:
                middle = (low + high) >> 1
                if end > middle:
                    stack.append((2 * node + 1, middle, high, need))
                if first < middle:
                    stack.append((2 * node, low, middle, need))
        return list(found), True

    def rest(self, box: Box, most: int) -> list[Box] | None:
        """What is left of a box, as at most so many boxes; None if it takes more."""
        first, end, mask = box
        out: list[Box] = []
        visits = 0
        stack = [(1, 0, self.size, mask)]
        while stack:
            node, low, high, need = stack.pop()
            visits += 1
            need &= ~self.full[node]
            if not need:
                continue
            if visits > _VISITS:
                return None
            inside = first <= low and high <= end
            if inside and not need & self.some[node]:
                if out and out[-1][1] == low and out[-1][2] == need:
                    out[-1] = (out[-1][0], high, need)
                else:
                    out.append((low, high, need))
                    if len(out) > most:
                        return None
                continue
            middle = (low + high) >> 1
            if end > middle:
                stack.append((2 * node + 1, middle, high, need))
            if first < middle:
                stack.append((2 * node, low, middle, need))
        return out
