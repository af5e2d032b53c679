"""Ethernet frames from scratch: IPv4 and IPv6 with TCP, UDP, ICMP and ICMPv6, with right checksums and any source address.

Layouts: RFC 791, 8200, 9293, 768, 792, 4443; multicast hardware addresses: RFC 1112 section 6.4 and RFC 2464 section 7.
"""

import struct
from ipaddress import ip_address

from librespot_guard.reach.packet import EXTENSIONS, PROTOCOLS, Packet

ETHERTYPE = {"ipv4": 0x0800, "ipv6": 0x86DD}


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    # one big addition modulo 0xffff is the folded sum of all 16-bit words
    total = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF ^ (total or (0xFFFF if any(data) else 0))


def multicast_mac(address: str) -> bytes | None:
    """The hardware address of a multicast (or IPv4 broadcast) address, or None for unicast."""
    ip = ip_address(address)
    if ip.version == 4:
        if address == "255.255.255.255":
            return b"\xff" * 6
        return b"\x01\x00\x5e" + (int(ip) & 0x7FFFFF).to_bytes(3, "big") if ip.is_multicast else None
    return b"\x33\x33" + ip.packed[-4:] if ip.is_multicast else None


def build(packet: Packet, token: int, *, source_mac: bytes, target_mac: bytes, hop_limit: int = 64) -> bytes:
    """The Ethernet frame of a packet that carries `token` (32 bits): as TCP sequence number, or in a UDP or ICMP payload."""
    src, dst = ip_address(packet.src).packed, ip_address(packet.dst).packed
    number = PROTOCOLS[packet.proto]
    upper = _upper(packet, number, token, src, dst)
    if packet.family == "ipv4":
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(upper), token & 0xFFFF, 0, hop_limit, number, 0, src, dst)
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    else:
        behind, number = _extensions(packet, number, token)
        upper = behind + upper
        head = struct.pack(">IHBB16s16s", 0x60000000, len(upper), number, hop_limit, src, dst)
    target = multicast_mac(packet.dst) or target_mac
    return target + source_mac + struct.pack(">H", ETHERTYPE[packet.family]) + head + upper


def _extensions(packet: Packet, number: int, token: int) -> tuple[bytes, int]:
    """The packet's extension headers before a protocol, and the number of the first (RFC 8200 sections 4.3 to 4.6)."""
    out = b""
    for name in reversed(packet.extensions):
        body = {
            "hop-by-hop": b"\x01\x04\0\0\0\0",  # PadN
            "destination": b"\x01\x04\0\0\0\0",
            "routing": bytes(6),  # no segments left
            "fragment": struct.pack(">HI", 0, token),  # of a whole packet
        }[name]
        out = bytes([number, 0]) + body + out
        number = EXTENSIONS[name]
    return out, number


def icmpv6_summed(body: bytes, source: bytes, target: bytes) -> bytes:
    """An ICMPv6 message with its checksum (RFC 4443 section 2.3) for two packed addresses."""
    return _summed(body, 2, PROTOCOLS["icmpv6"], source, target)


def _upper(packet: Packet, number: int, token: int, src: bytes, dst: bytes) -> bytes:
    mark = struct.pack(">I", token)
    if packet.proto == "tcp":
        body = struct.pack(">HHIIBBHHH", packet.sport, packet.dport, token, 0, 0x50, packet.flags, 64240, 0, 0)
        return _summed(body, 16, number, src, dst)
    if packet.proto == "udp":
        body = struct.pack(">HHHH", packet.sport, packet.dport, 8 + len(mark), 0) + mark
        return _summed(body, 6, number, src, dst)
    body = struct.pack(">BBHHH", packet.icmp_type, packet.icmp_code, 0, token & 0xFFFF, 1) + mark
    if packet.proto == "icmp":
        return body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    return _summed(body, 2, number, src, dst)


def _summed(body: bytes, offset: int, number: int, src: bytes, dst: bytes) -> bytes:
    """Put the checksum over the pseudo header and the body at `offset` of the body."""
    if len(src) == 4:
        pseudo = src + dst + struct.pack(">BBH", 0, number, len(body))
    else:
        pseudo = src + dst + struct.pack(">IHBB", len(body), 0, 0, number)
    # a UDP checksum of 0 would mean "none"
    value = checksum(pseudo + body) or (0xFFFF if number == 17 else 0)
    return body[:offset] + struct.pack(">H", value) + body[offset + 2 :]


def token_of(proto: str, upper: bytes) -> int | None:
    """The token of a received transport header and payload, or None if it holds none."""
    offset = 4 if proto == "tcp" else 8
    if len(upper) < offset + 4:
        return None
    value: int = struct.unpack_from(">I", upper, offset)[0]
    return value
