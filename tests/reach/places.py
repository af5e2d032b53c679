"""A stage with a stranger, a host and a container, and what `reach` and real packets say about it."""

import os
import re
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from librespot_guard import collect
from librespot_guard.lab._nfnetlink import forget_connections
from librespot_guard.lab.frames import build, checksum
from librespot_guard.lab.inject import Injector, Receiver
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.reach import Engine, Packet, Reached, World, Worlds, answers
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.routing import number
from librespot_guard.snapshot import Listener, Namespace, Snapshot

PORT = 3678
# a line with sets in braces that opens and ends no block
_RULE = re.compile(r"(?!\s*(?:table|chain|set|map)\b)[^{}]*(?:\{[^{}]*\}[^{}]*)+")
STRANGER, NEIGHBOUR = "203.0.113.9", "192.168.10.9"


@dataclass
class Place:
    """`host` has eth0 (192.168.10.2, fd00:10::2), eth1 (10.9.0.2), and docker0 with a cable to `box`, the container (172.17.0.2)."""

    sandbox: Sandbox
    host: Host
    box: Host
    lan: Host
    guest: Host
    sent: int = 0
    # who stands at the other end of an interface that a test made
    later: dict[str, Host] = field(default_factory=dict)

    def load(self, rules: str, where: str = "host", options: tuple[str, ...] = ()) -> None:
        """Replace the rules of one namespace. Raises AssertionError with what nft said."""
        # nft 1.0.6 wants a line to end before every closing brace, but for those of a set in a rule
        text = "\n".join(line if _RULE.fullmatch(line) else line.replace("}", "\n}\n") for line in rules.splitlines())
        done = getattr(self, where).run(["nft", *options, "-f", "-"], input=f"flush ruleset\n{text}\n")
        assert done.returncode == 0, f"{done.stderr}\n{rules}"

    def worlds(self) -> Worlds:
        """The facts as they are now, of both namespaces."""
        return Worlds(self.snapshot())

    def snapshot(self) -> Snapshot:
        """The facts about host and container, each knowing the other's end of the cable."""
        names = ("host", "box")
        found: list[Namespace] = self.sandbox.call(lambda: _read([getattr(self, n) for n in names]))
        return Snapshot("2026-11-25T00:00:00Z", "0", "host", "6", sys.byteorder, tuple(found))

    def packet(self, src: str = STRANGER, dst: str = "192.168.10.2", **changes: object) -> Packet:
        """A packet of a stranger to the port over eth0."""
        return replace(Packet("eth0", src, dst, "udp", dport=PORT), **changes)  # type: ignore[arg-type]

    def arrives(self, packet: Packet, where: str = "host", *, pieces: int = 0) -> bool:
        """Whether a real packet passes the last input hook of the host or the container; an IPv4 one may be sent in two fragments, the first of so many bytes."""
        return bool(self.sandbox.call(lambda: self._arrives(packet, where, pieces)))

    def _arrives(self, packet: Packet, where: str, pieces: int) -> bool:
        far = self.later.get(packet.iface) or (self.lan if packet.iface == "eth0" else self.guest)
        for host in (self.host, self.box):
            with host.inside():
                forget_connections()
        with ExitStack() as stack:
            with far.inside():
                injector = stack.enter_context(Injector("p"))
            with self.host.inside():
                ears = stack.enter_context(Receiver([packet.iface]))
            if where != "host":
                with getattr(self, where).inside():
                    ears_there = stack.enter_context(Receiver([]))
            else:
                ears_there = ears
            # an identification of its own for each, so that pieces of one are never those of another
            self.sent += 1
            token = 0x5A000000 | self.sent
            frame = build(packet, token, source_mac=injector.mac, target_mac=ears.macs[packet.iface])
            for frame in _pieces(frame, pieces) if pieces else [frame]:  # noqa: B020 - the last is waited for
                injector.send(frame)
            until = time.monotonic() + 2
            while frame not in list(ears.arrived()):
                assert time.monotonic() < until, "the frame did not arrive"
                ears.wait(0.05)
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                if (packet.proto, token) in list(ears_there.passed()):
                    return True
                time.sleep(0.002)
        return False


def _pieces(frame: bytes, size: int) -> list[bytes]:
    """An IPv4 frame without options as two fragments, the first with `size` bytes of what follows the header (RFC 791)."""
    out = []
    for start, end, flag in ((34, 34 + size, 0x2000), (34 + size, len(frame), 0)):
        head = bytearray(frame[14:34])
        struct.pack_into(">H", head, 2, 20 + end - start)
        struct.pack_into(">H", head, 6, flag | (start - 34) // 8)
        struct.pack_into(">H", head, 10, 0)
        struct.pack_into(">H", head, 10, checksum(bytes(head)))
        out.append(frame[:14] + bytes(head) + frame[start:end])
    return out


def _read(hosts: list[Host]) -> list[Namespace]:
    with ExitStack() as stack:
        doors = {}
        for host in hosts:
            with host.inside():
                handle = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, handle)
                doors[str(os.fstat(handle).st_ino)] = handle
        found = []
        for number, host in enumerate(hosts):
            with host.inside():
                namespace, gaps = collect.read_namespace(home=number == 0, owners={}, cgroups={}, others=doors)
                assert namespace.nft is not None, gaps
                found.append(namespace)
        return found


@contextmanager
def place() -> Iterator[Place]:
    """A sandbox with the stage."""
    with Sandbox() as sandbox:
        host, box, lan, guest = (sandbox.host(n) for n in ("host", "box", "lan", "guest"))
        sandbox.link(host, "eth0", lan, "p")
        sandbox.link(host, "eth1", guest, "p")
        host.ip("link add docker0 type bridge", "link set docker0 up")
        sandbox.link(host, "veth1", box, "eth0")
        host.ip("link set veth1 master docker0")
        host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        host.address("eth1", "10.9.0.2/24")
        host.address("docker0", "172.17.0.1/16")
        box.address("eth0", "172.17.0.2/16")
        box.route("default", via="172.17.0.1")
        host.sysctl({"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0})
        for dev in ("eth0", "eth1", "docker0"):
            host.sysctl({f"net.ipv4.conf.{dev}.rp_filter": 0})
        # neighbours that need no asking
        host.ip(f"neigh replace 172.17.0.2 lladdr {box.mac('eth0').hex(':')} dev docker0 nud permanent")
        yield Place(sandbox, host, box, lan, guest)


def listener(proto: str = "udp", address: str = "0.0.0.0", port: int = PORT) -> Listener:
    """A listener of the service."""
    return Listener(
        proto, "ipv6" if ":" in address else "ipv4", address, port, v6only=False if address == "::" else None
    )


def says(worlds: Worlds, packet: Packet, to: str = "host", port: int = PORT) -> str:
    """What the engine says of a packet's source: "yes", "no" or "undecided" with the reasons."""
    ids = list(worlds)
    host, box = worlds[ids[0]], worlds[ids[1]]
    engine = Engine(host, packet.iface, packet.family, packet.proto, target=box if to == "box" else None)
    answer = engine.ask(number("172.17.0.2") if to == "box" else number(packet.dst), port)
    answer = answer.only(number(packet.dst), packet.dport)
    source = number(packet.src)
    return "yes" if source in answer.must else f"undecided: {answer.because}" if source in answer.may else "no"


def agree(stage: Place, packet: Packet, to: str = "host", port: int = PORT, *, exact: bool = True) -> bool:
    """Whether a packet gets through, by kernel, engine and interpreter alike. Raises AssertionError where they differ.

    Without `exact` the engine may leave it undecided; the interpreter may not.
    """
    worlds = stage.worlds()
    kernel = stage.arrives(packet, to)
    followed = trace(worlds[next(iter(worlds))], packet)
    said = says(worlds, packet, to, port)
    assert said == ("yes" if kernel else "no") or (said.startswith("undecided") and not exact), followed
    there = followed.into is not None if to == "box" else followed.into is None
    assert (followed.end.verdict == "delivered" and there) == kernel, followed
    assert followed.verdict == ("forwarded" if followed.into else followed.end.verdict)
    return kernel


def ask(world: World, to: Listener | None = None) -> dict[tuple[str, str, str], Reached]:
    """Every answer about a listener by (interface, destination, "through" or "")."""
    found = answers(world, to or listener())
    return {(r.question.iface, r.question.dst, "through" if r.question.through else ""): r for r in found}
