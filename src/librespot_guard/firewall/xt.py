"""Extensions of iptables out of their parameter blocks: as options, in the words of iptables-save.

A block is the struct xt_NAME_mtinfo or _tginfo of include/uapi/linux/netfilter/xt_NAME.h (ipt_, ip6t_ for some), of its revision, in the byte
order of the host. What can't be said in options, or is of another size than it should be, raises `Unsupported`.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address

from librespot_guard.firewall.iptables_save import Module
from librespot_guard.firewall.iptables_values import Option
from librespot_guard.firewall.model import Xt
from librespot_guard.firewall.nft_json_types import Unsupported
from librespot_guard.firewall.xt_block import Block
from librespot_guard.firewall.xt_targets import TARGETS, target_set

# linux/netfilter/xt_conntrack.h with IP_CT_NUMBER = 5
_CT_STATES = {0: "INVALID", 1: "ESTABLISHED", 2: "RELATED", 3: "NEW", 6: "SNAT", 7: "DNAT", 8: "UNTRACKED"}
_CT_STATE, _CT_ORIGSRC, _CT_ORIGDST, _CT_ORIGDST_PORT, _CT_ALIAS = 1, 4, 8, 512, 1 << 13
_ADDRTYPES = (
    "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT",
    "XRESOLVE",
)  # fmt: skip
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_ANY_PORT = (0, 65535)


def options(xt: Xt, *, family: str, order: str, ipsets: Mapping[int, str] | None = None) -> Module:
    """An extension as iptables-save would print it; `ipsets` are the names of ipsets by the kernel's number.

    Raises Unsupported for what is not known, or is malformed.
    """
    block = Block(family, xt, order)
    if xt.kind == "match" and xt.name == "set":
        return Module("set", (_set(block, ipsets),))
    if xt.kind == "target" and xt.name == "SET":
        return Module("SET", tuple(target_set(block, ipsets)))
    readers = _MATCHES if xt.kind == "match" else TARGETS
    reader = readers.get(xt.name)
    if reader is None:
        if xt.kind == "target":
            return Module(xt.name)
        raise Unsupported(f"xt {xt.kind} {xt.name}")
    return Module(xt.name, tuple(reader(block)))


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}:{high}"


def _ports(block: Block, inversions: int) -> list[Option]:
    out: list[Option] = []
    for offset, name, bit in ((0, "--sport", 1), (4, "--dport", 2)):
        found = block.word(offset, 2), block.word(offset + 2, 2)
        if found[0] > found[1]:
            raise Unsupported(f"{block.xt.name} with the empty range of ports {found[0]}:{found[1]}")
        if found != _ANY_PORT or inversions & bit:
            out.append((bool(inversions & bit), name, (_range(*found),)))
    return out


def _tcp(block: Block) -> list[Option]:
    block.need(12)
    option, mask, wanted, inversions = block.xt.info[8:12]
    out = _ports(block, inversions)
    if mask or wanted or inversions & 4:
        if (mask | wanted) >> 6 or wanted & ~mask:
            raise Unsupported(f"tcp flags {mask:#x} {wanted:#x}")
        out.append((bool(inversions & 4), "--tcp-flags", (_flags(mask), _flags(wanted))))
    if option:
        out.append((bool(inversions & 8), "--tcp-option", (str(option),)))
    return out


def _flags(bits: int) -> str:
    return ",".join(name for number, name in enumerate(_TCP_FLAGS) if bits >> number & 1) or "NONE"


def _udp(block: Block) -> list[Option]:
    block.need(9)
    return _ports(block, block.xt.info[8])


def _multiport(block: Block) -> list[Option]:
    """Struct xt_multiport_v1; `pflags` marks the low end of a range."""
    block.need(48, 1)
    kind, count, inverted = block.xt.info[0], block.xt.info[1], block.xt.info[47]
    if kind > 2 or count > 15:
        raise Unsupported("multiport of an unknown kind")
    words, number = [], 0
    while number < count:
        low = high = block.word(2 + 2 * number, 2)
        if block.xt.info[32 + number]:
            number += 1
            high = block.word(2 + 2 * number, 2) if number < count else -1
        if low > high:
            raise Unsupported("multiport with an empty range")
        words.append(_range(low, high))
        number += 1
    return [(bool(inverted), ("--sports", "--dports", "--ports")[kind], (",".join(words),))]


def _icmp(block: Block) -> list[Option]:
    """Struct ipt_icmp: type, first and last code, inversion; type 255 of ICMPv4 stands for all."""
    block.need(4)
    kind, low, high, inverted = block.xt.info[:4]
    name = "--icmp-type" if block.family == "ip" else "--icmpv6-type"
    if kind == 255 and block.family == "ip":
        words = "any"
        if inverted & 1:
            raise Unsupported("icmp of no type at all")
    elif (low, high) == (0, 255):
        words = str(kind)
    elif low == high:
        words = f"{kind}/{low}"
    else:
        raise Unsupported(f"icmp codes {low} to {high}")
    return [(bool(inverted & 1), name, (words,))]


def _conntrack(block: Block) -> list[Option]:
    """Struct xt_conntrack_mtinfo1 to 3."""
    revision = block.xt.revision
    block.need({1: 152, 2: 156, 3: 164}.get(revision, 1 << 16) - 2, 1, 2, 3)
    asked, inverted = block.word(146, 2) & ~_CT_ALIAS, block.word(148, 2)
    out: list[Option] = []
    if asked & _CT_STATE:
        if asked != _CT_STATE:
            # xt_conntrack.c answers differently for packets without an entry then
            raise Unsupported("conntrack with a state and more")
        mask = block.word(150, 1 if revision == 1 else 2)
        names = [name for bit, name in _CT_STATES.items() if mask >> bit & 1]
        if not names or mask & ~sum(1 << bit for bit in _CT_STATES):
            raise Unsupported(f"conntrack state {mask:#x}")
        return [(bool(inverted & _CT_STATE), "--ctstate", (",".join(names),))]
    for bit, name, offset in ((_CT_ORIGSRC, "--ctorigsrc", 0), (_CT_ORIGDST, "--ctorigdst", 32)):
        if asked & bit:
            out.append((bool(inverted & bit), name, (f"{block.address(offset)}/{_mask(block, offset + 16)}",)))
    if asked & _CT_ORIGDST_PORT:
        if revision == 3:
            low, high = block.word(140, 2), block.word(156, 2)
        else:
            low = high = int.from_bytes(block.xt.info[140:142], "big")
        out.append((bool(inverted & _CT_ORIGDST_PORT), "--ctorigdstport", (_range(low, high or low),)))
    if not asked or asked & ~(_CT_ORIGSRC | _CT_ORIGDST | _CT_ORIGDST_PORT):
        raise Unsupported(f"conntrack flags {asked:#x}")
    return out


def _mask(block: Block, offset: int) -> str:
    """A mask as a prefix length if it is one."""
    text = block.address(offset)
    bits = int(IPv4Address(text) if block.family == "ip" else IPv6Address(text))
    size = 32 if block.family == "ip" else 128
    ones = bits.bit_count()
    return str(ones) if bits == (1 << size) - (1 << size - ones) else text


def _addrtype(block: Block) -> list[Option]:
    """Struct xt_addrtype_info_v1 (revision 1), or xt_addrtype_info (0)."""
    if block.xt.revision == 0:
        block.need(12)
        flags = bool(block.word(4)) | bool(block.word(8)) << 1
    else:
        block.need(8, 1)
        flags = block.word(4)
    out: list[Option] = []
    for offset, name, bit in ((0, "--src-type", 1), (2, "--dst-type", 2)):
        mask = block.word(offset, 2)
        if mask:
            words = [word for number, word in enumerate(_ADDRTYPES) if mask >> number & 1]
            out.append((bool(flags & bit), name, (",".join(words),)))
    if flags & ~3:
        raise Unsupported("addrtype with --limit-iface-in or -out")
    # ip6tables asks for kinds of addresses where nf_tables asks for kinds of routes (match_type6 of xt_addrtype.c)
    if block.family == "ip6" and any(words[0] not in ("LOCAL", "MULTICAST") for _, _, words in out):
        raise Unsupported("addrtype for IPv6 other than LOCAL or MULTICAST")
    return out


def _iprange(block: Block) -> list[Option]:
    block.need(65, 1)
    flags = block.xt.info[64]
    return [
        (bool(flags & bit << 4), name, (f"{block.address(offset)}-{block.address(offset + 16)}",))
        for offset, name, bit in ((0, "--src-range", 1), (32, "--dst-range", 2))
        if flags & bit
    ]


def _marked(block: Block) -> list[Option]:
    """Struct xt_mark_mtinfo1 and xt_connmark_mtinfo1: (mark & mask) == value."""
    block.need(9, 1)
    return [(bool(block.xt.info[8]), "--mark", (f"{block.word(0):#x}/{block.word(4):#x}",))]


def _mac(block: Block) -> list[Option]:
    block.need(12)
    return [(bool(block.word(8)), "--mac-source", (block.xt.info[:6].hex(":"),))]


def _pkttype(block: Block) -> list[Option]:
    block.need(8)
    names = {0: "unicast", 1: "broadcast", 2: "multicast"}
    kind = block.word(0)
    if kind not in names:
        raise Unsupported(f"pkttype {kind}")
    return [(bool(block.word(4)), "--pkt-type", (names[kind],))]


def _length(block: Block) -> list[Option]:
    block.need(5)
    return [(bool(block.xt.info[4]), "--length", (_range(block.word(0, 2), block.word(2, 2)),))]


def _ttl(block: Block) -> list[Option]:
    """Struct ipt_ttl_info, ip6t_hl_info."""
    block.need(2)
    mode, value = block.xt.info[:2]
    name = "--ttl" if block.family == "ip" else "--hl"
    if mode > 3:
        raise Unsupported(f"ttl mode {mode}")
    return [(mode == 1, name + ("-eq", "-eq", "-lt", "-gt")[mode], (str(value),))]


def _limit(block: Block) -> list[Option]:
    """Struct xt_rateinfo: `avg` is 10,000 seconds divided by the packets in them."""
    block.need(8)
    average = block.word(0)
    if not average:
        raise Unsupported("limit without a rate")
    for unit, seconds in (("sec", 1), ("min", 60), ("hour", 3600), ("day", 86400)):
        if rate := 10000 * seconds // average:
            return [(False, "--limit", (f"{rate}/{unit}",)), (False, "--limit-burst", (str(block.word(4)),))]
    raise Unsupported("limit below one a day")


def _rpfilter(block: Block) -> list[Option]:
    block.need(1)
    flags = block.xt.info[0]
    names = ((1, "--loose"), (2, "--validmark"), (4, "--accept-local"), (8, "--invert"))
    return [(False, name, ()) for bit, name in names if flags & bit]


def _physdev(block: Block) -> list[Option]:
    """Struct xt_physdev_info."""
    block.need(66)
    inverted, asked = block.xt.info[64], block.xt.info[65]
    out: list[Option] = []
    for bit, name, offset in ((1, "--physdev-in", 0), (2, "--physdev-out", 32)):
        if asked & bit:
            out.append((bool(inverted & bit), name, (block.text(offset, 16),)))
    out += [
        (bool(inverted & bit), name, ())
        for bit, name in ((4, "--physdev-is-bridged"), (8, "--physdev-is-in"), (16, "--physdev-is-out"))
        if asked & bit
    ]
    return out


def _rt(block: Block) -> list[Option]:
    """Struct ip6t_rt: type, bounds of the segments left, length; which of them are asked for, and which inverted."""
    block.need(277)
    kind, low, high = block.word(0), block.word(4), block.word(8)
    asked, inverted = block.xt.info[16], block.xt.info[17]
    if asked & ~3:
        raise Unsupported("rt with a length or addresses")
    out: list[Option] = [(bool(inverted & 1), "--rt-type", (str(kind),))] if asked & 1 else []
    return out + ([(bool(inverted & 2), "--rt-segsleft", (f"{low}:{high}",))] if asked & 2 else [])


def _set(block: Block, ipsets: Mapping[int, str] | None) -> Option:
    """Struct xt_set_info: number of the set, dimensions, flags (one bit for each dimension, source; bit 0 is inversion)."""
    block.need(4, 1, 2, 3, 4)
    if block.xt.revision > 2 and any(block.xt.info[4:]):
        # counters and flags that make the answer depend on them
        raise Unsupported("set with counters or flags")
    index, dimensions, flags = block.word(0, 2), block.xt.info[2], block.xt.info[3]
    if flags >> (dimensions + 1):
        raise Unsupported("set with flags, such as --return-nomatch")
    name = (ipsets or {}).get(index)
    if name is None:
        raise Unsupported(f"the ipset number {index}, whose name is not known")
    directions = ",".join("src" if flags >> number & 1 else "dst" for number in range(1, dimensions + 1))
    return (bool(flags & 1), "--match-set", (name, directions))


def _comment(block: Block) -> list[Option]:
    return [(False, "--comment", (block.text(0, 256),))]


_MATCHES: dict[str, Callable[[Block], list[Option]]] = {
    "addrtype": _addrtype,
    "comment": _comment,
    "connmark": _marked,
    "conntrack": _conntrack,
    "hl": _ttl,
    "icmp": _icmp,
    "icmp6": _icmp,
    "iprange": _iprange,
    "length": _length,
    "limit": _limit,
    "mac": _mac,
    "mark": _marked,
    "multiport": _multiport,
    "physdev": _physdev,
    "pkttype": _pkttype,
    "rpfilter": _rpfilter,
    "rt": _rt,
    "tcp": _tcp,
    "ttl": _ttl,
    "udp": _udp,
}
