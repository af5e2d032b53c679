"""The cable of the guest: what stands at its other end is a thread of this process, which can be any host of the network.

QEMU hands over whole Ethernet frames as datagrams of a Unix socket (`-netdev dgram`). The thread answers ARP (RFC 826) and neighbour
solicitations (RFC 4861) for every address but the guest's own, so that a packet may come from anybody.
"""

import socket
import struct
import threading
import time
from ipaddress import ip_address
from pathlib import Path

from librespot_guard.lab import frames
from librespot_guard.lab._guest_image import ADDRESS, ADDRESS6
from librespot_guard.reach.packet import Packet

MAC = bytes.fromhex("525400102030")
_OURS = bytes.fromhex("525400aabbcc")
_SYN, _SYN_ACK, _RST = 0x02, 0x12, 0x04


class Wire:
    """The far end, from `__enter__` to `__exit__`; `ours` and `guests` are the two sockets in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.guests = folder / "wire", folder / "guest"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.ours))
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._answers: list[tuple[str, int, str]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pull it out."""
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def syn(self, source: str, port: int, *, sport: int = 40000) -> None:
        """Send the first packet of a connection from an address of the network to a TCP port of the guest."""
        target = ADDRESS6 if ":" in source else ADDRESS
        packet = Packet("eth0", source, target, "tcp", sport=sport, dport=port, flags=_SYN)
        self._send(frames.build(packet, 1, source_mac=_OURS, target_mac=MAC))

    def asked(self, source: str, port: int, *, timeout: float = 1.5) -> str:
        """What a connection from an address to a TCP port of the guest meets: "open", "refused" or "" for nothing."""
        with self._changed:
            self._answers.clear()
            sport = 40000 + time.monotonic_ns() // 1000 % 20000
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                self.syn(source, port, sport=sport)
                if self._changed.wait_for(lambda: any(a[:2] == (source, sport) for a in self._answers), 0.4):
                    return next(a[2] for a in self._answers if a[:2] == (source, sport))
            return ""

    def answered(self, source: str) -> list[str]:
        """What an address has got since `forget`: "open" or "refused" for each answer."""
        with self._changed:
            return [kind for who, _, kind in self._answers if who == source]

    def forget(self) -> None:
        """Forget what was answered so far."""
        with self._changed:
            self._answers.clear()

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.sendto(frame, str(self.guests))
        except (FileNotFoundError, ConnectionRefusedError, TimeoutError):
            # nobody is there, or it does not look: such a frame is lost on a real cable too
            return

    def _listen(self) -> None:
        self._socket.settimeout(0.2)
        while not self._ended.is_set():
            try:
                frame = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            kind = frame[12:14]
            if kind == b"\x08\x06":
                self._arp(frame[14:])
            elif kind == b"\x08\x00" and frame[23] == 6:
                body = frame[14 + (frame[14] & 15) * 4 :]
                self._tcp(str(ip_address(frame[30:34])), body)
            elif kind == b"\x86\xdd":
                self._ipv6(frame[14:])

    def _arp(self, body: bytes) -> None:
        asked = body[24:28]
        if body[6:8] != b"\0\1" or str(ip_address(asked)) == ADDRESS or body[14:18] in (asked, b"\0\0\0\0"):
            return
        answer = body[:6] + b"\0\2" + _OURS + asked + body[8:18]
        self._send(MAC + _OURS + b"\x08\x06" + answer)

    def _ipv6(self, packet: bytes) -> None:
        source, target, body = packet[8:24], packet[24:40], packet[40:]
        if packet[6] == 6:
            self._tcp(str(ip_address(target)), body)
        elif packet[6] == 58 and body[0] == 135 and any(source):
            asked = body[8:24]
            if str(ip_address(asked)) == ADDRESS6:
                return
            # solicited, override; with the target's link-layer address (RFC 4861 section 4.4)
            plain = struct.pack(">BBHI", 136, 0, 0, 0x60000000) + asked + b"\2\1" + _OURS
            summed = frames.icmpv6_summed(plain, asked, source)
            head = struct.pack(">IHBB16s16s", 0x60000000, len(summed), 58, 255, asked, source)
            self._send(MAC + _OURS + b"\x86\xdd" + head + summed)

    def _tcp(self, who: str, body: bytes) -> None:
        kind = "open" if body[13] & _SYN_ACK == _SYN_ACK else "refused" if body[13] & _RST else ""
        if kind:
            with self._changed:
                self._answers.append((who, int.from_bytes(body[2:4], "big"), kind))
                self._changed.notify_all()
