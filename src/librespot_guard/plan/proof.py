"""The proof of a policy: nobody reaches a listener whom the policy does not allow, on a given ruleset.

For each question of each assigned listener the upper bound `may` is compared with what the policy allows. A source that is in
the one and not in the other becomes a concrete packet, which the independent interpreter replays with its rule trail.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from librespot_guard.firewall.model import Ruleset
from librespot_guard.policy import Policy, allowed, assign
from librespot_guard.reach import (
    Answer,
    IntervalSet,
    Packet,
    Question,
    Trace,
    World,
    Worlds,
    answers,
    cidrs,
    example,
    telling,
)
from librespot_guard.reach.interpreter import trace
from librespot_guard.snapshot import ServiceListener, Snapshot


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A packet from a source that the policy does not allow, and what the filters do with it."""

    packet: Packet
    trace: Trace

    def to_json(self) -> dict[str, Any]:
        """Packet and trace as `trace` prints them."""
        return {"packet": self.packet.to_json(), **self.trace.to_json()}


@dataclass(frozen=True, slots=True)
class Claim:
    """One question of the proof. `verdict` is "proved", "refuted" or "undecided" (only possible through what is not analysed).

    `excess` are the sources in `may` that are not allowed; `blocked` those that are allowed by the policy and surely cannot
    get through (dropped by other rules, or not routed).
    """

    service: str
    listener: ServiceListener
    question: Question
    answer: Answer
    allowed: IntervalSet
    excess: IntervalSet
    blocked: IntervalSet
    verdict: str
    counterexample: Counterexample | None = None

    def to_json(self) -> dict[str, Any]:
        """The claim as one JSON object."""
        family = self.question.family
        listener = self.listener.listener
        return {
            "service": self.service,
            "surface": self.listener.surface,
            "listener": {"proto": listener.proto, "address": listener.address, "port": listener.port},
            "interface": self.question.iface,
            "family": family,
            "destination": self.question.dst,
            "verdict": self.verdict,
            "allowed": cidrs(family, self.allowed),
            "may": cidrs(family, self.answer.may),
            "excess": cidrs(family, self.excess),
            "blocked": cidrs(family, self.blocked),
            "because": list(self.answer.because),
            "counterexample": self.counterexample.to_json() if self.counterexample else None,
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """All claims about a policy on a ruleset."""

    claims: tuple[Claim, ...]

    @property
    def verdict(self) -> str:
        """Whether every claim is "proved"; else "refuted" if any is, else "undecided"."""
        verdicts = {claim.verdict for claim in self.claims}
        return "refuted" if "refuted" in verdicts else "undecided" if "undecided" in verdicts else "proved"

    @property
    def refuted(self) -> tuple[Claim, ...]:
        """The claims that do not hold."""
        return tuple(claim for claim in self.claims if claim.verdict == "refuted")

    def to_json(self) -> dict[str, Any]:
        """The proof as JSON."""
        return {"verdict": self.verdict, "claims": [claim.to_json() for claim in self.claims]}


def prove(policy: Policy, snapshot: Snapshot, *, ruleset: Ruleset | None = None, today: date) -> Proof:
    """Prove or refute the policy for every assigned service.

    Args:
        policy: what is allowed.
        snapshot: the host.
        ruleset: the packet filter to prove it on; the snapshot's own (home namespace only) by default.
        today: the day on which expiring sources are judged.
    """
    worlds = Worlds(snapshot, {} if ruleset is None else {snapshot.home.id: ruleset})
    claims = []
    for assignment in assign(policy, snapshot):
        service, entry = assignment.service, assignment.entry
        here = worlds[service.netns]
        for listener in service.listeners:
            sharers = _sharers(policy, snapshot, listener, service.netns)
            for reached in answers(here, listener.listener):
                question = reached.question
                front = worlds[question.through] if question.through else here
                permitted = allowed(
                    policy, entry, listener.surface, question.iface, question.family, front.namespace, today=today
                )
                for other, surface in sharers:
                    permitted |= allowed(
                        policy, other, surface, question.iface, question.family, front.namespace, today=today
                    )
                claims.append(_claim(front, service.name, listener, question, reached.answer, permitted))
    return Proof(tuple(claims))


def _sharers(policy: Policy, snapshot: Snapshot, listener: ServiceListener, netns: str) -> list[tuple[Any, str]]:
    """Entries whose services share the port (UDP 5353): a packet filter can't tell their packets apart."""
    out = []
    for assignment in assign(policy, snapshot):
        for other in assignment.service.listeners:
            same = (other.listener.proto, other.listener.port) == (listener.listener.proto, listener.listener.port)
            if assignment.service.netns == netns and same:
                out.append((assignment.entry, other.surface))
    return out


def _claim(
    here: World, service: str, listener: ServiceListener, question: Question, answer: Answer, permitted: IntervalSet
) -> Claim:
    excess = answer.may - permitted
    blocked = permitted - answer.may if question.iface != "lo" else IntervalSet()
    verdict, example = "proved", None
    sure = answer.must - permitted
    if excess:
        verdict = "refuted" if sure else "undecided"
        example = _example(here, listener, question, answer, telling(question.family, sure or excess))
        # a replayed packet decides also where the bounds do not meet
        if example is not None and example.trace.end.verdict == "delivered":
            verdict = "refuted"
    return Claim(service, listener, question, answer, permitted, excess, blocked, verdict, example)


def _example(
    here: World, listener: ServiceListener, question: Question, answer: Answer, source: int
) -> Counterexample | None:
    """A packet from `source` with fields that get it through, and its replay."""
    packet = example(question, listener.listener.proto, answer, source)
    return None if packet is None else Counterexample(packet, trace(here, packet))
