"""Rules with extensions of iptables, in the instructions of nf_tables: so that everything that understands these understands those.

What has no equivalent stays an `Xt`.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from librespot_guard.firewall.ipset_save import KEY, IpSets
from librespot_guard.firewall.iptables_matches import Matches
from librespot_guard.firewall.iptables_targets import target
from librespot_guard.firewall.model import SET_EVAL, Chain, Dynset, Expr, Lookup, Rule, Ruleset, Set, Table, Unknown, Xt
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
    tables = _changing(tables, ipsets)
    return ruleset if tables == ruleset.tables else replace(ruleset, tables=tables)


def _expressions(tables: Iterable[Table]) -> Iterator[Expr]:
    for table in tables:
        for chain in table.chains:
            for rule in chain.rules:
                yield from rule.exprs


def _changing(tables: tuple[Table, ...], ipsets: IpSets | None) -> tuple[Table, ...]:
    """The tables with each ipset marked into which, or out of which, some rule of any table puts entries."""
    found = {e.set_name for e in _expressions(tables) if isinstance(e, Dynset) and e.set_name.startswith(KEY)}
    if any(isinstance(e, Xt) and (e.kind, e.name) == ("target", "SET") for e in _expressions(tables)):
        # which sets it changes is not understood
        found |= {KEY + name for name in ipsets.sets} if ipsets else set()
        found |= {s.name for t in tables for s in t.sets if s.name.startswith(KEY)}
    if not found:
        return tables
    # an entry for a set of sets goes into one of its members
    through = {KEY + m for name in found for m in (ipsets.members(name.removeprefix(KEY)) if ipsets else ())}
    lost = through | {
        lookup.set_name
        for lookup in _expressions(tables)
        if isinstance(lookup, Lookup) and _joined(lookup, found | through, ipsets)
    }
    return tuple(_marked(t, found, lost) for t in tables)


def _joined(lookup: Lookup, changed: AbstractSet[str], ipsets: IpSets | None) -> bool:
    """Whether it asks for a set of sets of which one is changed."""
    name, space, _ = lookup.set_name.removeprefix(KEY).partition(" ")
    members = ipsets.members(name) if ipsets and space and lookup.set_name.startswith(KEY) else ()
    return any(KEY + member in changed for member in members)


def _marked(table: Table, found: AbstractSet[str], lost: AbstractSet[str]) -> Table:
    """A table whose sets in `found` are filled by packets, and whose look-ups in `lost` may hold or not."""
    sets = tuple(replace(s, flags=s.flags | SET_EVAL) if s.name in found else s for s in table.sets)
    chains = table.chains
    if any(isinstance(e, Lookup) and e.set_name in lost for e in _expressions([table])):
        chains = tuple(replace(c, rules=tuple(_without(r, lost) for r in c.rules)) for c in chains)
    return replace(table, sets=sets, chains=chains)


def _without(rule: Rule, lost: AbstractSet[str]) -> Rule:
    if not any(isinstance(e, Lookup) and e.set_name in lost for e in rule.exprs):
        return rule
    exprs = (
        Unknown(f"the ipset `{e.set_name.split(' ')[1]}`, which packets fill through a set of sets", b"")
        if isinstance(e, Lookup) and e.set_name in lost
        else e
        for e in rule.exprs
    )
    return replace(rule, exprs=tuple(exprs))


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
