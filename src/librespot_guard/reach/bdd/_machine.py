"""The register machine: one rule on a region of packets, as nft_do_chain runs it (net/netfilter/nf_tables_core.c).

`live` are the packets that are still in the rule. A condition narrows it; a verdict hands it to `decide`. Where nobody can tell
what happens (a rate limit, an expression that is not analysed) an oracle decides: a fresh variable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from librespot_guard import firewall as fw
from librespot_guard.reach.bdd import _beyond as beyond
from librespot_guard.reach.bdd import _xt as xt
from librespot_guard.reach.bdd._bits import Function, Vector, both, constant, differs, either, octets, swapped
from librespot_guard.reach.bdd._sets import Data, changed_by_packets, look_up
from librespot_guard.reach.bdd._translation import redirect, translate

if TYPE_CHECKING:
    from librespot_guard.reach.bdd._algebra import Algebra
    from librespot_guard.reach.bdd._packet import Packet

Decide = Callable[[fw.Verdict, Function], None]


@dataclass(slots=True)
class Machine:
    """Runs rules on the packets of one question. `fib` answers fib expressions for the live packets."""

    algebra: Algebra
    packet: Packet
    fib: Callable[[fw.Fib, Function], Vector]
    where: str = ""
    _dynamic: dict[int, set[str]] = field(default_factory=dict)
    _registers: dict[int, Vector] = field(default_factory=dict)

    def rule(self, table: fw.Table, rule: fw.Rule, region: Function, decide: Decide) -> None:
        """Run one rule; what its verdicts take goes to `decide`, the rest falls to the next rule."""
        self._registers = {}
        live = region
        for expr in rule.exprs:
            live = self._step(table, expr, live, decide)
            if not live.satisfiable():
                return

    def _oracle(self, reason: str) -> Function:
        return self.algebra.oracle(f"{reason} ({self.where})")

    def _read(self, slot: int, length: int) -> Vector:
        out: Vector = []
        for index in range(slot, slot + (length + 3) // 4):
            found = self._registers.get(index)
            out += self.algebra.oracles(32, "a register that no rule wrote") if found is None else found
        return out[: 8 * length]

    def _write(self, slot: int, bits: Vector) -> None:
        """A load fills its last slot up with zeros (nft_reg_store8, nft_data_copy)."""
        padded = [*bits, *constant(0, -len(bits) % 32)]
        for index in range(len(padded) // 32):
            self._registers[slot + index] = padded[32 * index : 32 * index + 32]

    def _load(self, slot: int, loaded: tuple[Vector, Function], live: Function) -> Function:
        self._write(slot, loaded[0])
        return live & loaded[1]

    def _end(self, kind: str, live: Function, decide: Decide) -> Function:
        decide(fw.Verdict(kind), live)
        return self.algebra.false

    def _lose(self, live: Function, decide: Decide) -> Function:
        """From here on anything may happen to these packets."""
        self.packet.lost = self.packet.lost | live
        return self._end("lost", live, decide)

    def _step(self, table: fw.Table, expr: fw.Expr, live: Function, decide: Decide) -> Function:
        algebra, packet = self.algebra, self.packet
        match expr:
            case fw.Pass():
                return live
            case fw.Payload(base, offset, length, dreg):
                return self._load(dreg, packet.payload(base, offset, length), live)
            case fw.Meta(key, dreg):
                return self._load(dreg, packet.meta(key, netdev=table.family == "netdev"), live)
            case fw.Ct(dreg=dreg):
                return self._load(dreg, packet.conntrack(expr), live)
            case fw.Fib(dreg=dreg):
                return self._load(dreg, (self.fib(expr, live), algebra.true), live)
            case fw.Cmp(op, sreg, data):
                return live & self._compare(op, self._read(sreg, len(data)), data)
            case fw.Range(op, sreg, low, high):
                ends = int.from_bytes(low, "big"), int.from_bytes(high, "big")
                inside = algebra.among(self._read(sreg, len(low)), [ends] if ends[0] <= ends[1] else [])
                return live & (inside if op == "eq" else ~inside)
            case fw.Bitwise(dreg=dreg, length=length):
                self._write(dreg, self._bitwise(expr)[: 8 * length])
            case fw.Byteorder(_, sreg, dreg, length, size):
                bits = self._read(sreg, length)
                self._registers |= self._unpadded(dreg, swapped(bits, size) if packet.order == "little" else bits)
            case fw.Immediate(dreg, data):
                if isinstance(data, fw.Verdict):
                    return self._verdict(data, live, decide)
                self._write(dreg, octets(data))
            case fw.Lookup():
                return self._look_up(table, expr, live, decide)
            case fw.Reject():
                return self._end("drop", live, decide)
            case fw.Limit():
                return live & self._oracle("a rate limit: it depends on the packets before")
            case fw.Dynset(set_name, op):
                return live if op == "delete" else live & self._oracle(f"adding to set `{set_name}` may fail")
            case fw.Nat(kind, family):
                if family not in ("inet", {"ipv4": "ip", "ipv6": "ip6"}[packet.wire.family]):
                    return live
                size = packet.wire.address_bits // 8
                ends_of = [
                    None if r is None else self._read(r, n)
                    for r, n in ((expr.addr_min, size), (expr.addr_max, size), (expr.port_min, 2), (expr.port_max, 2))
                ]
                translate(packet, kind, ends_of, expr.flags, live)
                return self._end("translated", live, decide)
            case fw.Redirect(port_min, port_max, flags):
                ports = [None if r is None else self._read(r, 2) for r in (port_min, port_max)]
                done = redirect(packet, ports, flags, live)
                decide(fw.Verdict("drop"), live & ~done)
                return self._end("translated", done, decide)
            case fw.Masquerade():
                return self._end("translated", live, decide)
            case fw.Xt():
                return self._extension(expr, live, decide)
            case fw.Unknown(name, _, terminal, writes):
                for slot in writes:
                    self._write(slot, algebra.oracles(32, f"what `{name}` loads ({self.where})"))
                return self._lose(live, decide) if terminal else live & self._oracle(fw.depends(expr))
            case fw.MetaSet() | fw.CtSet() | fw.Notrack() | fw.PayloadSet():
                self._statement(expr, live)
            case _:
                loaded, going = beyond.load(packet, expr, self.where)
                if loaded is not None:
                    self._write(getattr(expr, "dreg", 0), loaded)
                return live & going
        return live

    def _unpadded(self, slot: int, bits: Vector) -> dict[int, Vector]:
        """`byteorder` leaves the rest of its last register alone."""
        out = {}
        for index in range((len(bits) + 31) // 32):
            part = bits[32 * index : 32 * index + 32]
            old = self._registers.get(slot + index, constant(0, 32))
            out[slot + index] = [*part, *old[len(part) :]]
        return out

    def _compare(self, op: str, bits: Vector, data: bytes) -> Function:
        number, top = int.from_bytes(data, "big"), (1 << 8 * len(data)) - 1
        first, last = {
            "eq": (number, number), "neq": (number, number), "lt": (0, number - 1), "gte": (0, number - 1),
            "lte": (0, number), "gt": (0, number),
        }[op]  # fmt: skip
        if (first, last) == (0, top):
            inside = self.algebra.true
        else:
            inside = self.algebra.among(bits, [(first, last)] if first <= last else [])
        return inside if op in ("eq", "lt", "lte") else ~inside

    def _bitwise(self, expr: fw.Bitwise) -> Vector:
        bits = self._read(expr.sreg, expr.length)
        if expr.op == "mask-xor":
            mask, flip = octets(expr.mask), octets(expr.xor)
            return [differs(both(b, m), x) for b, m, x in zip(bits, mask, flip, strict=True)]
        if expr.op in ("lshift", "rshift"):
            return self._shifted(bits, expr)
        other = octets(expr.mask) if expr.sreg2 is None else self._read(expr.sreg2, expr.length)
        combine = {"and": both, "or": either, "xor": differs}[expr.op]
        return [combine(a, b) for a, b in zip(bits, other, strict=True)]

    def _shifted(self, bits: Vector, expr: fw.Bitwise) -> Vector:
        """nft_bitwise shifts words of the host's order, the first word the most significant."""
        padded = [*bits, *constant(0, -len(bits) % 32)]
        order = self.packet.order == "little"
        number = swapped(padded, 4) if order else padded
        zeros = constant(0, min(expr.shift, len(number)))
        kept = len(number) - len(zeros)
        number = [*number[len(zeros) :], *zeros] if expr.op == "lshift" else [*zeros, *number[:kept]]
        return swapped(number, 4) if order else number

    def _look_up(self, table: fw.Table, expr: fw.Lookup, live: Function, decide: Decide) -> Function:
        algebra, dreg = self.algebra, expr.dreg
        table_set = next((s for s in table.sets if s.name == expr.set_name), None)
        names = self._dynamic.get(id(table))
        if names is None:
            names = self._dynamic[id(table)] = changed_by_packets(table)
        if table_set is None or expr.set_name in names:
            found_or_not = live & self._oracle(f"set `{expr.set_name}` is filled by rules while packets pass")
            if dreg == fw.VERDICT:
                return self._lose(found_or_not, decide)
            if dreg is not None:
                self._write(dreg, algebra.oracles(128, f"what set `{expr.set_name}` holds"))
            return found_or_not
        found = look_up(algebra, table_set, self._read(expr.sreg, table_set.key_length))
        granted = algebra.true
        if (found.refusable & live).satisfiable():
            granted = ~found.refusable | self._oracle(f"an element of `{expr.set_name}` with a limit of its own")
        if dreg == fw.VERDICT:
            return self._branch(found.hits, live & granted, decide)
        hit = found.anywhere(algebra)
        if dreg is None:
            return live & (~hit | (found.refusable & ~granted) if expr.inverted else hit & granted)
        bits = constant(0, 8 * table_set.data_length)
        for condition, data in found.hits:
            if isinstance(data, bytes):
                bits = [either(old, condition) if new else old for old, new in zip(bits, octets(data), strict=True)]
        self._write(dreg, bits)
        return live & hit & granted

    def _branch(self, hits: list[tuple[Function, Data]], live: Function, decide: Decide) -> Function:
        """A verdict map. What it does not hold ends the rule; "continue" goes on in it."""
        going = self.algebra.false
        for condition, data in hits:
            if not isinstance(data, fw.Verdict):
                going = going | self._lose(live & condition, decide)
            elif data.kind != "break":
                going = going | self._verdict(data, live & condition, decide)
        return going

    def _verdict(self, verdict: fw.Verdict, live: Function, decide: Decide) -> Function:
        if verdict.kind == "continue" or not live.satisfiable():
            return live
        if verdict.kind not in ("accept", "drop", "return", "jump", "goto"):
            return self._lose(live, decide)
        decide(verdict, live)
        return self.algebra.false

    def _statement(self, expr: fw.Expr, live: Function) -> None:
        packet = self.packet
        match expr:
            case fw.MetaSet("mark" | "priority" as key, sreg):
                packet.assign(key, self._read(sreg, 4), live)
            case fw.MetaSet("pkttype", sreg):
                bits = self._read(sreg, 1)
                # only host, broadcast, multicast and otherhost can be exchanged (skb_pkt_type_ok)
                packet.assign("pkttype", bits, live & self.algebra.among(bits, [(0, 3)]))
            case fw.CtSet("mark", sreg):
                packet.assign("ct_mark", self._read(sreg, 4), live & packet.tracked)
            case fw.CtSet("labels", sreg):
                packet.assign("ct_labels", self._read(sreg, 16), live & packet.tracked)
            case fw.CtSet("zone", sreg):
                fresh = live & ~packet.tracked & ~packet.template
                packet.template = packet.template | fresh
                packet.untracked = packet.untracked & ~fresh
                packet.assign("ct_zone", self._read(sreg, 2), fresh)
            case fw.Notrack():
                packet.untracked = packet.untracked | (live & ~packet.tracked & ~packet.template)
            case fw.PayloadSet(base, offset, length, sreg):
                packet.rewrite(base, offset, self._read(sreg, length), live)

    def _extension(self, expr: fw.Xt, live: Function, decide: Decide) -> Function:
        if expr.kind == "match":
            answer = xt.match(self.packet, expr)
            return live & (self._oracle(f"the xt match `{expr.name}` is not analysed") if answer is None else answer)
        return self._lose(live, decide)
