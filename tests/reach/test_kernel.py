"""The kernel judges the symbolic engine: random rulesets, real packets on every border of every answer, both families.

A disagreement prints the seed, the ruleset and the packet; `LIBRESPOT_GUARD_SEED` and `LIBRESPOT_GUARD_ROUNDS` repeat or lengthen a run.
"""

import os
from collections.abc import Iterator
from random import Random

import pytest

from librespot_guard import collect
from librespot_guard.firewall import decode
from librespot_guard.lab.inject import Way, deliver
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.reach.engine import Answer, Engine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.packet import Packet
from librespot_guard.reach.routing import number, text
from librespot_guard.reach.world import World
from reach.grammar import Grammar

pytestmark = pytest.mark.kernel

SEED = os.environ.get("LIBRESPOT_GUARD_SEED", "librespot-guard")
ROUNDS = int(os.environ.get("LIBRESPOT_GUARD_ROUNDS", "40"))
QUESTIONS = [
    (iface, family, proto, dst, port)
    for iface in ("eth0", "eth1")
    for family, dst in (("ipv4", "192.168.10.2"), ("ipv6", "fd00:10::2"), ("ipv4", "192.168.30.2"))
    for proto, port in (("tcp", 3678), ("udp", 5353))
]
ALWAYS = {
    "ipv4": [
        "192.168.10.9",
        "192.168.30.9",
        "10.1.2.3",
        "203.0.113.7",
        "8.8.8.8",
        "192.168.10.2",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.5",
        "255.255.255.255",
    ],
    "ipv6": [
        "fd00:10::9",
        "fd00:30::9",
        "2001:db8:1::5",
        "fe80::77",
        "8000::1",
        "fd00:10::2",
        "::1",
        "ff02::5",
        "::ffff:10.0.0.1",
        "::",
    ],
}


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Sandbox, Host, dict[str, Way]]]:
    """A host with two interfaces, and what is behind each."""
    with Sandbox() as box:
        host, lan, guest = box.host("speaker"), box.host("lan"), box.host("guest")
        box.link(host, "eth0", lan, "far")
        box.link(host, "eth1", guest, "far")
        host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        host.address("eth1", "192.168.30.2/24", "fd00:30::2/64")
        yield box, host, {"eth0": Way(lan, "far"), "eth1": Way(guest, "far")}


def load(host: Host, ruleset: str) -> World | None:
    """Load a ruleset and read it back with everything around it; None if nft refuses it."""
    done = host.run(["nft", "-f", "-"], input=f"flush ruleset\n{ruleset}")
    if done.returncode != 0:
        return None
    namespace, gaps = host.call(lambda: collect.read_namespace(home=True))
    assert namespace.nft is not None, gaps
    return World(namespace, decode(namespace.nft, byteorder="little"))


def packets(
    answer: Answer, iface: str, family: str, proto: str, dst: str, port: int
) -> list[tuple[Packet, bool | None]]:
    """Packets on both sides of every border of an answer, with what it promises (None: nothing)."""
    top = (1 << (32 if family == "ipv4" else 128)) - 1
    sources = {number(a) for a in ALWAYS[family]}
    for low, high in (*answer.may.pairs[:12], *answer.must.pairs[:12]):
        sources |= {s for s in (low - 1, low, high, high + 1) if 0 <= s <= top}
    out: list[tuple[Packet, bool | None]] = []
    for source in sorted(sources):
        address = text(family, source)
        if source in answer.may:
            choice = answer.choices(source)
            if any(name not in ("sport", "tcp_flags", "daddr", "dport") for name in choice):
                continue  # a free field that these packets do not vary: the TTL
            promise = True if source in answer.must else None
            packet = Packet(
                iface,
                address,
                text(family, choice["daddr"]),
                proto,
                choice.get("sport", 40000),
                choice["dport"],
                choice.get("tcp_flags", 2),
            )
            out.append((packet, promise))
        else:
            out += [(Packet(iface, address, dst, proto, sport, port), False) for sport in (40000, 443, 1500)]
    return out


@pytest.mark.parametrize("chunk", range(4))
def test_engine_and_interpreter_agree_with_the_kernel(stage: tuple[Sandbox, Host, dict[str, Way]], chunk: int) -> None:
    """No packet is delivered that the engine excludes, and every packet is delivered that it promises."""
    box, host, ways = stage
    tried = 0
    for attempt in range(ROUNDS // 4):
        seed = f"{SEED}/{chunk}/{attempt}"
        ruleset = Grammar(Random(seed)).text()
        world = load(host, ruleset)
        if world is None:
            continue
        tried += 1
        cases: list[tuple[Packet, bool | None]] = []
        for iface, family, proto, dst, port in QUESTIONS:
            cases += packets(
                Engine(world, iface, family, proto).ask(number(dst), port), iface, family, proto, dst, port
            )
        got = deliver(box, host, ways, [packet for packet, _ in cases])
        for (packet, promise), delivered in zip(cases, got, strict=True):
            about = f"seed {seed}\n{packet}\nthe engine promises {promise}, the kernel says {delivered}\n{ruleset}"
            assert promise in (None, delivered), about
            verdict = trace(world, packet).verdict
            assert verdict == "undecided" or (verdict == "delivered") == delivered, (
                f"interpreter says {verdict}: {about}"
            )
    assert tried > ROUNDS // 8, "the grammar makes too few rulesets that nft loads"
