"""Expressions of `nft -j` that load a value: from JSON to instructions of the register machine, with the guards nft leaves unsaid."""

from dataclasses import replace
from typing import Any

from librespot_guard.firewall import nft_json_beyond as beyond
from librespot_guard.firewall import nft_json_fields as known
from librespot_guard.firewall.model import Bitwise, Ct, Fib, Immediate, Meta, Payload
from librespot_guard.firewall.model_beyond import Exthdr, Hash
from librespot_guard.firewall.nft_json_code import GUARD, Code, Loaded, keys, loaded_bits, only, shown
from librespot_guard.firewall.nft_json_types import TYPES, Type, Unsupported, encoded, integer, literal, number


def load(code: Code, expr: Any, slot: int = 0) -> Loaded:
    """Instructions that load an expression to `slot`. Raises Unsupported, having changed nothing but guards."""
    name, body = only(expr)
    match name:
        case "payload":
            return _payload(code, body, slot)
        case "meta":
            key = keys(body, ("key",))["key"]
            if key not in known.META:
                raise Unsupported(f"meta {key}")
            kernel, kind = known.META[key]
            code.told.add(kernel)
            code.exprs.append(Meta(kernel, slot))
            return Loaded(kind, slot)
        case "ct":
            return _ct(code, body, slot)
        case "fib":
            return _fib(code, body, slot)
        case "&" | "|" | "^" | "<<" | ">>":
            return _binary(code, name, body, slot)
        case "jhash":
            return _jhash(code, body, slot)
        case "concat":
            raise Unsupported("a concatenation here")
        case _ if name in beyond.LOADS:
            return beyond.LOADS[name](code, body, slot)
    raise Unsupported(name)


def fields(code: Code, expr: Any, slot: int = 0) -> list[Loaded]:
    """Load a key: one expression, or the fields of a concatenation, each in registers of its own."""
    if isinstance(expr, dict) and list(expr) == ["concat"]:
        parts = expr["concat"]
        if not isinstance(parts, list) or not parts:
            raise Unsupported(f"the concatenation {shown(parts)}")
    else:
        parts = [expr]
    out = []
    for part in parts:
        out.append(plain(code, load(code, part, slot)))
        slot += (out[-1].size + 3) // 4
        if slot > GUARD:
            raise Unsupported("a key longer than the registers")
    return out


def plain(code: Code, value: Loaded) -> Loaded:
    """The value without the bits around it, as named sets hold it."""
    if not value.length:
        return value
    if value.shift:
        code.exprs.append(Bitwise("rshift", value.slot, value.slot, value.length, shift=value.shift))
    kind = integer(8 * value.length)
    return Loaded(Type(value.kind.name, kind.bits, names=value.kind.names), value.slot)


def _payload(code: Code, body: Any, slot: int) -> Loaded:
    if isinstance(body, dict) and "base" in body:
        body = keys(body, ("base", "offset", "len"))
        base, offset, size = known.RAW_BASES.get(body["base"]), body["offset"], body["len"]
        if (
            base is None
            or not isinstance(offset, int)
            or not isinstance(size, int)
            or not 0 < size <= 128
            or offset < 0
        ):
            raise Unsupported(f"the raw payload {shown(body)}")
        if base == "transport" and "l4proto" not in code.told:
            code.lost.append("raw transport payload: nft before 1.1.2 may not print its guard")
        return _bits(code, base, offset, integer(size), slot)
    body = keys(body, ("protocol", "field"))
    base, header = known.HEADERS.get(body["protocol"], ("", {}))
    if body["field"] not in header:
        if body["protocol"] in known.HEADERS:
            code.protocol(body["protocol"])
        raise Unsupported(f"{body['protocol']} {body['field']}")
    code.protocol(body["protocol"])
    code.told.add(f"{body['protocol']} {body['field']}")
    found = header[body["field"]]
    return _bits(code, base, found.offset, found.kind, slot)


def _bits(code: Code, base: str, offset: int, kind: Type, slot: int) -> Loaded:
    return loaded_bits(code, lambda first, size: Payload(base, first, size, slot), offset, kind, slot)


def _ct(code: Code, body: Any, slot: int) -> Loaded:
    body = keys(body, ("key",), ("family", "dir"))
    key, direction = body["key"], {"original": 0, "reply": 1, None: None}.get(body.get("dir"), -1)
    if direction == -1:
        raise Unsupported(f"ct direction {body['dir']!r}")
    family, _, rest = key.rpartition(" ") if isinstance(key, str) else ("", "", "")
    family = family or body.get("family") or ""
    if rest in ("saddr", "daddr"):
        way = "src" if rest == "saddr" else "dst"
        if family not in ("ip", "ip6"):
            raise Unsupported("a ct address without a family")
        code.exprs.append(Ct(f"{way}_{family}", slot, direction))
        return Loaded(TYPES["ipv4_addr" if family == "ip" else "ipv6_addr"], slot)
    if key not in known.CT:
        raise Unsupported(f"ct {key}")
    if key == "protocol":
        code.lost.append("`ct protocol`: nft before 1.1.2 does not print a guard of the family before it")
    kernel, kind = known.CT[key]
    code.exprs.append(Ct(kernel, slot, direction))
    return Loaded(kind, slot)


def _fib(code: Code, body: Any, slot: int) -> Loaded:
    body = keys(body, ("result", "flags"))
    names = body["flags"] if isinstance(body["flags"], list) else [body["flags"]]
    flags = 0
    for name in names:
        if name not in known.FIB_FLAGS:
            raise Unsupported(f"fib {name}")
        flags |= known.FIB_FLAGS[name]
    result, kind = {
        "oif": ("oif", "iface_index"),
        "oifname": ("oifname", "ifname"),
        "type": ("addrtype", "fib_addrtype"),
        "check": ("oif", "boolean"),
    }.get(body["result"], ("", ""))
    if not result:
        raise Unsupported(f"fib {body['result']}")
    if kind == "boolean":
        flags |= known.FIB_PRESENT
    code.exprs.append(Fib(flags, result, slot))
    return Loaded(TYPES[kind], slot)


def presence(code: Code, value: Loaded) -> Loaded:
    """`fib … exists`: 1.0.6 prints it as the interface compared with true or false; the kernel is asked for presence.

    An option by its number (`tcp option 254 exists`) is printed as its first byte, likewise compared.
    """
    last = code.exprs.pop()
    if isinstance(last, Exthdr):
        code.exprs.append(replace(last, offset=0, length=1, present=True))
    elif isinstance(last, Fib):
        code.exprs.append(Fib(last.flags | known.FIB_PRESENT, "oif", last.dreg))
    else:
        raise Unsupported("exists or missing here")
    return Loaded(TYPES["boolean"], value.slot)


def _jhash(code: Code, body: Any, slot: int) -> Loaded:
    body = keys(body, ("mod", "expr"), ("offset", "seed"))
    numbers = [body["mod"], body.get("offset", 0), body.get("seed", 0)]
    if not all(isinstance(n, int) and 0 <= n < 1 << 32 for n in numbers):
        raise Unsupported(f"the hash {shown(body)}")
    parts = fields(code, body["expr"], slot + 1)
    # the fields of a concatenation are padded to whole registers
    size = sum((p.size + 3) // 4 * 4 for p in parts) if len(parts) > 1 else parts[0].size
    code.exprs.append(Hash("jhash", numbers[0], numbers[1], slot, slot + 1, size, body.get("seed")))
    return Loaded(TYPES["host_32"], slot)


def _binary(code: Code, name: str, operands: Any, slot: int) -> Loaded:
    if not isinstance(operands, list) or len(operands) < 2:
        raise Unsupported(f"the operands {shown(operands)}")
    value = load(code, operands[0], slot)
    for operand in operands[1:]:
        size = value.size
        if name in ("<<", ">>"):
            if value.kind.length != 4 or not value.kind.host:
                raise Unsupported(f"{name} of {value.kind.name}")
            bits = number(integer(8), operand, code.interfaces)
            code.exprs.append(Bitwise("lshift" if name == "<<" else "rshift", slot, slot, size, shift=bits))
            continue
        full = bytes([255]) * size
        constant = value.constant(number(value.kind, literal(operand), code.interfaces))
        inverse = bytes(b ^ 255 for b in constant)
        mask, xor = {"&": (constant, bytes(size)), "|": (inverse, constant), "^": (full, constant)}[name]
        code.exprs.append(Bitwise("mask-xor", slot, slot, size, mask, xor))
    return value


def immediate(code: Code, kind: Type, value: Any, slot: int) -> None:
    """Load a constant."""
    code.exprs.append(Immediate(slot, encoded(kind, number(kind, literal(value), code.interfaces))))
