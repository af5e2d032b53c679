"""The interpreter against the kernel: real rulesets, real packets, the same verdicts and the same rules met.

The corpus is in `interpreter_corpus`, the way of asking the kernel in `kernel_judge`.
"""

import shutil
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from interpreter_corpus import CASES, IPTABLES, XT
from kernel_judge import Judgement, Stage, judge, load, read_world, report, stage
from librespot_guard.lab import _nfnetlink
from librespot_guard.lab.inject import Receiver
from librespot_guard.reach.engine import reachable
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.packet import Packet
from librespot_guard.reach.routing import number

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    """A host with two cables."""
    with stage() as built:
        yield built


@pytest.fixture(scope="module")
def judgements(place: Stage) -> list[Judgement]:
    """What the kernel did with every packet of the corpus, and what the interpreter says."""
    return judge(place, CASES)


def test_verdicts_and_trails_are_those_of_the_kernel(judgements: list[Judgement]) -> None:
    """More than 140 rulesets and 2,000 packets: no disagreement, neither in a verdict nor in a trail."""
    assert len(CASES) > 140
    assert len(judgements) > 2000
    wrong = report(judgements)
    assert not wrong, wrong


def test_little_is_undecided(judgements: list[Judgement]) -> None:
    """Only where a rule reads what the question leaves open (a checksum) does the interpreter not commit itself."""
    open_ones = {j.case.name for j in judgements if j.said.verdict == "undecided"}

    assert open_ones == {"port without protocol", "raw payload", "raw bits"}


def test_every_outcome_occurs(judgements: list[Judgement]) -> None:
    """The corpus has delivered, forwarded, dropped and rejected packets of both families."""
    seen = {(j.said.verdict, j.packet.family) for j in judgements}

    assert {(v, f) for v in ("delivered", "forwarded", "dropped", "rejected") for f in ("ipv4", "ipv6")} <= seen


def test_extensions_of_iptables(place: Stage) -> None:
    """The iptables matches and targets that the interpreter knows do what the kernel does, and none is left open."""
    if shutil.which("iptables-nft") is None:
        pytest.skip("`iptables-nft` is missing (Debian package iptables)")
    judged = judge(place, IPTABLES)
    wrong = report(judged)
    assert not wrong, wrong
    assert not any(j.said.verdict == "undecided" for j in judged)


def test_extensions_legacy_tables_and_ipsets() -> None:
    """What is read from the blobs of rules, from legacy tables and from ipsets decides as it does in the kernel."""
    for program in ("iptables-nft", "iptables-legacy", "ipset"):
        if shutil.which(program) is None:
            pytest.skip(f"`{program}` is missing (Debian packages iptables and ipset)")
    # a place of its own: a legacy table that was used once stays, with its policies
    with stage() as own:
        judged = judge(own, XT)
    wrong = report(judged)
    assert not wrong, wrong
    # whether a set had room for the packet, what an ICMP header has in the place of ports, who sent it, and where the way back leads
    assert {(j.case.name, j.packet.proto) for j in judged if j.said.verdict == "undecided"} == {
        ("a port that opens for who knocks", "tcp"),
        ("not in a set of ports, for packets without ports", "icmp"),
        ("sets of addresses of the link", "tcp"),
        *(("both ways of reverse paths", proto) for proto in ("tcp", "udp", "icmp", "icmpv6")),
    }
    outside = [str(j) for j in judged if j.packet.state == "new" and not _inside_bounds(j)]
    assert not outside, outside[0]


# the engine answers for every length, lifetime and hardware address that a stranger may choose, the packet has one
_CHOSEN = {"kinds of packets, lengths, lifetimes", "sets of addresses of the link"}


def _inside_bounds(judgement: Judgement) -> bool:
    """Whether the engine's bounds have room for what the kernel did with a packet that opens a flow to this host."""
    packet, world = judgement.packet, judgement.world
    own = {a.address for a in world.namespace.addresses}
    if packet.proto not in ("tcp", "udp") or packet.dst not in own or packet.flags != 2:
        return True
    # a port is reached from every port on the wire that is translated to it
    moved = any("REDIRECT" in command for command in judgement.case.iptables)
    port = 3678 if moved and packet.dport == 80 else packet.dport
    answer = reachable(world, iface=packet.iface, family=packet.family, proto=packet.proto, dst=packet.dst, dport=port)
    source = number(packet.src)
    if judgement.verdict == "delivered":
        return source in answer.may
    return moved or source not in answer.must or judgement.case.name in _CHOSEN


LOOPBACK = {
    "state": "chain raw {\ntype filter hook prerouting priority -300; policy accept\nct state != new drop\n}\n",
    "nothing": "chain c {\ntype filter hook input priority 0; policy drop\niifname eth0 accept\n}\n",
    "not translated": (
        "chain n {\ntype nat hook prerouting priority -100; policy accept\nudp dport 4000 redirect to :4001\n}\n"
        "chain c {\ntype filter hook input priority 0; policy drop\nudp dport 4000 accept\n}\n"
    ),
    "reverse path": "chain r {\ntype filter hook prerouting priority -300; policy accept\nfib saddr . iif oif missing drop\n}\n",
    "confirmed": "chain c {\ntype filter hook input priority 0; policy drop\nct status confirmed accept\n}\n",
    "ingress": 'chain i {\ntype filter hook ingress device "lo" priority 0; policy accept\nudp dport 4000 drop\n}\n',
    "link layer": "chain c {\ntype filter hook input priority 0; policy drop\n@ll,0,48 0 meta iiftype loopback accept\n}\n",
    "type": "chain c {\ntype filter hook input priority 0; policy drop\nfib saddr type local fib daddr type local accept\n}\n",
}


@pytest.mark.parametrize("name", LOOPBACK)
@pytest.mark.parametrize(
    ("src", "dst"),
    [("127.0.0.1", "127.0.0.1"), ("192.168.10.2", "10.9.0.2"), ("::1", "::1"), ("fd00:10::2", "fd00:9::2")],
)
def test_packets_of_the_host_to_itself(place: Stage, name: str, src: str, dst: str) -> None:
    """What the host sends to itself arrives on `lo` already tracked and translated, and the interpreter knows."""

    def ask() -> tuple[bool, str]:
        family = socket.AF_INET6 if ":" in dst else socket.AF_INET
        load(f"table inet t {{\n{LOOPBACK[name]}}}\n")
        world = read_world()
        _nfnetlink.forget_connections()
        with Receiver(["lo"]) as ears, socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((src, 40000))
            sock.sendto(bytes.fromhex("5a000001"), (dst, 4000))
            until = time.monotonic() + 0.2
            arrived = False
            while not arrived and time.monotonic() < until:
                arrived = ("udp", 0x5A000001) in list(ears.passed())
                time.sleep(0.002)
        return arrived, trace(world, Packet("lo", src, dst, "udp", 40000, 4000)).verdict

    arrived, said = place.box.call(lambda: _inside(place, ask))

    assert said == ("delivered" if arrived else "dropped")


def _inside(place: Stage, ask: Callable[[], tuple[bool, str]]) -> tuple[bool, str]:
    with place.target.inside():
        return ask()
