"""Conditions of iptables rules as instructions of the neutral model: what a match asks, in nf_tables' own words.

The semantics are those of net/ipv4/netfilter/ip_tables.c, net/ipv6/netfilter/ip6_tables.c and net/netfilter/xt_NAME.c. What has no
equivalent, or is not understood, raises `Unsupported`, and the condition may hold or not.
"""

from collections.abc import Callable, Mapping, Sequence

from librespot_guard.firewall.ipset_save import IpSets
from librespot_guard.firewall.iptables_save import Module
from librespot_guard.firewall.iptables_values import (
    Option,
    address,
    bits,
    bounds,
    either_port,
    flags,
    interface,
    limit,
    masked_mark,
    network,
    protocol,
)
from librespot_guard.firewall.model import (
    SET_ANONYMOUS,
    SET_CONSTANT,
    SET_INTERVAL,
    Bitwise,
    Cmp,
    Ct,
    Element,
    Expr,
    Fib,
    Lookup,
    Meta,
    Pass,
    Payload,
    Range,
    Set,
    Unknown,
)
from librespot_guard.firewall.model_beyond import Exthdr
from librespot_guard.firewall.nft_json_types import TYPES, Unsupported

_STATES = {"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}
_STATUS = {"SNAT": 16, "DNAT": 32}
_TCP_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
_ADDRTYPES = {
    "UNSPEC": 0, "UNICAST": 1, "LOCAL": 2, "BROADCAST": 3, "ANYCAST": 4, "MULTICAST": 5, "BLACKHOLE": 6, "UNREACHABLE": 7,
    "PROHIBIT": 8, "THROW": 9, "NAT": 10, "XRESOLVE": 11,
}  # fmt: skip
_PKTTYPES = {"unicast": 0, "host": 0, "broadcast": 1, "multicast": 2}
_SADDR, _DADDR = 1, 2
_IPV6_HEADER = 40


class Matches:
    """Reads conditions of one family ("ip" or "ip6"); `sets` receives the anonymous sets that they need."""

    def __init__(self, family: str, sets: dict[str, Set], ipsets: IpSets | None) -> None:
        self.family, self.sets, self.ipsets = family, sets, ipsets

    def add(self, length: int, elements: Sequence[Element], flags: int = 0) -> str:
        """An anonymous set; its name."""
        name = f"__iptables{len(self.sets) + 1}"
        self.sets[name] = Set(name, SET_ANONYMOUS | SET_CONSTANT | flags, length, tuple(elements))
        return name

    def address(self, direction: str) -> Payload:
        """Load the source ("src") or destination."""
        if self.family == "ip":
            return Payload("network", 12 if direction == "src" else 16, 4, 0)
        return Payload("network", 8 if direction == "src" else 24, 16, 0)

    def entry(self, option: Option) -> list[Expr]:
        """One of -s, -d, -i, -o, -p, -f. Raises Unsupported."""
        inverted, name, values = option
        match name:
            case "-s" | "-d":
                return [self.address("src" if name == "-s" else "dst"), *self._network(values[0], inverted=inverted)]
            case "-i" | "-o":
                return interface("iifname" if name == "-i" else "oifname", values[0], inverted=inverted)
            case "-p":
                return protocol(values[0], inverted=inverted)
            case "-f" if self.family == "ip":
                # a fragment other than the first
                return [
                    Payload("network", 6, 2, 0),
                    Bitwise("mask-xor", 0, 0, 2, b"\x1f\xff", bytes(2)),
                    Cmp("eq" if inverted else "neq", 0, bytes(2)),
                ]
            case "-4" | "-6":
                return []
        raise Unsupported(name)

    def _network(self, text: str, *, inverted: bool) -> list[Expr]:
        op = "neq" if inverted else "eq"
        size = 4 if self.family == "ip" else 16
        found = network(text, self.family)
        if found is not None:
            if found.prefixlen == 0:
                return (
                    [Bitwise("mask-xor", 0, 0, size, bytes(size), bytes(size)), Cmp(op, 0, bytes(size))]
                    if inverted
                    else []
                )
            if found.prefixlen == 8 * size:
                return [Cmp(op, 0, found.network_address.packed)]
            return [Range(op, 0, found.network_address.packed, found.broadcast_address.packed)]
        host, _, mask = text.partition("/")
        value, bits = address(host, self.family), address(mask, self.family)
        return [
            Bitwise("mask-xor", 0, 0, size, bits, bytes(size)),
            Cmp(op, 0, bytes(a & b for a, b in zip(value, bits, strict=True))),
        ]

    def match(self, module: Module) -> list[Expr]:
        """One `-m`. Raises Unsupported."""
        if module.name == "comment":
            return [Pass("comment")]
        if module.name == "multiport":
            return self._multiport(module)
        if module.name == "limit":
            return [limit(module)]
        reader = self._READERS.get(module.name)
        if reader is None:
            raise Unsupported(f"xt match {module.name}")
        out: list[Expr] = []
        for option in module.options:
            out += reader(self, option)
        return out

    def _ports(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        op = "neq" if inverted else "eq"
        if name in ("--sport", "--dport", "--source-port", "--destination-port") and len(values) == 1:
            low, high = bounds(values[0], 65535)
            load = Payload("transport", 0 if name in ("--sport", "--source-port") else 2, 2, 0)
            if low == high:
                return [load, Cmp(op, 0, low.to_bytes(2, "big"))]
            return [load, Range(op, 0, low.to_bytes(2, "big"), high.to_bytes(2, "big"))]
        if name == "--tcp-flags" and len(values) == 2:
            mask, wanted = (flags(v, _TCP_FLAGS) for v in values)
            return [
                Payload("transport", 13, 1, 0),
                Bitwise("mask-xor", 0, 0, 1, bytes([mask]), b"\0"),
                Cmp(op, 0, bytes([wanted])),
            ]
        if name == "--syn" and not values:
            return self._ports((inverted, "--tcp-flags", ("FIN,SYN,RST,ACK", "SYN")))
        raise Unsupported(f"tcp or udp {name}")

    def _multiport(self, module: Module) -> list[Expr]:
        if len(module.options) != 1 or len(module.options[0][2]) != 1:
            raise Unsupported("xt match multiport")
        inverted, name, values = module.options[0]
        ranges = sorted(bounds(word, 65535) for word in values[0].split(","))
        if name in ("--sports", "--source-ports", "--dports", "--destination-ports"):
            load = Payload("transport", 0 if name.startswith("--s") else 2, 2, 0)
            return [load, Lookup(self._intervals(ranges), 0, None, inverted)]
        if name != "--ports":
            raise Unsupported(f"multiport {name}")
        return [either_port(ranges, inverted=inverted)]

    def _intervals(self, ranges: Sequence[tuple[int, int]]) -> str:
        """An anonymous set of port ranges."""
        merged: list[list[int]] = []
        for low, high in ranges:
            if merged and low <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], high)
            else:
                merged.append([low, high])
        elements = []
        for low, high in merged:
            elements.append(Element(low.to_bytes(2, "big")))
            if high < 65535:
                elements.append(Element((high + 1).to_bytes(2, "big"), interval_end=True))
        return self.add(2, elements, SET_INTERVAL)

    def _icmp(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        if name not in ("--icmp-type", "--icmpv6-type") or len(values) != 1:
            raise Unsupported(f"icmp {name}")
        if values[0] == "any":
            return []
        kind, _, code = values[0].partition("/")
        names = TYPES["icmp_type" if self.family == "ip" else "icmpv6_type"].names
        value = names.get(kind, -1) if not kind.isdecimal() else int(kind)
        if not 0 <= value <= 255 or (code and not (code.isdecimal() and int(code) <= 255)):
            raise Unsupported(f"icmp type {values[0]}")
        data = bytes([value, int(code)]) if code else bytes([value])
        return [Payload("transport", 0, len(data), 0), Cmp("neq" if inverted else "eq", 0, data)]

    def _state(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        op = "eq" if inverted else "neq"
        if name in ("--ctstate", "--state") and len(values) == 1:
            words = values[0].split(",")
            if all(w in _STATES for w in words):
                return bits(Ct("state", 0), flags(values[0], _STATES), op)
            # without a connection there is no status to load, and then only the inverted match holds
            if all(w in _STATUS for w in words) and not inverted:
                return bits(Ct("status", 0), flags(values[0], _STATUS), op)
        if name in ("--ctorigdst", "--ctorigsrc") and len(values) == 1:
            way = "dst" if name == "--ctorigdst" else "src"
            return [Ct(f"{way}_{self.family}", 0, 0), *self._network(values[0], inverted=inverted)]
        if name == "--ctorigdstport" and len(values) == 1:
            low, high = bounds(values[0], 65535)
            return [
                Ct("proto_dst", 0, 0),
                Range("neq" if inverted else "eq", 0, low.to_bytes(2, "big"), high.to_bytes(2, "big")),
            ]
        raise Unsupported(f"conntrack {name} {' '.join(values)}")

    def _addrtype(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        if name not in ("--src-type", "--dst-type") or len(values) != 1:
            raise Unsupported(f"addrtype {name}")
        try:
            kinds = [_ADDRTYPES[w] for w in values[0].split(",")]
        except KeyError:
            raise Unsupported(f"addrtype {values[0]}") from None
        flags = _SADDR if name == "--src-type" else _DADDR
        load = Fib(flags, "addrtype", 0)
        if len(kinds) == 1:
            return [load, Cmp("neq" if inverted else "eq", 0, kinds[0].to_bytes(4, "little"))]
        return [load, Lookup(self.add(4, [Element(k.to_bytes(4, "little")) for k in kinds]), 0, None, inverted)]

    def _iprange(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        if name not in ("--src-range", "--dst-range") or len(values) != 1:
            raise Unsupported(f"iprange {name}")
        low, _, high = values[0].partition("-")
        ends = address(low, self.family), address(high or low, self.family)
        return [self.address(name[2:5]), Range("neq" if inverted else "eq", 0, *ends)]

    def _mark(self, option: Option) -> list[Expr]:
        return masked_mark(Meta("mark", 0), option)

    def _connmark(self, option: Option) -> list[Expr]:
        return masked_mark(Ct("mark", 0), option)

    def _pkttype(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        if name != "--pkt-type" or len(values) != 1 or values[0] not in _PKTTYPES:
            raise Unsupported(f"pkttype {' '.join(values)}")
        return [Meta("pkttype", 0), Cmp("neq" if inverted else "eq", 0, bytes([_PKTTYPES[values[0]]]))]

    def _ttl(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        op = {
            "--ttl-eq": "neq" if inverted else "eq",
            "--hl-eq": "neq" if inverted else "eq",
            "--ttl-lt": "lt",
            "--hl-lt": "lt",
            "--ttl-gt": "gt",
            "--hl-gt": "gt",
        }.get(name)
        if op is None or len(values) != 1:
            raise Unsupported(f"ttl {name}")
        return [
            Payload("network", 8 if self.family == "ip" else 7, 1, 0),
            Cmp(op, 0, bytes([bounds(values[0], 255)[0]])),
        ]

    def _length(self, option: Option) -> list[Expr]:
        """The length of the packet with its IP header, which the length field of IPv6 leaves out (length_mt6 of xt_length.c)."""
        inverted, name, values = option
        if name != "--length" or len(values) != 1:
            raise Unsupported(f"length {name}")
        low, high = bounds(values[0], 65535)
        offset, header = (2, 0) if self.family == "ip" else (4, _IPV6_HEADER)
        if high < header:
            raise Unsupported("a length that no packet has")
        ends = (max(n - header, 0).to_bytes(2, "big") for n in (low, high))
        return [Payload("network", offset, 2, 0), Range("neq" if inverted else "eq", 0, *ends)]

    def _mac(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        raw = values[0].replace(":", "") if name == "--mac-source" and len(values) == 1 else ""
        if len(raw) != 12 or any(c not in "0123456789abcdefABCDEF" for c in raw):
            raise Unsupported(f"mac {name}")
        guard: list[Expr] = [Meta("iiftype", 0), Cmp("eq", 0, (1).to_bytes(2, "little"))]
        return [*guard, Payload("link", 6, 6, 0), Cmp("neq" if inverted else "eq", 0, bytes.fromhex(raw))]

    def _physdev(self, option: Option) -> list[Expr]:
        """By which ports a packet goes through a bridge (xt_physdev): none of it holds of what came in by no bridge.

        What is for this host, or is routed on, is not bridged and has no port to leave by. The port that it came in by is not followed.
        """
        inverted, name, values = option
        if "+" in values:
            raise Unsupported(f"physdev {name} +")
        if name in ("--physdev-out", "--physdev-is-out", "--physdev-is-bridged"):
            return [] if inverted else [Meta("nfproto", 0), Cmp("eq", 0, b"\xff")]
        if inverted:
            raise Unsupported(f"physdev ! {' '.join((name, *values))}")
        bridge = b"bridge".ljust(16, b"\0")
        return [Meta("iifkind", 0), Cmp("eq", 0, bridge), Unknown(f"physdev {' '.join((name, *values))}", b"")]

    def _rt(self, option: Option) -> list[Expr]:
        """A routing header of IPv6, and what is in it (rt_mt6): what has none never matches."""
        inverted, name, values = option
        at, most = {"--rt-type": (2, 255), "--rt-segsleft": (3, 255)}.get(name, (0, 0))
        if not at or len(values) != 1:
            raise Unsupported(f"rt {name}")
        ends = (n.to_bytes(1, "big") for n in bounds(values[0], most))
        return [Exthdr("ipv6", 43, at, 1, 0), Range("neq" if inverted else "eq", 0, *ends)]

    def _set(self, option: Option) -> list[Expr]:
        inverted, name, values = option
        if name != "--match-set" or len(values) != 2 or self.ipsets is None:
            raise Unsupported(
                f"set {' '.join(values)}" + (": its contents were not given" if self.ipsets is None else "")
            )
        return self.ipsets.lookup(self.family, values[0], values[1].split(","), self.sets, inverted=inverted)

    _READERS: Mapping[str, Callable[["Matches", Option], list[Expr]]] = {
        "tcp": _ports, "udp": _ports, "sctp": _ports, "udplite": _ports, "dccp": _ports,
        "icmp": _icmp, "icmp6": _icmp, "icmpv6": _icmp, "ipv6-icmp": _icmp,
        "conntrack": _state, "state": _state, "addrtype": _addrtype, "iprange": _iprange,
        "mark": _mark, "connmark": _connmark, "pkttype": _pkttype, "ttl": _ttl, "hl": _ttl, "length": _length,
        "mac": _mac, "set": _set, "physdev": _physdev, "rt": _rt,
    }  # fmt: skip
