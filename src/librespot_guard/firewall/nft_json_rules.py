"""One rule of `nft -j`, statement by statement, to the model.

A condition that is not understood becomes an `Unknown` that may match or not; a statement that is not understood one that may do
anything. Neither is ever left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from librespot_guard.firewall import nft_json_fields as known
from librespot_guard.firewall import nft_json_sets as sets
from librespot_guard.firewall.data import ALL_SLOTS
from librespot_guard.firewall.model import (
    VERDICT,
    Bitwise,
    Cmp,
    CtSet,
    Dynset,
    Expr,
    Immediate,
    Limit,
    Lookup,
    Masquerade,
    MetaSet,
    Nat,
    Notrack,
    Pass,
    Payload,
    PayloadSet,
    Range,
    Redirect,
    Reject,
    Set,
    Unknown,
    Verdict,
)
from librespot_guard.firewall.nft_json_load import (
    Code,
    Loaded,
    fields,
    immediate,
    keys,
    load,
    only,
    ordered,
    presence,
    shown,
)
from librespot_guard.firewall.nft_json_types import (
    ICMP6_CODES,
    ICMP_CODES,
    ICMPX_CODES,
    TYPES,
    Type,
    Unsupported,
    encoded,
    literal,
    number,
    wildcard,
)

_OPS = {"==": "eq", "!=": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_BYTES = {"packets": 1, "bytes": 1, "kbytes": 1024, "mbytes": 1024 * 1024}
# NF_NAT_RANGE_* of linux/netfilter/nf_nat.h
_NAT_FLAGS = {"random": 4, "persistent": 8, "fully-random": 16, "netmap": 64}
_PORT_SLOT = 12
_ADDRESS_END = 4


@dataclass(slots=True)
class Place:
    """What rules of one table are read with: its family, its sets, and how to add an anonymous one."""

    family: str
    sets: dict[str, Set]
    kinds: dict[str, list[Type]]
    interfaces: Mapping[str, int]
    old: bool
    anonymous: int = 0

    def add(self, made: Callable[[str], Set]) -> str:
        """Add an anonymous set; its name."""
        self.anonymous += 1
        name = f"__json{self.anonymous}"
        self.sets[name] = made(name)
        return name


@dataclass(slots=True)
class Reading:
    """One rule while it is read; `variants` are further readings that the listing leaves open, each a rule that may apply."""

    place: Place
    code: Code
    ended: bool = False
    variants: list[tuple[Expr, ...]] = field(default_factory=list)


def rule(place: Place, statements: Any, xt: Callable[[int, str, str], Sequence[Expr] | None]) -> list[tuple[Expr, ...]]:
    """The instructions of a rule, and of the rules that it might be as well.

    `xt(position, kind, name)` gives the instructions of an iptables extension if another listing shows its parameters; `position`
    counts the extensions of this kind and name within the rule.
    """
    reading = Reading(place, Code(place.family, place.interfaces))
    code = reading.code
    if not isinstance(statements, list):
        return [(Unknown(f"nft -j: {shown(statements)}", b"", terminal=True, writes=ALL_SLOTS),)]
    seen: dict[tuple[str, str], int] = {}
    for statement in statements:
        if isinstance(statement, dict) and list(statement) == ["xt"]:
            code.exprs += _xt(statement["xt"], seen, xt)
            continue
        _statement(reading, statement)
        if place.old and code.lost:
            code.exprs += [Unknown(f"nft -j: {reason}", b"") for reason in dict.fromkeys(code.lost)]
        code.lost.clear()
    return [tuple(code.exprs), *reading.variants]


def _xt(
    body: Any, seen: dict[tuple[str, str], int], xt: Callable[[int, str, str], Sequence[Expr] | None]
) -> Sequence[Expr]:
    kind, name = "?", "?"
    if isinstance(body, dict):
        kind, name = str(body.get("type", "?")), str(body.get("name", "?"))
    position = seen.get((kind, name), 0)
    seen[kind, name] = position + 1
    found = xt(position, kind, name)
    if found is not None:
        return found
    # nft prints no parameters of an extension, in no version
    match_only = kind == "match"
    return [Unknown(f"xt {kind} {name}", b"", terminal=not match_only, writes=() if match_only else ALL_SLOTS)]


def _statement(reading: Reading, statement: Any) -> None:
    code = reading.code
    before = len(code.exprs)
    try:
        name, body = only(statement)
        if (decided := sets.verdict(statement)) is not None and name != "queue":
            code.exprs.append(Immediate(VERDICT, decided))
        else:
            _STATEMENTS.get(name, _foreign(name))(reading, body)
    except Unsupported as error:
        match_only = isinstance(statement, dict) and list(statement) == ["match"]
        # guards stay: they were found before what was not understood, and nft puts them into the rule as well
        del code.exprs[before + _guards(code.exprs[before:]) :]
        code.exprs.append(
            Unknown(f"nft -j: {error}", b"", terminal=not match_only, writes=() if match_only else ALL_SLOTS)
        )


def _foreign(name: str) -> Callable[[Reading, Any], None]:
    def read(_reading: Reading, _body: Any) -> None:
        raise Unsupported(f"the statement `{name}`")

    return read


def _guards(exprs: list[Expr]) -> int:
    """How many of the instructions are whole guards (a load and its comparison)."""
    count = 0
    while count + 1 < len(exprs) and isinstance(exprs[count + 1], Cmp) and getattr(exprs[count], "key", "") in (
        "nfproto", "protocol", "l4proto", "iiftype",
    ):  # fmt: skip
        count += 2
    return count


def _match(reading: Reading, body: Any) -> None:
    body = keys(body, ("left", "right"), ("op",))
    code, op, right = reading.code, body.get("op", "=="), body["right"]
    left = body["left"]
    if isinstance(right, str) and right.startswith("@") and len(right) > 1:
        _lookup(reading, left, right[1:], None, inverted=op == "!=")
    elif isinstance(right, dict) and list(right) == ["set"]:
        _anonymous(reading, left, sets.set_body(right), inverted=op == "!=")
    elif isinstance(left, dict) and list(left) == ["concat"]:
        _anonymous(reading, left, [right], inverted=op == "!=")
    else:
        value = load(code, left)
        if (
            isinstance(right, bool)
            and isinstance(left, dict)
            and list(left) == ["fib"]
            and value.kind.name != "boolean"
        ):
            value = presence(code, value)
        _compare(code, value, op, right)
    told = _told(left)
    if told and op in ("==", "in", "!="):
        code.told.add(told)


def _told(left: Any) -> str:
    """Which protocol a condition states openly."""
    if not isinstance(left, dict) or len(left) != 1:
        return ""
    ((name, body),) = left.items()
    if not isinstance(body, dict):
        return ""
    if name == "meta":
        return str(body.get("key", ""))
    return f"{body.get('protocol')} {body.get('field')}" if name == "payload" else ""


def _compare(code: Code, value: Loaded, op: str, right: Any) -> None:
    slot = value.slot
    if op in ("in", "!") and value.kind.flags:
        bits = value.constant(number(value.kind, right, code.interfaces))
        code.exprs.append(Bitwise("mask-xor", slot, slot, value.size, bits, bytes(value.size)))
        code.exprs.append(Cmp("neq" if op == "in" else "eq", slot, bytes(value.size)))
        return
    if op == "in":
        op = "=="
    if op not in _OPS:
        raise Unsupported(f"the operator `{op}`")
    if value.kind.name == "ifname" and (start := wildcard(right)) is not None:
        if op not in ("==", "!="):
            raise Unsupported(f"`{op}` with a wildcard")
        code.exprs.append(Cmp(_OPS[op], slot, start))
        return
    low, high = sets.bounds(value.kind, right, code.interfaces)
    if low == high and op in ("==", "!="):
        code.exprs.append(Cmp(_OPS[op], slot, value.constant(low)))
        return
    ordered(code, value)
    first, last = _network_order(value, low), _network_order(value, high)
    if op in ("==", "!="):
        code.exprs.append(Range(_OPS[op], slot, first, last))
    elif low != high:
        raise Unsupported(f"`{op}` with a range")
    else:
        code.exprs.append(Cmp(_OPS[op], slot, first))


def _network_order(value: Loaded, constant: int) -> bytes:
    return value.constant(constant) if value.length else constant.to_bytes(value.kind.length, "big")


def _anonymous(reading: Reading, left: Any, values: list[Any], *, inverted: bool) -> None:
    code = reading.code
    loaded = fields(code, left)
    interval = sets.has_intervals(values)
    kinds = [f.kind for f in loaded]
    reader = sets.Elements(kinds, code.interfaces, interval=interval)
    elements = [e for v in values for e in reader.read(v)]
    if interval:
        for part in loaded:
            ordered(code, part)
    flags = sets.ANONYMOUS | (sets.FLAGS["interval"] if interval else 0)
    name = reading.place.add(lambda name: sets.build(name, kinds, elements, flags=flags))
    code.exprs.append(Lookup(name, loaded[0].slot, None, inverted))


def _lookup(reading: Reading, left: Any, name: str, dreg: int | None, *, inverted: bool = False) -> None:
    """A named set or map."""
    code = reading.code
    found = reading.place.sets.get(name)
    if found is None:
        raise Unsupported(f"the set `{name}`, which is not in the listing")
    loaded = fields(code, left)
    kinds = reading.place.kinds.get(name)
    if kinds is None or [k.length for k in kinds] != [f.size for f in loaded]:
        raise Unsupported(f"the key of the set `{name}`")
    if found.flags & sets.FLAGS["interval"]:
        for part in loaded:
            ordered(code, part)
    code.exprs.append(Lookup(name, loaded[0].slot, dreg, inverted))


def _map(reading: Reading, body: Any, slot: int, wanted: list[Type] | None) -> list[Type]:
    """Look a key up in a map, into registers from `slot`; the types of the data."""
    body = keys(body, ("key", "data"))
    data = body["data"]
    dreg = VERDICT if slot == VERDICT else slot
    if isinstance(data, str) and data.startswith("@"):
        kinds = reading.place.kinds.get(f"{data[1:]} data")
        if slot != VERDICT and kinds is None:
            raise Unsupported(f"the map `{data[1:]}`")
        _lookup(reading, body["key"], data[1:], dreg)
        return kinds or []
    pairs = sets.set_body(data)
    if not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise Unsupported(f"the map {shown(data)}")
    code = reading.code
    loaded = fields(code, body["key"])
    interval = sets.has_intervals([p[0] for p in pairs])
    reader = sets.Elements([f.kind for f in loaded], code.interfaces, interval=interval)
    kinds = [] if slot == VERDICT else wanted or sets.address_kinds(pairs[0][1] if pairs else 0)
    elements = [e for key, value in pairs for e in reader.read(key, _data(value, kinds, code.interfaces))]
    if interval:
        for part in loaded:
            ordered(code, part)
    flags = sets.ANONYMOUS | sets.MAP | (sets.FLAGS["interval"] if interval else 0)
    size = sum((k.length + 3) // 4 * 4 for k in kinds) if len(kinds) > 1 else kinds[0].length if kinds else 16
    name = reading.place.add(
        lambda name: sets.build(name, [f.kind for f in loaded], elements, flags=flags, data_length=size)
    )
    code.exprs.append(Lookup(name, loaded[0].slot, dreg))
    return kinds


def _data(value: Any, kinds: list[Type], interfaces: Mapping[str, int]) -> bytes | Verdict:
    if kinds:
        return sets.data_bytes(kinds, value, interfaces)
    found = sets.verdict(value)
    if found is None:
        raise Unsupported(f"the verdict {shown(value)}")
    return found


def _vmap(reading: Reading, body: Any) -> None:
    _map(reading, body, VERDICT, None)


def _value(reading: Reading, value: Any, kind: Type, slot: int) -> None:
    """Load what is to be written: a constant, the data of a map, or a computed value of the same width."""
    code = reading.code
    if isinstance(value, dict) and len(value) == 1:
        name = next(iter(value))
        if name == "map":
            _map(reading, value["map"], slot, [kind])
            return
        if name not in ("|", "&", "^", "<<") or any(isinstance(o, dict) for o in value[name]):
            loaded = load(code, value, slot)
            if loaded.kind.host != kind.host or loaded.size != kind.length:
                raise Unsupported(f"the value {shown(value)}")
            return
    immediate(code, kind, value, slot)


def _mangle(reading: Reading, body: Any) -> None:
    body = keys(body, ("key", "value"))
    name, target = only(body["key"])
    code = reading.code
    if name in ("meta", "ct"):
        kernel, kind = (known.META if name == "meta" else known.CT).get(target.get("key"), ("", TYPES["mark"]))
        if not kernel:
            raise Unsupported(f"setting {name} {target.get('key')}")
        _value(reading, body["value"], kind, 0)
        code.exprs.append(MetaSet(kernel, 0) if name == "meta" else CtSet(kernel, 0))
        return
    if name != "payload":
        raise Unsupported(f"setting {name}")
    loaded = load(code, body["key"])
    where = next((e for e in reversed(code.exprs) if isinstance(e, Payload)), None)
    if where is None:
        raise Unsupported(f"setting {shown(body['key'])}")
    if loaded.length:
        # bits inside of bytes that keep their others
        value = loaded.constant(number(loaded.kind, literal(body["value"]), code.interfaces))
        mask = loaded.constant((1 << loaded.kind.bits) - 1)
        code.exprs[-1] = Bitwise(
            "mask-xor", loaded.slot, loaded.slot, loaded.length, bytes(b ^ 255 for b in mask), value
        )
    else:
        _value(reading, body["value"], loaded.kind, loaded.slot)
    code.exprs.append(PayloadSet(where.base, where.offset, where.length, loaded.slot))


def _limit(reading: Reading, body: Any) -> None:
    if isinstance(body, str):
        reading.code.exprs.append(Unknown("objref limit", b""))
        return
    body = keys(body, ("rate", "per"), ("burst", "rate_unit", "burst_unit", "inv"))
    unit, rate_unit = _UNITS.get(body["per"]), body.get("rate_unit", "packets")
    if unit is None or rate_unit not in _BYTES or not isinstance(body["rate"], int):
        raise Unsupported(f"the limit {shown(body)}")
    kind = "packets" if rate_unit == "packets" else "bytes"
    reading.code.exprs.append(
        Limit(body["rate"] * _BYTES[rate_unit], unit, int(body.get("burst", 5)), bool(body.get("inv", False)), kind)
    )


def _reject(reading: Reading, body: Any) -> None:
    code = reading.code
    body = keys({} if body is None else body, (), ("type", "expr"))
    kind, family = body.get("type"), code.family
    guarded = family in ("inet", "bridge", "netdev")
    if kind is None:
        # the shortest form is the default of the family
        kind = "icmpx" if guarded else "icmp" if family == "ip" else "icmpv6"
    if kind == "tcp reset":
        _guarded(reading, lambda: code.guard("l4proto", 6), Reject("tcp-reset"))
        return
    names = {"icmp": ICMP_CODES, "icmpv6": ICMP6_CODES, "icmpx": ICMPX_CODES}.get(kind)
    if names is None:
        raise Unsupported(f"reject with {shown(kind)}")
    default = {"icmp": 3, "icmpv6": 4, "icmpx": 1}[kind]
    code_number = number(Type("icmp code", 8, names=names), body.get("expr", default), {})
    if kind == "icmpx" or not guarded:
        code.exprs.append(Reject("icmpx" if kind == "icmpx" else "icmp", code_number))
        return
    _guarded(reading, lambda: code.network("ip" if kind == "icmp" else "ip6"), Reject("icmp", code_number))


def _guarded(reading: Reading, guard: Callable[[], None], end: Reject) -> None:
    """A reject behind a guard that the listing does not print.

    nft always adds it, another program need not: the reading without it is kept as a rule that may apply.
    """
    code = reading.code
    before = len(code.exprs)
    guard()
    if len(code.exprs) > before:
        doubt = Unknown("nft -j: the guard of this reject is not printed", b"")
        reading.variants.append((*code.exprs[:before], doubt, end))
    code.exprs.append(end)


def _nat(kind: str) -> Callable[[Reading, Any], None]:
    def read(reading: Reading, body: Any) -> None:
        body = keys({} if body is None else body, (), ("family", "addr", "port", "flags", "type_flags"))
        code = reading.code
        default = code.family if code.family in ("ip", "ip6") else None
        family = body.get("family") or default or "inet"
        if family not in ("ip", "ip6", "inet"):
            raise Unsupported(f"NAT of the family {shown(family)}")
        if family != "inet" and code.family not in ("ip", "ip6"):
            code.network(family)
        low = high = port_low = port_high = None
        if "addr" in body:
            low, high, port_low = _address(reading, body["addr"], family)
            port_high = port_low
        if "port" in body:
            port_low, port_high = _port(reading, body["port"])
        flags = _flags(body.get("flags")) | (1 if low is not None else 0) | (2 if port_low is not None else 0)
        code.exprs.append(Nat(kind, family, low, high, port_low, port_high, flags))

    return read


def _address(reading: Reading, value: Any, family: str) -> tuple[int, int, int | None]:
    """Address registers (first, last) and the port register of a map that gives both."""
    code = reading.code
    kind = TYPES["ipv6_addr" if family == "ip6" else "ipv4_addr"]
    if family == "inet" and isinstance(value, str) and ":" in value:
        kind = TYPES["ipv6_addr"]
    if isinstance(value, dict) and list(value) == ["map"]:
        kinds = _map(reading, value["map"], 0, None)
        if not kinds or kinds[0].length not in (4, 16) or len(kinds) > 2:
            raise Unsupported(f"the address {shown(value)}")
        return 0, 0, kinds[0].length // 4 if len(kinds) == 2 else None
    low, high = sets.bounds(kind, literal(value), code.interfaces)
    code.exprs.append(Immediate(0, encoded(kind, low)))
    if low == high:
        return 0, 0, None
    code.exprs.append(Immediate(_ADDRESS_END, encoded(kind, high)))
    return 0, _ADDRESS_END, None


def _port(reading: Reading, value: Any) -> tuple[int, int]:
    code, kind = reading.code, TYPES["inet_service"]
    if isinstance(value, dict) and list(value) == ["map"]:
        _map(reading, value["map"], _PORT_SLOT, [kind])
        return _PORT_SLOT, _PORT_SLOT
    low, high = sets.bounds(kind, value, code.interfaces)
    code.exprs.append(Immediate(_PORT_SLOT, encoded(kind, low)))
    if low == high:
        return _PORT_SLOT, _PORT_SLOT
    code.exprs.append(Immediate(_PORT_SLOT + 1, encoded(kind, high)))
    return _PORT_SLOT, _PORT_SLOT + 1


def _flags(value: Any) -> int:
    names = value if isinstance(value, list) else [] if value is None else [value]
    out = 0
    for name in names:
        if name not in _NAT_FLAGS:
            raise Unsupported(f"the NAT flag {shown(name)}")
        out |= _NAT_FLAGS[name]
    return out


def _redirect(reading: Reading, body: Any) -> None:
    body = keys({} if body is None else body, (), ("port", "flags"))
    low, high = _port(reading, body["port"]) if "port" in body else (None, None)
    reading.code.exprs.append(Redirect(low, high, _flags(body.get("flags")) | (2 if low is not None else 0)))


def _masquerade(reading: Reading, body: Any) -> None:
    keys({} if body is None else body, (), ("port", "flags"))
    reading.code.exprs.append(Masquerade())


def _set(reading: Reading, body: Any) -> None:
    body = keys(body, ("op", "elem"), ("set", "map", "data", "stmt"))
    name = body.get("set", body.get("map"))
    if not isinstance(name, str) or not name.startswith("@") or body["op"] not in ("add", "update", "delete"):
        raise Unsupported(f"the statement {shown(body)}")
    elem, conditional = body["elem"], bool(body.get("stmt"))
    if isinstance(elem, dict) and list(elem) == ["elem"]:
        inner = keys(
            elem["elem"], ("val",), ("timeout", "expires", "comment", "limit", "quota", "ct count", "counter", "last")
        )
        conditional = conditional or bool(inner.keys() & {"limit", "quota", "ct count"})
        elem = inner["val"]
    loaded = fields(reading.code, elem)
    found = reading.place.sets.get(name[1:])
    if found is not None:
        # nft before 1.0.9 does not print `dynamic`
        reading.place.sets[name[1:]] = _dynamic(found)
    reading.code.exprs.append(Dynset(name[1:], body["op"], loaded[0].slot, inverted=False, conditional=conditional))


def _meter(reading: Reading, body: Any) -> None:
    body = keys(body, ("key", "stmt", "name"), ("size",))
    loaded = fields(reading.code, body["key"])
    flags = sets.FLAGS["dynamic"]
    name = reading.place.add(lambda name: sets.build(name, [f.kind for f in loaded], (), flags=flags))
    reading.code.exprs.append(Dynset(name, "add", loaded[0].slot, inverted=False, conditional=True))


def _dynamic(found: Set) -> Set:
    return replace(found, flags=found.flags | sets.FLAGS["dynamic"])


def _aside(name: str) -> Callable[[Reading, Any], None]:
    return lambda reading, _: reading.code.exprs.append(Pass(name))


def _opaque(name: str, *, terminal: bool = False) -> Callable[[Reading, Any], None]:
    return lambda reading, _: reading.code.exprs.append(
        Unknown(name, b"", terminal=terminal, writes=ALL_SLOTS if terminal else ())
    )


def _notrack(reading: Reading, _: Any) -> None:
    reading.code.exprs.append(Notrack())


_STATEMENTS: dict[str, Callable[[Reading, Any], None]] = {
    "match": _match,
    "vmap": _vmap,
    "mangle": _mangle,
    "limit": _limit,
    "reject": _reject,
    "dnat": _nat("dnat"),
    "snat": _nat("snat"),
    "redirect": _redirect,
    "masquerade": _masquerade,
    "notrack": _notrack,
    "set": _set,
    "map": _set,
    "meter": _meter,
    "counter": _aside("counter"),
    "log": _aside("log"),
    "last": _aside("last"),
    # what the bytecode reader knows by these names, with the same influence
    "quota": _opaque("quota"),
    "ct count": _opaque("connlimit"),
    "ct helper": _opaque("objref ct helper"),
    "ct timeout": _opaque("objref ct timeout"),
    "ct expectation": _opaque("objref ct expectation"),
    "secmark": _opaque("objref secmark"),
    "tunnel": _opaque("objref tunnel"),
    "flow": _opaque("flow_offload"),
    "dup": _opaque("dup"),
    "reset": _opaque("exthdr"),
    "queue": _opaque("queue", terminal=True),
    "synproxy": _opaque("synproxy", terminal=True),
    "tproxy": _opaque("tproxy", terminal=True),
    "fwd": _opaque("fwd", terminal=True),
}
