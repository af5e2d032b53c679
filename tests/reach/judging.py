"""One ruleset judged: the interpreter and both engines against what the kernel did with some hundred packets, and against each other."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from librespot_guard import firewall as fw
from librespot_guard.reach import _fields as fields
from librespot_guard.reach._concrete_xt import MATCHES
from librespot_guard.reach.bdd.engine import BddAnswer, BddEngine
from librespot_guard.reach.engine import Answer, Engine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.intervals import IntervalSet, cidrs
from librespot_guard.reach.packet import Packet, chosen_extensions
from librespot_guard.reach.routing import number, text
from reach.bench import BROADCAST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from librespot_guard.reach.world import World
    from reach.bench import Bench, Seen

# what the packets of the bench do not vary may not be chosen by an engine
_VARIED = {"sport", "tcp_flags", "daddr", "dport", "exthdrs"}
# expressions whose outcome one packet can't tell: a rule that holds one may or may not be on the trail
_OPEN = fw.Limit | fw.Dynset | fw.Unknown | fw.Quota | fw.Connlimit | fw.Osf | fw.Socket | fw.Numgen
_OPEN_META = ("cpu", "prandom", "random", "skuid", "skgid", "cgroup", "rtclassid")


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the engines."""

    iface: str
    family: str
    proto: str
    dst: str
    port: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """A disagreement: `kind` names who with whom; the packet or the question that shows it; what each says."""

    kind: str
    says: str
    packet: Packet | None = None
    ask: Ask | None = None

    def header(self) -> str:
        """The case file's first lines: what shows the disagreement."""
        out = f"# {self.kind}\n"
        if self.packet is not None:
            out += f"#? {json.dumps(self.packet.to_json())}\n"
        if self.ask is not None:
            out += f"#ask {self.ask.iface} {self.ask.family} {self.ask.proto} {self.ask.dst} {self.ask.port}\n"
        return out


@dataclass(slots=True)
class Tally:
    """What was judged."""

    rulesets: int = 0
    packets: int = 0
    undecided: int = 0
    asked: int = 0
    exact: Counter[str] = field(default_factory=Counter)
    promises: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        verdicts = ", ".join(f"{n} {v}" for v, n in sorted(self.verdicts.items()))
        return (
            f"{self.rulesets} rulesets, {self.packets} packets ({verdicts}), {self.undecided} undecided by the interpreter; "
            f"{self.asked} questions, exact: {self.exact['intervals']} intervals, {self.exact['bdd']} bdd; {self.promises} promises"
        )


def judge(bench: Bench, world: World, packets: Sequence[Packet], asks: Sequence[Ask], tally: Tally) -> list[Wrong]:
    """Every disagreement about these packets and questions."""
    tally.rulesets += 1
    engines = _Engines(world)
    answers = {ask: engines.ask(ask) for ask in asks}
    wrong = [w for ask, pair in answers.items() for w in _compared(ask, *pair)]
    # the bench sends broadcasts in frames for all; an engine may promise another frame
    frames = any(
        isinstance(e, fw.Meta) and e.key == "pkttype"
        for t in world.ruleset.tables
        for c in t.chains
        for r in c.rules
        for e in r.exprs
    )
    promised = [
        (p, ask, name)
        for ask, pair in answers.items()
        for name, answer in _named(*pair)
        for p in _promises(ask, answer)
        if not (p.dst in BROADCAST and frames)
    ]
    every = [*packets, *(p for p, _, _ in promised)]
    seen = bench.send(every)
    tally.packets += len(seen)
    tally.asked += len(asks)
    tally.promises += len(promised)
    for first, second in answers.values():
        tally.exact["intervals"] += first.exact
        tally.exact["bdd"] += second.exact
    open_rules = _open_rules(world)
    filled = _looks_at_filled_sets(world)
    for packet, what in zip(every, seen, strict=True):
        tally.verdicts[what.verdict] += 1
        if not filled:
            wrong += _interpreted(world, packet, what, open_rules, tally)
        wrong += _bounded(packet, what, answers)
    for (packet, ask, name), what in zip(promised, seen[len(packets) :], strict=True):
        if (what.verdict, what.port) != ("delivered", ask.port):
            kind = f"promised by the engine on {name}, not delivered"
            wrong.append(Wrong(kind, f"{ask}: the kernel says {what}", packet, ask))
    return wrong


class _Engines:
    def __init__(self, world: World) -> None:
        self.world = world
        self._made: dict[tuple[str, str, str], tuple[Engine, BddEngine]] = {}

    def ask(self, ask: Ask) -> tuple[Answer, BddAnswer]:
        key = (ask.iface, ask.family, ask.proto)
        if key not in self._made:
            self._made[key] = Engine(self.world, *key), BddEngine(self.world, *key)
        first, second = self._made[key]
        return first.ask(number(ask.dst), ask.port), second.ask(number(ask.dst), ask.port)


def _compared(ask: Ask, first: Answer, second: BddAnswer) -> list[Wrong]:
    """Where both engines are exact they are equal; else the bounds of the second lie inside those of the first."""
    says = "".join(
        f"{name} may {_shown(ask, one.may - other.may)} and must {_shown(ask, one.must - other.must)} more {one.because}\n"
        for name, one, other in (("intervals", first, second), ("bdd", second, first))
    )
    if not second.listed:
        return []
    if first.exact and second.exact and first.may != second.may:
        return [Wrong("both engines are exact and differ", says, None, ask)]
    # where any rule asks for the length of packets the second engine says nothing of their options; the first looks only at live rules
    silent = any(f"`{name}`" in reason for reason in second.because for name in fields.CHOSEN_HEADERS)
    if not silent and (second.may - first.may or first.must - second.must):
        return [Wrong("the second engine knows less than the first", says, None, ask)]
    if second.must - first.may or first.must - second.may:
        return [Wrong("the engines exclude each other", says, None, ask)]
    return []


def _named(first: Answer, second: Answer) -> tuple[tuple[str, Answer], tuple[str, Answer]]:
    return (("intervals", first), ("bdd", second))


def _shown(ask: Ask, found: IntervalSet) -> str:
    return str(cidrs(ask.family, IntervalSet(found.pairs[:12]))) + ("…" if len(found) > 12 else "")


def _promises(ask: Ask, answer: Answer) -> list[Packet]:
    """Packets at the borders of what an engine promises."""
    out = []
    chosen = answer.must.pairs[:3] + answer.must.pairs[-2:]
    for source in dict.fromkeys(s for pair in chosen for s in pair):
        choice = answer.choices(source)
        if {name for name, value in choice.items() if name not in fields.CHOSEN_HEADERS or value} - _VARIED:
            continue
        target = text(ask.family, choice["daddr"])
        packet = Packet(
            ask.iface, text(ask.family, source), target, ask.proto, choice.get("sport", 40000), choice["dport"],
            choice.get("tcp_flags", 2) if ask.proto == "tcp" else 0, extensions=chosen_extensions(choice.get("exthdrs")),
        )  # fmt: skip
        out.append(packet)
    return out


def _interpreted(
    world: World, packet: Packet, what: Seen, open_rules: dict[tuple[str, int], Callable[[Packet], bool]], tally: Tally
) -> list[Wrong]:
    said = trace(world, packet)
    mine = tuple((s.table, s.chain, s.handle, s.rule if s.handle is None else "") for s in said.trail)
    mine = tuple(f for f in mine if "zz_tracer" not in f[0])
    says = f"kernel: {what.verdict} {what.trail}\ninterpreter: {said.verdict} {mine} {said.because}"

    verdict = "stopped" if said.verdict in ("dropped", "rejected") else said.verdict
    if said.verdict == "undecided":
        tally.undecided += 1
        kernels = what.trail[: len(mine)]
    elif verdict != what.verdict:
        return [Wrong("the interpreter's verdict is not the kernel's", says, packet)]
    else:
        kernels = what.trail
    for place in range(max(len(mine), len(kernels))):
        facts = [trail[place] if place < len(trail) else None for trail in (mine, kernels)]
        if facts[0] != facts[1]:
            # of two ways past such a rule, or out of it, the interpreter shows one
            facts += mine[max(0, place - 1) : place]
            if any(f and f[2] is not None and open_rules.get((f[0], f[2]), _never)(packet) for f in facts):
                break
            return [Wrong("the interpreter's trail is not the kernel's", says, packet)]
    return []


def _bounded(packet: Packet, what: Seen, answers: dict[Ask, tuple[Answer, BddAnswer]]) -> list[Wrong]:
    """What the kernel delivered lies within what both engines think possible."""
    if what.verdict != "delivered" or packet.proto not in ("tcp", "udp"):
        return []
    if packet.proto == "tcp" and packet.flags & 0x17 != 0x02:
        return []  # such a packet opens no flow: it is not asked about
    ask = Ask(packet.iface, packet.family, packet.proto, what.address, what.port)
    if ask not in answers:
        return []
    source = number(packet.src)
    return [
        Wrong(f"delivered, and excluded by the engine on {name}", f"the kernel says {what}", packet, ask)
        for name, answer in _named(*answers[ask])
        if source not in answer.may
    ]


def _open_rules(world: World) -> dict[tuple[str, int], Callable[[Packet], bool]]:
    """Rules (table, handle) of which one packet can't tell whether they match, with for which packets that is so."""
    out: dict[tuple[str, int], Callable[[Packet], bool]] = {}
    unsure = _unsure_keys(world)
    every = [e for t in world.ruleset.tables for c in t.chains for r in c.rules for e in r.exprs]
    masked = any(isinstance(e, fw.Masquerade) for e in every)
    # a packet that a rule gave a zone before tracking has a template: what else that holds is not followed
    templates = any(isinstance(e, fw.CtSet) and e.key == "zone" for e in every)
    for table in world.ruleset.tables:
        sets = {s.name for s in table.sets if any(e.conditional for e in s.elements)}
        for chain in table.chains:
            for rule in chain.rules:
                loads = [e for e in rule.exprs if isinstance(e, fw.Payload)]
                if any(
                    _open(e)
                    or (isinstance(e, fw.Lookup) and e.set_name in sets)
                    or (isinstance(e, fw.Meta) and (e.key in _OPEN_META or e.key in unsure))
                    or (isinstance(e, fw.Ct) and (e.key in unsure or (templates and e.key != "state")))
                    or (isinstance(e, fw.Payload) and "payload" in unsure)
                    or (isinstance(e, fw.Xt) and e.kind == "match" and e.name not in MATCHES)
                    # the interpreter takes the address and the port of masquerading for unknown
                    or (masked and isinstance(e, fw.Payload) and (e.base == "transport" or e.offset >= 8))
                    for e in rule.exprs
                ):
                    out[f"{table.family} {table.name}", rule.handle] = _always
                elif loads:
                    out[f"{table.family} {table.name}", rule.handle] = partial(_reads_the_open, loads)
    return out


def _open(expr: fw.Expr) -> bool:
    """Whether what an expression answers does not follow from one packet."""
    if isinstance(expr, fw.Exthdr):
        # the identification of a fragment
        return (expr.op, expr.kind, expr.offset) == ("ipv6", 44, 4)
    return isinstance(expr, _OPEN | fw.Route) or (isinstance(expr, fw.Hash) and expr.seed is None)


def _unsure_keys(world: World) -> set[str]:
    """What some rule changes for packets of which one can't tell; a mark of the connection may be copied to the packet and back."""
    rules = [r for t in world.ruleset.tables for c in t.chains for r in c.rules]
    out: set[str] = set()
    for rule in rules:
        if any(_open(e) or (isinstance(e, fw.Meta) and e.key in _OPEN_META) or _of_the_sender(e) for e in rule.exprs):
            out |= {e.key for e in rule.exprs if isinstance(e, fw.MetaSet | fw.CtSet)}
            out |= {"payload" for e in rule.exprs if isinstance(e, fw.PayloadSet)}
    return out


def _of_the_sender(expr: fw.Expr) -> bool:
    """Whether an expression reads bytes that a question leaves to the sender, of whatever packet."""
    return isinstance(expr, fw.Payload) and any(_overlaps(expr, s) for s in _LEFT_OPEN.get(expr.base, _ALL).values())


def _always(_packet: Packet) -> bool:
    return True


def _never(_packet: Packet) -> bool:
    return False


# bytes that a question leaves to the sender: hardware address, identification and checksums, flow label, sequence numbers
_LEFT_OPEN = {
    "link": {"": [(6, 12)]},
    "network": {"ipv4": [(4, 8), (10, 12)], "ipv6": [(1, 4)]},
    "transport": {"tcp": [(4, 12), (14, 999)], "udp": [(6, 999)], "icmp": [(2, 999)], "icmpv6": [(2, 999)]},
}


_ALL = {"": [(0, 999)]}


def _reads_the_open(loads: Sequence[fw.Payload], packet: Packet) -> bool:
    key = {"link": "", "network": packet.family, "transport": packet.proto}
    return any(_overlaps(load, _LEFT_OPEN.get(load.base, _ALL)[key.get(load.base, "")]) for load in loads)


def _overlaps(load: fw.Payload, spans: Sequence[tuple[int, int]]) -> bool:
    return any(load.offset < end and start < load.offset + load.length for start, end in spans)


def _looks_at_filled_sets(world: World) -> bool:
    """Whether rules read sets that packets fill: then the packets before count, which the interpreter does not know."""
    for table in world.ruleset.tables:
        exprs = [e for c in table.chains for r in c.rules for e in r.exprs]
        filled = {e.set_name for e in exprs if isinstance(e, fw.Dynset)}
        if any(isinstance(e, fw.Lookup) and e.set_name in filled for e in exprs):
            return True
    return False


def asks(packets: Sequence[Packet], random: Random, count: int) -> list[Ask]:
    """Questions about addresses and ports that the packets are sent to."""
    found = Counter(
        Ask(p.iface, p.family, p.proto, p.dst, p.dport)
        for p in packets
        if p.proto in ("tcp", "udp") and not p.dst.startswith(("127.", "::1"))
    )
    common = [ask for ask, _ in found.most_common(3 * count)]
    return random.sample(common, min(count, len(common)))
