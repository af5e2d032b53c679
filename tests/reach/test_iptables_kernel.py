"""Rules of iptables, by nf_tables and legacy, with ipsets: read from the kernel, and judged by it with packets on every border."""

from collections.abc import Iterator

import pytest

from librespot_guard import collect
from librespot_guard.lab.inject import Way, deliver
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.reach import world
from librespot_guard.reach.engine import Engine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.packet import Packet
from librespot_guard.reach.routing import number, text
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Snapshot

pytestmark = pytest.mark.kernel

PORT = 3678
DST = {"ipv4": "192.168.10.2", "ipv6": "fd00:10::2"}
SOURCES = {
    "ipv4": ["192.168.10.9", "192.168.10.130", "192.168.30.9", "10.1.2.3", "10.9.0.1", "203.0.113.7", "192.168.10.255"],
    "ipv6": ["fd00:10::9", "fd00:30::9", "2001:db8:1::5", "fe80::77", "8000::1"],
}
SETS = (
    "create good hash:net",
    "add good 10.0.0.0/8",
    "add good 10.9.0.0/16 nomatch",
    "create one hash:ip",
    "add one 192.168.10.9",
    "create doors bitmap:port range 1-4000",
    "add doors 3600-3700",
    "create pair hash:ip,port",
    "add pair 192.168.10.9,tcp:3678",
    "create net-port hash:net,port",
    "add net-port 10.0.0.0/8,tcp:3678",
    "add net-port 10.9.0.0/16,tcp:3678 nomatch",
    "add net-port 192.168.10.0/24,tcp:22",
    "create ip-port-ip hash:ip,port,ip",
    "add ip-port-ip 192.168.10.9,tcp:3678,192.168.10.2",
    "add ip-port-ip 192.168.30.9,icmp:8/0,192.168.10.2",
    "create ip-port-net hash:ip,port,net",
    "add ip-port-net 192.168.10.2,tcp:3678,10.0.0.0/8",
    "add ip-port-net 192.168.10.2,tcp:3678,10.9.0.0/16 nomatch",
    "create net-iface hash:net,iface",
    "add net-iface 192.168.10.0/24,eth0",
    "add net-iface 10.0.0.0/8,eth wildcard",
    "add net-iface 10.9.0.0/16,eth2",
    "add net-iface 203.0.113.0/24,eth0",
    "add net-iface 203.0.113.0/28,eth0 nomatch",
    "add net-iface 0.0.0.0/0,eth1",
    "create ip-mac bitmap:ip,mac range 192.168.10.0/24",
    "add ip-mac 192.168.10.9,02:00:00:00:00:01",
    "create learning bitmap:ip,mac range 192.168.10.0/24",
    "create six hash:net family inet6",
    "add six fd00:10::/64",
    "add six fd00:10::8/125 nomatch",
    "create six-port hash:net,port family inet6",
    "add six-port fd00:10::/64,tcp:3678",
    "create six-other hash:ip family inet6",
    "add six-other 2001:db8:1::5",
    "create many list:set",
    "add many one",
    "add many six",
    "add many good",
    "add many six-other",
    "add many pair",
    "create mixed list:set",
    "add mixed one",
    "add mixed doors",
    "create masked hash:ip bitmask 255.0.255.255",
    "add masked 192.168.10.9",
    "create brief hash:ip timeout 0",
    "add brief 192.168.10.9 timeout 5000",
    "add brief 10.1.2.3 timeout 0",
    "create gap hash:net timeout 0",
    "add gap 10.0.0.0/8",
    "add gap 10.9.0.0/16 nomatch timeout 5000",
    "create counted hash:ip counters",
    "add counted 192.168.10.9",
    "create lasting list:set timeout 0",
    "add lasting one",
)
# rules of the table filter, chain INPUT, whose policy is DROP; "!" in front marks those that nothing can decide exactly
RULES = (
    "-p tcp --dport 3678 -j ACCEPT",
    "-p tcp --dport 3600:3700 -s 192.168.10.0/25 -j ACCEPT",
    "! -s 10.0.0.0/8 -p tcp ! --dport 22 -j ACCEPT",
    "-p tcp -m multiport --dports 22,3600:3700 -j ACCEPT",
    "-p tcp -m multiport ! --dports 22,3600:3700 -j ACCEPT",
    "-p tcp -m multiport --sports 40000 -j ACCEPT",
    "?-p tcp -m multiport --ports 443,40000 -j ACCEPT",
    "-p tcp --tcp-flags SYN,ACK,RST SYN -j ACCEPT",
    "-p tcp ! --syn -j ACCEPT",
    "-m conntrack --ctstate NEW -j ACCEPT",
    "-m conntrack ! --ctstate NEW,INVALID -j ACCEPT",
    "-m state --state ESTABLISHED,RELATED -j ACCEPT",
    "-m iprange --src-range 10.1.0.0-10.1.2.3 -j ACCEPT",
    "-m iprange ! --src-range 10.1.0.0-10.1.2.3 -j ACCEPT",
    "-m addrtype --dst-type LOCAL -j ACCEPT",
    "-m addrtype ! --src-type UNICAST -j DROP",
    "-m mark --mark 0x0/0xff -j ACCEPT",
    "-m pkttype --pkt-type unicast -j ACCEPT",
    "-m mac --mac-source 02:00:00:00:00:01 -j ACCEPT",
    "-m mac ! --mac-source 02:00:00:00:00:01 -j ACCEPT",
    "-m ttl --ttl-gt 10 -j ACCEPT",
    "-m length --length 0:39 -j ACCEPT",
    "-m comment --comment speaker -s 192.168.10.0/24 -j ACCEPT",
    "-m set --match-set good src -j ACCEPT",
    "-m set ! --match-set good src -j ACCEPT",
    "-m set --match-set one src -m set --match-set doors dst -p tcp -j ACCEPT",
    "-m set --match-set pair src,dst -j ACCEPT",
    "-m set ! --match-set pair src,dst -j ACCEPT",
    "-m set --match-set pair src -j ACCEPT",
    "-m set --match-set one src,dst -j ACCEPT",
    "-m set --match-set net-port src,dst -j ACCEPT",
    "-m set ! --match-set net-port src,dst -j ACCEPT",
    "-m set --match-set ip-port-ip src,dst,dst -j ACCEPT",
    "-m set --match-set ip-port-net dst,dst,src -j ACCEPT",
    "-m set ! --match-set ip-port-net dst,dst,src -j ACCEPT",
    "-m set --match-set net-iface src,src -j ACCEPT",
    "-m set ! --match-set net-iface src,src -j ACCEPT",
    "-m set --match-set ip-mac src,src -j ACCEPT",
    "-m set --match-set many src -j ACCEPT",
    "-m set ! --match-set many src -j ACCEPT",
    "-m set ! --match-set many src,dst -j ACCEPT",
    "-m set ! --match-set mixed src -j ACCEPT",
    "-m set --match-set lasting src -j ACCEPT",
    "?-m set --match-set mixed src -j ACCEPT",
    "?-m set --match-set masked src -j ACCEPT",
    "?-m set --match-set brief src -j ACCEPT",
    "?-m set ! --match-set brief src -j ACCEPT",
    "?-m set --match-set gap src -j ACCEPT",
    "?-m set ! --match-set ip-mac src,src -j ACCEPT",
    "?-m set --match-set good src --return-nomatch -j ACCEPT",
    "?-m set --match-set counted src --packets-gt 0 -j ACCEPT",
    "-i eth0 -p tcp -j ACCEPT",
    "-i eth+ -s 192.168.10.0/24 -j ACCEPT",
    "! -i eth0 -j ACCEPT",
    "?-s 192.168.0.9/255.255.0.255 -j ACCEPT",
    "-p tcp -j REJECT --reject-with tcp-reset",
    "?-m limit --limit 1/hour --limit-burst 2 -j ACCEPT",
    "?-m recent --name x --rcheck -j ACCEPT",
    "?-m statistic --mode random --probability 0.5 -j ACCEPT",
    "?-m string --algo bm --string x -j ACCEPT",
    "?-m hashlimit --hashlimit-upto 1/hour --hashlimit-mode srcip --hashlimit-name y -j ACCEPT",
)
SIX = (
    "-p tcp --dport 3678 -s fd00:10::/64 -j ACCEPT",
    "! -s fe80::/10 -p tcp -m multiport --dports 3678 -j ACCEPT",
    "-m conntrack --ctstate NEW -m addrtype --dst-type LOCAL -j ACCEPT",
    "-m iprange --src-range 2001:db8::-2001:db8:1::5 -j ACCEPT",
    "-m hl --hl-lt 255 -j ACCEPT",
    "-m set --match-set six src -j ACCEPT",
    "-m set ! --match-set six src -j ACCEPT",
    "-m set --match-set six-port src,dst -j ACCEPT",
    "-m set --match-set many src -j ACCEPT",
    "-m set ! --match-set many src -j ACCEPT",
)
MORE = {
    "chains": ("-N a", "-N b", "-A a -s 10.0.0.0/8 -j RETURN", "-A a -p tcp -g b", "-A b -s 192.168.10.0/24 -j ACCEPT", "-A INPUT -j a"),
    "no tracking": ("-t raw -A PREROUTING -s 192.168.10.0/24 -j CT --notrack", "-A INPUT -m conntrack --ctstate NEW -j ACCEPT"),
    "marks": ("-t mangle -A PREROUTING -s 10.0.0.0/8 -j MARK --set-mark 7", "-A INPUT -m mark --mark 7 -j ACCEPT"),
    "bits of marks": (
        "-t mangle -A PREROUTING -i eth0 -j MARK --set-xmark 0x5/0xff",
        "-t mangle -A PREROUTING -s 192.168.10.0/24 -j MARK --or-mark 0x2",
        "-A INPUT -m mark --mark 0x2/0x2 -j ACCEPT",
    ),
    "to another port": ("-t nat -A PREROUTING -p tcp --dport 3678 -s 10.0.0.0/8 -j REDIRECT --to-ports 8080", "-A INPUT -p tcp --dport 3678 -j ACCEPT"),
    "from another port": ("-t nat -A PREROUTING -p tcp --dport 3679 -j DNAT --to-destination 192.168.10.2:3678", "-A INPUT -p tcp --dport 3678 -s 10.0.0.0/8 -j ACCEPT"),
    "log and go on": ("-A INPUT -j LOG", "-A INPUT -p tcp -j ACCEPT"),
}  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Sandbox, Host, dict[str, Way]]]:
    """A host with two interfaces, and what is behind each; its ipsets."""
    with Sandbox() as box:
        host, lan, guest = box.host("speaker"), box.host("lan"), box.host("guest")
        box.link(host, "eth0", lan, "far")
        box.link(host, "eth1", guest, "far")
        host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        host.address("eth1", "192.168.30.2/24", "fd00:30::2/64")
        for line in SETS:
            host.run(["ipset", *line.split()], check=True)
        yield box, host, {"eth0": Way(lan, "far"), "eth1": Way(guest, "far")}


def _load(host: Host, program: str, lines: list[str]) -> World:
    """Load rules and nothing else, in one restore for each backend; and read the host."""
    host.run(["nft", "flush", "ruleset"], check=True)
    for legacy in ("iptables-legacy", "ip6tables-legacy"):
        _restore(host, legacy, lines if legacy == program else None)
    if not program.endswith("legacy"):
        _restore(host, program, lines)
    return _read(host)


def _restore(host: Host, program: str, lines: list[str] | None) -> None:
    """Rules with the policy DROP of INPUT, or (None) none with ACCEPT."""
    tables: dict[str, list[str]] = {name: [] for name in ("raw", "mangle", "nat", "filter")}
    for line in lines or ():
        words = line.split()
        table = words.pop(1 + words.index("-t")) if "-t" in words else "filter"
        tables[table].append(" ".join(w for w in words if w != "-t"))
    text = ""
    for name, rules in tables.items():
        policy = f":INPUT {'ACCEPT' if lines is None else 'DROP'} [0:0]\n" if name == "filter" else ""
        text += f"*{name}\n{policy}" + "".join(f"{rule}\n" for rule in rules) + "COMMIT\n"
    # what is not in a restored table is flushed with it
    host.run([f"{program}-restore"], input=text, env=LOCK, check=True)


def _read(host: Host) -> World:
    namespace, gaps = host.call(lambda: collect.read_namespace(home=True))
    assert not [g for g in gaps if "BPF" not in g.what], gaps
    return world(Snapshot("2026-11-25T00:00:00+00:00", "x", "h", "6", "little", (namespace,)))


LOCK = {"XTABLES_LOCKFILE": "/run/xtables.lock"}


def _judge(stage: tuple[Sandbox, Host, dict[str, Way]], view: World, family: str, *, exact: bool, about: str) -> None:
    """Ask both interfaces, send packets on both sides of every border, and compare engine and interpreter with the kernel."""
    box, host, ways = stage
    cases: list[tuple[Packet, bool | None]] = []
    top = (1 << (32 if family == "ipv4" else 128)) - 1
    for iface in ways:
        answer = Engine(view, iface, family, "tcp").ask(number(DST[family]), PORT)
        assert answer.exact is exact, f"{about}: {answer.because}"
        sources = {number(a) for a in SOURCES[family]}
        for low, high in (*answer.may.pairs[:8], *answer.must.pairs[:8]):
            sources |= {s for s in (low - 1, low, high, high + 1) if 0 <= s <= top}
        for source in sorted(sources):
            address = text(family, source)
            if source in answer.may:
                choice = answer.choices(source)
                if any(name not in ("sport", "tcp_flags", "daddr", "dport") for name in choice):
                    continue  # a free field that these packets do not vary
                packet = Packet(iface, address, text(family, choice["daddr"]), "tcp", choice.get("sport", 40000), choice["dport"], choice.get("tcp_flags", 2))  # fmt: skip
                cases.append((packet, True if source in answer.must else None))
            else:
                cases += [(Packet(iface, address, DST[family], "tcp", sport, PORT), False) for sport in (40000, 443)]
    got = deliver(box, host, ways, [packet for packet, _ in cases])
    for (packet, promise), delivered in zip(cases, got, strict=True):
        here = f"{about}\n{packet}\nthe engine promises {promise}, the kernel says {delivered}"
        assert promise in (None, delivered), here
        verdict = trace(view, packet).verdict
        assert (verdict == "undecided" and not exact) or (verdict == "delivered") == delivered, f"{verdict}: {here}"


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule(stage: tuple[Sandbox, Host, dict[str, Way]], program: str, rule: str) -> None:
    """Each match decides as the kernel decides, exactly where one packet can tell, and as a bound with its reason where it can't."""
    exact = not rule.startswith("?")
    view = _load(stage[1], program, [f"-A INPUT {rule.removeprefix('?')}"])
    _judge(stage, view, "ipv4", exact=exact, about=f"{program} {rule}")


@pytest.mark.parametrize("program", ["ip6tables-nft", "ip6tables-legacy"])
@pytest.mark.parametrize("rule", SIX)
def test_a_rule_for_ipv6(stage: tuple[Sandbox, Host, dict[str, Way]], program: str, rule: str) -> None:
    """The same for IPv6."""
    _judge(stage, _load(stage[1], program, [f"-A INPUT {rule}"]), "ipv6", exact=True, about=f"{program} {rule}")


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("name", MORE)
def test_several_rules(stage: tuple[Sandbox, Host, dict[str, Way]], program: str, name: str) -> None:
    """Chains of the user, other tables, marks and translation, each in both backends."""
    _judge(stage, _load(stage[1], program, list(MORE[name])), "ipv4", exact=True, about=f"{program} {name}")


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_a_reverse_path_filter_is_a_bound(stage: tuple[Sandbox, Host, dict[str, Way]], program: str) -> None:
    """It asks for the kind of the route as well as for its interface, which no instruction of nf_tables does at once."""
    view = _load(stage[1], program, ["-t raw -A PREROUTING -m rpfilter --invert -j DROP", "-A INPUT -j ACCEPT"])
    _judge(stage, view, "ipv4", exact=False, about=f"{program} rpfilter")


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_an_entry_that_lacks_its_link_address_is_a_bound(
    stage: tuple[Sandbox, Host, dict[str, Way]], program: str
) -> None:
    """The first packet decides which sender it means from then on: what is read afterwards is exact."""
    host = stage[1]
    host.run(["nft", "flush", "ruleset"], check=True)
    _restore(host, "iptables-legacy", None)
    host.run(["ipset", "flush", "learning"], check=True)
    host.run(["ipset", "add", "learning", "192.168.10.9"], check=True)
    view = _load(host, program, ["-A INPUT -m set --match-set learning src,src -j ACCEPT"])
    _judge(stage, view, "ipv4", exact=False, about=f"{program} before")
    assert number("192.168.10.9") in Engine(_read(host), "eth0", "ipv4", "tcp").ask(number(DST["ipv4"]), PORT).must


@pytest.mark.parametrize("through", ["many", "one"])
def test_sets_that_packets_fill_through_others(stage: tuple[Sandbox, Host, dict[str, Way]], through: str) -> None:
    """A rule that adds to a set of sets, or to a member of one, makes every look-up that it may change a bound."""
    for asked in ("many", "one", "masked"):
        lines = [
            f"-A INPUT -p udp -j SET --add-set {through} src",
            f"-A INPUT -m set --match-set {asked} src -j ACCEPT",
        ]
        view = _load(stage[1], "iptables-nft", lines)
        answer = Engine(view, "eth0", "ipv4", "tcp").ask(number(DST["ipv4"]), PORT)
        packets = any("which packets fill" in r or "filled by rules" in r for r in answer.because)
        assert packets is (asked != "masked"), f"{asked}: {answer.because}"


def test_both_at_once(stage: tuple[Sandbox, Host, dict[str, Way]]) -> None:
    """What nf_tables accepts, legacy iptables may still drop: both are on the hook, and both are heard."""
    _, host, _ = stage
    _load(host, "iptables-nft", ["-A INPUT -p tcp -j ACCEPT"])
    host.run(["iptables-legacy", "-A", "INPUT", "-s", "192.168.10.0/24", "-j", "DROP"], env=LOCK, check=True)
    view = _read(host)
    _judge(stage, view, "ipv4", exact=True, about="both")
    answer = Engine(view, "eth0", "ipv4", "tcp").ask(number(DST["ipv4"]), PORT)
    assert number("192.168.10.9") not in answer.may
    assert number("10.1.2.3") in answer.must
