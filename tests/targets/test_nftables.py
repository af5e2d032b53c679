"""The table allows exactly what the policy allows, whatever the policy and the host: nothing is lost and nothing is added."""

from dataclasses import replace
from datetime import date
from ipaddress import ip_network

import pytest
from hypothesis import given, settings

from librespot_guard.errors import InputError, Refused
from librespot_guard.policy import Assignment, Entry, Match, Policy, Source, allowed
from librespot_guard.policy.model import Where
from librespot_guard.reach.intervals import WIDTH, IntervalSet
from librespot_guard.snapshot import Link, Listener, Namespace, Service, ServiceListener
from librespot_guard.targets import nft_model, nft_text
from librespot_guard.targets.compare import canonical
from librespot_guard.targets.nft_read import read
from librespot_guard.targets.nftables import build
from librespot_guard.targets.syntax import (
    FromNetwork,
    FromSet,
    GuardRule,
    Iface,
    Known,
    NfProto,
    Part,
    Port,
)
from targets.policies import TODAY, Case, cases

HOST = Namespace("1", True, links=(Link(1, "lo", True, arp_type=772), Link(2, "eth0", True)))


def passing(part: Part, iface: str, family: str, proto: str, port: int | None) -> IntervalSet:
    """The sources whose packets the chains of a policy let pass: evaluated here, apart from the printer and the model.

    Where the kernel does not find the transport header, protocol and port are "" and None.
    """
    sets = {s.name: s.addresses for s in part.sets}
    chains = {c.name: c for c in part.chains}
    everything = IntervalSet.full(WIDTH[family])

    def sources(rule: GuardRule) -> IntervalSet:
        found = everything
        for match in rule.matches:
            if isinstance(match, Iface):
                found &= everything if match.name == iface else IntervalSet()
            elif isinstance(match, NfProto):
                found &= everything if match.family == family else IntervalSet()
            elif isinstance(match, FromSet):
                found &= sets[match.name] if match.family == family else IntervalSet()
            elif isinstance(match, FromNetwork):
                found &= (
                    IntervalSet.networks([match.network]) if f"ipv{match.network.version}" == family else IntervalSet()
                )
            elif isinstance(match, Port):
                found &= everything if (match.proto, match.port) == (proto, port) else IntervalSet()
            elif isinstance(match, Known):
                found &= everything if proto else IntervalSet()
            else:
                raise TypeError(match)
        return found

    def run(name: str, left: IntervalSet) -> IntervalSet:
        through = IntervalSet()
        for rule in chains[name].rules:
            hit = left & sources(rule)
            left -= hit
            if rule.verdict.kind == "accept":
                through |= hit
            elif rule.verdict.chain is not None:
                through |= run(rule.verdict.chain, hit)
        return through | left

    return run(part.entry, everything)


def permitted(case: Case, listener: ServiceListener, iface: str, family: str) -> IntervalSet:
    """What the policy allows to the port of a listener: the union over those that share it."""
    found = IntervalSet()
    for assignment in case.assignments:
        for other in assignment.service.listeners:
            if (other.listener.proto, other.listener.port) == (listener.listener.proto, listener.listener.port):
                found |= allowed(
                    case.policy, assignment.entry, other.surface, iface, family, case.namespace, today=TODAY
                )
    return found


@given(case=cases())
@settings(max_examples=300, deadline=None)
def test_the_table_allows_exactly_what_the_policy_allows(case: Case) -> None:
    """For every listener, interface and family, the sources that pass are those of the policy."""
    table = build(case.policy, case.assignments, case.namespace, today=TODAY)

    assert table.confirmed is not None
    for assignment in case.assignments:
        for item in assignment.service.listeners:
            for link in (*case.namespace.links, Link(99, "later0", True)):
                for family in WIDTH:
                    through = passing(table.confirmed, link.name, family, item.listener.proto, item.listener.port)
                    assert through == permitted(case, item, link.name, family), (item, link.name, family)


@given(case=cases())
@settings(max_examples=100, deadline=None)
def test_other_ports_are_left_alone(case: Case) -> None:
    """A port on which no service of the policy listens is not touched."""
    table = build(case.policy, case.assignments, case.namespace, today=TODAY)

    assert table.confirmed is not None
    for proto, port in (("tcp", 22), ("udp", 53), ("tcp", 5353), ("udp", 7000)):
        for family in WIDTH:
            assert passing(table.confirmed, "eth0", family, proto, port) == IntervalSet.full(WIDTH[family])


@given(case=cases())
@settings(max_examples=20, deadline=None)
def test_a_packet_that_hides_its_port_is_let_in_by_this_host_alone(case: Case) -> None:
    """A fragment without a transport header might be for a guarded port."""
    table = build(case.policy, case.assignments, case.namespace, today=TODAY)

    assert table.confirmed is not None
    assert not passing(table.confirmed, "eth0", "ipv6", "", None)
    assert passing(table.confirmed, "lo", "ipv6", "", None) == IntervalSet.full(128)


@given(case=cases())
@settings(max_examples=100, deadline=None)
def test_the_same_policy_gives_the_same_table(case: Case) -> None:
    """Building is pure: the same input gives the same id, text and model, and the model reads back as the table."""
    one = build(case.policy, case.assignments, case.namespace, today=TODAY)
    two = build(case.policy, case.assignments, case.namespace, today=TODAY)

    assert (one, nft_text.table(one), canonical(nft_model.table(one))) == (
        two,
        nft_text.table(two),
        canonical(nft_model.table(two)),
    )
    assert read(nft_model.table(one)) == one
    assert len(one.id) == 8
    assert all(len(chain.name) <= 31 for part in one.parts for chain in part.chains)


def simple(**entry: object) -> tuple[Policy, tuple[Assignment, ...]]:
    """A policy with one entry that allows 192.168.10.0/24 to connect to one service on port 7000."""
    source = Source("home", "family", (ip_network("192.168.10.0/24"),))
    item = Entry("speaker", Match(), {"connect": ("home",)})
    item = replace(item, **entry)  # type: ignore[arg-type]
    listener = ServiceListener(Listener("tcp", "ipv4", "0.0.0.0", 7000), "connect", pinned=True)
    service = Service("living-room", "librespot", None, 1, 1, "/x", "1", (listener,))
    policy = Policy("Test", "o", "every year", {"home": source}, {"speaker": item})
    return policy, (Assignment(item, service),)


def test_another_policy_has_another_id() -> None:
    """The id is that of the content: a changed source, or only its reason, changes it."""
    policy, assignments = simple()
    source = policy.sources["home"]
    ids = {
        build(replace(policy, sources={"home": each}), assignments, HOST, today=TODAY).id
        for each in (source, replace(source, why="friends"), replace(source, networks=(ip_network("192.168.10.0/25"),)))
    }

    assert len(ids) == 3


def test_a_key_that_can_not_be_enforced_is_refused() -> None:
    """A constraint that this target can't hold is a refusal that names its place in the file, never left out."""
    policy, assignments = simple(unenforced=(("accounts", Where("p.yaml", 12, 7)),))

    with pytest.raises(Refused, match=r"p\.yaml:12:7: `accounts`"):
        build(policy, assignments, HOST, today=TODAY)


def test_a_service_in_another_network_namespace_is_refused() -> None:
    """Rules in this namespace would not guard it."""
    policy, assignments = simple()
    elsewhere = replace(assignments[0], service=replace(assignments[0].service, netns="2"))

    with pytest.raises(Refused, match="network namespace 2"):
        build(policy, [elsewhere], HOST, today=TODAY)


def test_a_tcp_port_that_two_services_share_is_refused() -> None:
    """Two services on one TCP port can't be told apart, and the union of their sources would widen access."""
    policy, assignments = simple()
    other = Entry("other", Match(), {})
    both = replace(policy, services={**policy.services, "other": other})

    with pytest.raises(Refused, match="tcp port 7000 is shared"):
        build(
            both, [*assignments, Assignment(other, replace(assignments[0].service, name="kitchen"))], HOST, today=TODAY
        )


def test_two_addresses_of_one_port_are_told_apart() -> None:
    """Services on the same TCP port of different addresses each get their own sources, by the destination address."""
    policy, assignments = simple()
    other = Entry("other", Match(), {})
    first, second = (
        Listener("tcp", "ipv4", address, 7000, inode=i) for i, address in enumerate(("192.168.10.2", "192.168.10.3"), 1)
    )
    one = replace(
        assignments[0], service=replace(assignments[0].service, listeners=(ServiceListener(first, "connect", True),))
    )
    two = Assignment(other, replace(one.service, name="kitchen", listeners=(ServiceListener(second, "connect", True),)))
    both = replace(policy, services={**policy.services, "other": other})

    text = nft_text.table(build(both, [one, two], HOST, today=TODAY))

    assert "ip daddr 192.168.10.2 tcp dport 7000 goto connect_speaker" in text
    assert "ip daddr 192.168.10.3 tcp dport 7000 goto connect_other" in text


def test_an_expired_source_allows_nothing() -> None:
    """The day after its last day, a source is not in the table at all."""
    policy, assignments = simple()
    ends = replace(policy, sources={"home": replace(policy.sources["home"], expires=date(2026, 11, 23))})

    assert "192.168.10.0/24" not in nft_text.table(build(ends, assignments, HOST, today=TODAY))


@pytest.mark.parametrize("name", ['a"b', "a\\b", "eth*", "a b", "ä", "x" * 16, "", "."])
def test_an_interface_that_nft_can_not_write_is_an_error(name: str) -> None:
    """A name that could change the meaning of the text never gets into it."""
    with pytest.raises(InputError):
        Iface(name)
