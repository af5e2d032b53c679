"""The scan of all rules against each other, judged by trying every packet of a small world in every way that a limit may turn out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st

from librespot_guard.firewall.model import (
    VERDICT,
    Chain,
    Cmp,
    Expr,
    Hook,
    Immediate,
    Limit,
    Meta,
    Payload,
    Rule,
    Ruleset,
    Table,
    Verdict,
)
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.shadow import Finding, Scan, scan
from librespot_guard.reach.world import World
from reach.hosts import namespace

# a packet: first byte of the source, protocol, port (None: it has no transport header)
Packet = tuple[int, int, int | None]
PACKETS: list[Packet] = list(product((1, 9, 10, 11, 12, 200), (6, 17, 1), (80, 81, 82, None)))


@dataclass(frozen=True)
class Line:
    """One rule: source range, protocol, port, whether limited, verdict; None: not asked."""

    sources: tuple[int, int] | None
    proto: int | None
    port: int | None
    limited: bool
    verdict: Verdict | None
    inverted: bool = False

    def exprs(self) -> tuple[Expr, ...]:
        """The rule's expressions."""
        out: list[Expr] = [Meta("nfproto", 0), Cmp("eq", 0, b"\x02")]
        if self.sources:
            out += [Payload("network", 12, 1, 0), Cmp("gte", 0, bytes((self.sources[0],)))]
            out += [Payload("network", 12, 1, 0), Cmp("lte", 0, bytes((self.sources[1],)))]
        if self.proto is not None:
            out += [Meta("l4proto", 0), Cmp("eq", 0, bytes((self.proto,)))]
        if self.port is not None:
            operation = "neq" if self.inverted else "eq"
            out += [Payload("transport", 2, 2, 0), Cmp(operation, 0, self.port.to_bytes(2, "big"))]
        if self.limited:
            out.append(Limit(1, 1, 1, inverted=False))
        return (*out, *([Immediate(VERDICT, self.verdict)] if self.verdict else []))

    def matches(self, packet: Packet) -> bool:
        """Whether a packet meets the conditions, apart from the limit."""
        source, proto, port = packet
        if self.sources and not self.sources[0] <= source <= self.sources[1]:
            return False
        if self.port is not None and (port is None or (port == self.port) == self.inverted):
            return False
        return self.proto in (None, proto)


VERDICTS = [Verdict("accept"), Verdict("drop")]
CALLS = [Verdict("jump", "one"), Verdict("goto", "one"), Verdict("jump", "two"), Verdict("return"), None]


def rules(verdicts: Sequence[Verdict | None], *, limits: bool = True) -> st.SearchStrategy[list[Line]]:
    """Random rules that end in one of the verdicts."""
    line = st.builds(
        Line,
        st.sampled_from([None, None, (9, 9), (9, 10), (10, 11), (11, 12), (10, 12)]),
        st.sampled_from([None, 6, 17]),
        st.sampled_from([None, 80, 81]),
        st.sampled_from([False, False, False, limits]),
        st.sampled_from(verdicts),
        st.booleans(),
    )
    return st.lists(line, min_size=1, max_size=6)


def scanned(chains: dict[str, list[Line]], policy: str = "drop") -> Scan:
    """The scan of these chains, of which "base" is hooked."""
    built = tuple(
        Chain(
            name,
            1,
            tuple(Rule(n, line.exprs()) for n, line in enumerate(lines)),
            Hook("input", 0, policy) if name == "base" else None,
        )
        for name, lines in chains.items()
    )
    world = World(namespace(), Ruleset((Table("inet", "t", built),)))
    return scan(world, "ipv4", "input")[0][2]


def run(chains: dict[str, list[Line]], packet: Packet, policy: str = "drop") -> tuple[set[tuple[str, int]], set[str]]:
    """The rules that a packet may match, and the verdicts that it may get, however the limits turn out."""
    matched: set[tuple[str, int]] = set()

    def through(name: str, index: int, stack: tuple[tuple[str, int], ...]) -> set[str]:
        lines = chains[name]
        if index == len(lines):
            return through(*stack[-1], stack[:-1]) if stack else {policy}
        line, after = lines[index], (name, index + 1, stack)
        if not line.matches(packet):
            return through(*after)
        matched.add((name, index))
        verdict = line.verdict
        if verdict is None:
            found = through(*after)
        elif verdict.kind in ("accept", "drop"):
            found = {verdict.kind}
        elif verdict.kind == "return":
            found = through(*stack[-1], stack[:-1]) if stack else {policy}
        else:
            inner = (*stack, (name, index + 1)) if verdict.kind == "jump" else stack
            found = through(verdict.chain or "", 0, inner)
        return found | through(*after) if line.limited else found

    return matched, through("base", 0, ())


def named(scan_: Scan, kind: str) -> dict[tuple[str, int], Finding]:
    """The findings of one kind by chain and index."""
    return {(f.rule.chain, f.rule.index): f for f in scan_.findings if f.kind == kind}


@given(rules(VERDICTS))
def test_shadowed_rules_are_those_that_no_packet_comes_to(lines: list[Line]) -> None:
    """In a chain without jumps the scan finds exactly the rules that no packet can match."""
    chains = {"base": lines}
    alive = set().union(*(run(chains, packet)[0] for packet in PACKETS))

    assert set(named(scanned(chains), "shadowed")) == {("base", n) for n in range(len(lines))} - alive


def plain(verdict: Verdict, *, limited: bool = False) -> Line:
    """A rule for every packet."""
    return Line(None, None, None, limited, verdict, inverted=False)


ACCEPT, BACK = plain(Verdict("accept")), plain(Verdict("return"), limited=True)


# behind a limit some packets go back to the caller, whatever the chain does with the rest
@example([plain(Verdict("jump", "two")), ACCEPT], [ACCEPT], [BACK, ACCEPT])
@example([plain(Verdict("jump", "one")), ACCEPT], [BACK, plain(Verdict("jump", "two"))], [ACCEPT])
@example([plain(Verdict("jump", "one")), ACCEPT], [plain(Verdict("goto", "two"), limited=True), ACCEPT], [BACK, ACCEPT])
@given(
    rules([*VERDICTS, *CALLS]),
    rules([*VERDICTS, Verdict("return"), Verdict("jump", "two"), Verdict("goto", "two"), None]),
    rules([*VERDICTS, Verdict("return")]),
)
def test_a_rule_is_dead_only_if_it_is_dead_wherever_it_is_called_from(
    base: list[Line], one: list[Line], two: list[Line]
) -> None:
    """With jumps, gotos and returns no rule is called dead that some packet can match."""
    chains = {"base": base, "one": one, "two": two}
    alive = set().union(*(run(chains, packet)[0] for packet in PACKETS))
    found = set(named(scanned(chains), "shadowed"))

    assert not found & alive


@given(rules(VERDICTS, limits=False), st.sampled_from(["accept", "drop"]))
def test_redundant_rules_can_all_go(lines: list[Line], policy: str) -> None:
    """Without the shadowed and the redundant rules every packet gets the verdict that it got with them."""
    chains = {"base": lines}
    scan_ = scanned(chains, policy)
    gone = {n for _, n in (*named(scan_, "redundant"), *named(scan_, "shadowed"))}
    rest = {"base": [line for n, line in enumerate(lines) if n not in gone]}

    assert all(run(chains, p, policy)[1] == run(rest, p, policy)[1] for p in PACKETS)


@given(rules(VERDICTS))
def test_what_is_left_of_a_rule_and_who_took_the_rest(lines: list[Line]) -> None:
    """The parts that are left hold exactly the packets that still come to the rule, and covering rules have common packets with it."""
    for (_, number), finding in named(scanned({"base": lines}), "partly").items():
        before = {"base": [*lines[:number], replace(lines[number], limited=False, verdict=None)]}
        for packet in PACKETS:
            if not lines[number].matches(packet):
                continue
            comes = ("base", number) in run(before, packet)[0]
            assert finding.left is not None
            assert comes == any(_holds(left.sources, left.fields(), packet) for left in finding.left)
        for other in finding.covered_by:
            assert any(lines[number].matches(p) and lines[other.index].matches(p) for p in PACKETS)


def _holds(sources: IntervalSet, boxes: tuple[Mapping[str, IntervalSet], ...], packet: Packet) -> bool:
    source, proto, port = packet
    values = {"l4proto": proto, "dport": 1 << 16 if port is None else port}
    inside = any((source << 24) + rest in sources for rest in (0, (1 << 24) - 1))
    return inside and any(all(values[n] in v for n, v in box.items()) for box in boxes)


@given(rules(VERDICTS, limits=False))
def test_contradictions_cross(lines: list[Line]) -> None:
    """Two rules that are said to contradict each other share a packet, differ in verdict, and each matches a packet of its own."""
    for finding in scanned({"base": lines}).findings:
        if finding.kind != "contradiction":
            continue
        first, second = lines[finding.rule.index], lines[finding.covered_by[0].index]
        one, two = ({p for p in PACKETS if line.matches(p)} for line in (first, second))
        assert first.verdict != second.verdict
        assert one & two
        assert one - two
        assert two - one


def test_a_covered_rule_names_the_rule_that_covers_it() -> None:
    """A drop behind an accept of more is shadowed, and the accept is named."""
    wide = Line((9, 12), 6, None, limited=False, verdict=VERDICTS[0])
    narrow = Line((10, 10), 6, 80, limited=False, verdict=VERDICTS[1])
    finding = named(scanned({"base": [wide, narrow]}), "shadowed")[("base", 1)]

    assert [c.index for c in finding.covered_by] == [0]
    assert finding.complete


def test_a_rate_limit_covers_nothing() -> None:
    """What stands behind a limited rule for the same packets is not shadowed: the limit lets some pass it by."""
    limited = Line(None, 6, 80, limited=True, verdict=VERDICTS[0])
    behind = replace(limited, limited=False, verdict=VERDICTS[1])

    assert not named(scanned({"base": [limited, behind]}), "shadowed")


def test_a_nest_of_jumps_is_refused_by_the_scan() -> None:
    """Chains that call the next twice, 15 levels deep, end the scan with a reason and no finding."""
    chains = {"base": [Line(None, 6, None, limited=False, verdict=Verdict("jump", "c0"))]}
    for level in range(14):
        chains[f"c{level}"] = [
            Line(None, None, port, limited=False, verdict=Verdict("jump", f"c{level + 1}"), inverted=True)
            for port in (80, 81)
        ]
    chains["c14"] = [Line((9, 9), 6, 82, limited=False, verdict=VERDICTS[0])]
    scan_ = scanned(chains)

    assert not scan_.findings
    assert "call each other" in scan_.incomplete
