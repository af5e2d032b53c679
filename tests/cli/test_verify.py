"""`verify` on the command line: what it prints, its document, and its exit statuses."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from librespot_guard.collect import read_namespace
from librespot_guard.lab.sandbox import Sandbox
from librespot_guard.snapshot import Listener, Service, ServiceListener, Snapshot, dumps
from support import SOURCE, Guard, Schema

pytestmark = pytest.mark.kernel

POLICY = """\
policy: 1
title: speaker
owner: ops@example.org
review: every 3 months
sources:
  home: {networks: [192.168.10.0/24, "fd00:10::/64"], interface: eth0, why: phones}
services:
  speaker:
    match: {flavour: librespot}
    allow: {connect: [home]}
"""
CLOSED = """
table inet t {
  chain input {
    type filter hook input priority 0;
    ct state invalid drop
    tcp dport 4070 iifname eth0 ip saddr 192.168.10.0/24 accept
    tcp dport 4070 iifname eth0 ip6 saddr fd00:10::/64 accept
    tcp dport 4070 iifname != "lo" drop
  }
}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a policy, and snapshots of a host that keeps it (closed.json) and of one that does not (open.json)."""
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    with Sandbox() as box:
        host, world = box.host("host"), box.host("world")
        box.link(host, "eth0", world, "w0")
        box.link(host, "eth1", world, "w1")
        host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        host.address("eth1", "192.168.30.2/24")
        for name, rules in (("open", "flush ruleset\n"), ("closed", CLOSED)):
            host.run(["nft", "-f", "-"], input=rules, check=True)
            namespace, _ = host.call(read_namespace)
            listener = Listener("tcp", "ipv6", "::", 4070, v6only=False)
            service = Service(
                "speaker",
                "librespot",
                "0.8.0",
                1,
                0,
                "/usr/bin/librespot",
                namespace.id,
                (ServiceListener(listener, "connect", True),),
            )
            namespace = replace(namespace, listeners=(listener,))
            snapshot = Snapshot("2026-11-24T00:00:00Z", "test", "host", "6.1", "little", (namespace,), (service,))
            (tmp_path / f"{name}.json").write_text(dumps(snapshot), encoding="utf-8")
    return tmp_path


def test_a_host_that_keeps_its_policy(files: Path, guard: Guard, schema: Schema) -> None:
    """Status 0, a table of every way, one sentence at the end; the document follows its schema."""
    arguments = ("verify", files / "policy.yaml", "--snapshot", files / "closed.json")
    text = guard(*arguments)
    assert text.returncode == 0, text.stderr
    assert "[fd00:10::2]:4070" in text.stdout
    assert "the policy holds: proved on the rules" in text.stdout
    assert "twin" in text.stderr
    done = guard(*arguments, "--format", "json")
    document = json.loads(done.stdout)
    schema("verify").validate(document)
    assert (done.returncode, document["proved"], document["disagreements"]) == (0, True, [])
    assert document["packets"] == sum(way["packets"] for way in document["ways"]) > 100


def test_a_host_that_does_not(files: Path, guard: Guard, schema: Schema) -> None:
    """Status 1, and packets that got through are shown, with what was expected."""
    arguments = ("verify", files / "policy.yaml", "--snapshot", files / "open.json")
    text = guard(*arguments)
    assert text.returncode == 1
    assert "the policy is violated" in text.stdout
    assert "got through; expected: dropped" in text.stdout
    done = guard(*arguments, "--format", "json")
    document = json.loads(done.stdout)
    schema("verify").validate(document)
    assert (done.returncode, document["proof"]) == (1, "refuted")
    assert {d["against"] for d in document["disagreements"]} == {"policy"}
    assert document["counterexamples"]


def test_bad_input_is_status_2(files: Path, guard: Guard) -> None:
    """A policy with a fault, a missing one, and a cut snapshot are said with their place, and nothing is built."""
    (files / "bad.yaml").write_text(POLICY.replace("allow:", "alow:"), encoding="utf-8")
    (files / "cut.json").write_text((files / "open.json").read_text(encoding="utf-8")[:500], encoding="utf-8")
    for policy, snapshot, said in (
        ("bad.yaml", "open.json", "bad.yaml:10"),
        ("none.yaml", "open.json", "none.yaml"),
        ("policy.yaml", "cut.json", "cut.json"),
    ):
        done = guard("verify", files / policy, "--snapshot", files / snapshot)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


def test_nothing_to_verify_is_status_4(files: Path, guard: Guard) -> None:
    """A policy of a service that does not run is undecided, with what to do."""
    (files / "other.yaml").write_text(POLICY.replace("flavour: librespot", "flavour: spotifyd"), encoding="utf-8")
    done = guard("verify", files / "other.yaml", "--snapshot", files / "closed.json")
    assert done.returncode == 4
    assert "nothing to verify" in done.stderr


def test_without_user_namespaces_it_is_status_3(files: Path, guard: Guard) -> None:
    """A kernel that forbids user namespaces is named, with the switch to turn."""
    shell = (
        'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all "$0" -m librespot_guard "$@"'
    )
    with Sandbox() as box:
        done = box.host("one").run(
            [
                "sh",
                "-c",
                shell,
                sys.executable,
                "verify",
                str(files / "policy.yaml"),
                "--snapshot",
                str(files / "closed.json"),
            ],
            env={"PYTHONPATH": str(SOURCE.parent)},
        )
    assert done.returncode == 3, done.stderr
    assert "user.max_user_namespaces" in done.stderr
    assert "hint" in done.stderr
