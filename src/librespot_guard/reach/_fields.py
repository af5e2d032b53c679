"""The fields of a packet that rules can read: where they are in the headers, how wide, and which values a stranger can choose.

A field is known from the question (destination, protocol, interface), reported (the source address), or free: the stranger
chooses it within its domain. Free fields are existential: somebody reaches a listener if *some* choice does.
Sources: RFC 791, RFC 8200, RFC 9293, RFC 768; enum nft_meta_keys and nft_ct_keys of linux/netfilter/nf_tables.h.
"""

from functools import cache

from librespot_guard.reach._bits import UNKNOWN, Piece, Value, joined
from librespot_guard.reach.intervals import IntervalSet

Layout = tuple[tuple[int, int, str], ...]  # (first bit, width, field)

_ETHER: Layout = ((0, 48, "ether_dst"), (48, 48, "ether_src"), (96, 16, "ethertype"))
_IPV4: Layout = (
    (0, 4, "version"), (4, 4, "ihl"), (8, 8, "tos"), (16, 16, "ip_length"), (32, 16, "ip_id"), (48, 2, "ip_flags"),
    (50, 1, "more_fragments"), (51, 13, "fragment"), (64, 8, "ttl"), (72, 8, "l4proto"), (80, 16, "ip_checksum"), (96, 32, "saddr"), (128, 32, "daddr"),
)  # fmt: skip
_IPV6: Layout = (
    (0, 4, "version"), (4, 8, "tos"), (12, 20, "flow_label"), (32, 16, "ip_length"), (48, 8, "nexthdr"), (56, 8, "ttl"),
    (64, 128, "saddr"), (192, 128, "daddr"),
)  # fmt: skip
_TCP: Layout = (
    (0, 16, "sport"), (16, 16, "dport"), (32, 32, "tcp_seq"), (64, 32, "tcp_ack"), (96, 4, "tcp_doff"),
    (100, 4, "tcp_reserved"), (104, 8, "tcp_flags"), (112, 16, "tcp_window"), (128, 16, "l4_checksum"), (144, 16, "tcp_urgent"),
)  # fmt: skip
_UDP: Layout = ((0, 16, "sport"), (16, 16, "dport"), (32, 16, "udp_length"), (48, 16, "l4_checksum"))

# how wide each field is, in bits
WIDTHS: dict[str, int] = {name: size for layout in (_ETHER, _IPV4, _IPV6, _TCP, _UDP) for _, size, name in layout} | {
    "iif": 32, "iifname": 128, "iiftype": 16, "iifgroup": 32, "oif": 32, "oifname": 128,
    "oiftype": 16, "oifgroup": 32, "mark": 32, "length": 32, "pkttype": 8, "nfproto": 8,
    "protocol": 16, "ct_state": 32, "ct_status": 32, "ct_mark": 32, "ct_direction": 8, "ct_l3proto": 8, "ct_protocol": 8,
    "ct_zone": 16, "ct_daddr": 128, "ct_dport": 16, "rt_nexthop": 128, "rt_xfrm": 8, "exthdrs": 12, "tcp_mss": 17,
    "tcp_cut": 1, "l4_hidden": 1,
}  # fmt: skip

# fields that are part of another: which, and from which bit of it
_WITHIN = {"nexthdr": ("exthdrs", 0)}
# "exthdrs" is one bit for each kind of extension header that is there, and then the first next header of IPv6: a packet without any
# has the lowest value
EXTENSION_BITS = {0: 11, 43: 10, 44: 9, 60: 8}
# options by their kind: one free bit each. Those not named here are open
TCP_OPTIONS = {kind: f"tcp_option_{kind}" for kind in (0, 1, 2, 3, 4, 5, 8, 30, 34)}
IP_OPTIONS = {kind: f"ip_option_{kind}" for kind in (7, 131, 137, 148)}
# source routes end at ip_rcv_options unless the host accepts them, which is not known
SOURCE_ROUTES = frozenset((IP_OPTIONS[131], IP_OPTIONS[137]))
OPTIONS = frozenset((*TCP_OPTIONS.values(), *IP_OPTIONS.values(), "tcp_mss"))
# what sets the first fragment of a packet apart from the whole: the flag; a TCP header that ends behind its ports; and an IPv6 one that
# ends before the transport header, behind an extension header that announces one more (ipv6frag_thdr_truncated lets it pass)
FRAGMENTED = ("more_fragments", "tcp_cut", "l4_hidden")
CHOSEN_HEADERS = OPTIONS | {"exthdrs", *FRAGMENTED}
# these differ between a fragment and what is made of it
OF_ONE_PIECE = ("length", "ip_length", "ip_flags")
# an IPv4 fragment holds at least so many bytes of what it is a part of (RFC 791): what of a TCP header lies behind may be cut off
SURELY_THERE = 8
WIDTHS |= dict.fromkeys((*TCP_OPTIONS.values(), *IP_OPTIONS.values()), 1)

# meta keys that are host integers, and those that are bytes in network order
META_HOST = {"iif": 32, "iiftype": 16, "iifgroup": 32, "oif": 32, "oiftype": 16, "oifgroup": 32, "mark": 32, "len": 32}
META_BYTES = {"nfproto": 8, "l4proto": 8, "protocol": 16, "pkttype": 8, "iifname": 128, "oifname": 128}
CT_HOST = {"state": 32, "status": 32, "mark": 32, "zone": 16}
CT_BYTES = {"direction": 8, "l3protocol": 8, "protocol": 8}
# loaded only if the packet has a socket already, which a new TCP flow from outside has not (nft_meta_get_eval_skugid)
META_SOCKET = {"skuid", "skgid", "cgroup"}

# SYN with any of PSH, URG, ECE, CWR
_SYN_CHOICES = IntervalSet.of((flags, flags) for flags in range(256) if flags & 0x17 == 0x02)


def saddr_bits(family: str) -> int:
    """The width of a source address."""
    return 32 if family == "ipv4" else 128


def field_width(name: str, family: str) -> int:
    """The width of a field in bits."""
    if name in ("saddr", "daddr", "ct_daddr", "rt_nexthop"):
        return saddr_bits(family)
    if name.startswith("map:"):  # map:NUMBER:WIDTH, see `_lower`
        return int(name.rpartition(":")[2])
    return 128 if name.endswith(":oifname") else WIDTHS.get(name, 32)


@cache
def _domains(family: str, proto: str) -> dict[str, IntervalSet]:
    full = IntervalSet.full
    number = {"tcp": 6, "udp": 17}[proto]
    return {
        "tos": full(8),
        "ttl": IntervalSet(((1, 255),)),
        "sport": full(16),
        "ip_id": full(16),
        "flow_label": full(20),
        "ip_checksum": full(16),
        "l4_checksum": full(16),
        "tcp_seq": full(32),
        "tcp_ack": full(32),
        "tcp_window": full(16),
        "tcp_urgent": full(16),
        "tcp_reserved": full(4),
        "tcp_doff": IntervalSet(((5, 15),)),
        "ether_src": full(48),
        "ihl": IntervalSet(((5, 15),)),
        # a flow is opened by SYN without ACK, RST or FIN; the other flags are the stranger's (nf_conntrack_proto_tcp.c)
        "tcp_flags": _SYN_CHOICES,
        # don't-fragment or not
        "ip_flags": full(1),
        "udp_length": IntervalSet(((8, 65515),)),
        "ip_length": IntervalSet(((40 if proto == "tcp" else 28, 65535),))
        if family == "ipv4"
        else IntervalSet(((20 if proto == "tcp" else 8, 65535),)),
        "length": IntervalSet(((40 if proto == "tcp" else 28, 65535),))
        if family == "ipv4"
        else IntervalSet(((60 if proto == "tcp" else 48, 65575),)),
        # TCP drops what was not sent to this host alone (tcp_v4_rcv); UDP takes broadcast and multicast frames too
        "pkttype": IntervalSet(((0, 0),)) if proto == "tcp" else IntervalSet(((0, 2),)),
        "exthdrs": _exthdrs((number,)),
        "tcp_mss": full(16) | IntervalSet.single(1 << 16),
        **{name: full(1) for name in FRAGMENTED},
        **{name: full(1) for name in (*TCP_OPTIONS.values(), *IP_OPTIONS.values())},
    }


def _exthdrs(numbers: tuple[int, ...]) -> IntervalSet:
    """Every choice of extension headers before one of these protocols. They are the stranger's: hop-by-hop comes first, the others in any order.

    Routing headers pass with no segments left (ipv6_rthdr_rcv), fragment headers of a whole packet always (ipv6_frag_rcv).
    """
    values = set()
    for chosen in range(1 << len(EXTENSION_BITS)):
        there = [kind for number, kind in enumerate(EXTENSION_BITS) if chosen >> number & 1]
        present = sum(1 << EXTENSION_BITS[kind] for kind in there)
        values |= {present | first for first in (there[:1] if 0 in there else there or numbers)}
    return IntervalSet.of((v, v) for v in values)


# with those of packets of other protocols, which only the scan of all rules knows
_EVERY_EXTHDRS = tuple(
    v for low, high in _exthdrs(tuple(n for n in range(256) if n not in EXTENSION_BITS)) for v in range(low, high + 1)
)


@cache
def exthdrs_where(low: int, size: int, values: IntervalSet) -> IntervalSet:
    """The choices of extension headers of which these bits lie in `values`."""
    return IntervalSet.of((v, v) for v in _EVERY_EXTHDRS if (v >> low & (1 << size) - 1) in values)


@cache
def unfragmented(family: str, proto: str) -> IntervalSet:
    """The choices of extension headers as rules see them behind defragmentation, which comes with connection tracking.

    It takes the fragment header of a whole packet away (nf_ct_frag6_reasm).
    """
    every = (v for low, high in _domains(family, proto)["exthdrs"] for v in range(low, high + 1))
    return IntervalSet.of((v, v) for v in every if not v >> EXTENSION_BITS[44] & 1)


# every field that a stranger chooses, whatever the family and protocol
FREE = frozenset(_domains("ipv4", "tcp"))


def domain(name: str, family: str, proto: str) -> IntervalSet | None:
    """The values that a stranger can give a free field in a packet that opens a flow; None if the field is not free."""
    return _domains(family, proto).get(name)


def payload(base: str, offset: int, length: int, family: str, proto: str) -> Value:
    """What a payload load of `length` bytes at `offset` reads; bits outside the headers are unknown."""
    layout: Layout
    if base == "link":
        layout = _ETHER
    elif base == "network":
        layout = _IPV4 if family == "ipv4" else _IPV6
    elif base == "transport":
        layout = _TCP if proto == "tcp" else _UDP
    else:
        layout = ()
    start, end = 8 * offset, 8 * (offset + length)
    pieces: list[Piece] = []
    position = start
    for first, size, name in layout:
        low, high = max(first, start), min(first + size, end)
        if low < high:
            whole, at = _WITHIN.get(name, (name, 0))
            pieces.append(Piece(high - low, whole, at + first + size - high, 0))
            position = high
    if position < end:
        pieces.append(Piece(end - position, UNKNOWN, 0, 0))
    return joined(tuple(pieces))
