"""The structure of rules as real tools leave it in the kernel."""

import pytest

from audit.hosts import HOME, host, librespot
from librespot_guard import audit, collect
from librespot_guard.firewall import decode
from librespot_guard.lab.sandbox import Sandbox

pytestmark = pytest.mark.kernel

COMMANDS = (
    "-N DOCKER-USER",
    "-A DOCKER-USER -p tcp --dport 37878 -j DROP",
    "-A INPUT -p udp --sport 53 -j ACCEPT",
    "-A INPUT -p udp --sport 123 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    "-A INPUT -p tcp --dport 37878 -j DROP",
)


def test_rules_of_iptables() -> None:
    """What `iptables` wrote is seen: the chain without a jump, the stateless reply, the port that is closed for IPv4 only; and no more."""
    with Sandbox() as box:
        speaker = box.host("speaker")
        for command in COMMANDS:
            speaker.run(["iptables-nft", *command.split()], check=True)
        dump = speaker.call(collect.read_nft)
    report = audit.run(host(librespot(), nft=dump), rulesets={HOME: decode(dump, byteorder="little")})
    found = [(f.id, f.place) for f in report.findings if f.id in ("LG401", "LG402", "LG403")]
    assert found == [
        ("LG402", "ip filter INPUT"),
        ("LG403", "ip filter INPUT"),
        ("LG401", "ip filter DOCKER-USER"),
    ]
    evidence = next(f for f in report.findings if f.id == "LG402").evidence[0]
    assert "udp sport 53" in evidence
