"""The kernel as judge: rules are loaded in a sandbox, raw packets sent, and verdicts and rule trails compared with the interpreter's.

A packet was delivered if a raw socket behind the last input hook saw it, forwarded if a tap on the far end of the other cable
did. The trail is what the kernel itself reports over nfnetlink (NFT_MSG_TRACE, the source of `nft monitor trace`).
"""

import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Self

from librespot_guard import collect
from librespot_guard.lab import _nfnetlink
from librespot_guard.lab.frames import build, token_of
from librespot_guard.lab.inject import Injector, Receiver
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.packet import Packet, Trace
from librespot_guard.reach.world import World, world
from librespot_guard.snapshot import Snapshot

_NFNLGRP_NFTRACE = 9
_TRACE = 10 << 8 | 17  # NFT_MSG_TRACE
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev", 10: "ip6"}
_TOKEN = 0x5A000000
# first in every hook that a packet can meet first, so that nothing is missed
TRACER = """
table netdev zz_tracer {
	chain eth0 {
		type filter hook ingress device "eth0" priority -2000
		meta nftrace set 1
	}
	chain eth1 {
		type filter hook ingress device "eth1" priority -2000
		meta nftrace set 1
	}
}
"""

Fact = tuple[str, str, int | None, str]


@dataclass(frozen=True)
class Case:
    """A ruleset, the packets to send at it, and sysctls to set meanwhile.

    `iptables` are commands for iptables-nft or ip6tables-nft, run after the rules are loaded.
    `trails` is false where the trail depends on what no question holds (a rate limit, the sender's hardware address).
    """

    name: str
    rules: str
    packets: Sequence[Packet]
    sysctls: dict[str, str] = field(default_factory=dict)
    trails: bool = True
    iptables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What the kernel did with a packet and what the interpreter says."""

    case: Case
    packet: Packet
    verdict: str
    trail: tuple[Fact, ...]
    said: Trace
    world: World

    @property
    def same_verdict(self) -> bool:
        """Whether both agree on the verdict; a packet that did not arrive was dropped or rejected."""
        said = "stopped" if self.said.verdict in ("dropped", "rejected") else self.said.verdict
        return said == self.verdict

    @property
    def said_trail(self) -> tuple[Fact, ...]:
        """The interpreter's trail in the same form as the kernel's."""
        return tuple((s.table, s.chain, s.handle, s.rule if s.handle is None else "") for s in self.said.trail)

    def __str__(self) -> str:
        return (
            f"{self.case.name}: {self.packet.to_json()}\n  kernel: {self.verdict} {self.trail}\n"
            f"  interpreter: {self.said.verdict} {self.said_trail} {self.said.because}"
        )


@dataclass
class Stage:
    """A host under test with two cables: eth0 and eth1, each with the far end `p` of a stranger's host."""

    box: Sandbox
    target: Host
    far: dict[str, Host]


@contextmanager
def stage() -> Iterator[Stage]:
    """A sandbox with a target that has IPv4 and IPv6 addresses on two interfaces and forwards between them."""
    with Sandbox() as box:
        target, one, two = box.host("target"), box.host("one"), box.host("two")
        box.link(target, "eth0", one, "p")
        box.link(target, "eth1", two, "p")
        target.address("eth0", "192.168.10.2/24", "192.168.10.3/24", "fd00:10::2/64", "fe80::2/64")
        target.address("eth1", "10.9.0.2/24", "fd00:9::2/64")
        target.route("default", via="192.168.10.1")
        target.route("default", via="fd00:10::1")
        target.ip("route add blackhole 198.51.100.0/24", "route add unreachable 203.0.113.0/24")
        neighbours = []
        for dev, host, addresses in (
            ("eth0", one, ("192.168.10.1", "192.168.10.9", "192.168.10.200", "fd00:10::1", "fd00:10::9")),
            ("eth1", two, ("10.9.0.3", "10.9.0.7", "fd00:9::7")),
        ):
            mac = host.mac("p").hex(":")
            neighbours += [f"neigh add {a} lladdr {mac} dev {dev} nud permanent" for a in addresses]
        target.ip(*neighbours)
        target.sysctl({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.eth0.accept_ra": 0})
        yield Stage(box, target, {"eth0": one, "eth1": two})


def judge(place: Stage, cases: Sequence[Case]) -> list[Judgement]:
    """Send every packet of every case; what the kernel did and what the interpreter says."""
    return place.box.call(lambda: _judge(place, cases))


def read_world() -> World:
    """The facts about the namespace of the calling thread, with its rules decoded."""
    namespace, gaps = collect.read_namespace(owners={}, cgroups={})
    assert namespace.nft is not None, gaps
    return world(Snapshot("", "", "", "", sys.byteorder, (namespace,)))


def load(rules: str) -> None:
    """Replace the rules of nf_tables in the calling thread's namespace. Raises AssertionError with what nft said."""
    done = subprocess.run(
        ["nft", "-f", "-"], input=f"flush ruleset\n{rules}\n", text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\n{rules}"


def _judge(place: Stage, cases: Sequence[Case]) -> list[Judgement]:
    out = []
    with ExitStack() as stack:
        injectors, taps = {}, {}
        for dev, host in place.far.items():
            with host.inside():
                injectors[dev] = stack.enter_context(Injector("p"))
                taps[dev] = stack.enter_context(Receiver(["p"]))
        stack.enter_context(place.target.inside())
        ears = stack.enter_context(Receiver(["eth0", "eth1"]))
        listener = stack.enter_context(_Tracing())
        number = 0
        for case in cases:
            before = _sysctls(case.sysctls)
            load(case.rules + TRACER)
            for command in case.iptables:
                _run(command)
            facts = read_world()
            for packet in case.packets:
                number += 1
                _nfnetlink.forget_connections()
                if packet.state == "established":
                    _prime(packet)
                _drain(ears, taps.values(), listener)
                frame = build(
                    packet, _TOKEN + number, source_mac=injectors[packet.iface].mac, target_mac=ears.macs[packet.iface]
                )
                injectors[packet.iface].send(frame)
                verdict = _outcome(packet, frame, _TOKEN + number, ears, taps)
                out.append(
                    Judgement(case, packet, verdict, listener.trail(_TOKEN + number), trace(facts, packet), facts)
                )
            _sysctls(before)
            _forget(case.iptables)
    return out


def _run(command: str) -> None:
    # an ordinary user may not write the usual lock file
    with tempfile.NamedTemporaryFile() as lock:
        done = subprocess.run(
            command.split(),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "XTABLES_LOCKFILE": lock.name},
        )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def _forget(commands: Sequence[str]) -> None:
    """Take back what `load` does not: rules of legacy iptables, and ipsets."""
    for program in ("iptables-legacy", "ip6tables-legacy"):
        used = {_table(c) for c in commands if c.split()[0] == program}
        for table in used:
            _run(f"{program} -t {table} -F")
            _run(f"{program} -t {table} -X")
        if "filter" in used:
            _run(f"{program} -P INPUT ACCEPT")
    if any(c.startswith("ipset ") for c in commands):
        load("")
        _run("ipset flush")  # a set of sets holds its members fast
        _run("ipset destroy")


def _table(command: str) -> str:
    words = command.split()
    return words[words.index("-t") + 1] if "-t" in words else "filter"


def _sysctls(values: dict[str, str]) -> dict[str, str]:
    before = {}
    for name, value in values.items():
        path = "/proc/sys/" + name.replace(".", "/")
        with open(path, encoding="ascii") as handle:  # noqa: PTH123 - a sysctl
            before[name] = handle.read().strip()
        with open(path, "w", encoding="ascii") as handle:  # noqa: PTH123 - a sysctl
            handle.write(value)
    return before


def _prime(packet: Packet) -> None:
    """Have the target send first, so that the packet is a reply to a tracked flow (UDP only)."""
    assert packet.proto == "udp"
    family = socket.AF_INET if packet.family == "ipv4" else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((packet.dst, packet.dport))
        sock.sendto(b"first", (packet.src, packet.sport))
    time.sleep(0.01)


def _drain(ears: Receiver, taps: Iterable[Receiver], listener: "_Tracing") -> None:
    list(ears.arrived())
    list(ears.passed())
    for tap in taps:
        list(tap.arrived())
    listener.trail(0)


def _outcome(packet: Packet, frame: bytes, token: int, ears: Receiver, taps: dict[str, Receiver]) -> str:
    deadline = time.monotonic() + 2
    while frame not in list(ears.arrived()):
        assert time.monotonic() < deadline, f"the frame did not arrive: {packet}"
        ears.wait(0.05)
    until = time.monotonic() + 0.004
    while True:
        if (packet.proto, token) in list(ears.passed()):
            return "delivered"
        for tap in taps.values():
            if any(_token(packet, data) == token for data in tap.arrived()):
                return "forwarded"
        if time.monotonic() > until:
            return "stopped"
        time.sleep(0.0005)


def _token(packet: Packet, frame: bytes) -> int | None:
    """The token in a frame that was forwarded."""
    start = 14 + ((frame[14] & 0xF) * 4 if frame[12:14] == b"\x08\x00" else 40)
    return token_of(packet.proto, frame[start:])


class _Tracing:
    """A socket that hears the kernel's trace messages."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 12
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))
        self._socket.setsockopt(270, 1, _NFNLGRP_NFTRACE)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def trail(self, token: int) -> tuple[Fact, ...]:
        """The steps of the packet with this token since the last call, the tracer's own left out."""
        out: list[Fact] = []
        mine: dict[bytes, bool] = {}
        for family, fields in self._events():
            transport = fields.get(9, b"")
            if 8 in fields:  # NFTA_TRACE_NETWORK_HEADER: the first event of a base chain
                marks = [struct.unpack_from(">I", transport, at)[0] for at in (4, 8) if len(transport) >= at + 4]
                mine[fields[6]] = token in marks
            if not mine.get(fields[6]):
                continue
            table = f"{_FAMILIES[family]} {fields[1].rstrip(bytes(1)).decode()}"
            chain = fields[2].rstrip(b"\0").decode()
            kind = int.from_bytes(fields[4], "big")
            if "zz_tracer" in table:
                continue
            if kind == 1:
                policy = int.from_bytes(fields[16], "big")
                out.append((table, chain, None, "policy accept" if policy else "policy drop"))
            elif 3 in fields:
                out.append((table, chain, int.from_bytes(fields[3], "big"), ""))
        return tuple(out)

    def _events(self) -> Iterator[tuple[int, dict[int, bytes]]]:
        while select.select([self._socket], [], [], 0)[0]:
            data = self._socket.recv(1 << 16)
            length, kind = struct.unpack_from("=IH", data)
            if kind == _TRACE:
                yield data[16], _attributes(data[20:length])


def _attributes(data: bytes) -> dict[int, bytes]:
    out, position = {}, 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        out[kind & 0x3FFF] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return out


def report(judgements: Sequence[Judgement]) -> str:
    """Every disagreement in verdict or trail, as text; "" if there is none."""
    wrong = [j for j in judgements if not j.same_verdict and j.said.verdict != "undecided"]
    trails = [j for j in judgements if j.same_verdict and j.case.trails and _without_tracer(j.said_trail) != j.trail]
    return os.linesep.join(str(j) for j in (*wrong, *trails))


def _without_tracer(trail: tuple[Fact, ...]) -> tuple[Fact, ...]:
    # the kernel tells of no rules of legacy iptables
    return tuple(f for f in trail if "zz_tracer" not in f[0] and "(legacy)" not in f[0])
