"""Rules that could go: backwards through a base chain, which verdict each packet surely gets from the rules behind."""

from collections.abc import Callable

from librespot_guard.reach._arms import Arms, Part
from librespot_guard.reach._claims import Box
from librespot_guard.reach._shapes import Code

_VERDICTS = {"accept": "accept", "drop": "drop", "reject": "reject"}
Boxes = Callable[[Code, int, tuple[Part, ...]], list[Box]]


class _Verdicts:
    """For each slot and class the sure verdict, in three trees of classes; assignments wait at inner nodes until someone looks below."""

    def __init__(self, slots: int, every: int, policy: str) -> None:
        self.size = 1 << max(slots - 1, 0).bit_length()
        # all[v][node]: classes that have verdict v in every slot below; wait[v][node]: those that were assigned it at this node
        self.all = {v: [every if v == policy else 0] * (2 * self.size) for v in ("accept", "drop", "reject")}
        self.wait = [0] * (2 * self.size)

    def _push(self, node: int) -> None:
        mask = self.wait[node]
        if mask:
            self.wait[node] = 0
            for child in (2 * node, 2 * node + 1):
                self.wait[child] |= mask
                for tree in self.all.values():
                    tree[child] = (tree[child] & ~mask) | (tree[node] & mask)

    def holds(self, box: Box, verdict: str) -> bool:
        """Whether every packet of a box surely gets this verdict."""
        first, end, mask = box
        tree = self.all[verdict]
        stack = [(1, 0, self.size, mask)]
        while stack:
            node, low, high, need = stack.pop()
            need &= ~tree[node]
            if not need:
                continue
            if (first <= low and high <= end) or need & self.wait[node]:
                return False
            middle = (low + high) >> 1
            if first < middle:
                stack.append((2 * node, low, middle, need))
            if end > middle:
                stack.append((2 * node + 1, middle, high, need))
        return True

    def assign(self, box: Box, verdict: str | None) -> None:
        """Give all packets of a box a verdict, or none that is sure."""
        first, end, mask = box
        self._assign(1, 0, self.size, (first, end, mask), verdict)

    def _assign(self, node: int, low: int, high: int, box: Box, verdict: str | None) -> None:
        first, end, mask = box
        if first <= low and high <= end:
            self.wait[node] |= mask
            for name, tree in self.all.items():
                tree[node] = tree[node] | mask if name == verdict else tree[node] & ~mask
            return
        self._push(node)
        middle = (low + high) >> 1
        if first < middle:
            self._assign(2 * node, low, middle, box, verdict)
        if end > middle:
            self._assign(2 * node + 1, middle, high, box, verdict)
        for tree in self.all.values():
            tree[node] = tree[2 * node] & tree[2 * node + 1]


def redundant(code: Code, arms: Arms, boxes: Boxes, policy: str, dead: set[int]) -> list[int]:
    """The numbers of rules of a base chain whose every packet would surely get the same verdict without them and without the `dead` ones.

    A rule that also logs, counts or marks is judged by its verdict alone, but one that changes packets is never redundant.
    """
    verdicts = _Verdicts(len(arms.universe.starts), arms.every, policy)
    out = []
    for index in range(len(code.shapes) - 1, -1, -1):
        if index in dead:
            continue
        shape = code.shapes[index]
        found = arms.of(shape)
        parts = [(arm, boxes(code, index, arm.parts)) for arm in found]
        kinds = {_VERDICTS.get(arm.verdict.kind) if arm.verdict else None for arm in found}
        if len(kinds) == 1 and not shape.effective and None not in kinds:
            (kind,) = kinds
            if kind and all(verdicts.holds(box, kind) for _, some in parts for box in some):
                out.append(index)
                continue
        for arm, some in parts:
            kind = _VERDICTS.get(arm.verdict.kind) if arm.verdict else "none"
            if arm.verdict and arm.verdict.kind == "return":
                kind = policy
            if kind == "none" or (arm.verdict and arm.verdict.kind == "continue"):
                continue
            for box in some:
                verdicts.assign(box, kind if arm.sure else None)
    return out[::-1]
