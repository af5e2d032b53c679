"""A bench for many packets: the kernel's verdict, the rules each one met, and where it arrived, some thousand packets a second.

One sandbox and one set of sockets serve any number of rulesets. All sending is done by one thread on one processor, so frames are
handled in the order in which they are sent; a frame of a type of its own behind each batch tells that all before it is done.
"""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from kernel_judge import Fact, Stage, read_world, stage
from librespot_guard import collect, firewall
from librespot_guard.lab import _nfnetlink
from librespot_guard.lab.frames import build, token_of
from librespot_guard.lab.inject import Injector
from librespot_guard.reach.packet import EXTENSIONS
from librespot_guard.reach.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from librespot_guard.reach.packet import Packet

_ETH_P_ALL, _SENTINEL = 0x0003, 0x88B5  # the second is for experiments (IEEE Std 802)
_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTRACE = 270, 1, 9
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50
_TRACE = 10 << 8 | 17  # NFT_MSG_TRACE
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev", 10: "ip6"}
_TOKEN = 0x5A000000
# as many packets as fit an ordinary netlink socket with all their trace messages
_BATCH = 12
_MOST_REFUSALS = 6
BROADCAST = ("192.168.10.255", "10.9.0.255")
# first of all that a packet can meet; the frames behind a batch are not traced
_TRACER = "".join(
    f"""
table netdev zz_tracer_{dev} {{
	chain c {{
		type filter hook ingress device "{dev}" priority -2000
		meta protocol {{ ip, ip6 }} meta nftrace set 1
	}}
}}"""
    for dev in ("eth0", "eth1")
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel did: `verdict` is delivered, forwarded or stopped; where it was delivered (after NAT); the rules it met."""

    verdict: str
    address: str = ""
    port: int = 0
    trail: tuple[Fact, ...] = ()
    traced: bool = True


@dataclass(slots=True)
class Bench:
    """Sockets in place; use it inside the sandbox (`bench`)."""

    injectors: dict[str, Injector]
    macs: dict[str, bytes]
    near: list[socket.socket]
    far: list[socket.socket]
    raw: dict[socket.socket, tuple[str, bool]]
    trace: socket.socket
    base: World
    _token: int = _TOKEN
    refused: int = 0
    lines: int = 0
    _round: int = field(default=0)

    def load(self, rules: str) -> tuple[World, str]:
        """Replace the rules; lines that nft refuses are left out. Returns the world, and the rules as loaded."""
        lines = rules.splitlines()
        self.lines += len(lines)
        for _ in range(_MOST_REFUSALS):
            text = "\n".join(lines)
            done = subprocess.run(
                ["nft", "-f", "-"],
                input=f"flush ruleset\n{text}\n{_TRACER}",
                text=True,
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return self.world(), text
            wrong = {int(n) - 2 for n in re.findall(r"/dev/stdin:(\d+):", done.stderr)} & set(range(len(lines)))
            wrong = {n for n in wrong if not re.search(r"^\s*(table|chain|\}|type)", lines[n])}
            if not wrong:
                break
            self.refused += len(wrong)
            lines = [line for n, line in enumerate(lines) if n not in wrong]
        raise AssertionError(f"nft refuses\n{text}\n{done.stderr}")

    def adopt(self, sections: dict[str, str]) -> World:
        """Replace the rules by those that other tools print: for nft, iptables-nft-restore, ip6tables-nft-restore."""
        commands = [
            ("nft", f"flush ruleset\n{sections.get('nft', '')}"),
            *(
                (f"{name}-nft-restore", sections[name])
                for name in ("iptables", "ip6tables")
                if sections.get(name, "").strip()
            ),
            ("nft", _TRACER),
        ]
        for tool, text in commands:
            argv = ["nft", "-f", "-"] if tool == "nft" else [tool]
            done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
            if done.returncode != 0:
                raise AssertionError(f"{tool}: {done.stderr}\n{text}")
        return self.world()

    def world(self) -> World:
        """The facts with the rules that are loaded now."""
        raw = collect.read_nft(texts=False)
        ruleset = firewall.native(firewall.decode(raw, byteorder=sys.byteorder))
        return World(replace(self.base.namespace, nft=raw), ruleset, ruleset.incomplete)

    def send(self, packets: Sequence[Packet]) -> list[Seen]:
        """Send every packet as the first of its flow; what the kernel did with each."""
        out: list[Seen] = [Seen("stopped")] * len(packets)
        for chosen in _rounds(packets):
            _nfnetlink.forget_connections()
            for start in range(0, len(chosen), _BATCH):
                self._batch(packets, chosen[start : start + _BATCH], out)
        return out

    def _batch(self, packets: Sequence[Packet], chosen: Sequence[int], out: list[Seen]) -> None:
        tokens = {}
        for index in chosen:
            packet = packets[index]
            # every other number: an answer acknowledges the one between
            self._token = _TOKEN + (self._token + 2 & 0xFFFF)
            tokens[self._token] = index
            injector = self.injectors[packet.iface]
            target = b"\xff" * 6 if packet.dst in BROADCAST else self.macs[packet.iface]
            injector.send(build(packet, self._token, source_mac=injector.mac, target_mac=target))
        # what is forwarded is queued behind the first of these, and before the second
        for _ in range(2):
            self._settle()
        trails = self._trails({token: packets[index] for token, index in tokens.items()})
        for index in tokens.values():
            out[index] = Seen("stopped")
        for token, address, port in self._delivered():
            if token in tokens:
                out[tokens[token]] = Seen("delivered", address, port)
        for token, kind in self._forwarded():
            if token in tokens and kind in (None, packets[tokens[token]].icmp_type):
                out[tokens[token]] = Seen("forwarded")
        for token, index in tokens.items():
            out[index] = replace(out[index], trail=trails.get(token, ()))

    def _settle(self) -> None:
        """Wait until all that was sent before is done."""
        self._round += 1
        mark = struct.pack(">I", self._round)
        waiting = dict(zip(self.near, self.injectors, strict=True))
        for tap, dev in waiting.items():
            injector = self.injectors[dev]
            injector.send(self.macs[dev] + injector.mac + struct.pack(">H", _SENTINEL) + mark.ljust(46, b"\0"))
            while True:
                if not select.select([tap], [], [], 2)[0]:
                    raise AssertionError(f"the frame behind a batch did not arrive at {dev}")
                data = tap.recv(2048)
                if data[12:14] == struct.pack(">H", _SENTINEL) and data[14:18] == mark:
                    break

    def _delivered(self) -> Iterator[tuple[int, str, int]]:
        for sock, (proto, four) in self.raw.items():
            while True:
                try:
                    data, control, _, _ = sock.recvmsg(2048, 128)
                except BlockingIOError:
                    break
                upper = data[(data[0] & 0xF) * 4 :] if four else data
                address = str(IPv4Address(data[16:20])) if four else _packet_info(control)
                token = token_of(proto, upper)
                if token is not None:
                    port = struct.unpack_from(">H", upper, 2)[0] if proto in ("tcp", "udp") else 0
                    yield token, address, port

    def _forwarded(self) -> Iterator[tuple[int, int | None]]:
        """Tokens of packets that left by a cable, with the type of ICMP (an answer to an echo bears the token of the echo)."""
        for tap in self.far:
            while True:
                try:
                    frame = tap.recv(2048)
                except BlockingIOError:
                    break
                four = frame[12:14] == b"\x08\x00"
                if not four and frame[12:14] != b"\x86\xdd":
                    continue
                start = 14 + ((frame[14] & 0xF) * 4 if four else 40)
                number = frame[23] if four else frame[20]
                while not four and number in EXTENSIONS.values():
                    number, start = frame[start], start + 8
                proto = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}.get(number, "")
                token = token_of(proto, frame[start:])
                if token is not None:
                    yield token, frame[start] if proto.startswith("icmp") else None

    def _trails(self, sent: dict[int, Packet]) -> dict[int, tuple[Fact, ...]]:
        """The rules that each packet met, by token; the tracer's own left out."""
        out: dict[int, list[Fact]] = {}
        current: dict[bytes, int] = {}
        while select.select([self.trace], [], [], 0)[0]:
            data = self.trace.recv(1 << 16)
            length, kind = struct.unpack_from("=IH", data)
            if kind != _TRACE:
                continue
            fields = _attributes(data[20:length])
            if 8 in fields:  # NFTA_TRACE_NETWORK_HEADER: the first event of a base chain
                transport = fields.get(9, b"")
                # TCP has the token as its sequence number, the others behind their header
                marks = [struct.unpack_from(">I", transport, at)[0] for at in (4, 8) if len(transport) >= at + 4]
                packet = None
                for mark, tcp in zip(marks, (True, False), strict=False):
                    if mark in sent and (sent[mark].proto == "tcp") == tcp:
                        packet = sent[mark]
                        break
                else:
                    mark = 0
                # the answer to an echo bears the token of the echo
                answer = packet is not None and packet.proto.startswith("icmp") and transport[0] != packet.icmp_type
                current[fields[6]] = mark if packet is not None and not answer else 0
            token = current.get(fields.get(6, b""), 0)
            table = f"{_FAMILIES.get(data[16], '')} {fields.get(1, b'').rstrip(bytes(1)).decode()}"
            if not token or "zz_tracer" in table:
                continue
            chain = fields.get(2, b"").rstrip(b"\0").decode()
            if int.from_bytes(fields[4], "big") == 1:
                policy = int.from_bytes(fields[16], "big")
                out.setdefault(token, []).append((table, chain, None, "policy accept" if policy else "policy drop"))
            elif 3 in fields:
                out.setdefault(token, []).append((table, chain, int.from_bytes(fields[3], "big"), ""))
        return {token: tuple(facts) for token, facts in out.items()}


def _packet_info(control: list[tuple[int, int, bytes]]) -> str:
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return str(IPv6Address(data[:16]))
    return ""


def _attributes(data: bytes) -> dict[int, bytes]:
    out, position = {}, 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        out[kind & 0x3FFF] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return out


def _rounds(packets: Sequence[Packet]) -> list[list[int]]:
    """Indexes of packets in rounds: in one round no two of a source and its port, which NAT could make one flow."""
    seen: dict[tuple[str, str, int], int] = {}
    rounds: list[list[int]] = []
    for index, p in enumerate(packets):
        # ICMP flows are told apart by an identifier of their own
        key = (p.src, p.proto, p.sport if p.proto in ("tcp", "udp") else index)
        number = seen.get(key, 0)
        seen[key] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(index)
    return rounds


def _tap(dev: str) -> socket.socket:
    tap = socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL)
    )
    tap.bind((dev, _ETH_P_ALL))
    tap.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    return tap


def _listeners() -> dict[socket.socket, tuple[str, bool]]:
    out = {}
    for family, protocols in (
        (socket.AF_INET, {"tcp": 6, "udp": 17, "icmp": 1}),
        (socket.AF_INET6, {"tcp": 6, "udp": 17, "icmpv6": 58}),
    ):
        for proto, number in protocols.items():
            sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, number)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            out[sock] = (proto, family == socket.AF_INET)
    return out


@contextmanager
def bench(place: Stage) -> Iterator[Bench]:
    """Sockets on both sides of both cables of a stage; only inside (`place.box.call`)."""
    cpus = os.sched_getaffinity(0)
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, cpus)
        os.sched_setaffinity(0, {min(cpus)})
        injectors, far = {}, []
        for dev, host in place.far.items():
            with host.inside():
                injectors[dev] = stack.enter_context(Injector("p"))
                far.append(stack.enter_context(_tap("p")))
        stack.enter_context(place.target.inside())
        # a sentinel also comes to the far taps' own cable only as outgoing, which they ignore
        near = [stack.enter_context(_tap(dev)) for dev in injectors]
        raw = _listeners()
        for sock in raw:
            stack.enter_context(sock)
        trace = stack.enter_context(
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 12)
        )
        trace.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        trace.bind((0, 0))
        trace.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTRACE)
        base = read_world()
        macs = {
            link.name: bytes.fromhex(link.mac.replace(":", ""))
            for link in base.namespace.links
            if link.mac and link.name in injectors
        }
        yield Bench(injectors, macs, near, far, raw, trace, base)


@contextmanager
def flat_stage(*, containers: bool = False) -> Iterator[Stage]:
    """The stage of `kernel_judge`, where every neighbour is there: what is forwarded leaves without being asked for.

    With `containers` there is a third cable, `docker0`, with the addresses of Docker's default bridge.
    """
    with stage() as place:
        if containers:
            inside = place.box.host("inside")
            place.box.link(place.target, "docker0", inside, "p")
            place.target.address("docker0", "172.17.0.1/16")
            place.far["docker0"] = inside
        place.target.ip(*(f"link set {dev} arp off" for dev in place.far))
        yield place
