"""Datagrams and segments in fragments, sent for real to a real socket (RFC 791, RFC 8200 section 4.5)."""

import itertools
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from librespot_guard.lab._nfnetlink import forget_connections
from librespot_guard.lab._stage import hardware_address
from librespot_guard.lab.frames import ETHERTYPE, build, checksum
from librespot_guard.lab.inject import Injector
from librespot_guard.reach.packet import Packet
from reach.places import PORT, Place

SENDER = {"ipv4": "192.168.10.9", "ipv6": "fd00:10::9"}
HOST = {"ipv4": "192.168.10.2", "ipv6": "fd00:10::2"}
_SYN_RECV = "03"  # include/net/tcp_states.h
_DESTINATION = 60
_numbers = itertools.count(1)

# the sizes of what the fragments before the last carry, by name; "hidden" has extension headers in front of the transport header
WAYS = {"whole": (), "two": (16,), "short": (8,), "middle": (40,), "hidden": (8,)}


def reaches(stage: Place, family: str, proto: str, way: str) -> bool:
    """Whether a socket of the host gets what is sent in fragments: UDP a datagram, TCP a SYN that is answered."""
    # an identification of its own for each, so that pieces of one are never those of another
    number = next(_numbers)
    return bool(stage.sandbox.call(lambda: _reaches(stage, (family, proto, way), number)))


def _reaches(stage: Place, sent: tuple[str, str, str], number: int) -> bool:
    family, proto, way = sent
    token = 0x5B000000 | number
    with ExitStack() as stack:
        with stage.lan.inside():
            injector = stack.enter_context(Injector("p"))
        stack.enter_context(stage.host.inside())
        forget_connections()
        kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
        ear = stack.enter_context(socket.socket(socket.AF_INET if family == "ipv4" else socket.AF_INET6, kind))
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("", PORT))
        ear.setblocking(False)
        if proto == "tcp":
            ear.listen()
        port = 20000 + number
        packet = Packet("eth0", SENDER[family], HOST[family], proto, sport=port, dport=PORT)
        mac = hardware_address("eth0")
        whole = build(packet, token, source_mac=injector.mac, target_mac=mac)
        for piece in fragments(whole[14:], token, way):
            injector.send(whole[:12] + struct.pack(">H", ETHERTYPE[family]) + piece)
        return _waited((lambda: _datagram(ear, token)) if proto == "udp" else (lambda: _half_open(family, port)))


def _waited(there: Callable[[], bool]) -> bool:
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        if there():
            return True
        time.sleep(0.003)
    return False


def _datagram(ear: socket.socket, token: int) -> bool:
    try:
        return ear.recv(4096)[:4] == struct.pack(">I", token)
    except BlockingIOError:
        return False


def _half_open(family: str, port: int) -> bool:
    lines = (
        Path("/proc/thread-self/net", "tcp" if family == "ipv4" else "tcp6").read_text(encoding="ascii").splitlines()
    )
    return any(w[2].endswith(f":{port:04X}") and w[3] == _SYN_RECV for w in map(str.split, lines[1:]))


def fragments(packet: bytes, number: int, way: str) -> list[bytes]:
    """An IP packet of `build`, without extension headers, in the fragments of one of the `WAYS`; padded, so that each has a part."""
    four = packet[0] >> 4 == 4
    upper = packet[20:] if four else packet[40:]
    protocol = packet[9] if four else packet[6]
    upper = _longer(packet, upper, protocol)
    if way == "hidden":
        if four:
            raise ValueError("only IPv6 has extension headers")
        # two headers of eight bytes each: the first fragment ends behind the one that announces the other
        for _ in range(2):
            upper = bytes((protocol, 0, 1, 4, 0, 0, 0, 0)) + upper
            protocol = _DESTINATION
    edges = [0, *WAYS[way], len(upper)]
    make = _four if four else _six
    return [make(packet, protocol, upper[a:b], (a, b < len(upper)), number) for a, b in itertools.pairwise(edges)]


def _longer(packet: bytes, upper: bytes, protocol: int) -> bytes:
    """The same with 64 bytes more, and its checksum."""
    source, target = (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])
    at = {6: 16, 17: 6}[protocol]
    out = bytearray(upper + bytes(64))
    if protocol == 17:
        struct.pack_into(">H", out, 4, len(out))
    out[at : at + 2] = bytes(2)
    value = checksum(source + target + struct.pack(">II", len(out), protocol) + bytes(out))
    struct.pack_into(">H", out, at, value or 0xFFFF)
    return bytes(out)


def _four(packet: bytes, protocol: int, body: bytes, where: tuple[int, bool], number: int) -> bytes:
    offset, more = where
    head = bytearray(packet[:20])
    struct.pack_into(">HHH", head, 2, 20 + len(body), number & 0xFFFF, (0x2000 if more else 0) | offset // 8)
    head[9] = protocol
    struct.pack_into(">H", head, 10, 0)
    struct.pack_into(">H", head, 10, checksum(bytes(head)))
    return bytes(head) + body


def _six(packet: bytes, protocol: int, body: bytes, where: tuple[int, bool], number: int) -> bytes:
    offset, more = where
    if not offset and not more:
        return packet[:4] + struct.pack(">HB", len(body), protocol) + packet[7:40] + body
    header = struct.pack(">BBHI", protocol, 0, offset | more, number)
    return packet[:4] + struct.pack(">HB", 8 + len(body), 44) + packet[7:40] + header + body
