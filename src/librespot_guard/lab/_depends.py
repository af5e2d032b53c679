"""What in a ruleset depends on things that a twin does not have: owners, cgroups, kinds of interface, other modules' state."""

from collections.abc import Iterator

from librespot_guard.firewall.model import (
    VERDICT,
    Chain,
    Expr,
    Immediate,
    Lookup,
    Meta,
    Ruleset,
    Table,
    Unknown,
    Verdict,
    Xt,
)
from librespot_guard.firewall.model_beyond import Osf, Route, Socket, Tunnel, Xfrm
from librespot_guard.firewall.words import depends
from librespot_guard.snapshot import Namespace

_META = {
    "cgroup",
    "skuid",
    "skgid",
    "iifkind",
    "oifkind",
    "rtclassid",
    "secmark",
    "cpu",
    "sdif",
    "sdifname",
    "bri_iifname",
    "bri_iifpvid",
}
_XT = {"owner", "cgroup", "socket", "policy", "physdev", "set", "cpu", "time", "bpf", "nfacct", "helper"}
_OTHER = {"queue", "tproxy", "synproxy"}
_IN_HOOKS = ("ingress", "prerouting", "input")


def dependencies(ruleset: Ruleset, namespace: Namespace) -> list[str]:
    """One sentence for each rule on the way in that asks for something that the twin can't reproduce."""
    odd = sorted(one.name for one in namespace.links if one.arp_type not in (1, 772))
    return [
        f"a rule of table {table.family} {table.name}, chain {chain.name} (handle {rule.handle}) depends on {what}, "
        "which the twin does not reproduce"
        for table in ruleset.tables
        for chain in _reached(table)
        for rule in chain.rules
        for what in dict.fromkeys(_asked(rule.exprs, odd))
    ]


def _asked(exprs: tuple[Expr, ...], odd: list[str]) -> Iterator[str]:
    for expr in exprs:
        if isinstance(expr, Meta) and expr.key in _META:
            yield f"`meta {expr.key}`"
        elif isinstance(expr, Meta) and expr.key == "iiftype" and odd:
            yield f"`meta iiftype` ({', '.join(odd)} are no Ethernet)"
        elif isinstance(expr, Xt) and expr.name in _XT:
            yield f"the iptables match `{expr.name}`"
        elif isinstance(expr, Socket | Osf | Xfrm | Tunnel | Route):
            yield depends(expr)
        elif isinstance(expr, Unknown) and expr.name in _OTHER:
            yield f"`{expr.name}`"


def _reached(table: Table) -> list[Chain]:
    """The chains that a packet on its way in can come to."""
    by_name = {chain.name: chain for chain in table.chains}
    waiting = [c for c in table.chains if c.hook is not None and c.hook.hook in _IN_HOOKS]
    seen: dict[str, Chain] = {}
    while waiting:
        chain = waiting.pop()
        if chain.name in seen:
            continue
        seen[chain.name] = chain
        waiting += [by_name[name] for name in _targets(table, chain) if name in by_name]
    return list(seen.values())


def _targets(table: Table, chain: Chain) -> Iterator[str]:
    sets = {s.name: s for s in table.sets}
    for rule in chain.rules:
        for expr in rule.exprs:
            if isinstance(expr, Immediate) and isinstance(expr.data, Verdict) and expr.data.chain:
                yield expr.data.chain
            elif isinstance(expr, Lookup) and expr.dreg == VERDICT and expr.set_name in sets:
                for element in sets[expr.set_name].elements:
                    if isinstance(element.data, Verdict) and element.data.chain:
                        yield element.data.chain
