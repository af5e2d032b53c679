"""Real packets with any source, and the answer to one question: did the last input hook let it through?

Frames leave through AF_PACKET on the far end of a cable, so the near end receives them as from the wire. Raw IP sockets in the
receiving host see exactly what has passed the input hook, whether or not a socket waits on the port. A tap on the receiving
interface, which sits before every filter, tells that a frame arrived at all, so "not delivered" is never "not yet there".
"""

import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from librespot_guard.errors import MachineError
from librespot_guard.lab import _nfnetlink
from librespot_guard.lab._stage import hardware_address
from librespot_guard.lab.frames import build, token_of
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.reach.packet import Packet

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_CHUNK = 64
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Way:
    """How packets come in on an interface: `host` and `dev` are the far end of its cable."""

    host: Host
    dev: str


class Injector:
    """An AF_PACKET socket on `dev` of the calling thread's network namespace. Raises OSError."""

    def __init__(self, dev: str) -> None:
        self.mac = hardware_address(dev)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((dev, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        """Send one frame."""
        self._socket.send(frame)


class Receiver:
    """Raw sockets in the calling thread's network namespace that see what passes the input hook, and taps before it.

    `devs` are the interfaces on which a tap tells that a frame has arrived.
    """

    def __init__(self, devs: Sequence[str]) -> None:
        self._raw: dict[socket.socket, tuple[str, bool]] = {}
        self._taps: list[socket.socket] = []
        for family, with_header, protocols in (
            (socket.AF_INET, True, {"tcp": 6, "udp": 17, "icmp": 1}),
            (socket.AF_INET6, False, {"tcp": 6, "udp": 17, "icmpv6": 58}),
        ):
            for proto, number in protocols.items():
                try:
                    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, number)
                except OSError:
                    if family == socket.AF_INET6:  # a kernel without IPv6
                        continue
                    raise
                self._raw[sock] = (proto, with_header)
        for dev in devs:
            tap = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL)
            )
            tap.bind((dev, _ETH_P_ALL))
            if dev != "lo":
                tap.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._taps.append(tap)
        self.macs = {dev: hardware_address(dev) for dev in devs}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for sock in (*self._raw, *self._taps):
            sock.close()

    def arrived(self) -> Iterator[bytes]:
        """The frames that the taps have seen since the last call."""
        for tap in self._taps:
            while True:
                try:
                    yield tap.recv(2048)
                except BlockingIOError:
                    break

    def passed(self) -> Iterator[tuple[str, int]]:
        """(protocol, token) of every packet that has passed the input hook since the last call."""
        for sock, (proto, with_header) in self._raw.items():
            while True:
                try:
                    data = sock.recv(2048)
                except BlockingIOError:
                    break
                upper = data[(data[0] & 0xF) * 4 :] if with_header else data
                token = token_of(proto, upper)
                if token is not None:
                    yield proto, token

    def wait(self, seconds: float) -> None:
        """Wait until something is there to read, at most so long."""
        select.select(self._taps, [], [], seconds)


def deliver(
    box: Sandbox,
    receiver: Host,
    ways: Mapping[str, Way],
    packets: Sequence[Packet],
    *,
    sockets: Callable[[], Sequence[socket.socket]] = tuple,
) -> list[bool]:
    """Send every packet in on its `iface`; returns for each whether the receiver's last input hook let it through.

    Every packet is the first of its flow: connection tracking forgets between packets of one flow (only state "new" can be
    asked). `sockets` opens sockets in the receiver that stand there meanwhile. About 10,000 packets a second.

    Raises:
        MachineError: a frame did not arrive at the interface (link down?), or an interface has no way in.
    """
    unknown = sorted({p.iface for p in packets} - set(ways))
    if unknown:
        raise MachineError(
            f"no way in by the interface `{unknown[0]}`", hint=f"there is one by {', '.join(ways) or 'none'}"
        )
    return box.call(lambda: _deliver(receiver, ways, packets, sockets))


def _deliver(
    receiver: Host, ways: Mapping[str, Way], packets: Sequence[Packet], sockets: Callable[[], Sequence[socket.socket]]
) -> list[bool]:
    results = [False] * len(packets)
    used = {packet.iface for packet in packets}
    with ExitStack() as stack:
        injectors = {}
        for iface in used:
            with ways[iface].host.inside():
                injectors[iface] = stack.enter_context(Injector(ways[iface].dev))
        stack.enter_context(receiver.inside())
        for sock in sockets():
            stack.enter_context(sock)
        ears = stack.enter_context(Receiver(sorted(used)))
        for round_number, chosen in enumerate(_rounds(packets)):
            # a namespace without connection tracking has nothing to forget
            if not _nfnetlink.forget_connections() and round_number:
                raise MachineError(
                    "this kernel can't flush connection tracking, and a flow is asked about twice",
                    hint="ask in two batches, or load nf_conntrack_netlink",
                )
            for start in range(0, len(chosen), _CHUNK):
                _chunk(injectors, ears, packets, chosen[start : start + _CHUNK], results)
    return results


def _rounds(packets: Sequence[Packet]) -> list[list[int]]:
    """Indexes of packets in rounds, so that no flow occurs twice in a round."""
    seen: dict[tuple[str, str, str, int, int], int] = {}
    rounds: list[list[int]] = []
    for index, p in enumerate(packets):
        flow = (p.src, p.dst, p.proto, p.sport, p.dport)
        number = seen.get(flow, 0)
        seen[flow] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(index)
    return rounds


def _chunk(
    injectors: Mapping[str, Injector],
    ears: Receiver,
    packets: Sequence[Packet],
    chosen: Sequence[int],
    results: list[bool],
) -> None:
    base = 0x5A000000  # tokens: recognisable, and unique within a batch
    waiting: dict[bytes, int] = {}
    for index in chosen:
        packet = packets[index]
        injector = injectors[packet.iface]
        frame = build(packet, base + index, source_mac=injector.mac, target_mac=ears.macs[packet.iface])
        waiting[frame] = index
        injector.send(frame)
    deadline = time.monotonic() + _PATIENCE
    expected = {(packets[i].proto, base + i): i for i in chosen}
    while waiting:
        for frame in ears.arrived():
            waiting.pop(frame, None)
        if waiting:
            if time.monotonic() > deadline:
                lost = packets[next(iter(waiting.values()))]
                raise MachineError(f"a frame did not arrive at `{lost.iface}`", hint="is the link up on both sides?")
            ears.wait(0.05)
    # the tap and the filter run in one and the same soft interrupt: what has not passed a moment after the tap was dropped
    for _ in range(2):
        for key in ears.passed():
            if key in expected:
                results[expected[key]] = True
        if all(results[i] for i in chosen):
            return
        time.sleep(0.001)
    for key in ears.passed():
        if key in expected:
            results[expected[key]] = True
