"""Listings that do not tell what the kernel runs (bypass 19 of docs/bypasses.md): the tools here, the whole path of the facts, real packets."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from audit.hosts import librespot, udp
from librespot_guard import audit
from librespot_guard.snapshot import ServiceListener
from reach.places import NEIGHBOUR, PORT, STRANGER, Place, agree, place

pytestmark = pytest.mark.kernel

IPTABLES = (
    "table ip filter {{ SET\n chain INPUT {{ type filter hook input priority 0; policy {policy}\n {rules}\n }} }}\n"
)
BAD = "set bad { type ipv4_addr; elements = { 192.168.10.9 }; }"


@pytest.fixture(scope="module")
def stage() -> Iterator[Place]:
    """One stage for all."""
    with place() as made:
        yield made


def findings(stage: Place) -> dict[str, audit.Finding]:
    """What the audit finds about listings on the stage, with a service on the port."""
    snapshot = stage.snapshot()
    owned = ServiceListener(udp(PORT), "connect", pinned=True)
    service = librespot(netns=snapshot.home.id, listeners=(owned,))
    report = audit.run(replace(snapshot, services=(service,)))
    return {f.id: f for f in report.findings if f.id in ("LG601", "LG602")}


@pytest.mark.parametrize(
    ("policy", "rules", "source", "through", "severity"),
    [
        # printed as `-j DROP`: everybody seems shut out
        ("accept", "ip saddr @bad drop", STRANGER, True, "medium"),
        ("accept", "ip saddr @bad drop", NEIGHBOUR, False, "medium"),
        # printed as `-s 192.168.10.9/32 -j ACCEPT`: the others of the range get in unseen; iptables 1.8.11 stops there instead
        ("drop", "ip saddr 192.168.10.1-192.168.10.9 accept", "192.168.10.7", True, "medium"),
        # printed as `-j ACCEPT`: everybody seems let in
        ("drop", "ip saddr @bad accept", STRANGER, False, "low"),
        # not printed at all, and the table neither
        ("accept", "ct state new drop", STRANGER, False, "low"),
        ("drop", "ip saddr 192.168.10.0/24 accept", NEIGHBOUR, True, None),
        ("drop", "ip saddr 192.168.10.0/24 accept", STRANGER, False, None),
    ],
)
def test_what_iptables_save_prints(
    stage: Place, policy: str, rules: str, source: str, through: bool, severity: str | None
) -> None:
    """The answer is that of the kernel; LG602 tells where the print of iptables-save would give another."""
    stage.load(IPTABLES.format(policy=policy, rules=rules).replace("SET", BAD if "@bad" in rules else ""))

    assert agree(stage, stage.packet(src=source)) == through
    found = findings(stage).get("LG602")
    if severity == "medium" and found and any("it ends within table" in line for line in found.evidence):
        severity = "low"
    assert (found.severity if found else None) == severity, found


@pytest.mark.parametrize(
    ("rules", "source", "through", "severity"),
    [
        # nft 1.0.6 prints `reject with icmpv6 no-route`: all seem rejected, IPv4 is not
        ("reject with icmpv6 no-route", STRANGER, True, "low"),
        ("reject with icmpv6 no-route", "2001:db8::9", False, "low"),
        ("meta nfproto ipv6 drop", STRANGER, True, None),
        ("meta nfproto ipv6 drop", "2001:db8::9", False, None),
    ],
)
def test_what_nft_prints(stage: Place, rules: str, source: str, through: bool, severity: str | None) -> None:
    """The answer is that of the kernel; LG601 tells what nft left out of its words."""
    stage.load(f"table inet f {{ chain i {{ type filter hook input priority 0\n {rules}\n }} }}")
    packet = stage.packet(src=source, dst="fd00:10::2" if ":" in source else "192.168.10.2")

    assert agree(stage, packet) == through
    found = findings(stage).get("LG601")
    # a newer nft prints the guard
    told = "nfproto" in stage.host.run(["nft", "list", "ruleset"]).stdout
    assert (found.severity if found else None) == (None if told else severity), found


@pytest.mark.parametrize("source", ["192.168.10.9", STRANGER])
def test_extensions_that_nft_prints_by_name_alone(stage: Place, source: str) -> None:
    """`nft -j` names an iptables match without its parameters; the answer knows them, and both listings are told right."""
    stage.load("")
    for command in (
        "iptables-nft -P INPUT DROP",
        "iptables-nft -A INPUT -m iprange --src-range 192.168.10.1-192.168.10.9 -j ACCEPT",
    ):
        stage.host.run(command.split(), check=True)
    listing = next(t.text for t in stage.snapshot().home.texts if t.kind == "nft-json")

    assert '"xt"' in listing
    assert "192.168.10.9" not in listing
    assert agree(stage, stage.packet(src=source)) == (source == NEIGHBOUR)
    assert "LG602" not in findings(stage)
