"""What a rule of `nft -j` is read with: its instructions so far with the guards nft leaves unsaid, and values in registers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from librespot_guard.firewall import nft_json_fields as known
from librespot_guard.firewall.model import Bitwise, Byteorder, Cmp, Expr, Meta
from librespot_guard.firewall.nft_json_types import Type, Unsupported, encoded

_ETHER = 1  # ARPHRD_ETHER
# guards use the last register, so that they may come between the fields of a key
GUARD = 15


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
        self.exprs += [Meta(key, GUARD), Cmp("eq", GUARD, encoded(kind, value))]

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


def ordered(code: Code, value: Loaded) -> None:
    """Bring a value of host order into network order, in which the kernel compares ranges."""
    if value.kind.host and value.size > 1:
        code.exprs.append(Byteorder("hton", value.slot, value.slot, value.size, value.size))


def loaded_bits(code: Code, make: Callable[[int, int], Expr], offset: int, kind: Type, slot: int) -> Loaded:
    """Load bits of a header with what `make` gives for (first byte, bytes); what is no whole bytes is masked where it is."""
    first, last = offset // 8, (offset + kind.bits + 7) // 8
    size = last - first
    code.exprs.append(make(first, size))
    if offset % 8 == 0 and kind.bits % 8 == 0:
        return Loaded(kind, slot)
    shift = 8 * last - offset - kind.bits
    mask = ((1 << kind.bits) - 1) << shift
    code.exprs.append(Bitwise("mask-xor", slot, slot, size, mask.to_bytes(size, "big"), bytes(size)))
    return Loaded(kind, slot, shift, size)
