"""The symbolic packet: what each header field, mark and tracking attribute is, as a function of the packet on the wire.

What rules change is kept as functions too: after `meta mark set 1` in some chain, each bit of the mark is "1 where that rule was
met, else what it was". Header layouts: RFC 791, 8200, 9293, 768; attributes: nft_meta.c, nft_ct.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from librespot_guard.reach import _fields as question
from librespot_guard.reach.bdd._bits import (
    Bit,
    Function,
    Vector,
    both,
    chosen,
    constant,
    differs,
    either,
    lifted,
    octets,
    swapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from librespot_guard.firewall.model import Ct
    from librespot_guard.reach.bdd._algebra import Algebra
    from librespot_guard.reach.world import World

PROTOCOLS = {"tcp": 6, "udp": 17}
_ETHERTYPE = {"ipv4": 0x0800, "ipv6": 0x86DD}
_NFPROTO = {"ipv4": 2, "ipv6": 10}
NEW, INVALID, UNTRACKED = 3, 0, 6  # bit numbers of NF_CT_STATE_BIT
_SRC_NAT, _DST_NAT, _SRC_NAT_DONE, _DST_NAT_DONE = 4, 5, 7, 8  # bit numbers of enum ip_conntrack_status
_OPEN = "bytes that the question leaves open"
_SOCKET = ("skuid", "skgid", "cgroup")

# (bytes, name or constant width) of each header, in order
_HEADERS: dict[tuple[str, str], tuple[tuple[int, str], ...]] = {
    ("link", ""): ((48, "ether_dst"), (48, "ether_src"), (16, "protocol")),
    ("network", "ipv4"): (
        (4, "version"), (4, "ihl"), (8, "tos"), (16, "ip_length"), (16, "ip_id"), (2, "ip_flags"),
        (1, "more_fragments"), (13, "fragment"), (8, "ttl"), (8, "l4proto"), (16, "ip_checksum"), (32, "saddr"), (32, "daddr"),
    ),
    ("network", "ipv6"): (
        (4, "version"), (8, "tos"), (20, "flow_label"), (16, "ip_length"), (8, "nexthdr"), (8, "ttl"), (128, "saddr"),
        (128, "daddr"),
    ),
    ("transport", "tcp"): (
        (16, "sport"), (16, "dport"), (32, "tcp_seq"), (32, "tcp_ack"), (4, "tcp_doff"), (4, "tcp_reserved"),
        (8, "tcp_flags"), (16, "tcp_window"), (16, "l4_checksum"), (16, "tcp_urgent"),
    ),
    ("transport", "udp"): ((16, "sport"), (16, "dport"), (16, "udp_length"), (16, "l4_checksum")),
}  # fmt: skip


@dataclass(slots=True)
class Wire:
    """What a question says of its packets: how they come in, and what they are sent to."""

    world: World
    iface: str
    family: str
    proto: str
    saddr: Vector
    daddr: Vector
    dport: Vector

    @property
    def address_bits(self) -> int:
        """The width of an address."""
        return 32 if self.family == "ipv4" else 128


class Packet:
    """All packets of a question at once. `free` gives the variables of a field that the stranger chooses, but for those `unclear`."""

    def __init__(
        self,
        algebra: Algebra,
        wire: Wire,
        free: Callable[[str, int], Vector],
        unclear: frozenset[str] = frozenset(),
    ) -> None:
        self.algebra, self.wire, self._free, self._unclear = algebra, wire, free, unclear
        self.order = wire.world.ruleset.byteorder
        none = algebra.false
        # where connections are tracked, not to be tracked, given a template; where NAT changed the destination or the source,
        # and where something not followed happened
        self.tracked: Function = none
        self.untracked: Function = none
        self.template: Function = none
        self.translated: Function = none
        self.snatted: Function = none
        self.lost: Function = none
        self.moved: Function = none
        # where routing drops the packet for an option that it has
        self.refused: Function = none
        # whether the chain that runs now may see a fragment
        self.in_parts = False
        # ports that a rule rewrote before tracking: whether the checksum still satisfies it is not followed
        self.blurred: Function = none
        self._ports_then: dict[str, Vector] = {}
        self._now: dict[str, Vector] = {
            "saddr": list(wire.saddr),
            "daddr": list(wire.daddr),
            "dport": list(wire.dport),
            "mark": constant(0, 32),
            "priority": constant(0, 32),
            "ct_mark": constant(0, 32),
            "ct_zone": constant(0, 16),
            "ct_labels": constant(0, 128),
            "version": constant(4 if wire.family == "ipv4" else 6, 4),
            "l4proto": constant(PROTOCOLS[wire.proto], 8),
            "protocol": constant(_ETHERTYPE[wire.family], 16),
            "fragment": constant(0, 13),
        }

    def host(self, bits: Vector) -> Vector:
        """A host integer, most significant bit first, as it lies in memory; and back."""
        return swapped(bits, len(bits) // 8) if self.order == "little" else bits

    def field(self, name: str, width: int) -> Vector:
        """A header field now."""
        if name == "nexthdr":
            return self.field("exthdrs", 12)[4:]
        if name in question.FRAGMENTED and not self.in_parts:
            return constant(0, width)
        # a fragment and the whole packet differ in these, so that what one holds says nothing of the other
        key = (
            f"{name} of a fragment" if self.in_parts and name in question.OF_ONE_PIECE and not self.says(name) else name
        )
        found = self._now.get(key)
        if found is None:
            found = self._free(name, width) if self.says(name) else self.algebra.oracles(width, f"`{name}`")
            self._now[key] = found
        return found

    def says(self, name: str) -> bool:
        """Whether the sender's choice of a field is followed; else it may be anything, and nothing follows from that."""
        domain = question.domain(name, self.wire.family, self.wire.proto)
        return domain is not None and name not in self._unclear

    def assign(self, name: str, bits: Vector, where: Function) -> None:
        """Change a field in part of the packets."""
        old = self.field(name, len(bits))
        true = self.algebra.true
        self._now[name] = [chosen(where, new, was, true) for new, was in zip(bits, old, strict=True)]

    def track(self, region: Function) -> None:
        """Connection tracking meets the packets of a region (nf_conntrack_in)."""
        self.tracked = region & ~self.untracked
        self.template = self.algebra.false
        if (self.blurred & region).satisfiable():
            self._ports_then = {name: self.field(name, 16) for name in ("sport", "dport")}
            passes = self.algebra.oracle("a rule rewrote a port before connections are tracked")
            self.tracked = self.tracked & (~self.blurred | passes)

    def _layout(self, base: str) -> tuple[tuple[int, str], ...]:
        if base == "link":
            link = self.wire.world.link(self.wire.iface)
            return _HEADERS["link", ""] if link is not None and link.arp_type == 1 else ()
        key = self.wire.family if base == "network" else self.wire.proto
        return _HEADERS.get((base, key), ())

    def payload(self, base: str, offset: int, length: int) -> tuple[Vector, Function]:
        """Bytes of a header, and where they can be loaded."""
        start, end = 8 * offset, 8 * (offset + length)
        out: Vector = []
        at = 0
        for width, name in self._layout(base):
            low, high = max(at, start), min(at + width, end)
            if low < high:
                out += self.field(name, width)[low - at : high - at]
            at += width
        if len(out) == end - start:
            beyond = self.wire.family == "ipv6" or offset + length > question.SURELY_THERE
            return out, self.uncut() if base == "transport" and beyond else self.algebra.true
        out += self.algebra.oracles(end - start - len(out), _OPEN)
        return out, self.algebra.oracle(_OPEN)

    def uncut(self) -> Function:
        """Where no fragment lacks the later part of a TCP header, or for IPv6 any transport header."""
        if self.wire.family == "ipv4" and self.wire.proto != "tcp":
            return self.algebra.true
        (cut,) = self.field("tcp_cut" if self.wire.family == "ipv4" else "l4_hidden", 1)
        return ~lifted(cut, self.algebra.true)

    def followed(self) -> Function:
        """Where it is known what happens: of a packet in fragments, only the first is followed."""
        out = self.algebra.true
        for name in question.FRAGMENTED:
            for part in self._now.get(name, ()):
                out = out & ~lifted(part, self.algebra.true)
        return out

    def sent(self, *, whole: bool) -> Function:
        """The packets that can be sent: a header is cut only in a fragment, and hidden only behind a fragment header."""
        true = self.algebra.true
        more, cut, hidden = (self._now.get(name) for name in question.FRAGMENTED)
        out = true
        if more and cut:
            out = out & (~lifted(cut[0], true) | lifted(more[0], true))
        if hidden and not whole and "exthdrs" in self._now and self.says("exthdrs"):
            out = out & (
                ~lifted(hidden[0], true) | lifted(self._now["exthdrs"][11 - question.EXTENSION_BITS[44]], true)
            )
        return out

    def rewrite(self, base: str, offset: int, bits: Vector, where: Function) -> None:
        """Bytes of a header change: whole fields without a checksum of their own, and ports of what is tracked already."""
        start, end = 8 * offset, 8 * offset + len(bits)
        at = 0
        for width, name in self._layout(base):
            inside = start <= at and at + width <= end
            if inside and self.algebra.same(self.field(name, width), bits[at - start : at - start + width]).valid():
                pass
            elif inside and name in ("tos", "ttl", "sport", "dport"):
                self.assign(name, bits[at - start : at - start + width], where)
                if name.endswith("port"):
                    self.blurred = self.blurred | (where & ~self.tracked & ~self.untracked)
            elif start < at + width and at < end and name not in ("ip_checksum", "version", "flow_label"):
                self.lost = self.lost | where
            at += width
        if at < end:
            self.lost = self.lost | where

    def meta(self, key: str, *, netdev: bool) -> tuple[Vector, Function]:
        """`meta load KEY`, and where it does not end the rule (nft_meta_get_eval)."""
        always, never = self.algebra.true, self.algebra.false
        link = self.wire.world.link(self.wire.iface)
        match key:
            case "iif" | "iiftype" | "iifgroup" if link is not None and (link.told or key != "iifgroup"):
                width = 16 if key == "iiftype" else 32
                number = {"iif": link.index, "iiftype": link.arp_type, "iifgroup": link.group}[key]
                return self.host(constant(number, width)), always
            case "iifname":
                return octets(self.wire.iface.encode()[:15].ljust(16, b"\0")), always
            case "iifkind" if link is not None and link.told:
                kind = (link.kind or "").encode()[:16].ljust(16, b"\0")
                return octets(kind), always if link.kind else never
            case "oif" | "sdif":
                return constant(0, 32), always
            case "oifname" | "sdifname":
                return constant(0, 128), always
            case "oiftype" | "oifgroup" | "oifkind":
                return constant(0, 128), never
            case "nfproto":
                return constant(5 if netdev else _NFPROTO[self.wire.family], 8), always
            case "protocol":
                return self.field(key, 16), always
            case "l4proto":
                return self.field(key, 8), self.uncut() if self.wire.family == "ipv6" else always
            case "mark" | "priority":
                return self.field(key, 32), always
            case "pkttype":
                return self.field("pkttype", 8), always
            case "len":
                return self.host(self._length()), always
            case "secpath":
                return constant(0, 8), always
            case _ if key.startswith("bri_") and not netdev:
                return constant(0, 128), never
            case _ if key in _SOCKET and self.wire.proto == "tcp":
                # a flow that begins has no socket yet
                return constant(0, 32), never
        reason = f"what `meta {key}` is can't be told from the packet"
        return self.algebra.oracles(128, reason), self.algebra.oracle(reason)

    def _length(self) -> Vector:
        """The length of the packet as a number of 32 bits: IPv4 has it in its header, IPv6 without the header of 40 bytes."""
        carried = self.field("ip_length", 16)
        if self.wire.family == "ipv4":
            return [*constant(0, 16), *carried]
        out: Vector = []
        carry: Bit = False
        for bit, add in zip(reversed(carried), reversed(constant(40, 16)), strict=True):
            out.insert(0, differs(differs(bit, add), carry))
            carry = either(both(bit, add), both(carry, either(bit, add)))
        return [*constant(0, 15), carry, *out]

    def conntrack(self, expr: Ct) -> tuple[Vector, Function]:
        """`ct load KEY`, and where it does not end the rule (nft_ct_get_eval)."""
        tracked, nothing = self.tracked, constant(0, 32)
        if expr.key == "state":
            bits = list(nothing)
            bits[31 - NEW] = tracked | self.template
            bits[31 - UNTRACKED] = self.untracked & ~tracked & ~self.template
            bits[31 - INVALID] = ~(tracked | self.untracked | self.template)
            return self.host(bits), self.algebra.true
        loads = tracked
        if self.template.satisfiable():
            loads = tracked | (self.template & self.algebra.oracle("what a connection template holds"))
        found = self._of_connection(expr)
        if found is not None:
            return found, loads
        if expr.key in ("helper", "src_ip", "dst_ip", "src_ip6", "dst_ip6"):
            return constant(0, 128), self.algebra.false
        return self.algebra.oracles(128, f"what `ct {expr.key}` is can't be told from the packet"), loads

    def _of_connection(self, expr: Ct) -> Vector | None:
        wire, reply = self.wire, expr.direction == 1
        six = wire.family == "ipv6"
        match expr.key:
            case "mark" | "zone" | "labels":
                return self.field(f"ct_{expr.key}", {"mark": 32, "zone": 16, "labels": 128}[expr.key])
            case "status":
                bits = constant(0, 32)
                bits[31 - _DST_NAT], bits[31 - _SRC_NAT] = self.translated, self.snatted
                for done in (_SRC_NAT_DONE, _DST_NAT_DONE):
                    bits[31 - done] = self.algebra.oracle("which parts of NAT are done depends on loaded modules")
                return self.host(bits)
            case "direction":
                return constant(0, 8)
            case "secmark":
                return constant(0, 32)
            case "l3protocol":
                return constant(_NFPROTO[wire.family], 8)
            case "protocol":
                return self.field("l4proto", 8)
            case "src" | "src_ip" | "src_ip6" if expr.key == "src" or expr.key.endswith("6") == six:
                return self.field("daddr", wire.address_bits) if reply else list(wire.saddr)
            case "dst" | "dst_ip" | "dst_ip6" if expr.key == "dst" or expr.key.endswith("6") == six:
                return self.field("saddr", wire.address_bits) if reply else list(wire.daddr)
            case "proto_src":
                return self.field("dport", 16) if reply else self._ports_then.get("sport") or self.field("sport", 16)
            case "proto_dst":
                return self.field("sport", 16) if reply else self._ports_then.get("dport") or list(wire.dport)
        return None
