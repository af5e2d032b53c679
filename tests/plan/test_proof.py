"""The proof of a policy on rules: proved, refuted with a packet that gets through, or undecided with the reason."""

import dataclasses
from datetime import date
from ipaddress import ip_network

from librespot_guard.firewall.model import Chain, Expr, Hook, Limit, Rule, Ruleset, Table
from librespot_guard.plan.proof import Proof, prove
from librespot_guard.policy import Entry, Match, Policy, Source
from librespot_guard.snapshot import Listener, NftDump, Service, ServiceListener, Snapshot
from reach.hosts import ACCEPT, DROP, from_lan, namespace, to_tcp

TODAY = date(2026, 11, 24)
LISTENER = Listener("tcp", "ipv4", "0.0.0.0", 3678)
LAN = Source("lan", "phones", (ip_network("192.168.10.0/24"),), interface="eth0")


def prove_on(*rules: tuple[Expr, ...], source: Source = LAN, policy: str = "drop") -> Proof:
    """The proof of "only this source reaches the speaker" on one input chain."""
    home = dataclasses.replace(namespace(), listeners=(LISTENER,), nft=NftDump(0, b""))
    service = Service(
        "speaker",
        "librespot",
        "0.8.0",
        1,
        998,
        "/usr/bin/librespot",
        "1",
        (ServiceListener(LISTENER, "connect", pinned=True),),
    )
    host = Snapshot("2026-11-24T12:00:00Z", "0.1.0", "speaker", "6.1.0", "little", (home,), (service,))
    wanted = Policy(
        "t",
        "o",
        "every 3 months",
        {"lan": source},
        {"speaker": Entry("speaker", Match(flavour="librespot"), {"connect": ("lan",)})},
    )
    chain = Chain("input", 1, tuple(Rule(n, exprs) for n, exprs in enumerate(rules, 2)), Hook("input", 0, policy))
    return prove(wanted, host, ruleset=Ruleset((Table("inet", "filter", (chain,)),)), today=TODAY)


def lo() -> tuple[Expr, ...]:
    """Let loopback in, as every real ruleset does."""
    from librespot_guard.firewall.model import Cmp, Meta  # noqa: PLC0415 - only here

    return (Meta("iifname", 0), Cmp("eq", 0, b"lo" + bytes(14)), ACCEPT)


def eth0() -> tuple[Expr, ...]:
    """`iifname "eth0"`."""
    from librespot_guard.firewall.model import Cmp, Meta  # noqa: PLC0415 - only here

    return (Meta("iifname", 0), Cmp("eq", 0, b"eth0" + bytes(12)))


def test_rules_that_hold_the_policy_prove_it() -> None:
    """With exactly the allowed network let in, every question is proved."""
    proof = prove_on(lo(), (*eth0(), *to_tcp(3678), *from_lan(), ACCEPT))

    assert proof.verdict == "proved"
    assert len(proof.claims) == 7, "lo to each address, and each wire to each of the two that can be reached over one"


def test_an_open_host_is_refuted_with_a_packet_that_gets_through() -> None:
    """The counterexample is from outside the policy, and the interpreter delivers it."""
    proof = prove_on(policy="accept")
    claim = next(c for c in proof.refuted if c.question.iface == "eth0")

    assert proof.verdict == "refuted"
    assert claim.counterexample is not None
    assert claim.counterexample.trace.verdict == "delivered"
    assert not claim.counterexample.packet.src.startswith("192.168.10.")


def test_the_right_network_on_the_wrong_interface_is_refuted() -> None:
    """A rule that forgets the interface lets spoofed packets in over the guest network, and the proof says so."""
    proof = prove_on(lo(), (*to_tcp(3678), *from_lan(), ACCEPT))

    assert {c.question.iface for c in proof.refuted} == {"eth1"}


def test_a_limit_leaves_it_undecided() -> None:
    """What may or may not get in is neither proved nor refuted, and the reason is named."""
    proof = prove_on(lo(), (*eth0(), *from_lan(), ACCEPT), (*eth0(), Limit(1, 1, 1, inverted=False), ACCEPT))

    assert proof.verdict == "undecided"
    assert any("limit" in reason for c in proof.claims for reason in c.answer.because)


def test_an_expired_source_is_nobody() -> None:
    """The day after it expired, a source that still gets in refutes the policy; on its last day it holds."""
    rules = (lo(), (*eth0(), *to_tcp(3678), *from_lan(), ACCEPT))
    gone = dataclasses.replace(LAN, expires=date(2026, 11, 23))
    last = dataclasses.replace(LAN, expires=TODAY)

    assert prove_on(*rules, source=gone).verdict == "refuted"
    assert prove_on(*rules, source=last).verdict == "proved"


def test_an_allowed_source_that_is_kept_out_is_told() -> None:
    """A policy that other rules make useless is still proved, and `blocked` names whom it loses."""
    proof = prove_on(lo(), (*to_tcp(3678), DROP))
    claim = next(c for c in proof.claims if c.question.iface == "eth0")

    assert proof.verdict == "proved"
    assert claim.blocked
