"""`plan`: what would change, for people and for programs, on this host or on a snapshot of another."""

import json
from pathlib import Path

import pytest

from librespot_guard.snapshot import (
    Address,
    Link,
    Listener,
    Namespace,
    NftDump,
    Service,
    ServiceListener,
    Snapshot,
    dumps,
)
from support import Guard, Schema

POLICY = """\
policy: 1
title: Living-room speaker
owner: ops@example.org
review: every 3 months
sources:
  home: {networks: [192.168.10.0/24, "fd00:10::/64"], interface: eth0, why: family phones}
services:
  living-room:
    match: {flavour: librespot}
    allow: {connect: [home]}
"""


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """A snapshot of a host with one service, as a file."""
    listener = Listener("tcp", "ipv6", "::", 37878, v6only=False, inode=9)
    namespace = Namespace(
        "1",
        home=True,
        links=(Link(1, "lo", up=True, arp_type=772), Link(2, "eth0", up=True)),
        addresses=(Address("ipv4", "192.168.10.2", 24, "eth0"), Address("ipv6", "fd00:10::2", 64, "eth0")),
        listeners=(listener,),
        nft=NftDump(0, b""),
    )
    item = ServiceListener(listener, "connect", pinned=False)
    service = Service("Kitchen", "librespot", "0.8.0", 812, 998, "/usr/bin/librespot", "1", (item,))
    snapshot = Snapshot("2026-11-24T12:00:00Z", "test", "host", "6.1", "little", (namespace,), (service,))
    path = tmp_path / "facts.json"
    path.write_text(dumps(snapshot), encoding="utf-8")
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy file for it."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def test_the_text_names_every_rule_with_its_reason(guard: Guard, facts: Path, policy: Path) -> None:
    """A person reads who may reach what and why, the warnings, the rules as a diff, and how to go on."""
    done = guard("plan", policy, "--snapshot", facts)

    assert done.returncode == 0, done.stderr
    assert "home: 192.168.10.0/24, fd00:10::/64 over eth0 (family phones)" in done.stdout
    assert "--zeroconf-port 37878" in done.stdout
    assert "+\t\ttcp dport 37878 goto" in done.stdout
    assert "librespot-guard apply" in done.stdout


def test_the_document_follows_its_schema_and_is_saved_as_it_is_printed(
    guard: Guard, schema: Schema, facts: Path, policy: Path, tmp_path: Path
) -> None:
    """`--format json` and `-o FILE` give the same document."""
    saved = tmp_path / "plan.json"

    done = guard("plan", policy, "--snapshot", facts, "--format", "json", "-o", saved)

    document = json.loads(done.stdout)
    schema("plan").validate(document)
    assert json.loads(saved.read_text(encoding="utf-8")) == document
    assert document["change"]["id"] == document["id"]


def test_exit_code_tells_whether_something_would_change(guard: Guard, facts: Path, policy: Path) -> None:
    """Without `--exit-code` a change is no failure; with it the status is 1."""
    assert guard("plan", policy, "--snapshot", facts, "--exit-code").returncode == 1


def test_a_policy_that_can_not_be_applied_exits_with_1(guard: Guard, facts: Path, policy: Path) -> None:
    """A key that this version can't enforce is refused with its line and column, and nothing of the change is offered."""
    policy.write_text(
        POLICY.replace("allow: {connect: [home]}", "allow: {connect: [home]}\n    egress: spotify"), encoding="utf-8"
    )

    done = guard("plan", policy, "--snapshot", facts, "--format", "json")

    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["change"] is None
    assert any(f"{policy}:11:5" in text and "egress" in text for text in document["refusals"])


def test_bad_input_exits_with_2(guard: Guard, facts: Path, policy: Path, tmp_path: Path) -> None:
    """A missing policy, a wrong one, and a truncated snapshot are each an error of the input, with its place."""
    broken = tmp_path / "broken.json"
    broken.write_text(facts.read_text(encoding="utf-8")[:200], encoding="utf-8")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(POLICY.replace("allow:", "alow:"), encoding="utf-8")

    missing = guard("plan", tmp_path / "none.yaml", "--snapshot", facts)
    truncated = guard("plan", policy, "--snapshot", broken)
    unknown = guard("plan", wrong, "--snapshot", facts)

    assert [d.returncode for d in (missing, truncated, unknown)] == [2, 2, 2]
    assert "truncated" in truncated.stderr
    assert f"{wrong}:10:5" in unknown.stderr


def test_a_service_without_a_listener_is_no_yes(guard: Guard, facts: Path, policy: Path) -> None:
    """A daemon that is only starting, or whose sockets nobody may see, is not guarded by a port: nothing claims that it is."""
    document = json.loads(facts.read_text(encoding="utf-8"))
    document["services"][0]["listeners"] = []
    facts.write_text(json.dumps(document), encoding="utf-8")

    plan = guard("plan", policy, "--snapshot", facts)
    prove = guard("reach", "--prove", policy, "--snapshot", facts)
    verify = guard("verify", policy, "--snapshot", facts, "--format", "json")

    assert plan.returncode == 1
    assert "there is nothing to guard" in plan.stdout
    assert "no listener of `Kitchen` (pid 812) was seen" in plan.stdout
    assert prove.returncode == 4
    assert "Kitchen: no listener of it was seen" in prove.stderr
    assert verify.returncode == 4
    assert (json.loads(verify.stdout)["proved"], json.loads(verify.stdout)["proof"]) == (False, "undecided")


@pytest.mark.kernel
def test_rules_that_may_not_be_read_are_a_fault_of_the_machine(guard: Guard, policy: Path) -> None:
    """Without privilege the plan is shown as far as it goes, says why it ends there, and is neither "yes" nor "no"."""
    done = guard("plan", policy, prefix=("unshare", "-Urn", "setpriv", "--bounding-set=-all"))

    assert done.returncode == 3
    assert "the packet filter of this host could not be read" in done.stdout
