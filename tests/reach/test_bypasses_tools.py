"""Ways round a firewall that other programs open or shut (13, 17, 20 and 21 of docs/bypasses.md), judged by real packets and connections."""

import os
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from audit.hosts import librespot, tcp
from librespot_guard import audit
from librespot_guard.firewall.origin import origin
from librespot_guard.lab._nfnetlink import forget_connections
from librespot_guard.reach import Engine, Worlds
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.routing import number
from librespot_guard.reach.standing import standing
from librespot_guard.snapshot import ServiceListener
from reach.places import PORT, STRANGER, Place, agree, place

pytestmark = pytest.mark.kernel

LOCK = {"XTABLES_LOCKFILE": "/run/xtables.lock"}
NFT = "table inet f {{ chain i {{ type filter hook input priority 0; policy {}\n }} }}\n"


@pytest.fixture(scope="module")
def stage() -> Iterator[Place]:
    """One stage for all of them."""
    with place() as made:
        yield made


# ---- 20: iptables-legacy and nf_tables, both loaded ----


@pytest.fixture(scope="module")
def both() -> Iterator[Place]:
    """A stage of its own: the tables of legacy iptables stay on their hooks, also when they are empty."""
    with place() as made:
        yield made


@pytest.fixture
def legacy(both: Place) -> Iterator[Place]:
    """The stage, whose legacy rules go away afterwards."""
    yield both
    for table in ("filter", "nat"):
        both.host.run(["iptables-legacy", "-t", table, "-F"], env=LOCK, check=True)
    both.host.run(["iptables-legacy", "-P", "INPUT", "ACCEPT"], env=LOCK, check=True)


@pytest.mark.parametrize(
    ("policy", "commands", "through"),
    [
        ("accept", (f"-A INPUT -p udp --dport {PORT} -j DROP",), False),
        ("accept", ("-P INPUT DROP",), False),
        ("drop", (f"-A INPUT -p udp --dport {PORT} -j ACCEPT",), False),
        ("accept", ("-P INPUT DROP", f"-A INPUT -p udp --dport {PORT} -j ACCEPT"), True),
        # the port that nf_tables lets in is another one than the stranger asks for
        (f"drop; udp dport {PORT + 1} accept", (f"-t nat -A PREROUTING -p udp --dport {PORT} -j REDIRECT --to-ports {PORT + 1}",), True),
        (f"drop; udp dport {PORT + 1} accept", (), False),
    ],
)  # fmt: skip
def test_legacy_and_nft_are_both_asked(legacy: Place, policy: str, commands: tuple[str, ...], through: bool) -> None:
    """A packet gets through where both let it, and not where either drops it."""
    legacy.load(NFT.format(policy))
    for command in commands:
        legacy.host.run(["iptables-legacy", *command.split()], env=LOCK, check=True)
    port = PORT + 1 if "REDIRECT" in "".join(commands) else PORT

    assert agree(legacy, legacy.packet(), port=port) == through


# ---- 21: nft -o ----

PUBLISHED = (
    f"table ip nat {{ chain p {{ type nat hook prerouting priority -100\n udp dport {PORT} dnat to 172.17.0.2:80\n }} }}\n"
    "table ip f { chain c { type filter hook forward priority 0; policy POLICY\nRULES\n } }\n"
)


@pytest.mark.parametrize(
    ("policy", "rules", "merged", "before", "after"),
    [
        # nft 1.0.6 makes of the two a look-up that asks for exactly one bit of many: the rule never matches again
        ("drop", ("ct status snat accept", "ct status dnat accept"), "{ snat, dnat }", True, False),
        ("accept", ("ct status snat drop", "ct status dnat drop"), "{ snat, dnat }", False, True),
        ("drop", ("udp dport 80 accept", "udp dport 81 accept"), "{ 80, 81 }", True, True),
        ("accept", ("udp dport 80 drop", "udp dport 81 drop"), "{ 80, 81 }", False, False),
    ],
)
def test_rules_that_nft_optimised(
    stage: Place, policy: str, rules: tuple[str, ...], merged: str, before: bool, after: bool
) -> None:
    """The answer is about what the kernel holds: the rules as written, and then those that `nft -o` made of them."""
    text = PUBLISHED.replace("POLICY", policy).replace("RULES", "\n".join(rules))
    stage.load(text)
    assert agree(stage, stage.packet(), "box", 80) == before
    stage.load(text, options=("-o",))
    held = stage.host.run(["nft", "list", "table", "ip", "f"], check=True).stdout

    # a newer nft leaves rules alone of which it knows that it would change them
    assert merged in held or before != after
    # for the engine the status of a translated flow as a whole number has several values, each of its bits one
    through = agree(stage, stage.packet(), "box", 80, exact=before == after)
    assert through == (after if merged in held else before)


# ---- 17: conntrack helpers ----

HELPER = """table inet f {
 ct helper ftp { type "ftp" protocol tcp
 }
 chain o { type filter hook output priority 0
 ASSIGN
 }
 chain i { type filter hook input priority 0; policy drop
 ct state established accept
 RELATED
 }
}
"""
ASSIGN = 'tcp dport 21 ct helper set "ftp"'


def ask_back(control: socket.socket, server: socket.socket) -> None:
    """What a program on the host says to a server of FTP that somebody made it talk to: "connect to my port 3678" (RFC 959)."""
    for line in ("USER anonymous\r\n", f"PORT 192,168,10,2,{PORT >> 8},{PORT & 255}\r\n"):
        # each in a packet of its own: the helper reads what follows a line that it has seen
        control.sendall(line.encode())
        assert server.recv(100) == line.encode()


@pytest.mark.parametrize(
    ("assign", "related", "through"),
    [
        (ASSIGN, "ct state related accept", True),
        (ASSIGN, 'ct state related ct helper "ftp" accept', True),
        ("", "ct state related accept", False),
        (ASSIGN, 'ct state related ct helper "ftp" tcp dport 49152-65535 accept', False),
        (ASSIGN, 'ct state related ct helper "sip" accept', False),
    ],
)
def test_a_helper_that_opens_the_port(stage: Place, assign: str, related: str, through: bool) -> None:
    """A stranger's server of FTP comes in as related where a helper and a rule let it; LG504 says so exactly there, and `reach` no word more."""
    stage.load(HELPER.replace("ASSIGN", assign).replace("RELATED", related))

    def connects() -> bool:
        """Whether a server that was asked to connect back gets to the port, which was closed to it before."""
        forget_connections()
        with stage.lan.inside():
            server = socket.create_server((STRANGER, 21))
            early, late = socket.socket(), socket.socket()
        with stage.host.inside():
            waiting = socket.create_server(("192.168.10.2", PORT))
            control = socket.create_connection((STRANGER, 21), 5)
        with server, waiting, control, early, late:
            there, _ = server.accept()
            early.settimeout(0.3)
            assert early.connect_ex(("192.168.10.2", PORT)) != 0
            with there:
                ask_back(control, there)
                late.bind((STRANGER, 0))
                late.settimeout(0.7)
                return late.connect_ex(("192.168.10.2", PORT)) == 0

    stage.lan.ip(f"address replace {STRANGER}/32 dev p", f"route replace 192.168.10.0/24 dev p src {STRANGER}")
    stage.host.ip(f"route replace {STRANGER}/32 dev eth0")
    assert stage.sandbox.call(connects) == through

    snapshot = stage.snapshot()
    service = librespot(
        netns=snapshot.home.id, listeners=(ServiceListener(tcp(PORT, "0.0.0.0"), "connect", pinned=True),)
    )
    report = audit.run(replace(snapshot, services=(service,)))
    worlds = Worlds(snapshot)
    engine = Engine(worlds[snapshot.home.id], "eth0", "ipv4", "tcp")

    assert [f.service for f in report.findings if f.id == "LG504"] == ["living-room"] * through
    assert not engine.ask(number("192.168.10.2"), PORT).may
    assert any(s.kind == "related" for s in standing(engine, number("192.168.10.2"), PORT)) or not through
    stage.host.ip(f"route del {STRANGER}/32 dev eth0")


# ---- 13: UPnP and NAT-PMP ----

IGD_CHAINS = """table inet filter {
 chain forward { type filter hook forward priority 0; policy drop
 ct state established,related accept
 iifname "docker0" accept
 jump miniupnpd
 }
 chain miniupnpd { FORWARD
 }
 chain prerouting { type nat hook prerouting priority -100
 jump prerouting_miniupnpd
 }
 chain prerouting_miniupnpd { PREROUTING
 }
 chain postrouting { type nat hook postrouting priority 100
 jump postrouting_miniupnpd
 }
 chain postrouting_miniupnpd { }
}
"""
# what miniupnpd 2.3.1 wrote for the request below; it does without `meta l4proto udp`, which nft demands before a port when it reads text
IGD_RULES = {
    "FORWARD": '\n iif "eth0" th dport 80 @nh,128,32 0xac110002 @nh,72,8 0x11 accept',
    "PREROUTING": f'\n iif "eth0" @nh,72,8 0x11 meta l4proto udp th dport {PORT} dnat ip to 172.17.0.2:80',
}
# it takes no address from the ranges for documentation as its public one; nothing is sent to this one
IGD_CONFIGURATION = """ext_ifname=eth0
ext_ip=1.2.3.4
listening_ip=docker0
enable_natpmp=yes
enable_upnp=no
secure_mode=yes
allow 1024-65535 172.17.0.0/16 1-65535
deny 0-65535 0.0.0.0/0 0-65535
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
"""


def igd(**rules: str) -> str:
    """The table of a router with miniupnpd, with rules in its chains."""
    text = IGD_CHAINS
    for name in IGD_RULES:
        text = text.replace(name, rules.get(name, ""))
    return text


@pytest.mark.parametrize(
    ("rules", "through"), [({}, False), (IGD_RULES, True), ({"PREROUTING": IGD_RULES["PREROUTING"]}, False)]
)
def test_a_port_that_miniupnpd_opened(stage: Place, rules: dict[str, str], through: bool) -> None:
    """Its rules, as they were recorded, lead a stranger inside; without them, or without that in `forward`, nobody gets there."""
    stage.load(igd(**rules))

    assert agree(stage, stage.packet(), "box", 80) == through


def ask_for_a_port() -> tuple[int, int]:
    """Ask the router by NAT-PMP (RFC 6886 3.3) to lead its UDP port to our port 80: result code and the port it gave."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect(("172.17.0.1", 5351))
        for _ in range(20):
            try:
                sock.send(struct.pack("!BBHHHI", 0, 1, 0, 80, PORT, 3600))
                _, _, result, _, _, port, _ = struct.unpack("!BBHIHHI", sock.recv(64))
            except OSError:  # it does not listen yet
                time.sleep(0.1)
                continue
            return result, port
    return -1, 0


def test_a_port_that_miniupnpd_opens_now(stage: Place) -> None:
    """The real program, asked by what stands inside: before it the port leads nowhere, afterwards a stranger gets in."""
    program = shutil.which("miniupnpd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("`miniupnpd` is missing (Debian package miniupnpd-nftables)")
    stage.load(igd())
    stage.host.run(["sh", "-c", "cat >/run/igd.conf"], input=IGD_CONFIGURATION, check=True)
    daemon = stage.host.popen([program, "-d", "-f", "/run/igd.conf", "-P", "/run/igd.pid"])
    try:
        assert not agree(stage, stage.packet(), "box", 80)
        assert stage.box.call(ask_for_a_port) == (0, PORT)
        assert agree(stage, stage.packet(), "box", 80)
        worlds = stage.worlds()
        trail = trace(worlds[next(iter(worlds))], stage.packet()).trail
        writers = [origin("inet", "filter", step.chain).manager for step in trail if step.rule.startswith("iif")]
        assert writers == ["miniupnpd", "miniupnpd"], trail
    finally:
        daemon.stop()
