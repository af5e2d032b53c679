"""Hosts whose listing of the rules tells what the kernel holds, less than it, and something else."""

import json
from dataclasses import replace
from typing import Any

from audit.case import clean, has
from audit.hosts import ACCEPT, EMPTY, filters, host, librespot
from librespot_guard.firewall.model import Chain, Cmp, Hook, Meta, Reject, Rule, Table
from librespot_guard.snapshot import FilterText, Snapshot

SIX = (Meta("nfproto", 0), Cmp("eq", 0, b"\x0a"))
GUARDED = filters(
    Table("inet", "f", (Chain("in", 1, (Rule(7, (*SIX, Reject("icmp"))), Rule(8, (ACCEPT,))), Hook("input", 0)),))
)
NO_ROUTE = {"reject": {"type": "icmpv6", "expr": "no-route"}}
FAMILY = {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv6"}}


def listed(*rules: tuple[int, list[Any]], policy: str = "accept") -> Snapshot:
    """A host of which `nft -j` prints these rules, by handle."""
    at = {"family": "inet", "table": "f"}
    hook = {"type": "filter", "hook": "input", "prio": 0, "policy": policy}
    items: list[Any] = [{"table": {"family": "inet", "name": "f"}}, {"chain": {**at, "name": "in", **hook}}]
    items += [{"rule": {**at, "chain": "in", "handle": handle, "expr": expr}} for handle, expr in rules]
    return with_text(json.dumps({"nftables": items}))


def with_text(text: str) -> Snapshot:
    """A host of which `nft -j` prints this text."""
    plain = host(librespot())
    texts = (FilterText("nft-json", "nft -j list ruleset", text),)
    return replace(plain, namespaces=(replace(plain.namespaces[0], nft=EMPTY, texts=texts), *plain.namespaces[1:]))


END: tuple[int, list[Any]] = (8, [{"accept": None}])
CASES = (
    has("LG601", "a guard is not printed", "low", "rule 7 of inet f in", "reject with icmpv6 no-route", "IPv6 only", of=listed((7, [NO_ROUTE]), END), rules=GUARDED),
    has("LG601", "a rule is not printed", "medium", "cannot certify: rule 1 of chain inet f in", "reject icmp code 0", "accept", of=listed(END), rules=GUARDED),
    has("LG601", "another policy", "medium", "cannot certify: the hook of chain inet f in", of=listed((7, [FAMILY, NO_ROUTE]), END, policy="drop"), rules=GUARDED),
    has("LG601", "cut", "low", "it is cut", of=with_text('{"nftables": ['), rules=GUARDED),
    clean("LG601", "a guard is printed", of=listed((7, [FAMILY, {"reject": {"type": "icmpx", "expr": "no-route"}}]), END), rules=GUARDED),
    clean("LG601", "nothing to compare with", rules=GUARDED),
)  # fmt: skip
