"""The packet filter of a host from what several tools printed about it: `read_listings`.

Listings are weaker than the kernel's own messages (docs/decisions/0001). Where `nft -j` and `iptables-save` describe the same chain,
the former is the authority and the latter only shows what the former can't, the parameters of iptables extensions, rule by rule; where
the two can't be laid side by side, nothing is taken, and the doubt names both.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from librespot_guard.firewall.ipset_save import IpSets
from librespot_guard.firewall.iptables_matches import Matches
from librespot_guard.firewall.iptables_rules import condition, tables
from librespot_guard.firewall.iptables_save import Saved, SavedRule, parse_iptables_save
from librespot_guard.firewall.iptables_targets import target
from librespot_guard.firewall.model import Expr, Ruleset, Set, Table
from librespot_guard.firewall.nft_json import read_nft_json

SAVES = {"iptables-save": "ip", "ip6tables-save": "ip6"}
LEGACY_SAVES = {"iptables-legacy-save": "ip", "ip6tables-legacy-save": "ip6"}
KINDS = ("nft-json", *SAVES, *LEGACY_SAVES, "ipset-save")
_SHOWN = 120


class Listing(Protocol):
    """What one tool printed (`snapshot.FilterText`)."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""

    @property
    def source(self) -> str:
        """What to call it in messages."""

    @property
    def text(self) -> str:
        """The text as it was printed."""


def read_listings(listings: Iterable[Listing], *, interfaces: Mapping[str, int]) -> Ruleset:
    """The ruleset that these listings describe together; `interfaces` are the indexes of interfaces by name.

    Raises:
        InputError: one of them is cut, or is not what it is said to be (with line and column).
    """
    by_kind = {listing.kind: listing for listing in listings}
    incomplete: list[str] = []
    ipsets = None
    if (listing := by_kind.get("ipset-save")) is not None:
        ipsets = IpSets(listing.text, source=listing.source)
    saved = {
        kind: parse_iptables_save(listing.text, source=listing.source)
        for kind, listing in by_kind.items()
        if kind in SAVES or kind in LEGACY_SAVES
    }
    legacy_given = any(kind in LEGACY_SAVES for kind in saved)
    found: list[Table] = []
    if (listing := by_kind.get("nft-json")) is not None:
        beside = _Beside({SAVES[k]: s for k, s in saved.items() if k in SAVES}, ipsets)
        ruleset = read_nft_json(listing.text, source=listing.source, interfaces=interfaces, xt=beside)
        incomplete += ruleset.incomplete
        found += ruleset.tables
        incomplete += beside.missing(ruleset)
    else:
        for kind, family in SAVES.items():
            if kind in saved:
                incomplete += [r for r in saved[kind].remarks if "legacy" not in r]
                found += tables(saved[kind], family=family, ipsets=ipsets, incomplete=incomplete)
    if not legacy_given:
        incomplete += [r for kind, s in saved.items() if kind in SAVES for r in s.remarks if "legacy" in r]
    for kind, family in LEGACY_SAVES.items():
        if kind in saved:
            found += tables(saved[kind], family=family, suffix=" (legacy)", ipsets=ipsets, incomplete=incomplete)
    return Ruleset(tuple(found), "little", tuple(dict.fromkeys(incomplete)))


class _Beside:
    """`iptables-save` laid beside `nft -j`, chain by chain."""

    def __init__(self, saved: Mapping[str, Saved], ipsets: IpSets | None) -> None:
        self.ipsets = ipsets
        self.chains: dict[tuple[str, str, str], list[SavedRule]] = {}
        for family, listing in saved.items():
            for table in listing.tables:
                for chain, rules in table.rules.items():
                    self.chains[family, table.name, chain] = rules
        self.usable: set[tuple[str, str, str]] = set()

    def chain(self, family: str, table: str, chain: str, rules: Sequence[Mapping[str, Any]]) -> str | None:
        """Compare the numbers of rules; the doubt if a chain with extensions differs."""
        saved = self.chains.get((family, table, chain))
        if saved is None:
            return None
        if len(saved) == len(rules):
            self.usable.add((family, table, chain))
            return None
        at = next((n for n, r in enumerate(rules) if _has_xt(r)), None)
        if at is None:
            return None
        other = saved[at].text if at < len(saved) else "nothing"
        return (
            f"cannot certify chain {family} {table} {chain}: `nft -j` lists {len(rules)} rules and `iptables-save` {len(saved)}; "
            f"rule {at + 1} is `{_short(rules[at].get('expr'))}` in the one and `{other}` in the other"
        )

    def find(
        self, at: tuple[str, str, str, int], position: int, kind: str, name: str, sets: dict[str, Set]
    ) -> Sequence[Expr] | None:
        """The instructions of an extension, from the line at the same place that names it as often."""
        family, table, chain, number = at
        if (family, table, chain) not in self.usable:
            return None
        rule = self.chains[family, table, chain][number]
        if kind == "match":
            same = [m for m in rule.matches if m.name == name]
            return condition(same[position], Matches(family, sets, self.ipsets)) if position < len(same) else None
        if kind == "target" and position == 0 and rule.target is not None and rule.target.name == name:
            return target(rule.target, family)
        return None

    def missing(self, ruleset: Ruleset) -> list[str]:
        """Tables with rules that `iptables-save` prints and `nft -j` does not."""
        listed = {(t.family, t.name, c.name) for t in ruleset.tables for c in t.chains}
        return [
            f"cannot certify chain {family} {table} {chain}: `iptables-save` prints `{rules[0].text}` and {len(rules) - 1} more rules "
            "there, `nft -j` does not list it"
            for (family, table, chain), rules in self.chains.items()
            if rules and (family, table, chain) not in listed
        ]


def _has_xt(rule: Mapping[str, Any]) -> bool:
    statements = rule.get("expr")
    return isinstance(statements, list) and any(isinstance(s, dict) and "xt" in s for s in statements)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
