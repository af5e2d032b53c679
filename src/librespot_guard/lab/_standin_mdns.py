"""The mDNS half of a stand-in: one name on the network, answered on every interface (RFC 6762, RFC 6763). Standard library only."""

import contextlib
import fcntl
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path

from librespot_guard.lab.mdns import GROUP, PORT, SERVICE

_A, _PTR, _TXT, _AAAA, _SRV = 1, 12, 16, 28, 33
_UNIQUE = 0x8001  # class IN with the cache-flush bit
_TTL = 60
_SIOCGIFADDR = 0x8915
_IP_PKTINFO = 8  # linux/in.h, not in the socket module of 3.11


@dataclass(slots=True)
class Responder:
    """Announces one Spotify Connect service. `name` may change while it runs."""

    name: str
    port: int
    txt: tuple[str, ...]
    families: tuple[str, ...]
    host: str = field(default_factory=lambda: socket.gethostname().partition(".")[0] + ".local")
    sockets: list[socket.socket] = field(default_factory=list)

    def start(self) -> None:
        """Open the sockets, announce, and answer in the background. Raises OSError."""
        for family in self.families:
            sock = open_socket(family)
            self.sockets.append(sock)
            threading.Thread(target=self._answer, args=(sock, family), daemon=True).start()
        self.announce()

    def announce(self) -> None:
        """Tell everybody, unasked (RFC 6762 section 8.3)."""
        for sock, family in zip(self.sockets, self.families, strict=True):
            for index, _ in interfaces():
                self._send(sock, family, index, None)

    def _answer(self, sock: socket.socket, family: str) -> None:
        while True:
            message, ancillary, _, sender = sock.recvmsg(9000, 128)
            index = _arrived_on(ancillary)
            asked = list(_questions(message))
            if index and any(
                name.lower() in (SERVICE, f"{self.name}.{SERVICE}".lower(), self.host.lower()) for name, _ in asked
            ):
                straight = sender[1] != PORT or any(unicast for _, unicast in asked)
                self._send(sock, family, index, sender if straight else None)

    def _send(self, sock: socket.socket, family: str, index: int, to: tuple[object, ...] | None) -> None:
        message = self._message(index)
        with contextlib.suppress(OSError):  # an interface that is going away
            if family == "ipv4":
                packet_info = struct.pack("=i4s4s", index, b"\0" * 4, b"\0" * 4)
                target = to or (GROUP["ipv4"], PORT)
                sock.sendmsg([message], [(socket.IPPROTO_IP, _IP_PKTINFO, packet_info)], 0, target)
            else:
                sock.sendto(message, to or (GROUP["ipv6"], PORT, 0, index))

    def _message(self, index: int) -> bytes:
        instance = (self.name, *SERVICE.split("."))
        service, host = tuple(SERVICE.split(".")), tuple(self.host.split("."))
        records = [
            _record(service, _PTR, 1, _labels(instance)),
            _record(instance, _SRV, _UNIQUE, struct.pack(">HHH", 0, 0, self.port) + _labels(host)),
            _record(instance, _TXT, _UNIQUE, b"".join(bytes([len(t)]) + t.encode() for t in self.txt)),
        ]
        for number, addresses in interfaces():
            if number == index:
                kinds = {4: _A, 16: _AAAA} if "ipv6" in self.families else {4: _A}
                records += [_record(host, kinds[len(a)], _UNIQUE, a) for a in addresses if len(a) in kinds]
        return struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def open_socket(family: str) -> socket.socket:
    """A socket on 5353 that shares it, in the group on every interface that has an address. Raises OSError."""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    sock = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == "ipv4":
            sock.bind(("", PORT))
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("::", PORT))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        for index, _ in interfaces():
            with contextlib.suppress(OSError):  # one without multicast
                if family == "ipv4":
                    member = struct.pack("=4s4si", socket.inet_aton(GROUP["ipv4"]), b"\0" * 4, index)
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                else:
                    member = socket.inet_pton(socket.AF_INET6, GROUP["ipv6"]) + struct.pack("=i", index)
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    except BaseException:
        sock.close()
        raise
    return sock


def interfaces() -> list[tuple[int, list[bytes]]]:
    """Index and addresses (packed) of every interface that has one, without loopback."""
    found: dict[int, list[bytes]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for index, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                request: bytes = fcntl.ioctl(sock, _SIOCGIFADDR, name.encode().ljust(40, b"\0"))
                found.setdefault(index, []).append(request[20:24])
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
            address, index_text, *_ = line.split()
            found.setdefault(int(index_text, 16), []).append(bytes.fromhex(address))
    local = (b"\x7f\0\0\1", IPv6Address("::1").packed)
    return [(index, addresses) for index, addresses in found.items() if not set(local) & set(addresses)]


def _arrived_on(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The interface by in_pktinfo or in6_pktinfo (linux/in.h, linux/ipv6.h); 0 if it is not said."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return int(struct.unpack_from("=i", data)[0])
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return int(struct.unpack_from("=i", data, 16)[0])
    return 0


def _questions(message: bytes) -> Iterator[tuple[str, bool]]:
    """Name of each question, and whether it asks for a unicast answer; names in a query that asks us are not compressed."""
    if len(message) < 12:
        return
    _, flags, count, *_ = struct.unpack_from(">HHHHHH", message)
    offset = 12
    for _ in range(0 if flags & 0x8000 else min(count, 32)):
        labels = []
        while offset < len(message) and 0 < message[offset] < 64:
            labels.append(message[offset + 1 : offset + 1 + message[offset]].decode("utf-8", "replace"))
            offset += 1 + message[offset]
        if offset + 5 > len(message) or message[offset] != 0:
            return
        _, kind = struct.unpack_from(">HH", message, offset + 1)
        yield ".".join(labels), bool(kind & 0x8000)
        offset += 5


def _labels(labels: tuple[str, ...]) -> bytes:
    parts = (label.encode()[:63] for label in labels)
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _record(name: tuple[str, ...], kind: int, group: int, data: bytes) -> bytes:
    return _labels(name) + struct.pack(">HHIH", kind, group, _TTL, len(data)) + data
