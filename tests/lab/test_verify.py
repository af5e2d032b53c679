"""`verify` finds every difference between policy, analysis and kernel, and none where there is none."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import read_namespace
from librespot_guard.errors import Undecided
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.lab.verify import Verification, boundaries, verify
from librespot_guard.plan.proof import prove
from librespot_guard.policy import Entry, Match, Policy, Source, assign
from librespot_guard.reach import IntervalSet
from librespot_guard.snapshot import Listener, Service, ServiceListener, Snapshot
from librespot_guard.targets import nft_text
from librespot_guard.targets.nftables import build

TODAY = date(2026, 11, 24)
HOME = Source("home", "phones", (ip_network("192.168.10.0/24"), ip_network("fd00:10::/64")), interface="eth0")
POLICY = Policy(
    "speaker",
    "ops@example.org",
    "every 3 months",
    {"home": HOME},
    {"speaker": Entry("speaker", Match(flavour="librespot"), {"connect": ("home",), "discovery": ("home",)})},
)
TCP = Listener("tcp", "ipv6", "::", 4070, v6only=False)
MDNS = Listener("udp", "ipv6", "::", 5353, v6only=False)


@dataclass
class Place:
    """A host with two networks, and its facts with a service on it."""

    host: Host

    def snapshot(self) -> Snapshot:
        """The host's facts as they are now, with a service that listens on TCP 4070 and on UDP 5353."""
        namespace, _ = self.host.call(read_namespace)
        listeners = (ServiceListener(TCP, "connect", pinned=True), ServiceListener(MDNS, "discovery", pinned=True))
        service = Service("speaker", "librespot", "0.8.0", 1, 0, "/usr/bin/librespot", namespace.id, listeners)
        namespace = replace(namespace, listeners=(TCP, MDNS))
        return Snapshot("2026-11-24T00:00:00Z", "test", "host", "6.1", "little", (namespace,), (service,))

    def load(self, text: str) -> None:
        """Load nft rules into the host."""
        self.host.run(["nft", "-f", "-"], input=text, check=True)

    def enforce(self) -> None:
        """Load the policy's own rules."""
        snapshot = self.snapshot()
        self.load(nft_text.table(build(POLICY, assign(POLICY, snapshot), snapshot.home, today=TODAY)))

    def verify(self, policy: Policy = POLICY) -> Verification:
        """Verify it."""
        return verify(policy, self.snapshot(), today=TODAY)


@pytest.fixture
def place() -> Iterator[Place]:
    """A host with a home network and a guest network."""
    with Sandbox() as box:
        host, home, guests = box.host("host"), box.host("home"), box.host("guests")
        box.link(host, "eth0", home, "eth0")
        box.link(host, "eth1", guests, "eth0")
        host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        host.address("eth1", "192.168.30.2/24", "fd00:30::2/64")
        yield Place(host)


@pytest.mark.kernel
def test_enforced_policy_holds(place: Place) -> None:
    """With the policy's own rules loaded, all agree: proved, hundreds of packets, each way tried, somebody got through, status 0."""
    place.enforce()
    result = place.verify()
    assert (result.status, result.disagreements, result.not_verified) == (0, [], [])
    assert result.packets > 300
    assert all(way.packets for way in result.ways)
    through: Counter[tuple[str, str]] = Counter()
    for way in result.ways:
        through[way.claim.question.iface, way.claim.question.family] += way.delivered
    assert through["eth0", "ipv4"] > 0
    assert through["eth0", "ipv6"] > 0
    assert through["eth1", "ipv4"] == through["eth1", "ipv6"] == 0


@pytest.mark.kernel
def test_no_rules_is_a_violation_in_proof_and_by_packets(place: Place) -> None:
    """Without rules the proof is refuted, and packets that the policy denies get through; the analysis knew it."""
    result = place.verify()
    assert (result.status, result.proof.verdict) == (1, "refuted")
    assert {d.against for d in result.disagreements} == {"policy"}
    assert {d.packet.iface for d in result.disagreements} == {"eth0", "eth1"}
    assert all(d.delivered and d.trace.verdict == "delivered" for d in result.disagreements)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("rules", "families", "sports"),
    [
        (
            "table ip t { chain i { type filter hook input priority 0; policy drop; iif eth0 ip saddr 192.168.10.0/24 accept; }; }",
            {"ipv6"},
            None,
        ),
        ("insert rule inet librespot_guard input tcp sport 53 accept", {"ipv4", "ipv6"}, {53}),
        ("insert rule inet librespot_guard input ip saddr 192.168.10.0/23 accept", {"ipv4"}, None),
    ],
    ids=["IPv6 forgotten", "stateless accept by source port", "mask one bit too short"],
)
def test_known_mistakes_are_found(place: Place, rules: str, families: set[str], sports: set[int] | None) -> None:
    """Mistakes that real hosts have are refuted on the rules and seen in packets, in exactly the family they are made in."""
    if "insert" in rules:
        place.enforce()
    place.load(rules.replace("; }", ";\n}").replace("; }", ";\n}") + "\n")
    result = place.verify()
    violations = [d for d in result.disagreements if d.against == "policy"]
    assert result.status == 1
    assert {d.packet.family for d in violations} == families
    assert sports is None or {d.packet.sport for d in violations} == sports
    assert not [d for d in result.disagreements if d.against == "reach"]


@pytest.mark.kernel
def test_rules_of_others_that_block_are_a_remark(place: Place) -> None:
    """A foreign firewall that blocks whom the policy allows is no violation, but it is said."""
    place.enforce()
    place.load("table inet other {\n chain i {\n type filter hook input priority 0;\n udp dport 5353 drop\n }\n}\n")
    result = place.verify()
    assert result.status == 0
    assert any("discovery over eth0" in remark and "another rule" in remark for remark in result.remarks)


@pytest.mark.kernel
def test_an_analysis_that_is_wrong_is_told_by_the_kernel(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the analysis were wrong about a host, packets would show it: here it is given rules that are not the live ones."""
    place.enforce()
    good = place.snapshot()
    place.load("flush ruleset\n")
    open_ = place.snapshot()
    monkeypatch.setattr(
        "librespot_guard.lab.verify.prove", lambda policy, _, *, today: prove(policy, good, today=today)
    )
    result = verify(POLICY, open_, today=TODAY)
    assert result.proof.verdict == "proved"
    assert {d.against for d in result.disagreements} == {"policy", "reach"}
    assert result.status == 1


@pytest.mark.kernel
@pytest.mark.parametrize("needed", ["ip ttl != 255", "ether saddr != 02:00:00:00:00:01"])
def test_a_rule_on_a_field_that_packets_here_do_not_choose_is_a_remark(place: Place, needed: str) -> None:
    """Somebody else's rule on the TTL or the hardware address is no disagreement with the analysis, and the policy holds."""
    place.enforce()
    place.load(f"""
table inet theirs {{
    chain input {{
        type filter hook input priority 10; policy accept;
        {needed} tcp dport 4070 drop
    }}
}}
""")
    result = place.verify()

    assert (result.status, result.disagreements) == (0, [])
    assert any("hardware address" in remark for remark in result.remarks)


@pytest.mark.kernel
def test_unknown_rules_are_undecided(place: Place) -> None:
    """Where the rules could not be read, no packet is sent, and the answer is undecided, not yes."""
    snapshot = place.snapshot()
    blind = replace(snapshot, namespaces=(replace(snapshot.home, nft=None),))
    result = verify(POLICY, blind, today=TODAY)
    assert result.packets == 0
    assert result.not_verified == ["the packet filter of the host could not be read"]
    assert result.status in (1, 4)


@pytest.mark.kernel
def test_what_the_twin_can_not_do_keeps_it_undecided(place: Place) -> None:
    """A rule on the user of a socket is not reproduced, so even agreeing packets do not make the answer yes."""
    place.enforce()
    place.load("table inet other {\n chain i {\n type filter hook input priority 0;\n meta skuid 4242 drop\n }\n}\n")
    result = place.verify()
    assert result.status == 4
    assert any("`meta skuid`" in line for line in result.not_verified)


@pytest.mark.kernel
def test_nothing_to_verify_is_no_yes(place: Place) -> None:
    """A policy that matches nothing that runs is not silently fine."""
    other = replace(POLICY, services={"x": Entry("x", Match(flavour="spotifyd"))})
    with pytest.raises(Undecided, match="nothing to verify"):
        place.verify(other)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=6))
def test_boundaries_hold_both_sides_of_every_edge(pairs: list[tuple[int, int]]) -> None:
    """Of every interval both ends and both neighbours are tried, and at least one address even of the empty set."""
    addresses = IntervalSet.of(pairs)
    tried = boundaries(addresses, 8)
    assert tried
    assert all(0 <= address <= 255 for address in tried)
    for low, high in addresses:
        assert {e for e in (low - 1, low, high, high + 1) if 0 <= e <= 255} <= set(tried)


def test_very_many_intervals_are_sampled() -> None:
    """A set of thousands of intervals is sampled evenly, first and last included."""
    addresses = IntervalSet.of((n * 4, n * 4) for n in range(10_000))
    tried = boundaries(addresses, 32)
    assert len(tried) < 600
    assert {0, 39_996} <= set(tried)
