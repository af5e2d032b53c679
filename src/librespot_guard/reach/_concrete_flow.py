"""The packet of a question as real header bytes, and all that travels with it through the kernel (struct sk_buff, struct nf_conn).

What the question leaves open is filled in as an ordinary sender would: no payload, TTL 64, no options, DSCP 0. What a sender
chooses freely (its hardware address, identification, sequence numbers, window, checksums) is unknown.
"""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import pairwise

from librespot_guard.reach._concrete_values import Undecidable, Value, host, is_sure, sure, unsure
from librespot_guard.reach.packet import EXTENSIONS, PROTOCOLS, Packet
from librespot_guard.reach.routing import fib, number
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Link

ETHERTYPE = {"ipv4": b"\x08\x00", "ipv6": b"\x86\xdd"}
PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST = 0, 1, 2
# NF_CT_STATE_BIT of linux/netfilter/nf_conntrack_common.h
INVALID, ESTABLISHED, RELATED, NEW, UNTRACKED = 1, 2, 4, 8, 64
IPS_DST_NAT, IPS_CONFIRMED, IPS_SRC_NAT = 0x20, 0x8, 0x10
IPS_SRC_NAT_DONE, IPS_DST_NAT_DONE = 0x80, 0x100

# ICMP that may open a flow (valid_new of nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c), and ICMPv6 that is
# never tracked (noct_valid_new): multicast listener and neighbour discovery
_ICMP_NEW = {"icmp": {8, 13, 15, 17}, "icmpv6": {128, 139}}
_ICMPV6_UNTRACKED = {130, 131, 132, 133, 134, 135, 136, 143}
_TCP_FIN, _TCP_SYN, _TCP_RST, _TCP_PSH, _TCP_ACK, _TCP_URG, _TCP_ECE, _TCP_CWR = (1 << i for i in range(8))
# tcp_valid_flags of nf_conntrack_proto_tcp.c, without PSH, ECE and CWR
_TCP_VALID = {
    _TCP_SYN, _TCP_SYN | _TCP_URG, _TCP_SYN | _TCP_ACK, _TCP_RST, _TCP_RST | _TCP_ACK, _TCP_FIN | _TCP_ACK,
    _TCP_FIN | _TCP_ACK | _TCP_URG, _TCP_ACK, _TCP_ACK | _TCP_URG,
}  # fmt: skip


_IPV6_BYTES, _EXTENSION_BYTES = 40, 8


class Header:
    """Bytes of which some bits may be unknown, and which rules may change."""

    __slots__ = ("data", "known")

    def __init__(self, *parts: Value) -> None:
        self.data = bytearray(b"".join(p[0] for p in parts))
        self.known = bytearray(b"".join(p[1] for p in parts))

    def read(self, offset: int, length: int) -> Value | None:
        """Some bytes, None if the header is shorter."""
        if offset + length > len(self.data):
            return None
        return bytes(self.data[offset : offset + length]), bytes(self.known[offset : offset + length])

    def write(self, offset: int, value: Value) -> bool:
        """Change some bytes; false if the header is shorter."""
        end = offset + len(value[0])
        if end > len(self.data):
            return False
        self.data[offset:end], self.known[offset:end] = value
        return True


@dataclass(slots=True)
class Tuple:
    """One direction of a tracked connection: addresses and ports in network order."""

    src: Value
    dst: Value
    sport: Value
    dport: Value


@dataclass(slots=True)
class Connection:
    """What connection tracking knows about the flow. `fresh` is true if the packet opens it, so that everything is known."""

    state: int
    fresh: bool
    original: Tuple
    reply: Tuple
    mark: Value
    zone: Value
    labels: Value
    status: int = 0


@dataclass(slots=True)
class Flow:
    """A packet on its way: its headers, and what the kernel keeps beside them."""

    packet: Packet
    family: str
    iif: Link
    link: Header | None
    network: Header
    transport: Header
    pkttype: Value
    mark: Value
    priority: Value
    oif: Link | None = None
    connection: Connection | None = None
    untracked: bool = False
    tracked_here: bool = False
    zone: Value | None = None
    # this host sends it: it came in by no interface
    sent: bool = False
    # a fragment header was taken away from where the kernel does not find its way any more
    misplaced: bool = False
    changed_sets: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def _offsets(self) -> tuple[int, int, int]:
        """Where the source and destination address stand in the network header, and their length."""
        return (12, 16, 4) if self.family == "ipv4" else (8, 24, 16)

    @property
    def src(self) -> Value:
        """The source address now."""
        source, _, length = self._offsets
        return bytes(self.network.data[source : source + length]), bytes(self.network.known[source : source + length])

    @src.setter
    def src(self, value: Value) -> None:
        """Change the source address."""
        self.network.write(self._offsets[0], value)

    @property
    def dst(self) -> Value:
        """The destination address now."""
        _, target, length = self._offsets
        return bytes(self.network.data[target : target + length]), bytes(self.network.known[target : target + length])

    @dst.setter
    def dst(self, value: Value) -> None:
        """Change the destination address."""
        self.network.write(self._offsets[1], value)

    @property
    def ported(self) -> bool:
        """Whether the packet has ports."""
        return self.packet.proto in ("tcp", "udp")

    def port(self, *, destination: bool) -> Value:
        """The source or destination port now, in network order (for ICMP what conntrack uses in their place)."""
        if self.ported:
            return self.transport.read(2 if destination else 0, 2) or unsure(2)
        return (self.transport.read(0, 2) if destination else self.transport.read(4, 2)) or unsure(2)

    def set_port(self, value: Value, *, destination: bool) -> None:
        """Change a port; a packet without ports is left alone."""
        if self.ported:
            self.transport.write(2 if destination else 0, value)

    @property
    def template(self) -> bool:
        """Whether a rule attached a connection template (`ct zone set`) that tracking has not replaced yet."""
        return self.zone is not None and not self.tracked_here

    def protocol(self) -> Value:
        """The transport protocol, behind all extension headers (nft_set_pktinfo_ipv4/ipv6)."""
        at = 9 if self.family == "ipv4" else self._next_fields()[-1]
        return self.network.read(at, 1) or unsure(1)

    def _next_fields(self) -> list[int]:
        """Where in the network header it stands what comes next: in the IPv6 header, and in each extension header."""
        return [6, *range(_IPV6_BYTES, len(self.network.data), _EXTENSION_BYTES)]

    def header_at(self, kind: int) -> int | None:
        """Where an extension header of this kind begins; None if there is none."""
        for place, at in zip(self._next_fields(), self._next_fields()[1:], strict=False):
            if self.network.data[place] == kind:
                return at
        return None

    def defragment(self) -> None:
        """Take the fragment header of a whole packet away (nf_ct_frag6_reasm)."""
        at = self.header_at(EXTENSIONS["fragment"])
        if self.family == "ipv4" or at is None:
            return
        before = next(p for p in reversed(self._next_fields()) if p < at)
        # behind headers other than hop-by-hop, such a packet passes the filters and is lost (seen on Linux 6.18)
        self.misplaced = (before != 6 and self.network.data[6] != EXTENSIONS["hop-by-hop"]) or before > _IPV6_BYTES
        for part in (self.network.data, self.network.known):
            part[before] = part[at]
            del part[at : at + _EXTENSION_BYTES]
        size = len(self.network.data) - _IPV6_BYTES + len(self.transport.data)
        self.network.write(4, sure(size.to_bytes(2, "big")))

    def tuples(self) -> tuple[Tuple, Tuple]:
        """The flow's original and reply direction as the packet stands now."""
        sport, dport = self.port(destination=False), self.port(destination=True)
        return Tuple(self.src, self.dst, sport, dport), Tuple(self.dst, self.src, dport, sport)


def flow(world: World, packet: Packet, iif: Link) -> Flow:
    """The packet as it arrives at an interface."""
    src, dst = ip_address(packet.src).packed, ip_address(packet.dst).packed
    transport = _transport(packet)
    kind = _packet_type(world, packet, iif)
    return Flow(
        packet=packet,
        family=packet.family,
        iif=iif,
        link=_ethernet(packet, iif, kind),
        network=_ipv4(packet, src, dst, len(transport.data))
        if packet.family == "ipv4"
        else _ipv6(packet, src, dst, len(transport.data)),
        transport=transport,
        pkttype=unsure(1) if iif.loopback and kind else sure(bytes([kind])),
        mark=sure(bytes(4)),
        priority=sure(bytes(4)),
    )


def moved(current: Flow, iif: Link) -> Flow:
    """The packet as it comes in at the other end of a cable in another namespace (skb_scrub_packet): only its bytes are left."""
    return Flow(
        packet=replace(current.packet, iface=iif.name),
        family=current.family,
        iif=iif,
        link=Header(unsure(6), unsure(6), sure(ETHERTYPE[current.family])) if iif.arp_type == 1 else None,
        network=current.network,
        transport=current.transport,
        pkttype=sure(bytes([PACKET_HOST])),
        mark=sure(bytes(4)),
        priority=unsure(4),
    )


# TC_PRIO_* by the upper three of the four bits of type of service (ip_tos2prio of net/ipv4/route.c, pairs are alike)
_TOS_PRIORITIES = (0, 2, 6, 4)


def forwarded_priority(current: Flow, byteorder: str) -> None:
    """What ip_forward makes of the packet's priority, whatever rules set before: it follows the type of service. IPv6 keeps it."""
    if current.family != "ipv4":
        return
    tos = current.network.read(1, 1)
    current.priority = unsure(4)
    if tos is not None and tos[1][0] & 0x18 == 0x18:
        current.priority = host(_TOS_PRIORITIES[tos[0][0] >> 3 & 3], 4, byteorder)


def _packet_type(world: World, packet: Packet, iif: Link) -> int:
    """PACKET_*: to whom the sender of an ordinary frame addresses it."""
    address = number(packet.dst)
    if packet.family == "ipv6":
        return PACKET_MULTICAST if address >> 120 == 0xFF else PACKET_HOST
    if address >> 28 == 0xE:
        return PACKET_MULTICAST
    broadcast = address == 0xFFFFFFFF or fib(world, "ipv4", address, iif=iif.name).kind == "broadcast"
    return PACKET_BROADCAST if broadcast else PACKET_HOST


def _ethernet(packet: Packet, iif: Link, kind: int) -> Header | None:
    """The link-layer header; None where the interface has none (tunnels)."""
    if iif.loopback:
        return Header(sure(bytes(12)), sure(ETHERTYPE[packet.family]))
    if iif.arp_type != 1:
        return None
    dst = ip_address(packet.dst).packed
    if kind == PACKET_BROADCAST:
        target = sure(b"\xff" * 6)
    elif kind == PACKET_MULTICAST:
        target = sure(
            b"\x33\x33" + dst[-4:] if packet.family == "ipv6" else b"\x01\x00\x5e" + bytes([dst[1] & 0x7F]) + dst[2:]
        )
    else:
        target = sure(bytes.fromhex(iif.mac.replace(":", ""))) if iif.mac else unsure(6)
    return Header(target, unsure(6), sure(ETHERTYPE[packet.family]))


def _ipv4(packet: Packet, src: bytes, dst: bytes, payload: int) -> Header:
    length = (20 + payload).to_bytes(2, "big")
    # whether fragmentation is forbidden is the sender's choice
    flags = (b"\x00\x00", b"\xbf\xff")
    rest = bytes([64, PROTOCOLS[packet.proto]])
    return Header(sure(b"\x45\x00" + length), unsure(2), flags, sure(rest), unsure(2), sure(src + dst))


def _ipv6(packet: Packet, src: bytes, dst: bytes, payload: int) -> Header:
    following = [*(EXTENSIONS[name] for name in packet.extensions), PROTOCOLS[packet.proto]]
    size = payload + _EXTENSION_BYTES * len(packet.extensions)
    start = b"\x60\x00\x00\x00" + size.to_bytes(2, "big") + bytes([following[0], 64])
    # the flow label is the sender's choice
    known = b"\xff\xf0\x00\x00" + b"\xff" * 4
    behind = (
        part
        for kind, after in pairwise(following)
        # the identification of a fragment is the sender's choice, too
        for part in (sure(extension(kind, after)[:4]), unsure(4) if kind == EXTENSIONS["fragment"] else sure(bytes(4)))
    )
    return Header((start, known), sure(src + dst), *behind)


def extension(kind: int, after: int) -> bytes:
    """The shortest extension header of a kind, in front of `after`: without options, or segments left, or of a whole packet (RFC 8200)."""
    padded = {0: b"\1\4", 60: b"\1\4"}.get(kind, bytes(2))
    return bytes([after, 0]) + padded + bytes(4)


def _transport(packet: Packet) -> Header:
    ports = packet.sport.to_bytes(2, "big") + packet.dport.to_bytes(2, "big")
    if packet.proto == "tcp":
        return Header(sure(ports), unsure(8), sure(bytes([0x50, packet.flags])), unsure(6))
    if packet.proto == "udp":
        return Header(sure(ports + b"\x00\x08"), unsure(2))
    return Header(sure(bytes([packet.icmp_type, packet.icmp_code])), unsure(6))


def refused_early(current: Flow) -> str | None:
    """Why ip6_rcv_core drops a packet before any filter of the IP hooks: senders that nobody can be, loopback on a wire."""
    if current.family == "ipv4" or current.iif.loopback or not (is_sure(current.src) and is_sure(current.dst)):
        return None
    src, dst = ip_address(current.src[0]), ip_address(current.dst[0])
    if src.is_loopback or dst.is_loopback:
        return "::1 is no address on a wire"
    return "a multicast address is no source" if src.is_multicast else None


def lost_behind(current: Flow) -> str | None:
    """Why a packet that passed the input hook is lost for its extension headers. Raises Undecidable where that can't be told."""
    if current.misplaced:
        raise Undecidable(
            "behind routing or destination options, a packet with a fragment header is lost where connections are tracked"
        )
    if "routing" in current.packet.extensions:
        if not is_sure(current.pkttype):
            raise Undecidable("to whom the frame of a packet with a routing header was addressed is not known")
        if current.pkttype[0] != bytes([PACKET_HOST]):
            return "a routing header in a frame that was not for this host (ipv6_rthdr_rcv)"
    return None


def track(world: World, current: Flow) -> None:
    """Connection tracking (nf_conntrack_in): decides once, at priority -200 of prerouting, what flow the packet belongs to."""
    if current.connection is not None:
        return
    current.tracked_here = True
    if current.untracked:
        return
    state = current.packet.state
    if state == "new":
        state = _opens(world, current.packet)
    if state == "untracked":
        current.untracked = True
    if state in ("untracked", "invalid"):
        return
    original, reply = current.tuples()
    fresh = state == "new"
    current.connection = Connection(
        state={"new": NEW, "established": ESTABLISHED, "related": RELATED}[state],
        fresh=fresh,
        original=original,
        reply=reply,
        mark=sure(bytes(4)) if fresh else unsure(4),
        zone=(current.zone or sure(bytes(2))) if fresh else unsure(2),
        labels=sure(bytes(16)) if fresh else unsure(16),
    )


def _opens(world: World, packet: Packet) -> str:
    """What conntrack makes of a packet that belongs to no known flow: new, invalid or untracked."""
    if packet.proto in _ICMP_NEW:
        if packet.proto == "icmpv6" and packet.icmp_type in _ICMPV6_UNTRACKED:
            return "untracked"
        return "new" if packet.icmp_type in _ICMP_NEW[packet.proto] else "invalid"
    if packet.proto != "tcp":
        return "new"
    flags = packet.flags & ~(_TCP_PSH | _TCP_ECE | _TCP_CWR)
    if flags not in _TCP_VALID or flags & (_TCP_RST | _TCP_FIN) or flags & 0x12 == 0x12:
        return "invalid"
    if flags & _TCP_SYN:
        return "new"
    # the middle of a connection that began before tracking did is picked up, unless that is switched off
    return (
        "new" if world.namespace.sysctls.get("net.netfilter.nf_conntrack_tcp_loose", "1").strip() != "0" else "invalid"
    )


def address_number(value: Value, why: str) -> int:
    """An address as a number. Raises Undecidable (with `why`) if it is not known."""
    if not is_sure(value):
        raise Undecidable(why)
    return int.from_bytes(value[0], "big")
