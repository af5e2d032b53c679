"""A packet filter, neutrally: tables, chains, rules of register expressions, sets.

The model is nf_tables' own virtual machine (linux/netfilter/nf_tables.h), because everything that the kernel runs today is,
or can be translated to, that. Registers are numbered in 4-byte slots 0..19: slot 0 begins what UAPI calls NFT_REG_1 (and
NFT_REG32_00); the verdict register is `VERDICT`. Byte strings are as the kernel holds them: payload in network order, meta
and ct values in host order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from librespot_guard.firewall.model_beyond import Beyond

VERDICT = -1

# include/uapi/linux/netfilter/nf_tables.h
TABLE_DORMANT = 0x1
SET_ANONYMOUS, SET_CONSTANT, SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_EVAL, SET_OBJECT, SET_CONCAT = (
    1 << i for i in range(8)
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ends or diverts evaluation: accept, drop, queue, continue, return, jump or goto (with `chain`)."""

    kind: str
    chain: str | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """Load `length` bytes at `offset` of the packet into a register. `base` is "link", "network", "transport" or "inner"."""

    base: str
    offset: int
    length: int
    dreg: int


@dataclass(frozen=True, slots=True)
class PayloadSet:
    """Write a register into the packet."""

    base: str
    offset: int
    length: int
    sreg: int


@dataclass(frozen=True, slots=True)
class Meta:
    """Load a packet attribute; `key` as in NFT_META_* in lower case ("iifname", "l4proto", "mark", …), or "key-N" if unknown."""

    key: str
    dreg: int


@dataclass(frozen=True, slots=True)
class MetaSet:
    """Set a packet attribute (mark, priority, nftrace, pkttype, broute, secmark) from a register."""

    key: str
    sreg: int


@dataclass(frozen=True, slots=True)
class Cmp:
    """Go on only if register `op` data; op is eq, neq, lt, lte, gt or gte, comparing bytes as memcmp does."""

    op: str
    sreg: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Bitwise:
    """reg = (reg & mask) ^ xor for op "mask-xor"; `shift` bits for op "lshift"/"rshift".

    "and", "or" and "xor" take a second operand: the register `sreg2`, or the constant `mask` if that is None.
    """

    op: str
    sreg: int
    dreg: int
    length: int
    mask: bytes = b""
    xor: bytes = b""
    shift: int = 0
    sreg2: int | None = None


@dataclass(frozen=True, slots=True)
class Byteorder:
    """Convert `length` bytes in units of `size` between host and network order ("hton" or "ntoh")."""

    op: str
    sreg: int
    dreg: int
    length: int
    size: int


@dataclass(frozen=True, slots=True)
class Range:
    """Go on only if low <= register <= high (op "eq") or outside (op "neq")."""

    op: str
    sreg: int
    low: bytes
    high: bytes


@dataclass(frozen=True, slots=True)
class Lookup:
    """Look the key at `sreg` up in a set; with `dreg` the mapped data (or verdict, dreg == VERDICT) is loaded; a miss ends the rule."""

    set_name: str
    sreg: int
    dreg: int | None = None
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Immediate:
    """Load constant bytes, or give a verdict (dreg == VERDICT)."""

    dreg: int
    data: bytes | Verdict


@dataclass(frozen=True, slots=True)
class Ct:
    """Load a connection-tracking attribute; `key` as in NFT_CT_* in lower case; `direction` 0 original, 1 reply, None unset."""

    key: str
    dreg: int
    direction: int | None = None


@dataclass(frozen=True, slots=True)
class CtSet:
    """Set a connection-tracking attribute."""

    key: str
    sreg: int


@dataclass(frozen=True, slots=True)
class Fib:
    """Routing look-up; `flags` is NFTA_FIB_F_* (1 saddr, 2 daddr, 4 mark, 8 iif, 16 oif, 32 present); `result` is "oif", "oifname" or "addrtype"."""

    flags: int
    result: str
    dreg: int


@dataclass(frozen=True, slots=True)
class Limit:
    """Token bucket: which packets match cannot be told from one packet."""

    rate: int
    unit_seconds: int
    burst: int
    inverted: bool
    kind: str = "packets"


@dataclass(frozen=True, slots=True)
class Reject:
    """Drop, and answer. `kind` is "icmp", "tcp-reset" or "icmpx"; in inet and bridge tables icmp answers imply a family only by guards."""

    kind: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Nat:
    """dnat or snat; register slots of the new address and port (None if not given). `flags` is NF_NAT_RANGE_*."""

    kind: str
    family: str
    addr_min: int | None = None
    addr_max: int | None = None
    port_min: int | None = None
    port_max: int | None = None
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Redirect:
    """DNAT to this host's own address; port from registers, if given."""

    port_min: int | None = None
    port_max: int | None = None
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Masquerade:
    """SNAT to the address of the outgoing interface."""


@dataclass(frozen=True, slots=True)
class Notrack:
    """The packet is not tracked: its ct state is "untracked" from here on."""


@dataclass(frozen=True, slots=True)
class Pass:
    """An expression without influence on the verdict: counter, log, last, objref of a counter, comment."""

    name: str


@dataclass(frozen=True, slots=True)
class Dynset:
    """Add, update or delete the key at `sreg` in a set while packets pass; the rule goes on if that worked.

    `conditional` is true if the element carries a stateful expression (limit, quota, …), which decides then.
    """

    set_name: str
    op: str
    sreg: int
    inverted: bool = False
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Xt:
    """An iptables extension run by nft_compat; `kind` is "match" or "target"; `info` is its parameter block as in the kernel."""

    kind: str
    name: str
    revision: int
    info: bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """An expression that this version does not understand; it may match or not, and may do anything an expression of this name can.

    `name` is the kernel's name of it; `raw` its attributes as dumped; `terminal` whether it may also give a verdict
    (queue, tproxy, synproxy, fwd, an unknown xt target do).
    """

    name: str
    raw: bytes
    terminal: bool = False
    writes: tuple[int, ...] = ()


Expr = (
    Payload | PayloadSet | Meta | MetaSet | Cmp | Bitwise | Byteorder | Range | Lookup | Immediate | Ct | CtSet | Fib | Limit
    | Reject | Nat | Redirect | Masquerade | Notrack | Pass | Dynset | Xt | Beyond | Unknown
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its expressions in order. `text` is how a tool prints it, for people; `comment` from its user data."""

    handle: int
    exprs: tuple[Expr, ...]
    text: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain is hooked. `hook` is ingress, egress, prerouting, input, forward, output or postrouting."""

    hook: str
    priority: int
    policy: str = "accept"
    kind: str = "filter"
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; a base chain has a `hook`."""

    name: str
    handle: int
    rules: tuple[Rule, ...]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """A set element: `key` (and `key_end` in sets of interval concatenations); `interval_end` marks the open end of an interval.

    `data` is the mapped value of a map. `timeout` and `expires` are milliseconds, None if the element has none.
    `conditional` is true if the element carries a stateful expression (limit, quota, …) that may make the look-up miss.
    """

    key: bytes
    key_end: bytes | None = None
    interval_end: bool = False
    catchall: bool = False
    data: bytes | Verdict | None = None
    timeout: int | None = None
    expires: int | None = None
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Set:
    """A set or map. `elements` never change (a large set has a form of its own: `packed`). `field_lengths` are the byte lengths of a concatenation's fields (each padded to 4 bytes in the key), else ()."""

    name: str
    flags: int
    key_length: int
    elements: Sequence[Element] = ()
    field_lengths: tuple[int, ...] = ()
    data_length: int = 0
    handle: int = 0
    key_type: int = 0
    object_type: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one family: inet, ip, ip6, netdev, bridge or arp. `helpers` are its conntrack helpers: name of the object, and of the helper."""

    family: str
    name: str
    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()
    flags: int = 0
    handle: int = 0
    flowtables: tuple[str, ...] = ()
    helpers: tuple[tuple[str, str], ...] = ()

    def chain(self, name: str) -> Chain:
        """The chain of this name; KeyError if there is none."""
        for chain in self.chains:
            if chain.name == name:
                return chain
        raise KeyError(name)

    def set(self, name: str) -> Set:
        """The set of this name; KeyError if there is none."""
        for candidate in self.sets:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All tables, in the order in which the kernel lists them, and the byte order of the machine that runs them."""

    tables: tuple[Table, ...] = ()
    byteorder: str = "little"
    incomplete: tuple[str, ...] = field(default=())

    def replaced(self, table: Table) -> "Ruleset":
        """This ruleset with the table of the same family and name replaced, or added."""
        kept = tuple(t for t in self.tables if (t.family, t.name) != (table.family, table.name))
        return Ruleset((*kept, table), self.byteorder, self.incomplete)
