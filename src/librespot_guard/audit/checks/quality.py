"""Rules that do not do what they say, because of other rules: shadowed, redundant, contradictory."""

from collections.abc import Iterator
from dataclasses import dataclass

from librespot_guard.audit.checks._rules import accepts, denies, place, rule_text, spaces, whose
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.firewall.model import Chain, Cmp, Meta, Rule, Table
from librespot_guard.firewall.origin import OWN_TABLE
from librespot_guard.reach import shadow
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Namespace

_HOOKS = ("prerouting", "input", "forward")
_MOST_LINES = 8
_SEES = {"ip": ("ipv4",), "ip6": ("ipv6",)}
_NFPROTO = {b"\x02": "ipv4", b"\x0a": "ipv6"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One finding of the scan with the rules it is about."""

    found: shadow.Finding
    table: Table
    chain: Chain
    rule: Rule
    others: tuple[tuple[Chain, Rule], ...]


def scanned(context: Context, namespace: Namespace) -> tuple[tuple[Seen, ...], tuple[str, ...]]:
    """What is wrong with the rules on the hooks of a namespace, in every family that they see; and what was not scanned."""
    return context.keep(("shadow", namespace.id), lambda: _scan(context.world(namespace.id)))


def _scan(world: World) -> tuple[tuple[Seen, ...], tuple[str, ...]]:
    found: dict[tuple[str, shadow.RuleId], dict[str, shadow.Finding]] = {}
    open_ = dict[str, None]()
    for family in ("ipv4", "ipv6"):
        for hook in _HOOKS:
            for table, chain, scan in shadow.scan(world, family, hook):
                if scan.incomplete:
                    open_[f"{place(table, chain)}: {scan.incomplete}"] = None
                for one in scan.findings:
                    found.setdefault((one.kind, one.rule), {})[family] = one
    tables = {(t.family, t.name): t for t in world.ruleset.tables}
    out = []
    for (kind, at), families in found.items():
        table = tables[at.family, at.table]
        if table.name == OWN_TABLE:
            continue
        chain = table.chain(at.chain)
        rule = chain.rules[at.index]
        # what is dead for IPv4 may be alive for IPv6: a rule is judged in every family that it can match
        if kind != "contradiction" and set(families) < set(_families(table, rule)):
            continue
        one = next(iter(families.values()))
        others = tuple((table.chain(o.chain), table.chain(o.chain).rules[o.index]) for o in one.covered_by)
        out.append(Seen(one, table, chain, rule, others))
    return tuple(out), tuple(open_)


def _families(table: Table, rule: Rule) -> tuple[str, ...]:
    """The families of packets that a rule can match, by its table and by a guard at its beginning."""
    match rule.exprs[:2]:
        case (Meta("nfproto"), Cmp("eq", _, data)) if data in _NFPROTO:
            return (_NFPROTO[data],)
    return _SEES.get(table.family, ("ipv4", "ipv6"))


def _report(check: Check, context: Context, kind: str) -> Iterator[Finding | Unable]:
    """One finding for each chain that has such rules, with the first of them as evidence."""
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        seen, unscanned = scanned(context, namespace)
        if kind == "shadowed":
            yield from (
                check.unable(None, f"rules against each other in {what}", "they are too many") for what in unscanned
            )
        by_chain: dict[tuple[str, str, str], list[Seen]] = {}
        for one in seen:
            if one.found.kind == kind:
                by_chain.setdefault((one.table.family, one.table.name, one.chain.name), []).append(one)
        for found in by_chain.values():
            first = found[0]
            lines = [line for one in found[:_MOST_LINES] for line in _lines(namespace, one)]
            if len(found) > _MOST_LINES:
                lines.append(f"and {len(found) - _MOST_LINES} more rules of this chain")
            vain = any(denies(one.rule) and any(accepts(r) for _, r in one.others) for one in found)
            origin = whose(
                first.table, first.chain, first.rule, rule_text(namespace, first.table, first.chain, first.rule)
            )
            yield check.finding(
                None,
                lines,
                severity="medium" if vain and kind == "shadowed" else check.severity,
                here="One of them is meant to deny, and what it denies was accepted before."
                if vain and kind == "shadowed"
                else "",
                fix=(*check.fix, f"the first of them is {origin.place}: {origin.change}"),
                place=place(first.table, first.chain),
            )


def _lines(namespace: Namespace, one: Seen) -> Iterator[str]:
    yield f"{place(one.table, one.chain)} rule {one.found.rule.index + 1}: `{rule_text(namespace, one.table, one.chain, one.rule)}`"
    verb = {
        "shadowed": "its packets are taken by",
        "redundant": "the same is done by",
        "contradiction": "decides otherwise than",
    }
    shown = [f"`{rule_text(namespace, one.table, chain, rule)}`" for chain, rule in one.others[:3]]
    if shown:
        more = " and others" if len(one.others) > 3 or not one.found.complete else ""
        yield f"  {verb[one.found.kind]} {', '.join(shown)}{more}"


SHADOWED = Check(
    id="LG404",
    title="a rule decides nothing, because earlier rules take all its packets",
    severity="low",
    threats=("unauthorised-access",),
    what=(
        "Compares every rule on the way in and through with all rules before it, in every place from which its chain is called, for both families. "
        "Only what is sure is reported."
    ),
    why="Who reads the rule believes that it acts. A deny behind an accept protects nothing, and an accept behind a deny opens nothing.",
    fix=("put the rule before those that take its packets, or remove it",),
    verify="librespot-guard audit",
    look=lambda check, context: _report(check, context, "shadowed"),
)
REDUNDANT = Check(
    id="LG405",
    title="a rule could go without any change",
    severity="low",
    threats=("network-attack",),
    what="Reports rules of base chains without which every packet that they match would surely get the same verdict from later rules or the policy.",
    why="Each rule more is one more to read and to get wrong, and hides what really decides.",
    fix=("remove the rule, or say in a comment why it stands there",),
    verify="librespot-guard audit",
    look=lambda check, context: _report(check, context, "redundant"),
)
CONTRADICTION = Check(
    id="LG406",
    title="two rules contradict each other about some packets",
    severity="low",
    threats=("network-attack",),
    what=(
        "Reports pairs of rules that give different verdicts to packets that both match, where neither is an exception of the other: there only their "
        "order decides."
    ),
    why="Whoever moves one of them, or adds a rule by a tool that puts it elsewhere, changes who gets in without seeing it.",
    fix=("narrow one of the two, so that no packet matches both",),
    verify="librespot-guard audit",
    look=lambda check, context: _report(check, context, "contradiction"),
)

CHECKS = (SHADOWED, REDUNDANT, CONTRADICTION)
