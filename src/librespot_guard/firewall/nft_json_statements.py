"""What the statements of `nft -j` do, one function each: limits, rejects, translations, marks, and what is only beside a rule."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from librespot_guard.firewall import nft_json_fields as known
from librespot_guard.firewall import nft_json_sets as sets
from librespot_guard.firewall.data import ALL_SLOTS
from librespot_guard.firewall.model import (
    Bitwise,
    CtSet,
    Dynset,
    Immediate,
    Limit,
    Masquerade,
    MetaSet,
    Nat,
    Notrack,
    Pass,
    Payload,
    PayloadSet,
    Redirect,
    Reject,
    Set,
    Unknown,
)
from librespot_guard.firewall.model_beyond import Connlimit, Exthdr, ExthdrSet, Quota
from librespot_guard.firewall.nft_json_code import keys, only, ordered, shown
from librespot_guard.firewall.nft_json_load import fields, load
from librespot_guard.firewall.nft_json_place import Reading, load_value, look_up_map
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
)

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_BYTES = {"packets": 1, "bytes": 1, "kbytes": 1024, "mbytes": 1024 * 1024}
# NF_NAT_RANGE_* of linux/netfilter/nf_nat.h
_NAT_FLAGS = {"random": 4, "persistent": 8, "fully-random": 16, "netmap": 64}
_PORT_SLOT = 12
_ADDRESS_END = 4


def _mangle(reading: Reading, body: Any) -> None:
    body = keys(body, ("key", "value"))
    name, target = only(body["key"])
    code = reading.code
    if name in ("meta", "ct"):
        kernel, kind = (known.META if name == "meta" else known.CT).get(target.get("key"), ("", TYPES["mark"]))
        if not kernel:
            raise Unsupported(f"setting {name} {target.get('key')}")
        load_value(reading, body["value"], kind, 0)
        code.exprs.append(MetaSet(kernel, 0) if name == "meta" else CtSet(kernel, 0))
        return
    if name == "tcp option":
        _set_option(reading, body)
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
        load_value(reading, body["value"], loaded.kind, loaded.slot)
    code.exprs.append(PayloadSet(where.base, where.offset, where.length, loaded.slot))


def _set_option(reading: Reading, body: Any) -> None:
    code = reading.code
    loaded = load(code, body["key"])
    where = code.exprs.pop()
    if not isinstance(where, Exthdr) or loaded.length:
        raise Unsupported(f"setting {shown(body['key'])}")
    if isinstance(body["value"], dict) and list(body["value"]) == ["rt"]:
        ordered(code, load(code, body["value"]))
    else:
        load_value(reading, body["value"], loaded.kind, 0)
    code.exprs.append(ExthdrSet(where.op, where.kind, where.offset, where.length, 0))


def _reset(reading: Reading, body: Any) -> None:
    load(reading.code, body)
    where = reading.code.exprs.pop()
    if not isinstance(where, Exthdr):
        raise Unsupported(f"resetting {shown(body)}")
    reading.code.exprs.append(ExthdrSet(where.op, where.kind))


def _quota(reading: Reading, body: Any) -> None:
    if isinstance(body, str):
        reading.code.exprs.append(Unknown("objref quota", b""))
        return
    body = keys(body, ("val", "val_unit"), ("inv", "used", "used_unit"))
    if body["val_unit"] not in _BYTES or not isinstance(body["val"], int):
        raise Unsupported(f"the quota {shown(body)}")
    reading.code.exprs.append(Quota(body["val"] * _BYTES[body["val_unit"]], bool(body.get("inv", False))))


def _connlimit(reading: Reading, body: Any) -> None:
    if isinstance(body, str):
        reading.code.exprs.append(Unknown("objref connlimit", b""))
        return
    body = keys(body, ("val",), ("inv",))
    if not isinstance(body["val"], int):
        raise Unsupported(f"the count {shown(body)}")
    reading.code.exprs.append(Connlimit(body["val"], bool(body.get("inv", False))))


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
        kinds = look_up_map(reading, value["map"], 0, None)
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
        look_up_map(reading, value["map"], _PORT_SLOT, [kind])
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


STATEMENTS: dict[str, Callable[[Reading, Any], None]] = {
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
    "quota": _quota,
    "ct count": _connlimit,
    "ct helper": _opaque("objref ct helper"),
    "ct timeout": _opaque("objref ct timeout"),
    "ct expectation": _opaque("objref ct expectation"),
    "secmark": _opaque("objref secmark"),
    "tunnel": _opaque("objref tunnel"),
    "flow": _opaque("flow_offload"),
    "dup": _opaque("dup"),
    "reset": _reset,
    "queue": _opaque("queue", terminal=True),
    "synproxy": _opaque("synproxy", terminal=True),
    "tproxy": _opaque("tproxy", terminal=True),
    "fwd": _opaque("fwd", terminal=True),
}
