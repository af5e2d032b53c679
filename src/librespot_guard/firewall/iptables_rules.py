"""The tables of an iptables listing, in the neutral model: `tables`, and `extensions` for rules that another listing shows too.

Hooks and priorities are those of net/ipv4/netfilter/iptable_*.c (enum nf_ip_hook_priorities).
"""

from collections.abc import Sequence

from librespot_guard.firewall.data import ALL_SLOTS
from librespot_guard.firewall.ipset_save import IpSets
from librespot_guard.firewall.iptables_matches import Matches
from librespot_guard.firewall.iptables_save import Module, Saved, SavedRule, SavedTable
from librespot_guard.firewall.iptables_targets import target
from librespot_guard.firewall.model import VERDICT, Chain, Expr, Hook, Immediate, Rule, Set, Table, Unknown, Verdict
from librespot_guard.firewall.nft_json_types import Unsupported

_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_NAT = {"PREROUTING": -100, "OUTPUT": -100, "INPUT": 100, "POSTROUTING": 100}
_BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


def tables(
    saved: Saved, *, family: str, suffix: str = "", ipsets: IpSets | None = None, incomplete: list[str] | None = None
) -> list[Table]:
    """Every table of a listing. `suffix` tells tables of the same name apart; `incomplete` receives what was not understood."""
    notes = [] if incomplete is None else incomplete
    return [_table(table, family, suffix, ipsets, notes) for table in saved.tables]


def _table(saved: SavedTable, family: str, suffix: str, ipsets: IpSets | None, notes: list[str]) -> Table:
    sets: dict[str, Set] = {}
    matches = Matches(family, sets, ipsets)
    chains = []
    if saved.name not in _BUILT_IN:
        notes.append(f"table {family} {saved.name}: where its chains are hooked is not known")
    for name, rules in saved.rules.items():
        made = tuple(_rule(r, matches, saved, family) for r in rules)
        chains.append(Chain(name, 0, made, _hook(saved, name)))
    return Table(family, saved.name + suffix, tuple(chains), tuple(sets.values()))


def _hook(saved: SavedTable, chain: str) -> Hook | None:
    if chain not in _BUILT_IN.get(saved.name, ()):
        return None
    nat = saved.name == "nat"
    priority = _NAT[chain] if nat else _PRIORITIES[saved.name]
    policy = saved.policies.get(chain) or "ACCEPT"
    kind = "nat" if nat else "route" if saved.name == "mangle" and chain == "OUTPUT" else "filter"
    return Hook(chain.lower(), priority, "drop" if policy == "DROP" else "accept", kind)


def _rule(saved: SavedRule, matches: Matches, table: SavedTable, family: str) -> Rule:
    out: list[Expr] = []
    for option in saved.entry:
        try:
            out += matches.entry(option)
        except Unsupported as error:
            out.append(Unknown(str(error), b""))
    out += [e for module in saved.matches for e in condition(module, matches)]
    out += _end(saved, table, family)
    return Rule(saved.line, tuple(out), saved.text)


def condition(module: Module, matches: Matches) -> list[Expr]:
    """The instructions of one match; one that is not understood may hold or not."""
    try:
        return matches.match(module)
    except Unsupported as error:
        return [Unknown(str(error), b"")]


def _end(saved: SavedRule, table: SavedTable, family: str) -> Sequence[Expr]:
    if saved.target is None:
        return []
    if saved.target.name in table.rules:
        return [Immediate(VERDICT, Verdict("goto" if saved.goto else "jump", saved.target.name))]
    if saved.goto:
        return [
            Unknown(
                f"the chain `{saved.target.name}`, which is not in the listing", b"", terminal=True, writes=ALL_SLOTS
            )
        ]
    return target(saved.target, family)
