"""Rules with extensions of iptables, in the instructions of nf_tables: so that everything that understands these understands those.

What has no equivalent stays an `Xt`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from librespot_guard.firewall.ipset_save import KEY, IpSets
from librespot_guard.firewall.iptables_matches import Matches
from librespot_guard.firewall.iptables_targets import target
from librespot_guard.firewall.model import SET_EVAL, Chain, Dynset, Expr, Rule, Ruleset, Set, Table, Unknown, Xt
from librespot_guard.firewall.nft_json_types import Unsupported
from librespot_guard.firewall.xt import options


def native(ruleset: Ruleset, *, ipsets: IpSets | None = None, numbers: Mapping[int, str] | None = None) -> Ruleset:
    """The same ruleset with native instructions in place of extensions, as far as there are any; on little-endian CPUs only.

    Args:
        ruleset: as decoded from the kernel's messages.
        ipsets: the contents of ipsets, for `-m set`.
        numbers: the names of ipsets by the kernel's numbers.
    """
    if ruleset.byteorder != "little":
        return ruleset  # the native instructions are made in the byte order of small CPUs: a wrong constant would be worse than none
    tables = ruleset.tables
    if any(isinstance(e, Xt) for e in _expressions(tables)):
        tables = tuple(_table(t, ruleset.byteorder, ipsets, numbers or {}) for t in tables)
    tables = _changing(tables)
    return ruleset if tables == ruleset.tables else replace(ruleset, tables=tables)


def _expressions(tables: Iterable[Table]) -> Iterator[Expr]:
    for table in tables:
        for chain in table.chains:
            for rule in chain.rules:
                yield from rule.exprs


def _changing(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """The tables with each ipset marked into which, or out of which, some rule of any table puts entries."""
    found = {e.set_name for e in _expressions(tables) if isinstance(e, Dynset) and e.set_name.startswith(KEY)}
    if any(isinstance(e, Xt) and (e.kind, e.name) == ("target", "SET") for e in _expressions(tables)):
        # which sets it changes is not understood
        found |= {s.name for t in tables for s in t.sets if s.name.startswith(KEY)}
    if not found:
        return tables
    return tuple(
        replace(t, sets=tuple(replace(s, flags=s.flags | SET_EVAL) if s.name in found else s for s in t.sets))
        for t in tables
    )


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
