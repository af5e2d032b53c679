"""Rules with extensions of iptables, in the instructions of nf_tables: so that everything that understands these understands those.

What has no equivalent stays an `Xt`.
"""

from collections.abc import Mapping
from dataclasses import replace

from librespot_guard.firewall.ipset_save import IpSets
from librespot_guard.firewall.iptables_matches import Matches
from librespot_guard.firewall.iptables_targets import target
from librespot_guard.firewall.model import Chain, Expr, Rule, Ruleset, Set, Table, Unknown, Xt
from librespot_guard.firewall.nft_json_types import Unsupported
from librespot_guard.firewall.xt import options


def native(ruleset: Ruleset, *, ipsets: IpSets | None = None, numbers: Mapping[int, str] | None = None) -> Ruleset:
    """The same ruleset with native instructions in place of extensions, as far as there are any.

    Args:
        ruleset: as decoded from the kernel's messages.
        ipsets: the contents of ipsets, for `-m set`.
        numbers: the names of ipsets by the kernel's numbers.
    """
    if not any(isinstance(e, Xt) for t in ruleset.tables for c in t.chains for r in c.rules for e in r.exprs):
        return ruleset
    return replace(ruleset, tables=tuple(_table(t, ruleset.byteorder, ipsets, numbers or {}) for t in ruleset.tables))


def _table(table: Table, order: str, ipsets: IpSets | None, numbers: Mapping[int, str]) -> Table:
    if table.family not in ("ip", "ip6"):
        return table
    sets: dict[str, Set] = {}
    matches = Matches(table.family, sets, ipsets)
    chains = []
    for chain in table.chains:
        rules = tuple(_rule(rule, table.family, order, matches, numbers) for rule in chain.rules)
        chains.append(Chain(chain.name, chain.handle, rules, chain.hook))
    return replace(table, chains=tuple(chains), sets=(*table.sets, *sets.values()))


def _rule(rule: Rule, family: str, order: str, matches: Matches, numbers: Mapping[int, str]) -> Rule:
    if not any(isinstance(e, Xt) for e in rule.exprs):
        return rule
    out: list[Expr] = []
    for expr in rule.exprs:
        out += _expr(expr, family, order, matches, numbers) if isinstance(expr, Xt) else [expr]
    return replace(rule, exprs=tuple(out))


def _expr(xt: Xt, family: str, order: str, matches: Matches, numbers: Mapping[int, str]) -> list[Expr]:
    """The instructions for one extension; itself if there are none."""
    try:
        module = options(xt, family=family, order=order, ipsets=numbers)
        if xt.kind == "match":
            return matches.match(module)
        found = target(module, family)
    except Unsupported:
        return [xt]
    # an extension says more to people than an unknown instruction
    return [xt] if any(isinstance(e, Unknown) and e.terminal for e in found) else found
