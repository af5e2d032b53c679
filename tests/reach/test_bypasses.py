"""The ways round a firewall that verification.md counts: for each a host that has it and one that has not, judged by real packets.

Each row is loaded into a namespace and read back; `reach` (the engine), `trace` (the interpreter) and the kernel must say the same,
and it must be what the row says. docs/bypasses.md says where the others are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from librespot_guard.reach import Engine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.replies import two_way
from librespot_guard.reach.routing import number
from librespot_guard.reach.standing import standing
from reach.places import NEIGHBOUR, PORT, STRANGER, Place, agree, ask, listener, place

pytestmark = pytest.mark.kernel

DROP_INPUT = "table inet f { chain i { type filter hook input priority 0; policy drop\n } }\n"
HOME = (
    "table inet f { chain i { type filter hook input priority 0; policy drop\n ip saddr 192.168.10.0/24 accept\n } }\n"
)


def published(forward: str = "accept", guard: str = "") -> str:
    """A port of the host led to the container, as Docker does it: DNAT in prerouting, then forward."""
    return (
        f"table ip nat {{ chain p {{ type nat hook prerouting priority -100\n {guard} fib daddr type local udp dport {PORT}"
        f' dnat to 172.17.0.2:80\n }}\n chain s {{ type nat hook postrouting priority 100\n oifname != "docker0"'
        f" ip saddr 172.17.0.0/16 masquerade\n }} }}\n"
        f"table ip filter {{ chain FORWARD {{ type filter hook forward priority 0; policy drop\n"
        f' ct state established,related accept\n jump USER\n oifname "docker0" ct status dnat accept\n }}\n'
        f" chain USER {{ {forward + chr(10) if forward != 'accept' else ''} }} }}\n"
    )


@dataclass(frozen=True)
class Row:
    """A host, a packet, and whether it gets through: to the host, or to the container (`to` "box")."""

    number: str
    name: str
    rules: str
    open: bool
    packet: dict[str, Any] = field(default_factory=dict)
    to: str = "host"
    box: str = ""
    sysctls: dict[str, int] = field(default_factory=dict)
    port: int = PORT


def input_rules(*rules: str, policy: str = "drop", family: str = "inet", name: str = "f", priority: int = 0) -> str:
    """A table with an input chain."""
    body = "\n".join(rules)
    return f"table {family} {name} {{ chain i {{ type filter hook input priority {priority}; policy {policy}\n{body}\n }} }}\n"


LOOSE = {"net.ipv4.conf.eth0.route_localnet": 1}
ROWS = (
    Row("1", "published port skips input", DROP_INPUT + published(), open=True, to="box", port=80),
    Row(
        "1",
        "published port, closed where Docker lets one",
        DROP_INPUT + published('iifname "eth0" ip saddr != 192.168.10.0/24 drop'),
        open=False,
        to="box",
        port=80,
    ),
    Row("1", "not published", DROP_INPUT, open=False, to="box", port=80),
    Row("1", "published, the container filters itself", published(), open=False, to="box", port=80, box=DROP_INPUT),
    Row(
        "1b",
        "container address routed to directly",
        "",
        open=True,
        to="box",
        port=80,
        packet={"dst": "172.17.0.2", "dport": 80},
    ),
    Row(
        "1b",
        "container address, dropped in raw as Docker 28 does",
        'table ip raw { chain p { type filter hook prerouting priority -300\n ip daddr 172.17.0.2 iifname != "docker0" drop\n } }',
        open=False,
        to="box",
        port=80,
        packet={"dst": "172.17.0.2", "dport": 80},
    ),
    Row(
        "1b",
        "published on 127.0.0.1, route_localnet",
        f"table ip nat {{ chain p {{ type nat hook prerouting priority -100\n ip daddr 127.0.0.1 udp dport {PORT} dnat to 172.17.0.2:80\n }} }}",
        open=True,
        to="box",
        port=80,
        packet={"dst": "127.0.0.1"},
        sysctls=LOOSE,
    ),
    Row(
        "1c",
        "DOCKER-USER that nothing jumps to",
        published().replace("jump USER\n", "").replace("chain USER { ", "chain USER { drop\n"),
        open=True,
        to="box",
        port=80,
    ),
    Row("1c", "DOCKER-USER in use", published("drop"), open=False, to="box", port=80),
    Row(
        "1d",
        "Docker's nftables backend",
        f"table ip docker-bridges {{ map m {{ type inet_service : ipv4_addr . inet_service\n elements = {{ {PORT} : 172.17.0.2 . 80 }}\n }}\n"
        " chain nat { type nat hook prerouting priority -100\n fib daddr type local dnat ip to udp dport map @m\n } }",
        open=True,
        to="box",
        port=80,
    ),
    Row(
        "1d",
        "the same, another port published",
        f"table ip docker-bridges {{ map m {{ type inet_service : ipv4_addr . inet_service\n elements = {{ {PORT + 1} : 172.17.0.2 . 80 }}\n }}\n"
        " chain nat { type nat hook prerouting priority -100\n fib daddr type local dnat ip to udp dport map @m\n } }",
        open=False,
        to="box",
        port=80,
    ),
    Row("2", "IPv6 left open", input_rules(family="ip"), open=True, packet={"src": "2001:db8::9", "dst": "fd00:10::2"}),
    Row("2", "IPv6 closed too", DROP_INPUT, open=False, packet={"src": "2001:db8::9", "dst": "fd00:10::2"}),
    Row(
        "3",
        "weak host model",
        input_rules('iifname "eth1" drop', policy="accept"),
        open=True,
        packet={"dst": "10.9.0.2"},
    ),
    Row(
        "3",
        "weak host model closed by fib",
        input_rules("fib daddr . iif type != local drop", policy="accept"),
        open=False,
        packet={"dst": "10.9.0.2"},
    ),
    Row("3", "route_localnet", "", open=True, packet={"dst": "127.0.0.1"}, sysctls=LOOSE),
    Row("3", "no route_localnet", "", open=False, packet={"dst": "127.0.0.1"}),
    Row(
        "4",
        "an accept in front of the drop",
        input_rules(f"udp dport {PORT} accept", f"udp dport {PORT} drop"),
        open=True,
    ),
    Row("4", "the drop in front", input_rules(f"udp dport {PORT} drop", f"udp dport {PORT} accept"), open=False),
    Row("5", "stateless: from port 53", input_rules("udp sport 53 accept"), open=True, packet={"sport": 53}),
    Row("5", "replies by state", input_rules("ct state established accept"), open=False, packet={"sport": 53}),
    Row("6", "interface wildcard", input_rules('iifname "eth*" accept'), open=True),
    Row("6", "the one interface", input_rules('iifname "eth1" accept'), open=False),
    Row("8", "spoofed source, rp_filter off", HOME, open=True, packet={"iface": "eth1", "src": "192.168.10.9"}),
    Row(
        "8",
        "spoofed source, rp_filter strict",
        HOME,
        open=False,
        packet={"iface": "eth1", "src": "192.168.10.9"},
        sysctls={"net.ipv4.conf.eth1.rp_filter": 1},
    ),
    Row(
        "10",
        "accepted here, dropped by another table",
        input_rules("accept") + input_rules(name="g", priority=10),
        open=False,
    ),
    Row("10", "both accept", input_rules("accept") + input_rules("accept", name="g", priority=10), open=True),
    Row(
        "15",
        "mDNS port for anybody",
        input_rules("udp dport 5353 accept"),
        open=True,
        packet={"dport": 5353},
        port=5353,
    ),
    Row(
        "15",
        "mDNS port for the link only",
        input_rules("ip saddr 192.168.10.0/24 udp dport 5353 accept"),
        open=False,
        packet={"dport": 5353},
        port=5353,
    ),
    Row(
        "17",
        "related lets nothing new in",
        input_rules("ct state related accept"),
        open=False,
    ),
    Row(
        "18",
        "a drop on ct state new, and notrack before it",
        "table inet r { chain p { type filter hook prerouting priority -300\n notrack\n } }\n"
        + input_rules(f"ct state new udp dport {PORT} drop", policy="accept"),
        open=True,
    ),
    Row(
        "18",
        "the same without notrack",
        input_rules(f"ct state new udp dport {PORT} drop", policy="accept"),
        open=False,
    ),
)


_DEFAULTS = {"net.ipv4.conf.eth0.route_localnet": 0, "net.ipv4.conf.eth1.rp_filter": 0}


@pytest.fixture(scope="module")
def theatre() -> Iterator[Place]:
    """One stage for all rows."""
    with place() as made:
        yield made


@pytest.fixture
def stage(theatre: Place) -> Place:
    """The stage without what the test before has left on it."""
    theatre.load("")
    theatre.load("", "box")
    theatre.host.sysctl(_DEFAULTS)
    return theatre


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.number} {r.name}")
def test_a_bypass_and_its_cure(stage: Place, row: Row) -> None:
    """The engine, the interpreter and the kernel agree on the packet, and it is as the row says."""
    stage.load(row.rules)
    stage.load(row.box, "box")
    stage.host.sysctl(row.sysctls)

    assert agree(stage, stage.packet(**row.packet), row.to, row.port) == row.open


def test_a_published_port_is_an_answer_of_the_container(stage: Place) -> None:
    """`reach` asked about the container's listener names the host's address and port, and who gets through there."""
    stage.load(DROP_INPUT + published('iifname "eth0" ip saddr != 192.168.10.0/24 drop'))
    worlds = stage.worlds()
    box = worlds[list(worlds)[1]]
    found = ask(box, listener(port=80))
    through = found["eth0", "192.168.10.2", "through"]

    assert through.question.port == PORT
    assert through.answer.exact
    assert number("192.168.10.9") in through.answer.must
    assert number(STRANGER) not in through.answer.may
    assert [(f.address, f.port) for f in through.answer.forwarded] == [("172.17.0.2", 80)]


def test_routable_and_spoofable_are_told_apart(stage: Place) -> None:
    """A source whose way back is another interface is spoofable, one on the link is routable."""
    stage.load(HOME)
    stage.host.sysctl({"net.ipv4.conf.eth1.rp_filter": 0})  # a row may have been there before
    found = ask(stage.worlds()[next(iter(stage.worlds()))])

    assert number("192.168.10.9") in found["eth0", "192.168.10.2", ""].routable
    assert number("192.168.10.9") in found["eth1", "10.9.0.2", ""].spoofable


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        ("udp sport 53 accept", {"stateless"}),
        ("ct state established,related accept", {"established", "related"}),
        ("ct state untracked accept", {"untracked"}),
        ("udp dport 3678 accept", set()),
        ('iifname "eth1" udp sport 53 accept', set()),
    ],
)
def test_standing_exceptions_are_listed_apart(stage: Place, rule: str, kinds: set[str]) -> None:
    """Rules that let in what opens no flow, or what a chosen source port fits, are named with their identity."""
    stage.load(input_rules(rule))
    worlds = stage.worlds()
    engine = Engine(worlds[next(iter(worlds))], "eth0", "ipv4", "udp")
    found = standing(engine, number("192.168.10.2"), PORT)

    assert {s.kind for s in found} == kinds
    assert all(s.table == "inet f" and s.chain == "i" and s.handle for s in found)


def test_what_expires_is_told(stage: Place) -> None:
    """An answer holds for now where a set has elements that expire: real elements with a timeout, one without, and another port's."""
    sets = (
        "set bans { type ipv4_addr; flags timeout; elements = { 203.0.113.9 timeout 1h, 203.0.113.8 } }\n"
        "set kept { type ipv4_addr; elements = { 203.0.113.7 } }\n"
    )
    rules = ("ip saddr @bans drop", "ip saddr @kept drop", "udp dport 99 ip saddr @bans drop")
    stage.load(f"table inet f {{\n{sets}chain i {{ type filter hook input priority 0\n" + "\n".join(rules) + "\n } }\n")
    worlds = stage.worlds()
    engine = Engine(worlds[next(iter(worlds))], "eth0", "ipv4", "udp")

    assert not stage.arrives(stage.packet())
    assert number("203.0.113.9") not in engine.ask(number("192.168.10.2"), PORT).may
    (found,) = standing(engine, number("192.168.10.2"), PORT)
    assert (found.kind, found.chain) == ("expires", "i")
    assert "holds for now: 1 element of `bans` will expire, the first in 0:59:" in found.lets_in


def test_equal_priorities_that_matter_are_a_bound(stage: Place) -> None:
    """Two chains of one priority, of which one marks what the other asks for: the answer is no guess, and says why."""
    marks = "table inet a { chain c { type filter hook input priority 0\n meta mark set 7\n } }\n"
    stage.load(marks + input_rules("meta mark 7 accept"))
    worlds = stage.worlds()
    answer = Engine(worlds[next(iter(worlds))], "eth0", "ipv4", "udp").ask(number("192.168.10.2"), PORT)
    followed = trace(worlds[next(iter(worlds))], stage.packet())

    assert not answer.exact
    assert any(reason.startswith("order-dependent") for reason in answer.because)
    assert followed.verdict == "undecided"


DOCKER = (
    "iptables-nft -t nat -N DOCKER",
    "iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    "iptables-nft -t nat -A DOCKER -i docker0 -j RETURN",
    f"iptables-nft -t nat -A DOCKER ! -i docker0 -p udp -m udp --dport {PORT} -j DNAT --to-destination 172.17.0.2:80",
    "iptables-nft -P FORWARD DROP",
    "iptables-nft -N DOCKER",
    "iptables-nft -N DOCKER-USER",
    "iptables-nft -A FORWARD -j DOCKER-USER",
    "iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "iptables-nft -A FORWARD -o docker0 -j DOCKER",
    "iptables-nft -A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
    "iptables-nft -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p udp -m udp --dport 80 -j ACCEPT",
)


@pytest.mark.parametrize(
    ("user", "through"), [("", True), ("iptables-nft -I DOCKER-USER -i eth0 ! -s 192.168.10.0/24 -j DROP", False)]
)
def test_the_rules_that_docker_writes(stage: Place, user: str, through: bool) -> None:
    """Docker's iptables rules, xt matches and all: engine and interpreter follow a packet into the container as the kernel does."""
    stage.load(DROP_INPUT)
    for command in (*DOCKER, *((user,) if user else ())):
        done = stage.host.run(command.split())
        assert done.returncode == 0, f"{command}: {done.stderr}"

    assert agree(stage, stage.packet(), "box", 80) == through


def test_a_reply_that_is_dropped_makes_it_one_way(stage: Place) -> None:
    """Sources whose reply the output chain drops are not in `two_way`; the others are."""
    stage.load(
        HOME + "table inet o { chain o { type filter hook output priority 0; ip daddr 192.168.10.128/25 drop } }"
    )
    worlds = stage.worlds()
    host = worlds[next(iter(worlds))]
    reached = ask(host)["eth0", "192.168.10.2", ""]
    assert reached.engine is not None
    back, because = two_way(host, host, reached.engine, reached, PORT)

    assert not because
    assert number("192.168.10.9") in back
    assert number("192.168.10.200") in reached.routable - back


def test_replies_of_a_container_pass_the_host_in_front(stage: Place) -> None:
    """The reply of a container needs the forward chain's leave for established flows."""
    answers = {}
    for leave in ("ct state established,related accept\n", "\n"):
        stage.load(published().replace("ct state established,related accept\n", leave))
        worlds = stage.worlds()
        ids = list(worlds)
        host, box = worlds[ids[0]], worlds[ids[1]]
        reached = ask(box, listener(port=80))["eth0", "192.168.10.2", "through"]
        assert reached.engine is not None
        answers[leave] = two_way(box, host, reached.engine, reached, 80)[0]

    assert number(NEIGHBOUR) in answers["ct state established,related accept\n"]
    assert not answers["\n"]
