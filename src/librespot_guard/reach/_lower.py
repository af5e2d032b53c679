"""Rules as sequences of symbolic operations: what a rule asks of a packet, and what it does.

Lowering runs the register machine of one rule once, symbolically, for one family and protocol. What it cannot follow becomes
a `Maybe` with the reason, never a guess.
"""

from dataclasses import dataclass, field

from librespot_guard import firewall as fw
from librespot_guard.reach import _bits as bits
from librespot_guard.reach import _fields as fields
from librespot_guard.reach._beyond import asked
from librespot_guard.reach._conditions import All, Entries, between, entries_of, equal
from librespot_guard.reach.intervals import IntervalSet


@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """The rule ends here if this field can't be loaded (NFT_BREAK)."""

    field: str


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """Go on if any of the conditions holds; with `inverted`, if none does."""

    any_of: tuple[All, ...]
    inverted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Maybe:
    """Go on or not: which, cannot be told, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Decide:
    """A verdict: accept, drop, reject, return, jump, goto or queue; "continue" goes on in the rule, so it is no operation."""

    verdict: fw.Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """A verdict map."""

    entries: Entries


@dataclass(frozen=True, slots=True, eq=False)
class Assign:
    """Set "mark" or "ct_mark" from a value."""

    name: str
    value: bits.Value


@dataclass(frozen=True, slots=True, eq=False)
class Untrack:
    """notrack."""


@dataclass(frozen=True, slots=True, eq=False)
class Translate:
    """dnat or redirect: the new destination address and port (None: unchanged; for redirect the interface's own address).

    With `source` it is snat or masquerade: the new source address, None for that of the interface it leaves by.
    """

    redirect: bool
    address: bits.Value | None
    port: bits.Value | None
    ranged: bool
    source: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """The packet's own bytes change in a way that is not followed; `moves` if that may be to another destination."""

    reason: str
    moves: bool = False


# xt targets that send packets elsewhere
_MOVING = frozenset(("DNAT", "REDIRECT", "NETMAP", "TPROXY", "DNPT"))

# what a fragment may lack; UDP headers are not longer than that
SEEN = Test((All({"l4_hidden": IntervalSet.single(0)}),))
UNCUT = {"tcp": Test((All({"tcp_cut": IntervalSet.single(0)}),)), "udp": Test((All(),))}

Op = Need | Test | Maybe | Decide | Branch | Assign | Untrack | Translate | Rewrite


@dataclass(slots=True)
class Lowered:
    """A rule after lowering. `maps` are data maps read into registers, by the name of the pseudo-field that holds the result."""

    rule: fw.Rule
    ops: list[Op] = field(default_factory=list)
    maps: dict[str, Entries] = field(default_factory=dict)


class Lowering:
    """Lowers rules of one ruleset for one family ("ipv4"/"ipv6") and protocol ("tcp"/"udp")."""

    def __init__(self, family: str, proto: str, byteorder: str) -> None:
        self.family, self.proto, self.byteorder = family, proto, byteorder
        self._maps = 0

    def rule(self, table: fw.Table, rule: fw.Rule) -> Lowered:
        """One rule."""
        out = Lowered(rule)
        registers: dict[int, bits.Value] = {}
        for expr in rule.exprs:
            self._expression(table, expr, registers, out)
        return out

    def step(self, table: fw.Table, rule: fw.Rule, expr: fw.Expr, registers: dict[int, bits.Value]) -> Lowered:
        """One expression of a rule, on these registers, which are changed: what it alone adds."""
        out = Lowered(rule)
        self._expression(table, expr, registers, out)
        return out

    def value(self, registers: dict[int, bits.Value], slot: int, length: int) -> bits.Value:
        """What `length` bytes from a register slot hold."""
        return self._read(registers, slot, length)

    def _read(self, registers: dict[int, bits.Value], slot: int, length: int) -> bits.Value:
        value: bits.Value = ()
        for index in range(slot, slot + (length + 3) // 4):
            value += registers.get(index, bits.unknown(4))
        return bits.joined(bits.cut(value, 0, 8 * length))

    def _write(self, registers: dict[int, bits.Value], slot: int, value: bits.Value) -> None:
        total = bits.width(value)
        for index in range((total + 31) // 32):
            part = bits.cut(value, 32 * index, min(32, total - 32 * index))
            if (missing := 32 - bits.width(part)) > 0:
                part = (*part, bits.Piece(missing, None, 0, 0))
            registers[slot + index] = part

    def _load(self, name: str, value: bits.Value, slot: int, registers: dict[int, bits.Value], out: Lowered) -> None:
        out.ops.append(Need(name))
        self._write(registers, slot, value)

    def _expression(self, table: fw.Table, expr: fw.Expr, registers: dict[int, bits.Value], out: Lowered) -> None:
        ops, family = out.ops, self.family
        match expr:
            case fw.Pass():
                pass
            case fw.Payload(base, offset, length, dreg):
                value = fields.payload(base, offset, length, family, self.proto)
                for name in {p.field for p in value if p.field}:
                    ops.append(Need(name))
                if base == "transport" and family == "ipv6":
                    ops.append(SEEN)
                elif base == "transport" and offset + length > fields.SURELY_THERE:
                    ops.append(UNCUT[self.proto])
                self._write(registers, dreg, value)
            case fw.Meta(key, dreg):
                self._meta(key, dreg, registers, out)
            case fw.Ct(key, dreg, direction):
                self._ct(key, direction, dreg, registers, out)
            case fw.Fib(flags, result, dreg):
                size = 16 if result == "oifname" else 4
                name = f"fib:{flags}:{result}"
                value = (bits.Piece(128, name, 0, 0),) if size == 16 else bits.in_host_order(name, 32, self.byteorder)
                self._load(name, value, dreg, registers, out)
            case fw.Cmp(op, sreg, data):
                self._compare(op, self._read(registers, sreg, len(data)), data, out)
            case fw.Range(op, sreg, low, high):
                condition = between(self._read(registers, sreg, len(low)), low, high, family)
                ops.append(Test((condition,) if condition else (), inverted=op == "neq"))
            case fw.Bitwise():
                self._bitwise(expr, registers)
            case fw.Byteorder(_, sreg, dreg, length, size):
                value = self._read(registers, sreg, length)
                self._write(registers, dreg, bits.swapped(value, size) if self.byteorder == "little" else value)
            case fw.Immediate(dreg, data):
                if not isinstance(data, fw.Verdict):
                    self._write(registers, dreg, bits.constant(data))
                elif data.kind != "continue":
                    ops.append(Decide(data))
            case fw.Lookup():
                self._lookup(table, expr, registers, out)
            case fw.Reject():
                ops.append(Decide(fw.Verdict("reject")))
            case fw.Notrack():
                ops.append(Untrack())
            case fw.MetaSet(key, sreg):
                if key == "mark":
                    ops.append(Assign("mark", self._read(registers, sreg, 4)))
                elif key not in ("nftrace", "priority", "secmark"):
                    ops.append(Rewrite(f"a rule sets `meta {key}`"))
            case fw.CtSet(key, sreg):
                if key == "mark":
                    ops.append(Assign("ct_mark", self._read(registers, sreg, 4)))
                elif key == "zone":
                    ops.append(Assign("ct_zone", self._read(registers, sreg, 2)))
            case fw.PayloadSet(base, offset, length):
                written = {p.field for p in fields.payload(base, offset, length, self.family, self.proto)}
                ops.append(
                    Rewrite(
                        "a rule rewrites the packet",
                        moves=not written <= {"version", "ihl", "tos", "flow_label", "ttl"},
                    )
                )
            case fw.Nat(kind="dnat"):
                self._dnat(expr, registers, out)
            case fw.Nat():
                self._dnat(expr, registers, out, source=True)
            case fw.Masquerade():
                ops.append(Translate(redirect=True, address=None, port=None, ranged=False, source=True))
            case fw.Redirect(low, high, _):
                port = None if low is None else self._read(registers, low, 2)
                ops.append(
                    Translate(redirect=True, address=None, port=port, ranged=self._differs(registers, low, high, 2))
                )
            case fw.Limit():
                ops.append(Maybe("a rate limit: it depends on the packets before"))
            case fw.Dynset(set_name, _, _, _):
                ops.append(Maybe(f"adding to set `{set_name}` may fail"))
            case fw.Xt(kind, name, _, _):
                ops.append(Maybe(f"the xt {kind} `{name}` is not analysed"))
                if kind == "target":
                    ops += [
                        Rewrite(f"the xt target `{name}` is not analysed", name in _MOVING),
                        Decide(fw.Verdict("unknown")),
                    ]
            case fw.Unknown(name, _, terminal, writes):
                ops.append(Maybe(fw.depends(expr)))
                for slot in writes:
                    registers[slot] = bits.unknown(4)
                if terminal:
                    ops += [Rewrite(f"`{name}` may change the packet"), Decide(fw.Verdict("unknown"))]
            case _:
                found = asked(expr, family, self.proto, self.byteorder)
                if found.doubt is not None:
                    ops.append(Maybe(found.doubt))
                if found.only is not None:
                    ops.append(Test(found.only))
                if found.value is not None and hasattr(expr, "dreg"):
                    self._write(registers, expr.dreg, found.value)

    def _meta(self, key: str, dreg: int, registers: dict[int, bits.Value], out: Lowered) -> None:
        name = {"len": "length"}.get(key, key)
        if key == "l4proto" and self.family == "ipv6":
            out.ops.append(SEEN)
        if key in fields.META_HOST:
            self._load(name, bits.in_host_order(name, fields.META_HOST[key], self.byteorder), dreg, registers, out)
        elif key in fields.META_BYTES:
            self._load(name, (bits.Piece(fields.META_BYTES[key], name, 0, 0),), dreg, registers, out)
        elif key in fields.META_SOCKET:
            self._load(f"socket:{key}", bits.unknown(4), dreg, registers, out)
        else:
            out.ops.append(Maybe(f"`meta {key}` is not analysed"))
            self._write(registers, dreg, bits.unknown(16))

    def _ct(self, key: str, direction: int | None, dreg: int, registers: dict[int, bits.Value], out: Lowered) -> None:
        name = {"l3protocol": "ct_l3proto"}.get(key, f"ct_{key}")
        size = fields.saddr_bits(self.family)
        if key in fields.CT_HOST:
            value = bits.in_host_order(name, fields.CT_HOST[key], self.byteorder)
        elif key in fields.CT_BYTES:
            value = (bits.Piece(fields.CT_BYTES[key], name, 0, 0),)
        elif key.endswith(("_ip", "_ip6")) and key.endswith("6") != (self.family == "ipv6"):
            out.ops.append(Test(()))  # nft_ct_get_eval: an address of the other family ends the rule
            self._write(registers, dreg, bits.unknown(16))
            return
        elif direction == 0 and key in ("src", "src_ip", "src_ip6"):
            # the source is not translated before input
            value = (bits.Piece(size, "saddr", 0, 0),)
        elif direction == 0 and key in ("dst", "dst_ip", "dst_ip6"):
            name, value = "ct_daddr", (bits.Piece(size, "ct_daddr", 0, 0),)
        elif direction == 0 and key == "proto_src":
            value = (bits.Piece(16, "sport", 0, 0),)
        elif direction == 0 and key == "proto_dst":
            name, value = "ct_dport", (bits.Piece(16, "ct_dport", 0, 0),)
        else:
            out.ops.append(Maybe(f"`ct {key}` is not analysed"))
            self._write(registers, dreg, bits.unknown(16))
            return
        out.ops.append(Need("ct" if key != "state" else "ct_state"))
        self._write(registers, dreg, value)

    def _compare(self, op: str, value: bits.Value, data: bytes, out: Lowered) -> None:
        zero, top = bytes(len(data)), b"\xff" * len(data)
        number = int.from_bytes(data, "big")
        if op in ("eq", "neq"):
            condition = equal(value, data, self.family)
        elif op in ("lt", "gte"):
            below = (number - 1).to_bytes(len(data), "big") if number else None
            condition = between(value, zero, below, self.family) if below is not None else None
        else:
            condition = between(value, zero, data, self.family) if data != top else All()
        positive = op in ("eq", "lt", "lte")
        out.ops.append(Test((condition,) if condition is not None else (), inverted=not positive))

    def _bitwise(self, expr: fw.Bitwise, registers: dict[int, bits.Value]) -> None:
        value = self._read(registers, expr.sreg, expr.length)
        if expr.op == "mask-xor":
            result = bits.masked(value, int.from_bytes(expr.mask, "big"), int.from_bytes(expr.xor, "big"))
        elif expr.op in ("lshift", "rshift"):
            result = bits.shifted(value, expr.op, expr.shift, self.byteorder)
        else:
            result = bits.unknown(expr.length)
        self._write(registers, expr.dreg, result)

    def _lookup(self, table: fw.Table, expr: fw.Lookup, registers: dict[int, bits.Value], out: Lowered) -> None:
        try:
            table_set = table.set(expr.set_name)
        except KeyError:
            out.ops.append(Maybe(f"set `{expr.set_name}` could not be read"))
            if expr.dreg is not None:
                for slot in range(max(expr.dreg, 0), 20):
                    registers[slot] = bits.unknown(4)
                if expr.dreg == fw.VERDICT:
                    out.ops.append(Decide(fw.Verdict("unknown")))
            return
        entries = entries_of(table_set, self._read(registers, expr.sreg, table_set.key_length), self.family)
        if expr.dreg == fw.VERDICT:
            out.ops.append(Branch(entries))
        elif expr.dreg is not None:
            self._maps += 1
            name = f"map:{self._maps}:{8 * table_set.data_length}"
            out.maps[name] = entries
            out.ops.append(Need(name))
            self._write(registers, expr.dreg, (bits.Piece(8 * table_set.data_length, name, 0, 0),))
        elif entries.doubt:
            out.ops.append(Maybe(entries.doubt))
        elif entries.catchall:
            out.ops.append(Test((All(),), inverted=expr.inverted))
        else:
            out.ops.append(Test(tuple(c for c, _ in entries.entries), inverted=expr.inverted))

    def _dnat(self, expr: fw.Nat, registers: dict[int, bits.Value], out: Lowered, *, source: bool = False) -> None:
        size = fields.saddr_bits(self.family) // 8
        if expr.family not in ("inet", {"ipv4": "ip", "ipv6": "ip6"}[self.family]):
            out.ops.append(Test(()))
            return
        address = None if expr.addr_min is None else self._read(registers, expr.addr_min, size)
        port = None if expr.port_min is None else self._read(registers, expr.port_min, 2)
        ranged = self._differs(registers, expr.addr_min, expr.addr_max, size) or self._differs(
            registers, expr.port_min, expr.port_max, 2
        )
        out.ops.append(Translate(redirect=False, address=address, port=port, ranged=ranged, source=source))

    def _differs(self, registers: dict[int, bits.Value], low: int | None, high: int | None, size: int) -> bool:
        if low is None or high is None or low == high:
            return False
        return self._read(registers, low, size) != self._read(registers, high, size)
