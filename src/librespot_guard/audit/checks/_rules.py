"""What checks of rules share: which chains run, what a rule does, where it stands and whose it is."""

from collections.abc import Iterable, Iterator

from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Unable
from librespot_guard.firewall.model import TABLE_DORMANT, Chain, Immediate, Lookup, Reject, Rule, Table, Verdict, Xt
from librespot_guard.firewall.origin import OWN_TABLE, Origin, origin
from librespot_guard.snapshot import Namespace

INWARD = ("ingress", "prerouting", "input")
"""The hooks on the way into the host."""


def spaces(check: Check, context: Context) -> Iterator[Namespace | Unable]:
    """The namespaces with a service whose packet filter was read; Unable for one whose was not."""
    for namespace in context.snapshot.namespaces:
        if namespace.id not in {service.netns for service in context.snapshot.services}:
            continue
        if context.filter_known(namespace.id):
            yield namespace
        else:
            yield check.unable(None, "rules of the packet filter", "it could not be read", "run the audit as root")


def tables_of_others(context: Context, namespace: Namespace) -> list[Table]:
    """The tables that others wrote and that are in force."""
    ruleset = context.world(namespace.id).ruleset
    return [t for t in ruleset.tables if t.name != OWN_TABLE and not t.flags & TABLE_DORMANT]


def running(table: Table, start: Iterable[Chain]) -> dict[str, Chain]:
    """The chains that run, by name, from these base chains on, through jumps, gotos and verdict maps."""
    by_name = {chain.name: chain for chain in table.chains}
    sets = {one.name: one for one in table.sets}
    waiting = list(start)
    found: dict[str, Chain] = {}
    while waiting:
        chain = waiting.pop()
        if chain.name in found:
            continue
        found[chain.name] = chain
        for rule in chain.rules:
            for expr in rule.exprs:
                data: list[object] = [expr.data] if isinstance(expr, Immediate) else []
                if isinstance(expr, Lookup) and expr.set_name in sets:
                    data = [element.data for element in sets[expr.set_name].elements]
                names = [d.chain for d in data if isinstance(d, Verdict) and d.chain]
                waiting += [by_name[name] for name in names if name in by_name]
    return found


def based(table: Table, hooks: Iterable[str] | None = None) -> list[Chain]:
    """The base chains of a table, or those on some hooks."""
    return [c for c in table.chains if c.hook is not None and (hooks is None or c.hook.hook in hooks)]


def rule_text(namespace: Namespace, table: Table, chain: Chain, rule: Rule) -> str:
    """A rule as nft prints it, or where it is if there is no text."""
    for one in namespace.nft.text if namespace.nft else ():
        if (one.family, one.table, one.chain, one.handle) == (table.family, table.name, chain.name, rule.handle):
            return one.text
    return rule.text or f"rule with handle {rule.handle}"


def place(table: Table, chain: Chain) -> str:
    """Where a chain stands, as nft says it."""
    return f"{table.family} {table.name} {chain.name}"


def whose(table: Table, chain: Chain, rule: Rule | None = None, text: str = "") -> Origin:
    """The program that wrote a rule or chain."""
    return origin(table.family, table.name, chain.name, handle=rule.handle if rule else 0, text=text)


def accepts(rule: Rule) -> bool:
    """Whether a rule lets packets pass its base chain."""
    return any(isinstance(e, Immediate) and isinstance(e.data, Verdict) and e.data.kind == "accept" for e in rule.exprs)


def denies(rule: Rule) -> bool:
    """Whether a rule drops or rejects packets."""
    return any(
        (isinstance(e, Immediate) and isinstance(e.data, Verdict) and e.data.kind == "drop")
        or isinstance(e, Reject)
        or (isinstance(e, Xt) and e.kind == "target" and e.name == "REJECT")
        for e in rule.exprs
    )
