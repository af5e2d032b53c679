"""Extension headers, options, chance and counts: both engines, the interpreter and real packets say the same.

A rule on `ip6 nexthdr` asks for the first header alone, so that a packet with an extension header in front evades it (bypass 16).
"""

from collections.abc import Iterator

import pytest

from librespot_guard.reach import Engine, World, chosen_extensions
from librespot_guard.reach.answer import Answer
from librespot_guard.reach.bdd.engine import BddEngine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.packet import EXTENSIONS
from librespot_guard.reach.routing import number
from reach.places import PORT, Place, place

pytestmark = pytest.mark.kernel

STRANGER6, HOST6, HOST4 = "2001:db8::9", "fd00:10::2", "192.168.10.2"
ALL_KINDS = ((), *((name,) for name in EXTENSIONS), ("hop-by-hop", "destination"), ("hop-by-hop", "fragment"))


@pytest.fixture(scope="module")
def stage() -> Iterator[Place]:
    """One stage for all rows."""
    with place() as made:
        yield made


def rules(*body: str, policy: str = "accept", hook: str = "input", priority: int = 0) -> str:
    """A table with one base chain."""
    lines = "\n".join(body)
    return f"table inet f {{ chain i {{ type filter hook {hook} priority {priority}; policy {policy}\n{lines}\n }} }}\n"


def host(stage: Place) -> World:
    """The host as it is now."""
    worlds = stage.worlds()
    return worlds[next(iter(worlds))]


def both(world: World, family: str, proto: str = "udp") -> tuple[Answer, Answer]:
    """What the two engines say of the port."""
    target = number(HOST6 if family == "ipv6" else HOST4)
    first = Engine(world, "eth0", family, proto).ask(target, PORT)
    second = BddEngine(world, "eth0", family, proto).ask(target, PORT)
    # the second may know more, and never anything else
    assert not second.may - first.may
    assert not first.must - second.must
    return first, second


# name, rules, the kinds of headers that get a packet through
EVASIONS = [
    ("nexthdr drop", rules("ip6 nexthdr udp drop"), set(ALL_KINDS) - {()}),
    ("l4proto drop", rules("ct state invalid drop", "meta l4proto udp drop"), set()),
    ("every first header dropped", rules("ip6 nexthdr { udp, 0, 43, 44, 60 } drop"), set()),
    (
        "headers dropped, then nexthdr",
        rules("exthdr hbh exists drop", "exthdr rt exists drop", "exthdr frag exists drop", "exthdr dst exists drop", "ip6 nexthdr udp drop"),
        set(),
    ),
    ("one kind forgotten", rules("exthdr hbh exists drop", "exthdr rt exists drop", "exthdr frag exists drop", "ip6 nexthdr udp drop"), {("destination",)}),
    ("nexthdr accept", rules("ip6 nexthdr udp accept", policy="drop"), {()}),
    ("none missing", rules("exthdr hbh missing exthdr dst exists accept", policy="drop"), {("destination",)}),
    ("a field of a header", rules("hbh nexthdr udp accept", policy="drop"), {("hop-by-hop",)}),
    ("mobility", rules("exthdr mh exists accept", policy="drop"), set()),
    ("fragment header without tracking", rules("exthdr frag exists accept", policy="drop"), {("fragment",), ("hop-by-hop", "fragment")}),
    ("fragment header with tracking", rules("ct state invalid drop", "exthdr frag exists accept", policy="drop"), set()),
    ("next header 44 with tracking", rules("ct state invalid drop", "ip6 nexthdr 44 accept", policy="drop"), set()),
    (
        "fragment header is gone behind tracking",
        rules("ct state invalid drop", "exthdr hbh exists drop", "exthdr rt exists drop", "exthdr dst exists drop", "ip6 nexthdr udp drop"),
        set(),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("loaded", "through"), [e[1:] for e in EVASIONS], ids=[e[0] for e in EVASIONS])
def test_extension_headers(stage: Place, loaded: str, through: set[tuple[str, ...]]) -> None:
    """For each kind of header the kernel and the interpreter say the same, and the engines call the port open if one gets through."""
    stage.load(loaded)
    world = host(stage)
    for kinds in ALL_KINDS:
        packet = stage.packet(STRANGER6, HOST6, extensions=kinds)
        assert stage.arrives(packet) == (kinds in through), kinds
        assert trace(world, packet).verdict == ("delivered" if kinds in through else "dropped"), kinds
    for answer in both(world, "ipv6"):
        if loaded == EVASIONS[7][1]:
            # what a header holds is left open
            assert number(STRANGER6) in answer.may
            continue
        assert answer.exact, answer.because
        assert (number(STRANGER6) in answer.must) == bool(through)
        if through:
            choice = answer.choices(number(STRANGER6))
            assert stage.arrives(stage.packet(STRANGER6, HOST6, extensions=chosen_extensions(choice.get("exthdrs"))))


def test_a_fragment_header_before_tracking_is_a_bound(stage: Place) -> None:
    """Rules before and behind defragmentation see other headers: where both ask, nothing about them is claimed."""
    stage.load(
        rules("exthdr frag exists drop", hook="prerouting", priority=-450)
        + rules("ct state invalid drop", "ip6 nexthdr udp accept", policy="drop").replace("inet f", "inet g")
    )
    world = host(stage)
    for answer in both(world, "ipv6"):
        assert not answer.exact
        assert number(STRANGER6) in answer.may
    for kinds, verdict in (((), "delivered"), (("fragment",), "dropped"), (("hop-by-hop",), "dropped")):
        packet = stage.packet(STRANGER6, HOST6, extensions=kinds)
        assert trace(world, packet).verdict == verdict
        assert stage.arrives(packet) == (verdict == "delivered")


def test_ipv4_has_no_extension_headers(stage: Place) -> None:
    """Even to ask whether one is missing ends a rule for an IPv4 packet; nft never writes it so, other programs may."""
    stage.load(rules("exthdr hbh missing accept", "meta nfproto ipv4 drop", policy="drop"))
    world = host(stage)
    assert not stage.arrives(stage.packet())
    for answer in both(world, "ipv4"):
        assert answer.exact
        assert not answer.may


# a routing header as this stage sends it is of type 0 and has no segment left
ROUTED = [
    ("--rt-type 0", "DROP", False),
    ("--rt-type 0 --rt-segsleft 1:255", "DROP", True),
    ("--rt-segsleft 1:255", "ACCEPT", False),
    ("! --rt-type 4", "ACCEPT", True),
    ("! --rt-type 0", "ACCEPT", False),
]


@pytest.mark.parametrize(("match", "target", "routed"), ROUTED)
def test_routing_headers_of_iptables(stage: Place, match: str, target: str, routed: bool) -> None:
    """`-m rt`, with which every ruleset of ufw begins: what has no routing header never matches, and the answer is exact."""
    stage.load("")
    try:
        for rule in (f"-P INPUT {'DROP' if target == 'ACCEPT' else 'ACCEPT'}", f"-A INPUT -m rt {match} -j {target}"):
            done = stage.host.run(["ip6tables-nft", *rule.split()])
            assert done.returncode == 0, done.stderr
        world = host(stage)
        for kinds, arrives in (((), target == "DROP"), (("routing",), routed)):
            packet = stage.packet(STRANGER6, HOST6, extensions=kinds)
            assert stage.arrives(packet) == arrives
            assert trace(world, packet).verdict == ("delivered" if arrives else "dropped")
        first, _ = both(world, "ipv6")
        assert first.exact or target == "ACCEPT", first.because
        assert (number(STRANGER6) in first.must) >= (target == "DROP")
    finally:
        stage.load("")


# rule that lets through, family, protocol, and: everybody ("all"), nobody ("none"), or not to be told ("open")
CLAIMS = [
    ("tcp option maxseg exists", "ipv4", "tcp", "all"),
    ("tcp option maxseg missing", "ipv4", "tcp", "all"),
    ("tcp option maxseg exists tcp option maxseg missing", "ipv4", "tcp", "none"),
    ("tcp option maxseg size 1-500", "ipv4", "tcp", "all"),
    ("tcp option maxseg size 500 tcp option maxseg missing", "ipv6", "tcp", "none"),
    ("tcp option maxseg missing", "ipv4", "udp", "all"),
    ("tcp option maxseg exists", "ipv4", "udp", "none"),
    ("tcp option maxseg size 1-500", "ipv4", "udp", "none"),
    ("tcp option 254 exists", "ipv4", "tcp", "open"),
    ("tcp option maxseg exists tcp doff 5", "ipv4", "tcp", "open"),
    ("tcp option timestamp tsval 5", "ipv4", "tcp", "open"),
    ("sctp chunk data missing", "ipv4", "udp", "all"),
    ("ip option rr exists", "ipv4", "udp", "all"),
    ("ip option lsrr missing", "ipv4", "udp", "all"),
    ("ip option lsrr exists", "ipv4", "udp", "open"),
    ("ip option rr missing", "ipv6", "udp", "none"),
    ("numgen inc mod 4 <= 3", "ipv4", "udp", "all"),
    ("numgen random mod 4 > 3", "ipv4", "udp", "none"),
    ("numgen random mod 5 offset 10 10-14", "ipv4", "udp", "open"),
    ("jhash ip saddr mod 4 seed 0x1 > 3", "ipv4", "udp", "none"),
    ("rt ip nexthop 192.168.10.1", "ipv4", "udp", "none"),
    ("rt ip nexthop 192.168.10.2", "ipv4", "udp", "open"),
    ("rt ip6 nexthop fd00:10::1", "ipv4", "udp", "none"),
    ("rt ipsec exists", "ipv4", "udp", "none"),
    ('osf name "Linux"', "ipv4", "udp", "none"),
    ('osf name "Linux"', "ipv4", "tcp", "open"),
]


@pytest.mark.parametrize(("rule", "family", "proto", "says"), CLAIMS)
def test_what_is_determined(stage: Place, rule: str, family: str, proto: str, says: str) -> None:
    """What follows from packets that a stranger may send is exact; what does not is a bound."""
    stage.load(rules(f"{rule} accept", policy="drop"))
    source = number(STRANGER6 if family == "ipv6" else "203.0.113.9")
    first, second = both(host(stage), family, proto)
    found = "all" if source in first.must else "open" if source in first.may else "none"
    assert found == says, first.because
    assert first.exact == (says != "open")
    assert bool(source in second.must) >= (says == "all")


NAMED = {
    "quota over 5 mbytes": "a quota",
    "quota until 5 mbytes": "a quota",
    'quota name "q"': "a named quota",
    'limit name "l"': "a named rate limit",
    "ct count over 5": "how many connections there are: `ct count`",
    "numgen random mod 4 0": "chance: `numgen random`",
    "numgen inc mod 4 < 3": "how many packets came before: `numgen inc`",
    "symhash mod 4 0": "chance: `symhash`",
    "jhash ip saddr mod 4 0": "chance: `jhash`, whose seed the kernel keeps to itself",
    "jhash ip saddr mod 4 seed 0x7 0": "a hash of the packet: `jhash`",
    "socket wildcard 1": "which socket waits for the packet: `socket wildcard`",
    "socket mark 5": "which socket waits for the packet: `socket mark`",
    "socket transparent 1": "which socket waits for the packet: `socket transparent`",
    "rt classid 1": "by which route the packet goes: `rt classid`",
    "ipsec in reqid 1": "IPsec, which is not analysed: `ipsec in`",
}
OBJECTS = "table inet f { quota q { over 10 mbytes\n }\n limit l { rate 5/second\n }\n }\n"


@pytest.mark.parametrize("rule", NAMED)
def test_what_depends_on_more_is_named(stage: Place, rule: str) -> None:
    """Before accept such a rule widens `may`, before drop it narrows `must`, and the reasons name it; the interpreter says so, too."""
    for verdict, policy in (("accept", "drop"), ("drop", "accept")):
        stage.load(OBJECTS + rules(f"{rule} {verdict}", policy=policy))
        world = host(stage)
        for answer in both(world, "ipv4"):
            assert number("203.0.113.9") in answer.may
            assert not answer.must
            assert any(NAMED[rule] in reason and "inet f i handle" in reason for reason in answer.because), (
                answer.because
            )
        said = trace(world, stage.packet())
        if rule.startswith("jhash") and "seed" in rule:
            # of one packet the hash is known, if the seed is
            assert said.verdict in ("delivered", "dropped")
            assert stage.arrives(stage.packet()) == (said.verdict == "delivered")
        elif "ipsec" in rule:
            assert said.verdict == ("dropped" if policy == "drop" else "delivered")
        else:
            assert said.verdict == "undecided"
            assert any(NAMED[rule] in reason for reason in said.because), said.because


FLAGS = f"tcp dport {PORT} tcp flags & (syn|ack) == syn drop"


@pytest.mark.parametrize(
    ("loaded", "through"),
    [
        (rules(FLAGS, hook="prerouting", priority=-300), True),
        (rules(f"tcp dport {PORT} drop", hook="prerouting", priority=-300), False),
        (rules(FLAGS, hook="prerouting", priority=-300) + rules("ct state invalid drop").replace("inet f", "inet g"), False),
        (rules(FLAGS), False),
    ],
    ids=["flags before input", "ports before input", "flags, tracked", "flags in input"],
)  # fmt: skip
def test_a_fragment_that_is_too_short(stage: Place, loaded: str, through: bool) -> None:
    """A TCP header cut behind its ports passes rules on its flags where nothing puts fragments together before: that is never called closed."""
    stage.load(loaded)
    world = host(stage)
    packet = stage.packet(proto="tcp")
    assert trace(world, packet).verdict == "dropped"
    assert not stage.arrives(packet)
    assert stage.arrives(packet, pieces=8) == through
    for answer in both(world, "ipv4", "tcp"):
        assert not answer.must
        assert bool(answer.may) == through
        assert answer.exact is not through
        assert not through or any("a fragment may be too short" in reason for reason in answer.because)


def test_whole_packets_stay_exact(stage: Place) -> None:
    """Rules on flags before fragments are put together cost nothing where a whole packet gets through."""
    stage.load(
        rules(
            f"tcp dport {PORT} tcp flags & (syn|ack) == syn accept",
            "tcp flags & (fin|syn) == (fin|syn) drop",
            hook="prerouting",
            priority=-300,
        )
    )
    for answer in both(host(stage), "ipv4", "tcp"):
        assert answer.exact
        assert number("203.0.113.9") in answer.must
