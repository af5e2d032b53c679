"""Whether what `nft -j` prints is what the kernel holds.

The kernel's own messages are the truth. Two things can be wrong with a listing of the same rules. Its words may say less than the rule
does, a fault of nft that is known for its version: then the answers stay as they are, and whoever reads the listing is misled
(`misleading`). Or the two tell of other tables, chains, policies or rules: then one of the readers is wrong about the kernel, nobody knows
which, and nothing can be certified (`differences`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from librespot_guard.errors import InputError
from librespot_guard.firewall.model import TABLE_DORMANT, Chain, Cmp, Expr, Meta, Reject, Rule, Ruleset, Table
from librespot_guard.firewall.nft_json import parse_nft_json, read_nft_json
from librespot_guard.firewall.nft_json_text import rule_words
from librespot_guard.firewall.words import rule_text

_GUARDS = ("nfproto", "protocol", "l4proto", "iiftype")
_NAMES = {
    ("nfproto", b"\x02"): "IPv4 only", ("nfproto", b"\x0a"): "IPv6 only", ("protocol", b"\x08\x00"): "IPv4 only",
    ("protocol", b"\x86\xdd"): "IPv6 only", ("l4proto", b"\x06"): "TCP only", ("l4proto", b"\x11"): "UDP only",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Misleading:
    """A place where a listing says less than the kernel does: `where`, what it `says`, and what is true."""

    where: str
    says: str
    truth: str


def differences(kernel: Ruleset, listing: str) -> tuple[str, ...]:
    """Why nothing can be certified: chains, hooks, policies or rules of which the two do not tell the same. None for a cut listing."""
    items = _items(listing)
    if items is None:
        return ()
    chains: dict[tuple[str, str, str], tuple[Any, list[Any]]] = {}
    for kind, body in items:
        if kind == "chain":
            chains[_key(body)] = (body, [])
    for kind, body in items:
        if kind == "rule":
            key = (str(body.get("family")), str(body.get("table")), str(body.get("chain")))
            chains.setdefault(key, ({}, []))[1].append(body)
    known = {(t.family, t.name, c.name): (t, c) for t in kernel.tables for c in t.chains}
    out = [
        f"cannot certify: chain {' '.join(k)} is in the kernel's messages, `nft -j` does not list it"
        for k in known.keys() - chains.keys()
    ]
    out += [
        f"cannot certify: `nft -j` lists chain {' '.join(k)}, the kernel's messages do not"
        for k in chains.keys() - known.keys()
    ]
    for key in known.keys() & chains.keys():
        out += _chain(" ".join(key), known[key][1], *chains[key])
    return tuple(sorted(out))


def _key(body: Any) -> tuple[str, str, str]:
    return str(body.get("family")), str(body.get("table")), str(body.get("name"))


def _items(listing: str) -> list[tuple[str, Any]] | None:
    """The objects of a listing by kind; None if nft cut it."""
    try:
        items = parse_nft_json(listing, source="nft -j")
    except InputError:
        return None
    return [
        (kind, body)
        for item in items
        if isinstance(item, dict)
        for kind, body in item.items()
        if isinstance(body, dict)
    ]


def _chain(where: str, chain: Chain, body: Any, rules: list[Any]) -> Iterator[str]:
    listed = (body.get("hook"), body.get("prio"), body.get("policy", "accept")) if "hook" in body else None
    hook = None if chain.hook is None else (chain.hook.hook, chain.hook.priority, chain.hook.policy)
    if listed != hook:
        yield f"cannot certify: the hook of chain {where} is {hook} in the kernel's messages and {listed} in `nft -j`"
    ours, theirs = [r.handle for r in chain.rules], [r.get("handle") for r in rules]
    if ours == theirs:
        return
    at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    one = rule_text(replace(chain.rules[at], text=None)) if at < len(ours) else "nothing"
    other = rule_words(rules[at].get("expr")) if at < len(theirs) else "nothing"
    yield f"cannot certify: rule {at + 1} of chain {where} is `{one}` in the kernel's messages and `{other}` in `nft -j`"


def misleading(kernel: Ruleset, listing: str) -> tuple[Misleading, ...]:
    """Every place where the listing of the same rules says less than they do."""
    try:
        read = read_nft_json(listing)
    except InputError as error:
        asleep = [f"{t.family} {t.name}" for t in kernel.tables if t.flags & TABLE_DORMANT]
        why = f"; nft before 1.1.0 does that where a table is dormant ({', '.join(asleep)})" if asleep else ""
        return (
            Misleading("the listing", f"it is cut ({error})", f"the kernel holds {len(kernel.tables)} table(s){why}"),
        )
    found: list[Misleading] = []
    tables = {(t.family, t.name): t for t in read.tables}
    for table in kernel.tables:
        if (other := tables.get((table.family, table.name))) is not None:
            found += _table(table, other)
    return tuple(found)


def _table(table: Table, other: Table) -> Iterator[Misleading]:
    where = f"{table.family} {table.name}"
    if (table.flags ^ other.flags) & TABLE_DORMANT:
        state = "dormant: none of its rules is in force" if table.flags & TABLE_DORMANT else "in force"
        yield Misleading(f"table {where}", "nothing of the kind", f"the table is {state}")
    listed = {c.name: c for c in other.chains}
    for chain in table.chains:
        same = listed.get(chain.name)
        if same is None:
            continue
        if chain.hook and same.hook and set(chain.hook.devices) != set(same.hook.devices):
            yield Misleading(f"chain {where} {chain.name}", "no device", f"it filters {', '.join(chain.hook.devices)}")
        words: dict[int, list[Rule]] = {}
        for rule in same.rules:
            words.setdefault(rule.handle, []).append(rule)
        for rule in chain.rules:
            if readings := words.get(rule.handle):
                yield from _rule(f"rule {rule.handle} of {where} {chain.name}", rule, readings)


def _rule(where: str, rule: Rule, readings: list[Rule]) -> Iterator[Misleading]:
    """Guards of the kernel's rule that its words do not tell."""
    actual, told = _guards(rule.exprs), _guards(readings[0].exprs)
    lost = actual - told
    if len(readings) > 1:
        # a reject of one family or of TCP: only the kind of its answer hints at the guard
        lost |= actual - _guards(readings[1].exprs)
    if lost:
        yield Misleading(
            where,
            readings[0].text or "?",
            "; ".join(sorted(_NAMES.get(g, f"{g[0]} 0x{g[1].hex()} only") for g in lost)),
        )
    elif any(isinstance(e, Reject) for e in rule.exprs) and told - actual:
        yield Misleading(where, readings[0].text or "?", "it rejects packets of every family and protocol")


def _guards(exprs: tuple[Expr, ...]) -> set[tuple[str, bytes]]:
    return {
        (load.key, test.data)
        for load, test in pairwise(exprs)
        if isinstance(load, Meta)
        and load.key in _GUARDS
        and isinstance(test, Cmp)
        and test.op == "eq"
        and test.sreg == load.dreg
    }
