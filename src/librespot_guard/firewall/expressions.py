"""Each expression of a rule, from its netlink attributes to the model.

Attribute numbers are those of include/uapi/linux/netfilter/nf_tables.h; what each expression does to the verdict and to
registers is that of net/netfilter/nft_NAME.c. What the model has no class for becomes `Unknown`, with what it may write.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from librespot_guard.firewall.attributes import Attributes, Malformed
from librespot_guard.firewall.data import ALL_SLOTS, constant, length, register, slots, value
from librespot_guard.firewall.expressions_beyond import DECODERS as BEYOND
from librespot_guard.firewall.model import (
    VERDICT,
    Bitwise,
    Byteorder,
    Cmp,
    Ct,
    CtSet,
    Dynset,
    Expr,
    Fib,
    Immediate,
    Limit,
    Lookup,
    Masquerade,
    Meta,
    MetaSet,
    Nat,
    Notrack,
    Pass,
    Payload,
    PayloadSet,
    Range,
    Redirect,
    Reject,
    Unknown,
    Verdict,
    Xt,
)

# enum nft_meta_keys; 35 is NFT_META_BRI_BROUTE, 36 NFT_META_BRI_IIFHWADDR
META_KEYS = [
    "len",
    "protocol",
    "priority",
    "mark",
    "iif",
    "oif",
    "iifname",
    "oifname",
    "iiftype",
    "oiftype",
    "skuid",
    "skgid",
    "nftrace",
    "rtclassid",
    "secmark",
    "nfproto",
    "l4proto",
    "bri_iifname",
    "bri_oifname",
    "pkttype",
    "cpu",
    "iifgroup",
    "oifgroup",
    "cgroup",
    "prandom",
    "secpath",
    "iifkind",
    "oifkind",
    "bri_iifpvid",
    "bri_iifvproto",
    "time_ns",
    "time_day",
    "time_hour",
    "sdif",
    "sdifname",
    "bri_broute",
    "bri_iifhwaddr",
]
# enum nft_ct_keys
CT_KEYS = [
    "state",
    "direction",
    "status",
    "mark",
    "secmark",
    "expiration",
    "helper",
    "l3protocol",
    "src",
    "dst",
    "protocol",
    "proto_src",
    "proto_dst",
    "labels",
    "pkts",
    "bytes",
    "avgpkt",
    "zone",
    "eventmask",
    "src_ip",
    "dst_ip",
    "src_ip6",
    "dst_ip6",
    "id",
]
_BASES = ("link", "network", "transport", "inner")
_CMP = ("eq", "neq", "lt", "lte", "gt", "gte")
_FIB_RESULTS = {1: "oif", 2: "oifname", 3: "addrtype"}
_REJECTS = ("icmp", "tcp-reset", "icmpx")
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
_OBJECTS = {
    1: "counter", 2: "quota", 3: "ct helper", 4: "limit", 5: "connlimit", 6: "tunnel", 7: "ct timeout", 8: "secmark",
    9: "ct expectation", 10: "synproxy",
}  # fmt: skip
# they may accept, steal, divert or drop a packet
_TERMINAL = {"queue", "tproxy", "synproxy", "fwd"}
_OBJECT_SYNPROXY = 10
_MOST_KNOWN = 1 << 16
# they touch no register: they match or not, or do something beside the packet
_HARMLESS = {"dup", "flow_offload"}


@dataclass(frozen=True, slots=True)
class Context:
    """What the expressions of one table are read with.

    `object_types` is the kernel type of the objects that an object map holds, by set name. `known` are expressions that were read
    already: most rules consist of the same few, and one object stands for all of them.
    """

    object_types: Mapping[str, int] = field(default_factory=dict)
    known: dict[bytes, Expr] = field(default_factory=dict)


def _pick(names: tuple[str, ...] | list[str] | Mapping[int, str], number: int, what: str) -> str:
    try:
        return names[number]
    except (IndexError, KeyError):
        raise Malformed(f"there is no {what} {number}") from None


def _payload(a: Attributes, _: Context) -> Expr:
    base = _BASES[a.number(2)] if a.number(2) < len(_BASES) else None
    if base is None:
        # a base of a newer kernel, e.g. NFT_PAYLOAD_TUN_HEADER
        return Unknown("payload", a.raw, writes=slots(register(a.number(1)), length(a, 4)) if 1 in a else ())
    if 1 in a:
        return Payload(base, a.number(3), length(a, 4), register(a.number(1)))
    return PayloadSet(base, a.number(3), length(a, 4), register(a.number(5)))


def _meta(a: Attributes, _: Context) -> Expr:
    key = a.number(2)
    name = META_KEYS[key] if key < len(META_KEYS) else f"key-{key}"
    return Meta(name, register(a.number(1))) if 1 in a else MetaSet(name, register(a.number(3)))


def _ct(a: Attributes, _: Context) -> Expr:
    key = a.number(2)
    name = CT_KEYS[key] if key < len(CT_KEYS) else f"key-{key}"
    if 1 in a:
        return Ct(name, register(a.number(1)), a.number(3, 1) if 3 in a else None)
    return CtSet(name, register(a.number(4)))


def _cmp(a: Attributes, _: Context) -> Expr:
    return Cmp(_pick(_CMP, a.number(2), "comparison"), register(a.number(1)), constant(a.nested(3)))


def _range(a: Attributes, _: Context) -> Expr:
    low, high = constant(a.nested(3)), constant(a.nested(4))
    if len(low) != len(high):
        raise Malformed("the ends of a range differ in length")
    return Range(_pick(_CMP[:2], a.number(2), "range operation"), register(a.number(1)), low, high)


def _bitwise(a: Attributes, _: Context) -> Expr:
    source, target, size, kind = register(a.number(1)), register(a.number(2)), length(a, 3), a.number(6, default=0)
    if kind == 0:
        mask, xor = constant(a.nested(4)), constant(a.nested(5))
        if len(mask) != size or len(xor) != size:
            raise Malformed("mask and xor differ in length from the value")
        return Bitwise("mask-xor", source, target, size, mask, xor)
    if kind in (1, 2):
        shift = int.from_bytes(constant(a.nested(7))[:4], "little" if a.byteorder == "little" else "big")
        return Bitwise("lshift" if kind == 1 else "rshift", source, target, size, shift=shift)
    # NFT_BITWISE_AND, OR, XOR of Linux 6.13: the second operand is a register or a constant
    name = _pick({3: "and", 4: "or", 5: "xor"}, kind, "bitwise operation")
    if 8 in a:
        return Bitwise(name, source, target, size, sreg2=register(a.number(8)))
    return Bitwise(name, source, target, size, mask=constant(a.nested(7)))


def _byteorder(a: Attributes, _: Context) -> Expr:
    operation = _pick(("ntoh", "hton"), a.number(3), "byte order operation")
    if a.number(5) not in (2, 4, 8):
        raise Malformed("byte order is converted in units of 2, 4 or 8")
    return Byteorder(operation, register(a.number(1)), register(a.number(2)), length(a, 4), a.number(5))


def _lookup(a: Attributes, _: Context) -> Expr:
    target = register(a.number(3)) if 3 in a else None
    return Lookup(a.text(1), register(a.number(2)), target, bool(a.number(5, default=0) & 1))


def _immediate(a: Attributes, _: Context) -> Expr:
    target, data = register(a.number(1)), value(a.nested(2))
    if (target == VERDICT) != isinstance(data, Verdict):
        raise Malformed("a verdict belongs into the verdict register, and nothing else does")
    return Immediate(target, data)


def _fib(a: Attributes, _: Context) -> Expr:
    return Fib(a.number(3, default=0), _pick(_FIB_RESULTS, a.number(2), "fib result"), register(a.number(1)))


def _limit(a: Attributes, _: Context) -> Expr:
    kind = _pick(("packets", "bytes"), a.number(4, default=0), "limit type")
    return Limit(a.number(1, 8), a.number(2, 8), a.number(3, default=0), bool(a.number(5, default=0) & 1), kind)


def _reject(a: Attributes, _: Context) -> Expr:
    return Reject(_pick(_REJECTS, a.number(1), "reject type"), a.number(2, 1, default=0))


def _optional(a: Attributes, kind: int) -> int | None:
    return register(a.number(kind)) if kind in a else None


def _nat(a: Attributes, _: Context) -> Expr:
    kind, family = _pick(("snat", "dnat"), a.number(1), "NAT type"), _pick(_FAMILIES, a.number(2), "NAT family")
    return Nat(kind, family, _optional(a, 3), _optional(a, 4), _optional(a, 5), _optional(a, 6), a.number(7, default=0))


def _redirect(a: Attributes, _: Context) -> Expr:
    return Redirect(_optional(a, 1), _optional(a, 2), a.number(3, default=0))


def _dynset(a: Attributes, _: Context) -> Expr:
    inner = [e for k in (7, 10) for e in ([a.data(k)] if k == 7 and k in a else [d for _, d in a.items(k)])]
    conditional = any(stateful(e, a.byteorder) for e in inner)
    operation = _pick(("add", "update", "delete"), a.number(3), "set operation")
    return Dynset(a.text(1), operation, register(a.number(4)), bool(a.number(9, default=0) & 1), conditional)


def stateful(expression: bytes, byteorder: str) -> bool:
    """Whether an expression of a set element may make its look-up miss: all but counters and time stamps may."""
    return Attributes(expression, byteorder).text(1) not in ("counter", "last")


def _objref(a: Attributes, context: Context) -> Expr:
    if 1 in a:
        kind = a.number(1)
        if kind == 1:
            return Pass("counter")
        return Unknown(
            f"objref {_OBJECTS.get(kind, kind)}", a.raw, terminal=kind == _OBJECT_SYNPROXY or kind not in _OBJECTS
        )
    kind = context.object_types.get(a.text(4), 0)
    # a miss ends the rule, whatever the objects are
    return Unknown(
        f"objref map {_OBJECTS.get(kind, kind)}", a.raw, terminal=kind == _OBJECT_SYNPROXY or kind not in _OBJECTS
    )


def _inner(a: Attributes, _: Context) -> Expr:
    # a payload or meta load from an inner header; both name their register in attribute 1
    nested = a.nested(5).nested(2)
    return Unknown("inner", a.raw, writes=slots(register(nested.number(1)), length(nested, 4, default=16)))


def _xt(kind: str) -> Callable[[Attributes, Context], Expr]:
    return lambda a, _: Xt(kind, a.text(1), a.number(2), a.data(3))


def _alone(decoder: Callable[[Attributes], Expr]) -> Callable[[Attributes, Context], Expr]:
    return lambda a, _: decoder(a)


_DECODERS: dict[str, Callable[[Attributes, Context], Expr]] = {
    "payload": _payload,
    "meta": _meta,
    "ct": _ct,
    "cmp": _cmp,
    "range": _range,
    "bitwise": _bitwise,
    "byteorder": _byteorder,
    "lookup": _lookup,
    "immediate": _immediate,
    "fib": _fib,
    "limit": _limit,
    "reject": _reject,
    "nat": _nat,
    "redir": _redirect,
    "masq": lambda _a, _c: Masquerade(),
    "notrack": lambda _a, _c: Notrack(),
    "counter": lambda _a, _c: Pass("counter"),
    "log": lambda _a, _c: Pass("log"),
    "last": lambda _a, _c: Pass("last"),
    "dynset": _dynset,
    "objref": _objref,
    "inner": _inner,
    "match": _xt("match"),
    "target": _xt("target"),
    **{name: _alone(decoder) for name, decoder in BEYOND.items()},
}


def _unknown(name: str, a: Attributes) -> Expr:
    if name in _TERMINAL:
        return Unknown(name, a.raw, terminal=True)
    if name in _HARMLESS:
        return Unknown(name, a.raw)
    return Unknown(name, a.raw, terminal=True, writes=ALL_SLOTS)


def expression(data: bytes, byteorder: str, context: Context) -> Expr:
    """One expression; one that can't be read becomes an `Unknown` that may do anything. Never raises."""
    name = "?"
    raw = data
    try:
        outer = Attributes(data, byteorder)
        name = outer.text(1)
        raw = outer.data(2) if 2 in outer else b""
        attributes = Attributes(raw, byteorder)
        found = _DECODERS[name](attributes, context) if name in _DECODERS else _unknown(name, attributes)
        if len(context.known) < _MOST_KNOWN:
            context.known[data] = found
        return found  # noqa: TRY300 - what is malformed above is not remembered
    except Malformed:
        # of those that only load and match, a form of a newer kernel still decides nothing
        return Unknown(name, raw, terminal=name not in BEYOND, writes=ALL_SLOTS)
