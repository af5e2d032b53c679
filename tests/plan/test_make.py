"""A plan says what a policy means on a host, proves it before anything is changed, and refuses what would hurt."""

import shutil
import subprocess
from dataclasses import replace
from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from librespot_guard.plan import Plan, make
from librespot_guard.plan.advice import lost_ports
from librespot_guard.plan.change import DROP_IN, RULES, UNIT, UNIT_TEXT, WANTS, change
from librespot_guard.plan.make import difference
from librespot_guard.policy import Entry, Match, Policy, Source
from librespot_guard.policy.model import Where
from librespot_guard.snapshot import (
    Address,
    Connection,
    Link,
    Listener,
    Namespace,
    NftDump,
    Service,
    ServiceListener,
    Snapshot,
)
from librespot_guard.targets.steps import LinkFile, LoadNft, WriteFile
from librespot_guard.targets.syntax import GuardTable
from support import Schema
from targets.policies import TODAY, Case, cases, routes_of

PORT = 7000


def host(
    *listeners: ServiceListener, others: tuple[Listener, ...] = (), admin: tuple[Connection, ...] = ()
) -> Snapshot:
    """A host with one service and one network."""
    found = listeners or (ServiceListener(Listener("tcp", "ipv6", "::", PORT, False, inode=1), "connect", pinned=True),)
    addresses = (Address("ipv4", "192.168.10.2", 24, "eth0"), Address("ipv6", "fd00:10::2", 64, "eth0"))
    namespace = Namespace(
        "1",
        True,
        links=(Link(1, "lo", True, arp_type=772), Link(2, "eth0", True)),
        addresses=addresses,
        routes=routes_of(addresses),
        listeners=(*(item.listener for item in found), *others),
        nft=NftDump(0, b""),
    )
    service = Service("living-room", "librespot", "0.8.0", 812, 998, "/usr/bin/librespot", "1", found)
    return Snapshot(
        "2026-11-24T12:00:00Z", "test", "host", "6.1", "little", (namespace,), (service,), admin, privileged=True
    )


def policy(*networks: str, surfaces: tuple[str, ...] = ("connect", "discovery"), **source: object) -> Policy:
    """A policy that allows these networks to the surfaces of the service."""
    home = Source(
        "home", "family phones", tuple(ip_network(n) for n in networks or ("192.168.10.0/24",)), owner="ops@example.org"
    )
    home = replace(home, **source)  # type: ignore[arg-type]
    entry = Entry(
        "speaker", Match(flavour="librespot"), dict.fromkeys(surfaces, ("home",)), where=Where("p.yaml", 9, 3)
    )
    return Policy("Speaker", "ops@example.org", "every 3 months", {"home": home}, {"speaker": entry}, "p.yaml")


def plan(snapshot: Snapshot, wanted: Policy | None = None) -> Plan:
    """The plan of today."""
    return make(wanted or policy(), snapshot, today=TODAY)


def admin(peer: str, port: int = PORT) -> Connection:
    """A connection through which somebody manages the host."""
    return Connection("ipv4", "192.168.10.2", port, peer, 50000, "eth0", "sshd")


@given(case=cases())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_plan_is_always_proved(case: Case) -> None:
    """For random policies and hosts, the symbolic engine proves the planned rules: they never let in more than the policy."""
    made = make(case.policy, case.snapshot(), today=TODAY)

    if not any(a.service.listeners for a in case.assignments):
        assert "there is nothing to guard" in made.refusals[0]
        return
    assert made.refusals == ()
    assert made.proof == "proved"
    assert made.change is not None


def test_every_rule_carries_its_why_and_owner(schema: Schema) -> None:
    """The effective rules name service, surface, listener, source, reason and owner; the JSON form follows its schema."""
    made = plan(host())

    rule = made.rules[0]
    assert (rule.service, rule.surface, rule.source, rule.why, rule.owner) == (
        "living-room",
        "connect",
        "home",
        "family phones",
        "ops@example.org",
    )
    assert rule.networks == ("192.168.10.0/24",)
    schema("plan").validate(made.to_json())


def test_a_denied_surface_is_listed_as_denied() -> None:
    """A surface that nobody may reach is a line without a source, not a missing line."""
    made = plan(host(), policy(surfaces=("discovery",)))

    assert [(rule.surface, rule.source) for rule in made.rules] == [("connect", None)]


def test_the_steps_arm_before_they_write() -> None:
    """Arming loads rules and writes no file; confirming loads rules; boot files come after, the deciding one last."""
    made = plan(host())

    assert made.change is not None
    assert [type(s) for s in made.change.arm] == [LoadNft]
    assert "timeout @TIMEOUT@s" in made.change.arm[0].text  # type: ignore[union-attr]
    assert made.change.confirm[0].text.startswith("delete element inet librespot_guard gate")  # type: ignore[union-attr]
    assert [s.path for s in made.change.boot if isinstance(s, WriteFile | LinkFile)] == [UNIT, WANTS, DROP_IN, RULES]
    first_removed = made.change.revert_boot[0]
    assert isinstance(first_removed, WriteFile)
    assert (first_removed.path, first_removed.content) == (RULES, None)


def test_the_rules_file_of_the_policy_before_comes_back() -> None:
    """Reverting to a confirmed policy writes that policy's rules file and removes nothing."""
    old, new = plan(host()).wanted, plan(host(), policy("192.168.10.0/25")).wanted
    assert old is not None
    assert new is not None

    back = change(new, old)

    assert back.before == old.id
    rules = [step for step in back.revert_boot if isinstance(step, WriteFile)][-1]
    assert rules.content is not None
    assert f"policy {old.id}" in rules.content
    assert all(getattr(s, "content", "") is not None and getattr(s, "target", "") is not None for s in back.revert_boot)


def test_the_diff_shows_what_changed_and_no_ids() -> None:
    """A changed network is one line out and one in, although every name in the table carries another id."""
    old, new = plan(host()).wanted, plan(host(), policy("192.168.10.0/25")).wanted
    assert old is not None
    assert new is not None

    lines = difference(old, new).splitlines()

    changed = [line for line in lines[2:] if line[0] in "+-"]
    assert [line[0] for line in changed] == ["-", "+"]
    assert "192.168.10.0/25" in changed[1]


def test_an_expired_source_is_named() -> None:
    """What has expired allows nothing any more, and the plan says so."""
    made = plan(host(), policy(expires=date(2026, 11, 23)))

    assert made.rules[0].source is None
    assert any("expired on 2026-11-23" in text for text in made.warnings)


def test_a_random_port_is_named_with_the_setting_that_pins_it() -> None:
    """A restart would outrun the rules: the warning gives the exact setting of this flavour with the port of now."""
    listener = Listener("tcp", "ipv6", "::", 41234, False, inode=1)

    made = plan(host(ServiceListener(listener, "connect", pinned=False)))

    warning = next(text for text in made.warnings if "restart" in text)
    assert "`living-room`" in warning
    assert "--zeroconf-port 41234" in warning


def test_other_programs_on_a_shared_port_are_named() -> None:
    """Whoever else uses UDP 5353 is named, because the policy applies to their packets too."""
    mdns = Listener("udp", "ipv4", "0.0.0.0", 5353, inode=2)
    avahi = Listener("udp", "ipv4", "0.0.0.0", 5353, inode=3, pids=(77,))

    made = plan(host(ServiceListener(mdns, "discovery", pinned=True), others=(avahi,)))

    assert any("udp port 5353 is shared with other programs (pid 77" in text for text in made.warnings)


def test_a_service_that_the_policy_does_not_mention_is_named() -> None:
    """What is not in the policy stays open, and the plan says so."""
    here = host()
    other = replace(here.services[0], name="kitchen", flavour="spotifyd", pid=900, listeners=())

    made = plan(replace(here, services=(*here.services, other)))

    assert any("does not mention `kitchen`" in text for text in made.warnings)


def test_a_network_that_no_interface_has_is_named() -> None:
    """A source network in which this host has no address is often a copied example."""
    made = plan(host(), policy("192.168.10.0/24", "192.168.77.0/24"))

    assert any("192.168.77.0/24" in text for text in made.warnings)
    assert not any("in 192.168.10.0/24" in text for text in made.warnings)


def test_an_entry_that_matches_nothing() -> None:
    """It is a warning beside entries that match; if no entry matches there is nothing to guard, which is a refusal."""
    known = policy()
    more = replace(known, services={**known.services, "attic": Entry("attic", Match(flavour="spotifyd"))})
    none = replace(known, services={"attic": Entry("attic", Match(flavour="spotifyd"))})

    assert any("`attic` matches no service" in text for text in plan(host(), more).warnings)
    assert plan(host(), none).change is None
    assert any("nothing to guard" in text for text in plan(host(), none).refusals)


def test_unreadable_rules_are_a_refusal() -> None:
    """Without today's rules nothing can be compared or put back."""
    here = host()

    made = plan(replace(here, namespaces=(replace(here.namespaces[0], nft=None),)))

    assert made.change is None
    assert any("could not be read" in text for text in made.refusals)


def test_a_port_that_would_lose_its_guard_is_named() -> None:
    """If the policy in force guards a port that the new table does not, the service may only be stopped: the plan says so."""
    old = plan(host()).wanted
    new = plan(host(ServiceListener(Listener("tcp", "ipv4", "0.0.0.0", 7001, inode=1), "connect", pinned=True))).wanted
    assert old is not None
    assert new is not None

    assert lost_ports(new, old)[0] == "tcp port 7000 is guarded today and would not be any more"
    assert lost_ports(new, old)[1:] == [
        "tcp port 7001 is not guarded by the rules in force: who reaches it today does so until this is applied"
    ]
    assert lost_ports(new, new) == []
    assert lost_ports(old, GuardTable(None)) == []


@pytest.mark.parametrize(
    ("peer", "locked"), [("192.168.10.9", False), ("192.168.11.9", True), ("192.168.10.200", False)]
)
def test_a_policy_that_would_cut_your_own_connection_is_refused(peer: str, locked: bool) -> None:
    """The connection through which the user manages the host, and a new one like it, must pass; else the plan shows the packet."""
    made = plan(host(admin=(admin(peer),)))

    assert bool(made.lockouts) == locked
    assert bool(made.refusals) == locked
    assert (made.change is None) == locked
    if locked:
        shown = made.lockouts[0].to_json()
        assert shown["packet"]["src"] == peer
        assert shown["verdict"] == "dropped"
        assert shown["trail"][-1]["table"] == "inet librespot_guard"


def test_your_own_network_must_pass_too() -> None:
    """A policy that lets in this very address but not its network would cut you at the next address your lease gives you."""
    made = plan(host(admin=(admin("192.168.10.9"),)), policy("192.168.10.9/32"))

    assert {lockout.why for lockout in made.lockouts} == {"a new connection from your network"}


def test_connections_to_other_ports_are_no_matter() -> None:
    """A policy for a speaker says nothing of ssh."""
    made = plan(host(admin=(admin("203.0.113.9", 22),)))

    assert made.refusals == ()


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify`, which needs no running systemd, finds nothing wrong with the boot unit."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("`systemd-analyze` is missing (Debian package systemd)")
    unit = tmp_path / "librespot-guard.service"
    unit.write_text(UNIT_TEXT, encoding="utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
