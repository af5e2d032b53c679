"""Standing exceptions: rules that let packets in which open no new flow, and rules that anybody can fit by choosing a source port.

An answer of `reach` is about new flows. Beside it stand the rules that accept what conntrack calls established, related or
untracked, rules that take packets out of tracking, and the stateless imitation of "established": accepting whatever comes from
port 53 or 443, which any sender can choose (`nmap --source-port`). An answer is about this moment, too: rules that look into a set
with elements that expire will say something else by and by.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from librespot_guard.firewall import rule_text
from librespot_guard.firewall.model import Lookup, Rule, Table
from librespot_guard.reach._environment import Environment, Reader
from librespot_guard.reach._hooks import cone
from librespot_guard.reach._lower import Branch, Decide, Need, Test, Translate, Untrack
from librespot_guard.reach._shapes import Code, Shape, read_by
from librespot_guard.reach.engine import Engine

_STATES = ("established", "related", "untracked")
_WORDS = {
    "established": "replies in flows that this host or an earlier rule let begin",
    "related": "flows that a tracked one announces (helpers such as FTP or SIP) and ICMP errors",
    "untracked": "packets that a notrack rule took out of tracking, whoever sends them",
    "notrack": "nothing by itself, but conntrack does not see these packets: rules on ct state do not apply to them",
    "stateless": "anybody who chooses the source port or the TCP flags that it asks for",
}
# what a sender chooses freely, and no more of an identity than a source port
_CHOSEN = {"sport", "tcp_flags"}


@dataclass(frozen=True, slots=True)
class Standing:
    """One exception: its `kind` (a key of the words above, or "expires"), the rule by its identity and text, and what it lets in.

    Of a rule whose set has elements that expire, `lets_in` says how many and when.
    """

    kind: str
    table: str
    chain: str
    handle: int
    rule: str
    lets_in: str

    def to_json(self) -> dict[str, object]:
        """One entry of `standing`."""
        return {
            "kind": self.kind,
            "table": self.table,
            "chain": self.chain,
            "handle": self.handle,
            "rule": self.rule,
            "lets_in": self.lets_in,
        }


def standing(engine: Engine, dst: int, dport: int) -> tuple[Standing, ...]:
    """The exceptions on the way of packets to (dst, dport) over the engine's interface, each rule once for each kind."""
    hooks = engine.hooks(engine.world)
    chains = [*hooks.at("prerouting"), *hooks.at("input"), *(hooks.at("forward") if engine.forwards else ())]
    out: dict[Standing, None] = {}
    kinds: dict[Shape, list[str]] = {}
    for code in cone(chains, engine.shapes(engine.world).code):
        for rule, shape, low, end in zip(code.chain.rules, code.shapes, code.lows, code.ends, strict=True):
            if shape not in kinds:
                kinds[shape] = _kinds(engine, shape, dst, dport)
            if kinds[shape] and low < end:
                out |= {_named(kind, _WORDS[kind], code, rule): None for kind in kinds[shape]}
            for name in dict.fromkeys(e.set_name for e in rule.exprs if isinstance(e, Lookup)):
                if (ends := _ends(engine, code.table, name)) and _applies(
                    engine, shape, Environment(dst, dport, ct="new")
                ):
                    out[_named("expires", ends, code, rule)] = None
    return tuple(out)


def _named(kind: str, words: str, code: Code, rule: Rule) -> Standing:
    table = f"{code.table.family} {code.table.name}"
    return Standing(kind, table, code.chain.name, rule.handle, rule_text(rule), words)


def _ends(engine: Engine, table: Table, name: str) -> str:
    """Which elements of a set expire, in words; "" if none does."""
    shared, key = engine.world.shared, ("expires", table.family, table.name, name)
    if key not in shared:
        found = next((s for s in table.sets if s.name == name), None)
        left = [e.expires for e in found.elements if e.expires is not None] if found else []
        shared[key] = (
            f"what the answer says holds for now: {len(left)} element{'s' * (len(left) > 1)} of `{name}` will expire, the first "
            f"in {timedelta(seconds=min(left) // 1000)}, the last in {timedelta(seconds=max(left) // 1000)}"
            if left
            else ""
        )
    return str(shared[key])


def _kinds(engine: Engine, shape: Shape, dst: int, dport: int) -> list[str]:
    here = Environment(dst, dport, ct="new")
    if any(isinstance(op, Untrack) for op in shape.ops):
        return ["notrack"] if _applies(engine, shape, replace(here, ct="none")) else []
    if not _accepts(shape):
        return []
    names = {name.partition("@")[0] for op in shape.ops for name, _ in read_by(op)}
    names |= {"saddr"} if shape.sourced else set()
    if "ct_state" in names:
        new = _applies(engine, shape, here)
        # what lets new flows in as well is told by the answer itself
        return [kind for kind in _STATES if not new and _applies(engine, shape, replace(here, ct=kind))]
    if names & _CHOSEN and not names & {"saddr", "ether_src"} and _applies(engine, shape, here):
        return ["stateless"]
    return []


def _accepts(shape: Shape) -> bool:
    for op in shape.ops:
        if isinstance(op, Decide) and op.verdict.kind == "accept":
            return True
        if isinstance(op, Branch):
            data = [*(d for _, d in op.entries.entries), op.entries.otherwise]
            return any(getattr(d, "kind", "") == "accept" for d in data)
        if isinstance(op, Decide | Translate):
            return False
    return False


def _applies(engine: Engine, shape: Shape, environment: Environment) -> bool:
    """Whether the rule can match a packet in this state that comes in over the engine's interface."""
    maps = engine.shapes(engine.world).maps
    reader = Reader(engine.world, engine.iface, engine.family, engine.proto, environment, engine.universe, maps)
    for op in shape.ops:
        if isinstance(op, Need) and reader.state(op.field) == "broken":
            return False
        if not isinstance(op, Test):
            continue
        holds = [reader.holds(c) for c in op.any_of]
        sure = any(h == (None, None, None) for h in holds)
        if (op.inverted and sure) or (not op.inverted and all(h is None for h in holds)):
            return False
    return True
