"""Does the host do what the policy says? By proof on its rules, and by real packets in a twin of it.

Both are asked at the same places: for every listener of an assigned service, each way in, and each family, packets come from the
sources at every boundary: the first and the last address of each interval that the policy allows or that the analysis says may come
through, and the one before and the one after it. The kernel's answer is compared with the policy and with the analysis.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from ipaddress import ip_address
from typing import Any

from librespot_guard.errors import Undecided
from librespot_guard.lab.inject import deliver
from librespot_guard.lab.sandbox import Sandbox
from librespot_guard.lab.twin import Twin, build
from librespot_guard.plan.proof import Claim, Proof, prove
from librespot_guard.policy import Policy, assign, unmatched
from librespot_guard.reach import IntervalSet, Packet, Trace, World, chosen_extensions, world
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.intervals import WIDTH
from librespot_guard.reach.routing import text
from librespot_guard.snapshot import Snapshot

# intervals of one answer that are tried at both ends; of more, an even sample is
_MOST_INTERVALS = 128
# a rule that lets answers in without looking at the state of the connection lets in whoever sends from such a port
_TELLING_PORTS = (53, 443, 5353)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A packet with which the kernel did something else than it should.

    `against` is "policy" (it let in whom the policy denies) or "reach" (the analysis was wrong about it).
    """

    against: str
    service: str
    surface: str
    packet: Packet
    delivered: bool
    expected: str
    trace: Trace

    def to_json(self) -> dict[str, Any]:
        """The disagreement as JSON."""
        return {
            "against": self.against,
            "service": self.service,
            "surface": self.surface,
            "packet": self.packet.to_json(),
            "delivered": self.delivered,
            "expected": self.expected,
            "analysis": self.trace.to_json(),
        }


@dataclass(slots=True)
class Way:
    """One way to a listener, and what became of the packets on it."""

    claim: Claim
    netns: str
    packets: int = 0
    delivered: int = 0
    disagreements: int = 0
    beyond: int = 0

    def to_json(self) -> dict[str, Any]:
        """The row as JSON."""
        question, listener = self.claim.question, self.claim.listener.listener
        return {
            "service": self.claim.service,
            "surface": self.claim.listener.surface,
            "proto": listener.proto,
            "port": listener.port,
            "interface": question.iface,
            "family": question.family,
            "destination": question.dst,
            "proof": self.claim.verdict,
            "packets": self.packets,
            "delivered": self.delivered,
            "dropped": self.packets - self.delivered,
            "disagreements": self.disagreements,
        }


@dataclass(slots=True)
class Verification:
    """The result. `not_verified` names what packets could not decide; `remarks` what is worth knowing and no fault."""

    proof: Proof
    ways: list[Way] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    not_verified: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def packets(self) -> int:
        """How many packets were sent."""
        return sum(way.packets for way in self.ways)

    @property
    def verdict(self) -> str:
        """What the proof says; of nothing it proves nothing."""
        return self.proof.verdict if self.proof.claims else "undecided"

    @property
    def status(self) -> int:
        """The exit status: 0 all agree, 1 the policy is violated, 4 something is undecided."""
        if self.verdict == "refuted" or any(d.against == "policy" for d in self.disagreements):
            return 1
        undecided = self.verdict != "proved" or self.disagreements or self.not_verified
        return 4 if undecided else 0

    def to_json(self) -> dict[str, Any]:
        """The document of `verify --format json`, without its schema."""
        return {
            "proved": self.verdict == "proved",
            "proof": self.verdict,
            "packets": self.packets,
            "ways": [way.to_json() for way in self.ways],
            "disagreements": [d.to_json() for d in self.disagreements],
            "not_verified": list(self.not_verified),
            "remarks": list(self.remarks),
            "counterexamples": [claim.to_json() for claim in self.proof.refuted],
        }


@dataclass(frozen=True, slots=True)
class _Shot:
    way: Way
    packet: Packet
    source: int
    must: bool


def verify(
    policy: Policy, snapshot: Snapshot, *, today: date, progress: Callable[[str], None] = lambda _line: None
) -> Verification:
    """Prove and try a policy on a host.

    Raises:
        Undecided: no running service matches the policy, so there is nothing to verify.
        MachineError: throw-away namespaces can't be made here.
    """
    assignments = assign(policy, snapshot)
    if not assignments:
        raise Undecided(
            "nothing to verify: no service that runs here matches the policy",
            hint="start the service, or see with `librespot-guard scan` what runs here",
        )
    progress("proving the policy on the live rules")
    result = Verification(prove(policy, snapshot, today=today))
    result.not_verified += [
        f"the policy speaks of `{e.name}`, which does not run here" for e in unmatched(policy, snapshot)
    ]
    result.not_verified += [
        f"no listener of {a.service.name} was seen: there is nothing to prove or to try"
        for a in assignments
        if not a.service.listeners
    ]
    spaces = {a.service.name: a.service.netns for a in assignments}
    result.ways = _ways(result.proof, spaces)
    result.remarks += [*_blocked(result.ways), *_sampled(result.ways)]
    with Sandbox() as box:
        for number, netns in enumerate(dict.fromkeys(spaces.values())):
            progress("building a twin of this host in a throw-away namespace")
            twin = build(box, snapshot.namespace(netns), byteorder=snapshot.byteorder, name=f"twin{number}")
            result.not_verified += twin.notes
            if twin.faithful:
                _shoot(box, twin, snapshot, result, progress)
    return result


def _ways(proof: Proof, spaces: dict[str, str]) -> list[Way]:
    """Every way over a wire. Two sockets of a service on the same port (0.0.0.0 and [::]) are one way for a packet."""
    found: dict[tuple[object, ...], Way] = {}
    for claim in proof.claims:
        listener, question = claim.listener.listener, claim.question
        if question.iface != "lo":
            key = claim.service, claim.listener.surface, listener.proto, listener.port, question
            found.setdefault(key, Way(claim, spaces[claim.service]))
    return list(found.values())


def _shoot(box: Sandbox, twin: Twin, snapshot: Snapshot, result: Verification, progress: Callable[[str], None]) -> None:
    ways = [w for w in result.ways if w.netns == twin.namespace.id and w.claim.question.iface in twin.ways]
    here = world(snapshot, twin.namespace.id)
    shots = [shot for way in ways for shot in _shots(way, _sources(way, ways), here)]
    progress(f"sending {len(shots)} packets")
    delivered = deliver(box, twin.host, twin.ways, [s.packet for s in shots], sockets=twin.sockets)
    result.remarks += _beyond(ways)
    for shot, arrived in zip(shots, delivered, strict=True):
        way, claim = shot.way, shot.way.claim
        way.packets += 1
        way.delivered += arrived
        for against, expected in _judge(shot, arrived):
            way.disagreements += 1
            result.disagreements.append(
                Disagreement(
                    against,
                    claim.service,
                    claim.listener.surface,
                    shot.packet,
                    arrived,
                    expected,
                    trace(here, shot.packet),
                )
            )


def _judge(shot: _Shot, arrived: bool) -> Iterable[tuple[str, str]]:
    """What is wrong with what the kernel did with a packet: (against what, what was expected)."""
    claim = shot.way.claim
    if arrived and shot.source not in claim.allowed:
        yield "policy", "dropped: the policy does not allow this source"
    if arrived and shot.source not in claim.answer.may:
        yield "reach", "dropped: by the analysis this source can't get through"
    if not arrived and shot.must:
        yield "reach", "delivered: by the analysis this packet gets through"


def _sources(way: Way, ways: Sequence[Way]) -> list[int]:
    """The sources to try on a way: all boundaries of its service in its family, whatever way in they were written for."""
    mine = way.claim
    found: set[int] = set()
    for other in ways:
        claim = other.claim
        if (claim.service, claim.listener.surface, claim.question.family) == (
            mine.service,
            mine.listener.surface,
            mine.question.family,
        ):
            for addresses in (claim.allowed, claim.answer.may, claim.answer.must):
                found.update(boundaries(addresses, WIDTH[mine.question.family]))
    return sorted(found)


def _shots(way: Way, sources: Sequence[int], here: World) -> Iterator[_Shot]:
    claim = way.claim
    question, answer, family = claim.question, claim.answer, claim.question.family
    listener = claim.listener.listener
    plain = Packet(question.iface, "", question.dst, listener.proto, dport=listener.port)
    for source in sources:
        aimed = None
        if source in answer.may:
            aimed = _aimed(plain, family, source, answer.choices(source))
            must = source in answer.must
            if must and trace(here, aimed).verdict != "delivered":
                # what gets through differs in a field that the packets of this program do not choose: TTL, hardware address
                must, way.beyond = False, way.beyond + 1
            yield _Shot(way, aimed, source, must=must)
        ports = (plain.sport,) if source in claim.allowed else (plain.sport, *_TELLING_PORTS)
        for sport in ports:
            packet = replace(plain, src=text(family, source), sport=sport)
            if packet != aimed:
                yield _Shot(way, packet, source, must=False)


def _aimed(plain: Packet, family: str, source: int, choice: dict[str, int]) -> Packet:
    """A packet of this source with the fields that get it through."""
    return replace(
        plain,
        src=text(family, source),
        dst=text(family, choice["daddr"]),
        dport=choice["dport"],
        sport=choice.get("sport", plain.sport),
        flags=choice.get("tcp_flags", plain.flags),
        extensions=chosen_extensions(choice.get("exthdrs")),
    )


def boundaries(addresses: IntervalSet, width: int) -> list[int]:
    """First and last of each interval, the one before and the one after; of very many intervals, an even sample."""
    pairs = list(addresses)
    if len(pairs) > _MOST_INTERVALS:
        pairs = [pairs[i * (len(pairs) - 1) // (_MOST_INTERVALS - 1)] for i in range(_MOST_INTERVALS)]
    top = (1 << width) - 1
    edges = {e for low, high in pairs for e in (low - 1, low, high, high + 1) if 0 <= e <= top}
    return sorted(edges or {1 << (width - 2)})


def _blocked(ways: list[Way]) -> list[str]:
    """Ways on which the policy allows sources that other rules or the routing keep out."""
    out = []
    for way in ways:
        claim = way.claim
        # a listener on loopback is not meant to be reached over a wire
        loopback = ip_address(claim.question.dst).is_loopback
        if claim.blocked and not loopback and not (claim.allowed & claim.answer.may):
            out.append(
                f"{claim.service}, {claim.listener.surface} over {claim.question.iface} to {claim.question.dst}: nobody whom the policy allows gets "
                "through; another rule of this host, or its routing, is in the way"
            )
    return out


def _beyond(ways: list[Way]) -> list[str]:
    """Ways on which rules ask for more than the packets that are sent can have."""
    return [
        f"{way.claim.service}, {way.claim.listener.surface} over {way.claim.question.iface} to {way.claim.question.dst}: other rules of this host "
        f"ask for a field such as TTL or hardware address, with which no packet was sent from {way.beyond} of the sources that get through"
        for way in ways
        if way.beyond
    ]


def _sampled(ways: list[Way]) -> list[str]:
    """Ways with more intervals than are tried."""
    return [
        f"{way.claim.service}, {way.claim.listener.surface} over {way.claim.question.iface} to {way.claim.question.dst}: "
        f"of {most} intervals of sources an even sample of {_MOST_INTERVALS} was tried"
        for way in ways
        if (most := max(len(way.claim.allowed), len(way.claim.answer.may), len(way.claim.answer.must)))
        > _MOST_INTERVALS
    ]
