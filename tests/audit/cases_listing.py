"""Hosts whose listing of the rules tells what the kernel holds, less than it, and something else."""

import json
from dataclasses import replace
from typing import Any

from audit.case import clean, has
from audit.hosts import ACCEPT, EMPTY, PORT, filters, host, librespot, table, to, v4
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


def with_text(text: str, kind: str = "nft-json") -> Snapshot:
    """A host of which `nft -j`, or iptables-save, prints this text."""
    plain = host(librespot())
    texts = (FilterText(kind, "listing", text),)
    return replace(plain, namespaces=(replace(plain.namespaces[0], nft=EMPTY, texts=texts), *plain.namespaces[1:]))


def saved(*rules: str, policy: str = "DROP") -> Snapshot:
    """A host of which iptables-save prints these rules of INPUT."""
    return with_text("\n".join(("*filter", f":INPUT {policy} [0:0]", *rules, "COMMIT", "")), "iptables-save")


IPTABLES = filters(table((*v4(), *to("tcp", PORT), ACCEPT), family="ip", chain="INPUT"))
HOME = f"-A INPUT -s 192.168.10.0/24 -p tcp -m tcp --dport {PORT} -j ACCEPT"
END: tuple[int, list[Any]] = (8, [{"accept": None}])
CASES = (
    has("LG601", "a guard is not printed", "low", "rule 7 of inet f in", "reject with icmpv6 no-route", "IPv6 only", of=listed((7, [NO_ROUTE]), END), rules=GUARDED),
    has("LG601", "a rule is not printed", "medium", "cannot certify: rule 1 of chain inet f in", "reject icmp code 0", "accept", of=listed(END), rules=GUARDED),
    has("LG601", "another policy", "medium", "cannot certify: the hook of chain inet f in", of=listed((7, [FAMILY, NO_ROUTE]), END, policy="drop"), rules=GUARDED),
    has("LG601", "cut", "low", "it is cut", of=with_text('{"nftables": ['), rules=GUARDED),
    clean("LG601", "a guard is printed", of=listed((7, [FAMILY, {"reject": {"type": "icmpx", "expr": "no-route"}}]), END), rules=GUARDED),
    clean("LG601", "nothing to compare with", rules=GUARDED),
    has("LG602", "an accept is not printed", "medium", "the kernel lets in 192.168.10.0/24, whom the printed rules shut out", of=saved(), rules=IPTABLES),
    has("LG602", "more is printed than holds", "low", "the kernel shuts out", of=saved(f"-A INPUT -p tcp --dport {PORT} -j ACCEPT"), rules=IPTABLES),
    has("LG602", "a table is not printed", "low", "table `filter` is not printed", of=with_text("# Table `filter' is incompatible, use 'nft' tool.\n", "iptables-save"), rules=IPTABLES),
    has("LG602", "it is cut", "low", "it prints less than there is: listing: it ends within table `filter`", of=with_text("*filter\n:INPUT DROP [0:0]\n", "iptables-save"), rules=IPTABLES),
    clean("LG602", "the same", of=saved(HOME), rules=IPTABLES),
    clean("LG602", "nothing to compare with", rules=IPTABLES),
)  # fmt: skip
