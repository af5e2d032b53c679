"""Expressions of `nft -j` that load a value: from JSON to instructions of the register machine, with the guards nft leaves unsaid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from librespot_guard.firewall import nft_json_fields as known
from librespot_guard.firewall.model import Bitwise, Byteorder, Cmp, Ct, Expr, Fib, Immediate, Meta, Payload
from librespot_guard.firewall.nft_json_types import TYPES, Type, Unsupported, encoded, integer, literal, number

_ETHER = 1  # ARPHRD_ETHER
# guards use the last register, so that they may come between the fields of a key
_GUARD = 15


class Loaded(NamedTuple):
    """A value in registers from slot `slot`: its type, and by how many bits constants are to be shifted to compare with it."""

    kind: Type
    slot: int
    shift: int = 0
    length: int = 0

    @property
    def size(self) -> int:
        """Bytes in the registers (more than its type needs where a few bits of a header were masked in place)."""
        return self.length or self.kind.length

    def constant(self, value: int) -> bytes:
        """A number as these registers hold it."""
        if self.length:
            return (value << self.shift).to_bytes(self.length, "big")
        return encoded(self.kind, value)


@dataclass(slots=True)
class Code:
    """The instructions of one rule while it is read. `guards` are those already there, `lost` what the listing may have dropped."""

    family: str
    interfaces: Mapping[str, int]
    exprs: list[Expr] = field(default_factory=list)
    guards: set[tuple[str, int]] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def guard(self, key: str, value: int) -> None:
        """Go on only for packets of one protocol: `meta nfproto`, `protocol`, `l4proto` or `iiftype`."""
        if (key, value) in self.guards:
            return
        self.guards.add((key, value))
        kind = known.META[key][1]
        self.exprs += [Meta(key, _GUARD), Cmp("eq", _GUARD, encoded(kind, value))]

    def network(self, name: str) -> None:
        """The guard of "ip" or "ip6", where the table sees other packets too."""
        if self.family == "inet":
            self.guard("nfproto", known.NFPROTO[name])
        elif self.family in ("bridge", "netdev"):
            self.guard("protocol", known.ETHERTYPE[name])

    def protocol(self, name: str) -> None:
        """Every guard of a header."""
        base, _ = known.HEADERS[name]
        if name in known.NETWORK:
            self.network(known.NETWORK[name])
        if name in known.L4PROTO:
            self.guard("l4proto", known.L4PROTO[name])
        elif name == "th" and not self.told & {"l4proto", "ip protocol", "ip6 nexthdr"}:
            self.lost.append("`th` without a protocol: nft before 1.1.2 does not print the guard")
        if base == "link" and self.family not in ("bridge", "netdev"):
            self.guard("iiftype", _ETHER)


def keys(value: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object with exactly these keys, or Unsupported: an unknown key may change what it means."""
    if not isinstance(value, dict):
        raise Unsupported(f"{shown(value)} instead of an object")
    for name in required:
        if name not in value:
            raise Unsupported(f"the key `{name}` is missing in {shown(value)}")
    for name in value:
        if name not in required and name not in optional:
            raise Unsupported(f"the key `{name}` in {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value in a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def only(value: Any) -> tuple[str, Any]:
    """The one key of an object and its value; Unsupported for anything else."""
    if not isinstance(value, dict) or len(value) != 1:
        raise Unsupported(f"the expression {shown(value)}")
    return next(iter(value.items()))


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
        case "concat":
            raise Unsupported("a concatenation here")
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
        if slot > _GUARD:
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


def ordered(code: Code, value: Loaded) -> None:
    """Bring a value of host order into network order, in which the kernel compares ranges."""
    if value.kind.host and value.size > 1:
        code.exprs.append(Byteorder("hton", value.slot, value.slot, value.size, value.size))


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
    """Load bits of a header; what is no whole bytes is masked where it is."""
    first, last = offset // 8, (offset + kind.bits + 7) // 8
    size = last - first
    code.exprs.append(Payload(base, first, size, slot))
    if offset % 8 == 0 and kind.bits % 8 == 0:
        return Loaded(kind, slot)
    shift = 8 * last - offset - kind.bits
    mask = ((1 << kind.bits) - 1) << shift
    code.exprs.append(Bitwise("mask-xor", slot, slot, size, mask.to_bytes(size, "big"), bytes(size)))
    return Loaded(kind, slot, shift, size)


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
    """`fib … exists`: 1.0.6 prints it as the interface compared with true or false; the kernel is asked for presence."""
    last = code.exprs.pop()
    if not isinstance(last, Fib):
        raise Unsupported("exists or missing here")
    code.exprs.append(Fib(last.flags | known.FIB_PRESENT, "oif", last.dreg))
    return Loaded(TYPES["boolean"], value.slot)


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
