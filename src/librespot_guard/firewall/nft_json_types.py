"""The data types of nft's language: how wide a constant is, in which byte order a register holds it, and what its names stand for.

Encodes src/datatype.c, src/proto.c, src/ct.c, src/fib.c and src/meta.c of nftables (1.0.6 to 1.1.6), as far as `nft -j` prints them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any


class Unsupported(ValueError):  # noqa: N818 - it never leaves this package
    """A construct of the listing that this reader has no meaning for; the text says which."""


@dataclass(frozen=True, slots=True)
class Type:
    """A data type: its width, whether registers hold it in host order, its symbolic constants, and whether it is a set of flags."""

    name: str
    bits: int
    host: bool = False
    names: Mapping[str, int] = field(default_factory=dict)
    flags: bool = False

    @property
    def length(self) -> int:
        """Bytes in a register."""
        return (self.bits + 7) // 8


def _numbered(*names: str, start: int = 0) -> dict[str, int]:
    return {name: number for number, name in enumerate(names, start) if name}


PROTOCOLS = {
    "ip": 0, "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6": 41, "ipv6-route": 43,
    "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59,
    "ipv6-opts": 60, "eigrp": 88, "ospf": 89, "pim": 103, "comp": 108, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "sctp": 132,
    "mobility": 135, "udplite": 136, "mptcp": 262,
}  # fmt: skip
_ICMP = {
    "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
    "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
    "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16, "address-mask-request": 17,
    "address-mask-reply": 18,
}  # fmt: skip
_ICMP6 = {
    "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128,
    "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
    "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138, "ind-neighbor-solicit": 141,
    "ind-neighbor-advert": 142, "mld2-listener-report": 143,
}  # fmt: skip
ICMP_CODES = {
    "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3, "frag-needed": 4,
    "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
}  # fmt: skip
ICMP6_CODES = {
    "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4, "policy-fail": 5, "reject-route": 6,
}  # fmt: skip
ICMPX_CODES = {"no-route": 0, "port-unreachable": 1, "host-unreachable": 2, "admin-prohibited": 3}
ETHERTYPES = {
    "ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD, "8021q": 0x8100, "vlan": 0x8100, "8021ad": 0x88A8,
}  # fmt: skip
_DSCP = {
    "cs0": 0, "df": 0, "be": 0, "lephb": 1, "cs1": 8, "af11": 10, "af12": 12, "af13": 14, "cs2": 16, "af21": 18, "af22": 20,
    "af23": 22, "cs3": 24, "af31": 26, "af32": 28, "af33": 30, "cs4": 32, "af41": 34, "af42": 36, "af43": 38, "cs5": 40,
    "va": 44, "ef": 46, "cs6": 48, "cs7": 56,
}  # fmt: skip
_CT_STATUS = {
    "expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "dying": 512,
}  # fmt: skip
_FIB_TYPES = _numbered(
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw",
    "nat", "xresolve",
)  # fmt: skip
_BOOLEAN = {"exists": 1, "missing": 0}

TYPES: dict[str, Type] = {
    t.name: t
    for t in (
        Type("integer", 32),
        Type("ipv4_addr", 32),
        Type("ipv6_addr", 128),
        Type("ether_addr", 48),
        Type("ether_type", 16, names=ETHERTYPES),
        Type("inet_proto", 8, names=PROTOCOLS),
        Type("inet_service", 16),
        Type("icmp_type", 8, names=_ICMP),
        Type("icmpv6_type", 8, names=_ICMP6),
        Type("icmp_code", 8, names=ICMP_CODES),
        Type("icmpv6_code", 8, names=ICMP6_CODES),
        Type(
            "tcp_flag",
            8,
            names={"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128},
            flags=True,
        ),
        Type("dscp", 6, names=_DSCP),
        Type("ecn", 2, names={"not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3}),
        Type("nf_proto", 8, names={"ipv4": 2, "ipv6": 10}),
        Type("mark", 32, host=True),
        Type("iface_index", 32, host=True),
        Type("ifname", 128),
        Type("iface_type", 16, host=True, names={"ether": 1, "ppp": 512, "ipip": 768, "ipip6": 769, "loopback": 772, "sit": 776, "ipgre": 778}),
        Type("uid", 32, host=True, names={"root": 0}),
        Type("gid", 32, host=True, names={"root": 0}),
        Type("pkt_type", 8, names={"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}),
        Type("devgroup", 32, host=True, names={"default": 0}),
        Type("cgroupsv2", 64, host=True),
        Type("ct_state", 32, host=True, names={"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}, flags=True),
        Type("ct_dir", 8, names={"original": 0, "reply": 1}),
        Type("ct_status", 32, host=True, names=_CT_STATUS, flags=True),
        Type("fib_addrtype", 32, host=True, names=_FIB_TYPES),
        Type("boolean", 8, names=_BOOLEAN),
        Type("tc_handle", 32, host=True, names={"none": 0, "root": 0xFFFFFFFF}),
        Type("host_16", 16, host=True),
        Type("host_32", 32, host=True),
        Type("host_64", 64, host=True),
        Type("string", 128),
    )
}  # fmt: skip


def integer(bits: int) -> Type:
    """A number without names, in network order."""
    return Type("integer", bits)


def number(kind: Type, value: Any, interfaces: Mapping[str, int]) -> int:
    """A constant of a type as a number. Raises Unsupported for one that is not known or does not fit."""
    found = _number(kind, value, interfaces)
    if not 0 <= found < 1 << max(kind.bits, 1):
        raise Unsupported(f"{value!r} does not fit into {kind.name}")
    return found


def _number(kind: Type, value: Any, interfaces: Mapping[str, int]) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return _ethertype(value) if kind.name == "ether_type" else value
    if isinstance(value, list) and kind.flags:
        out = 0
        for item in value:
            out |= number(kind, item, interfaces)
        return out
    if isinstance(value, dict) and len(value) == 1:
        ((op, operands),) = value.items()
        if op in ("|", "&", "^", "<<") and isinstance(operands, list) and len(operands) >= 2:
            first, *rest = [number(kind, o, interfaces) for o in operands]
            for other in rest:
                first = {"|": first | other, "&": first & other, "^": first ^ other, "<<": first << min(other, 256)}[op]
            return first
    if not isinstance(value, str):
        raise Unsupported(f"the constant {value!r}")
    return _symbol(kind, value, interfaces)


def _ethertype(value: int) -> int:
    """`nft -jn` prints these in the byte order of its machine, `nft -j` by name: only what can be one thing is taken."""
    swapped = (value & 0xFF) << 8 | value >> 8 & 0xFF
    known = set(ETHERTYPES.values())
    if value in known or swapped not in known:
        if value not in known:
            raise Unsupported(f"the ether type {value}, which may be {value:#06x} or {swapped:#06x}")
        return value
    return swapped


def _symbol(kind: Type, text: str, interfaces: Mapping[str, int]) -> int:
    if text in kind.names:
        return kind.names[text]
    try:
        match kind.name:
            case "ipv4_addr":
                return int(IPv4Address(text))
            case "ipv6_addr":
                return int(IPv6Address(text))
            case "ether_addr" if len(text) == 17:
                return int(text.replace(":", ""), 16)
            case "ifname" | "string":
                raw = text.encode()
                if len(raw) > 15:
                    raise Unsupported(f"the name {text!r} is too long")
                return int.from_bytes(raw.ljust(16, b"\0"), "big")
            case "tc_handle" if ":" in text:
                major, _, minor = text.partition(":")
                return int(major or "0", 16) << 16 | int(minor or "0", 16)
            case "iface_index" if not text.isdecimal():
                return index(text, interfaces)
        return int(text, 0) if len(text) <= 42 else -1
    except (AddressValueError, ValueError) as error:
        if isinstance(error, Unsupported):
            raise
        raise Unsupported(f"{text!r} is no {kind.name} that is known here") from None


def index(name: str, interfaces: Mapping[str, int]) -> int:
    """The index of an interface: an interface that is not there has one that no interface has."""
    found = interfaces.get(name)
    if found is None:
        found = 0x70000000 | int.from_bytes(name.encode()[-3:], "big")
    return found


def encoded(kind: Type, value: int) -> bytes:
    """A number as a register holds it. Listings know no byte order: the rulesets made from them are little endian."""
    return value.to_bytes(kind.length, "little" if kind.host else "big")


def wildcard(value: Any) -> bytes | None:
    r"""The beginning that a name such as `eth*` stands for; None if it is no wildcard (`eth\*` is none)."""
    if not isinstance(value, str) or not value.endswith("*") or value.endswith("\\*"):
        return None
    return value[:-1].encode()


def literal(value: Any) -> Any:
    r"""A name with its escaped asterisk made plain."""
    return value[:-2] + "*" if isinstance(value, str) and value.endswith("\\*") else value
