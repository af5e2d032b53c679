"""Running the rules of one base chain on a packet, as nft_do_chain does (net/netfilter/nf_tables_core.c).

An expression goes on (None), breaks off its rule (`BREAK`), or gives a verdict. Where one packet cannot tell, the ways are
taken one after the other by `Choices`; a rule whose rest does nothing but count or log needs no choice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

from librespot_guard import firewall as fw
from librespot_guard.reach._concrete_flow import Flow
from librespot_guard.reach._concrete_loads import BREAK, Miss, Place
from librespot_guard.reach._concrete_sets import Index
from librespot_guard.reach._concrete_values import (
    Choices,
    Registers,
    Undecidable,
    Value,
    unsure,
)
from librespot_guard.reach.packet import Step
from librespot_guard.reach.world import World

Result = fw.Verdict | Miss | None

ACCEPT, DROP, REJECT = fw.Verdict("accept"), fw.Verdict("drop"), fw.Verdict("reject")
_JUMP_DEPTH = 16  # NFT_JUMP_STACK_SIZE
_MAX_CHAINS = 100_000
# expressions that change nothing but registers, or (writing to options) nothing that the packet of a question has
_QUIET = (
    fw.Payload, fw.Meta, fw.Cmp, fw.Bitwise, fw.Byteorder, fw.Range, fw.Ct, fw.Fib, fw.Limit, fw.Pass, fw.Exthdr, fw.ExthdrSet,
    fw.Socket, fw.Route, fw.Numgen, fw.Hash, fw.Osf, fw.Quota, fw.Connlimit, fw.Tunnel, fw.Xfrm,
)  # fmt: skip


def matters(expr: fw.Expr) -> bool:
    """Whether it makes a difference to any packet that this expression is reached."""
    match expr:
        case fw.Lookup(_, _, dreg) | fw.Immediate(dreg):
            return dreg == fw.VERDICT
        case fw.MetaSet("nftrace" | "secmark"):
            return False
        case fw.Xt(kind):
            return kind == "target"
        case fw.Unknown(_, _, terminal):
            return terminal
    return not isinstance(expr, _QUIET)


# iptables extensions and other expressions whose initialisation turns connection tracking on
_TRACKING = {
    "conntrack", "state", "connmark", "connlimit", "connbytes", "connlabel", "helper", "cluster", "CONNMARK", "CONNSECMARK", "CT",
    "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "SYNPROXY", "flow_offload", "synproxy", "objref ct helper",
    "objref ct timeout", "objref ct expectation", "objref synproxy", "objref connlimit",
}  # fmt: skip


def _needs_tracking(expr: fw.Expr, family: str) -> bool:
    match expr:
        case fw.Nat(_, own):
            return own in ("inet", family)
        case fw.Xt(_, name) | fw.Unknown(name):
            return name in _TRACKING
    return isinstance(expr, fw.Ct | fw.CtSet | fw.Redirect | fw.Masquerade | fw.Connlimit)


_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


@dataclass(slots=True)
class Library:
    """What is prepared once for a ruleset: chains and sets by name, and from where on a rule has no more effect."""

    world: World
    chains: dict[tuple[str, str], dict[str, fw.Chain]] = field(default_factory=dict)
    _sets: dict[tuple[str, str, str], Index] = field(default_factory=dict)
    _tails: dict[int, int] = field(default_factory=dict)
    _tracks: dict[str, bool] = field(default_factory=dict)
    _changing: dict[int, bool] = field(default_factory=dict)
    _translates: dict[str, bool] = field(default_factory=dict)
    _texts: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chains = {(t.family, t.name): {c.name: c for c in t.chains} for t in self.world.ruleset.tables}

    def tracks(self, family: str) -> bool:
        """Whether connection tracking runs for a family: only if some rule needs it (nf_ct_netns_get), called or not."""
        if family not in self._tracks:
            name = {"ipv4": "ip", "ipv6": "ip6"}[family]
            tables = [t for t in self.world.ruleset.tables if t.family in ("inet", name)]
            exprs = (e for t in tables for c in t.chains for r in c.rules for e in r.exprs)
            self._tracks[family] = any(_needs_tracking(e, name) for e in exprs)
        return self._tracks[family]

    def translates(self, family: str) -> bool:
        """Whether any chain translates addresses."""
        if family not in self._translates:
            chains = (c for h in _HOOKS for _, c in self.world.base_chains(h, family))
            self._translates[family] = any(c.hook and c.hook.kind == "nat" for c in chains)
        return self._translates[family]

    def text(self, rule: fw.Rule) -> str:
        """A rule as a trail shows it."""
        key = id(rule)
        if key not in self._texts:
            self._texts[key] = fw.rule_text(rule)
        return self._texts[key]

    def index(self, table: fw.Table, name: str) -> Index:
        """A set of a table, ready for look-ups. Raises Undecidable if it is missing."""
        key = (table.family, table.name, name)
        if key not in self._sets:
            found = next((s for s in table.sets if s.name == name), None)
            if found is None:
                raise Undecidable(f"set {name} of table {table.family} {table.name} is missing")
            self._sets[key] = Index(found)
        return self._sets[key]

    def arranged(self, chains: list[tuple[fw.Table, fw.Chain]], choices: Choices) -> list[tuple[fw.Table, fw.Chain]]:
        """The chains of a hook; those of equal priority in an order of `choices`, if it can make a difference."""
        out: list[tuple[fw.Table, fw.Chain]] = []
        for _, group in groupby(
            chains, key=lambda pair: (pair[1].hook.priority, pair[1].hook.kind == "nat") if pair[1].hook else None
        ):
            same = list(group)
            while len(same) > 1 and any(self._alters(t, c) for t, c in same):
                names = " and ".join(f"{t.family} {t.name} {c.name}" for t, c in same)
                out.append(
                    same.pop(choices.choose(len(same), f"order-dependent: which of {names} runs first can't be seen"))
                )
            out += same
        return out

    def _alters(self, table: fw.Table, chain: fw.Chain) -> bool:
        key = id(chain)
        if key not in self._changing:
            self._changing[key] = any(_changes(e) for c in _called(table, chain) for r in c.rules for e in r.exprs)
        return self._changing[key]

    def tail(self, rule: fw.Rule) -> int:
        """The number of expressions up to the last that matters; behind it, matching or not makes no difference."""
        key = id(rule)
        if key not in self._tails:
            self._tails[key] = max((i + 1 for i, e in enumerate(rule.exprs) if matters(e)), default=0)
        return self._tails[key]


_CHANGING = (fw.MetaSet, fw.CtSet, fw.PayloadSet, fw.Notrack, fw.Nat, fw.Redirect, fw.Masquerade, fw.Dynset)
# targets of iptables that change nothing another chain could see
_PLAIN_TARGETS = {"LOG", "NFLOG", "REJECT", "TCPMSS", "CHECKSUM", "TRACE", "AUDIT"}


def _changes(expr: fw.Expr) -> bool:
    """Whether an expression may change what a chain that runs later sees."""
    match expr:
        case fw.MetaSet("nftrace" | "priority"):
            return False
        case fw.Xt("target", name):
            return name not in _PLAIN_TARGETS
        case fw.Unknown(_, _, terminal):
            return terminal
    return isinstance(expr, _CHANGING)


def _called(table: fw.Table, chain: fw.Chain) -> list[fw.Chain]:
    """A chain and all that it can lead to."""
    by_name = {c.name: c for c in table.chains}
    verdicts = {s.name: [e.data for e in s.elements] for s in table.sets}
    found, todo = {chain.name: chain}, [chain]
    while todo:
        for rule in todo.pop().rules:
            for expr in rule.exprs:
                data: list[object] = []
                if isinstance(expr, fw.Immediate):
                    data = [expr.data]
                elif isinstance(expr, fw.Lookup) and expr.dreg == fw.VERDICT:
                    data = list(verdicts.get(expr.set_name, ()))
                for verdict in data:
                    name = verdict.chain if isinstance(verdict, fw.Verdict) else None
                    if name in by_name and name not in found:
                        found[name] = by_name[name]
                        todo.append(by_name[name])
    return list(found.values())


@dataclass(slots=True)
class Runner:
    """Runs base chains on one packet; `trail` collects every rule that ran to its end, and policies."""

    library: Library
    flow: Flow
    choices: Choices
    execute: Callable[..., Result]
    trail: list[Step] = field(default_factory=list)
    # of the chain that runs now
    place: Place = field(default_factory=lambda: Place(""))
    table: fw.Table = field(default_factory=lambda: fw.Table("", ""))
    registers: Registers = field(default_factory=Registers)
    translated: bool = False
    # on what else than the packet a value in the registers depends, of the rule that runs now
    asked: str = ""
    _where: str = ""
    _reached: int = 0
    _tail: int = 0
    _started: int = 0

    def run(self, table: fw.Table, chain: fw.Chain, hook: str) -> fw.Verdict:
        """The verdict of a base chain: accept, drop, reject or queue."""
        self.table, self.place, self.registers, self.translated = (
            table,
            Place(hook, table.family == "netdev"),
            Registers(),
            False,
        )
        chains = self.library.chains[(table.family, table.name)]
        stack: list[tuple[fw.Chain, int]] = []
        current, position = chain, 0
        while True:
            verdict = None
            while position < len(current.rules):
                rule = current.rules[position]
                position += 1
                verdict = self._rule(current, rule)
                if verdict is not None:
                    break
            if verdict is not None and verdict.kind in ("jump", "goto"):
                target = chains.get(verdict.chain or "")
                self._started += 1
                if target is None or self._started > _MAX_CHAINS or len(stack) > _JUMP_DEPTH:
                    raise Undecidable(f"{self._where}: the jump to chain {verdict.chain} leads nowhere or in circles")
                if verdict.kind == "jump":
                    stack.append((current, position))
                current, position = target, 0
            elif verdict is not None and verdict.kind != "return":
                return verdict
            elif stack:
                current, position = stack.pop()
            else:
                return self._policy(table, chain)

    def _policy(self, table: fw.Table, chain: fw.Chain) -> fw.Verdict:
        policy = chain.hook.policy if chain.hook else "accept"
        self.trail.append(Step(f"{table.family} {table.name}", chain.name, None, f"policy {policy}"))
        return ACCEPT if policy == "accept" else DROP

    def _rule(self, chain: fw.Chain, rule: fw.Rule) -> fw.Verdict | None:
        """Run one rule; its verdict, or None to go on with the next."""
        table = self.table
        self.choices.rules += 1
        self._where = f"{table.family} {table.name} {chain.name} handle {rule.handle}"
        self._tail = self.library.tail(rule)
        self.asked = ""
        result: Result = None
        for number, expr in enumerate(rule.exprs):
            self._reached = number
            result = self.execute(self, expr)
            if result is not None:
                break
        if isinstance(result, Miss):
            return None
        self.trail.append(Step(f"{table.family} {table.name}", chain.name, rule.handle, self.library.text(rule)))
        return result

    # what an expression needs to decide or to leave open

    def either(self, why: str) -> Miss | None:
        """Go on or break off, where it can't be told; no choice if the rest of the rule makes no difference."""
        if self.indifferent():
            return None
        return BREAK if self.choices.choose(2, self.reason(why)) else None

    def indifferent(self) -> bool:
        """Whether it makes no difference any more if the rule matches."""
        return self._reached >= self._tail

    def decide(self, answer: bool | None, why: str) -> Result:
        """Go on if the answer is yes, break off if it is no, and either if it is open."""
        if answer is None:
            return self.either(why)
        return None if answer else BREAK

    def reason(self, why: str) -> str:
        """A reason, with the rule in front."""
        return f"{self._where}: {why}"

    def load(self, dreg: int, value: Value | Miss, why: str) -> Result:
        """Put what a load gave into a register, or break off."""
        if value is BREAK:
            return BREAK
        if isinstance(value, Miss):
            self.registers.write(dreg, unsure(16))
            return self.either(why)
        self.registers.write(dreg, value)
        return None
