"""What rules have in common. A rule is a shape, shared with all rules that ask and do the same, and an interval of sources of its own.

Large rulesets are long because of their many addresses; what they do with them repeats. Lowering follows a rule's expressions
through a tree in which every prefix that was seen before is a node, so that only the first rule of a shape is lowered, and the
constant that a source is compared with is a parameter of the rule, not a new node. A shape's outcome is worked out once per
question, not once per rule.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, compress, takewhile

from librespot_guard.firewall import model as fw
from librespot_guard.reach import _bits as bits
from librespot_guard.reach import _fields as fields
from librespot_guard.reach._conditions import Entries  # noqa: TC001 - used at run time by readers of annotations
from librespot_guard.reach._lower import Assign, Branch, Decide, Lowering, Need, Op, Rewrite, Test, Translate, Untrack
from librespot_guard.reach.intervals import IntervalSet

_NUMBERS = {"tcp": 6, "udp": 17}
_EFFECTS = Branch | Decide | Translate | Assign | Untrack | Rewrite


@dataclass(frozen=True, slots=True, eq=False)
class Sourced:
    """Go on if the source lies in the rule's own interval."""


@dataclass(frozen=True, slots=True, eq=False)
class _Parameter:
    """How a constant becomes an interval of sources: `low` bits below the compared ones, `rest` constant bits behind them."""

    op: str
    low: int
    rest: int
    tail: int
    child: "Shape"

    def interval(self, number: int, top: int) -> tuple[int, int]:
        """The sources for which a comparison with `number` holds; low > high if there are none."""
        ones = (1 << self.low) - 1
        if self.op == "eq":
            if number & (1 << self.rest) - 1 != self.tail:
                return 1, 0
            first = number >> self.rest << self.low
            return first, first | ones
        if self.op in ("lt", "lte"):
            number -= self.tail + (self.op == "lt")
            return (0, (number >> self.rest) << self.low | ones) if number >= 0 else (1, 0)
        number += (self.op == "gt") - self.tail
        first = -(-number >> self.rest) << self.low if number > 0 else 0
        return first, top


@dataclass(slots=True, eq=False)
class Shape:
    """A sequence of operations. `sourced`: one of them is `Sourced`. `premises`: those before the first that may do something.

    `dead`: a premise can't hold for this family and protocol.
    `effective`: one changes the packet or what is known of it, even if the rule does not match to its end.
    """

    ops: tuple[Op | Sourced, ...] = ()
    registers: dict[int, bits.Value] = field(default_factory=dict)
    premises: tuple[Op | Sourced, ...] = ()
    sourced: bool = False
    dead: bool = False
    effective: bool = False
    _by_id: dict[int, "Shape"] = field(default_factory=dict)
    _by_value: dict[fw.Expr, "Shape"] = field(default_factory=dict)
    _parameters: dict[tuple[str, int, int], _Parameter | None] = field(default_factory=dict)

    def verdicts(self) -> Iterator[fw.Verdict]:
        """The verdicts that the operations can give."""
        for op in self.ops:
            if isinstance(op, Decide):
                yield op.verdict
            elif isinstance(op, Branch):
                data = dict.fromkeys([*(d for _, d in op.entries.entries), op.entries.otherwise])
                yield from (d for d in data if isinstance(d, fw.Verdict))

    def targets(self) -> Iterator[str]:
        """The chains that the operations can lead to."""
        yield from (verdict.chain for verdict in self.verdicts() if verdict.chain)


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """A chain after lowering: for each rule its shape and its sources, low <= source < end (all of them unless it is `sourced`)."""

    table: fw.Table
    chain: fw.Chain
    shapes: list[Shape]
    lows: list[int]
    ends: list[int]
    distinct: tuple[Shape, ...]

    def edges(self, live: Container[Shape] | None = None) -> Iterable[int]:
        """Where the rules' own intervals of sources begin, and the addresses behind them; of `live` shapes alone, if given.

        They may include the end of the address space, and edges of rules that match nothing.
        """
        if live is None:
            return chain(self.lows, self.ends)
        chosen = list(map(live.__contains__, self.shapes))
        return chain(compress(self.lows, chosen), compress(self.ends, chosen))


class Shapes:
    """The lowered chains of one ruleset for one family ("ipv4"/"ipv6") and protocol ("tcp"/"udp"); made once, shared by all questions.

    With `settled`, a rule for another protocol ends where that shows. That holds as long as no rule rewrites packets.
    """

    def __init__(self, family: str, proto: str, byteorder: str, *, settled: bool) -> None:
        self.maps: dict[str, Entries] = {}
        # whether some rule rewrites packets; whether some rule changes where they go
        self.rewrites = self.moves = False
        self._lowering = Lowering(family, proto, byteorder)
        self._size = fields.saddr_bits(family)
        self._fixed = {"nfproto": 2 if family == "ipv4" else 10}
        if settled:
            self._fixed |= {"l4proto": _NUMBERS[proto], "protocol": 0x0800 if family == "ipv4" else 0x86DD}
        self._roots: dict[int, Shape] = {}
        self._codes: dict[int, Code] = {}

    def code(self, table: fw.Table, chain: fw.Chain) -> Code:
        """A chain of a table of the ruleset, lowered once. The ruleset must live as long as this object."""
        found = self._codes.get(id(chain))
        if found is None:
            found = self._codes[id(chain)] = self._chain(table, chain)
        return found

    def _chain(self, table: fw.Table, chain: fw.Chain) -> Code:
        root = self._roots.setdefault(id(table), Shape())
        top = (1 << self._size) - 1
        shapes: list[Shape] = []
        lows: list[int] = []
        ends: list[int] = []
        for rule in chain.rules:
            node, low, high = root, 0, top
            for expr in rule.exprs:
                child = node._by_id.get(id(expr))  # noqa: SLF001 - the tree and its nodes are one thing
                if child is None:
                    parameter = self._parameter(node, expr)
                    if parameter is None:
                        child = self._child(table, node, rule, expr)
                    else:
                        child = parameter.child
                        if isinstance(expr, fw.Range):
                            first, last = _range(parameter, expr, top)
                        elif isinstance(expr, fw.Cmp):
                            first, last = parameter.interval(int.from_bytes(expr.data, "big"), top)
                        low, high = max(low, first), min(high, last)
                node = child
                if node.dead:
                    break
            shapes.append(node)
            lows.append(low)
            ends.append(max(high + 1, low))
        return Code(table, chain, shapes, lows, ends, tuple(dict.fromkeys(shapes)))

    def _child(self, table: fw.Table, node: Shape, rule: fw.Rule, expr: fw.Expr) -> Shape:
        """The node behind an expression that is no parameter."""
        found = node._by_value.get(expr)  # noqa: SLF001
        if found is not None:
            return found
        registers = dict(node.registers)
        out = self._lowering.step(table, rule, expr, registers)
        found = Shape((*node.ops, *out.ops), registers, sourced=node.sourced)
        found.premises = tuple(takewhile(lambda op: not isinstance(op, _EFFECTS), found.ops))
        found.effective = node.effective or any(isinstance(op, Assign | Untrack | Rewrite) for op in out.ops)
        found.dead = any(isinstance(op, Test) and impossible(op, self._fixed) for op in found.premises[len(node.ops) :])
        self.rewrites = self.rewrites or any(isinstance(op, Rewrite) for op in out.ops)
        self.moves = self.moves or any(isinstance(op, Rewrite | Translate) for op in out.ops)
        self.maps |= out.maps
        node._by_id[id(expr)] = node._by_value[expr] = found  # noqa: SLF001
        return found

    def _parameter(self, node: Shape, expr: fw.Expr) -> _Parameter | None:
        """How the constant of an expression is an interval of sources; None if it is not."""
        if isinstance(expr, fw.Cmp):
            key = (expr.op, expr.sreg, len(expr.data))
        elif isinstance(expr, fw.Range) and expr.op == "eq":
            key = ("range", expr.sreg, len(expr.low))
        else:
            return None
        if key not in node._parameters:  # noqa: SLF001
            node._parameters[key] = self._new_parameter(node, *key)  # noqa: SLF001
        return node._parameters[key]  # noqa: SLF001

    def _new_parameter(self, node: Shape, op: str, slot: int, length: int) -> _Parameter | None:
        value = self._lowering.value(node.registers, slot, length)
        if op == "neq" or not value or value[0].field != "saddr" or value[0].bits:
            return None
        piece, rest = value[0], value[1:]
        if piece.low + piece.width != self._size or len(rest) > 1 or any(p.field is not None for p in rest):
            return None
        # two intervals of sources are one if nothing happened between the two comparisons
        since = node.ops[next((i for i, o in enumerate(node.ops) if isinstance(o, Sourced)), len(node.ops)) :]
        if any(not isinstance(o, Need | Test | Sourced) for o in since):
            return None
        child = node
        if not node.sourced:
            child = Shape((*node.ops, Sourced()), node.registers, sourced=True, effective=node.effective)
            child.premises = child.ops if len(node.premises) == len(node.ops) else node.premises
            for other in node._parameters.values():  # noqa: SLF001
                child = other.child if other is not None else child
        return _Parameter(op, piece.low, rest[0].width if rest else 0, rest[0].bits if rest else 0, child)


def _range(parameter: _Parameter, expr: fw.Range, top: int) -> tuple[int, int]:
    """The sources in a closed range of constants."""
    at_least = _Parameter("gte", parameter.low, parameter.rest, parameter.tail, parameter.child)
    at_most = _Parameter("lte", parameter.low, parameter.rest, parameter.tail, parameter.child)
    low, _ = at_least.interval(int.from_bytes(expr.low, "big"), top)
    first, high = at_most.interval(int.from_bytes(expr.high, "big"), top)
    return max(low, first), high


def impossible(test: Test, fixed: dict[str, int]) -> bool:
    """Whether a test fails for every packet whose fields of these names have these values."""
    if test.inverted:
        return any(
            c.doubt is None and all(n in fixed and fixed[n] in v for n, v in c.sets.items()) for c in test.any_of
        )
    # asked of every test for every question: loops are faster than generators
    for condition in test.any_of:
        for name, values in condition.sets.items():
            value = fixed.get(name)
            if value is not None and value not in values:
                break
        else:
            return False
    return True


def read_by(op: Op | Sourced) -> Iterator[tuple[str, IntervalSet]]:
    """Every field that an operation tests, with the values tested for (beside a rule's own interval of sources)."""
    if isinstance(op, Test):
        for condition in op.any_of:
            yield from condition.sets.items()
    elif isinstance(op, Branch):
        for condition, _ in op.entries.entries:
            yield from condition.sets.items()
