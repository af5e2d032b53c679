"""What `nft list ruleset` shows, held against what the kernel runs."""

from collections.abc import Iterator
from dataclasses import replace

from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.firewall.agreement import differences, misleading
from librespot_guard.firewall.legacy import SUFFIX as LEGACY

_SHOWN = 8


def _lies(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in context.snapshot.namespaces:
        listing = next((t.text for t in namespace.texts if t.kind == "nft-json"), None)
        if namespace.nft is None or listing is None or namespace.id not in {s.netns for s in context.snapshot.services}:
            continue
        whole = context.world(namespace.id).ruleset
        ruleset = replace(whole, tables=tuple(t for t in whole.tables if not t.name.endswith(LEGACY)))
        apart = differences(ruleset, listing)
        found = [f"{m.where}: the listing says `{m.says}`; the kernel: {m.truth}" for m in misleading(ruleset, listing)]
        if apart or found:
            rest = len(found) - _SHOWN
            yield check.finding(
                None,
                [*apart, *found[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])],
                severity="medium" if apart else "low",
                place=namespace.name or namespace.id,
            )


LISTING = Check(
    id="LG601",
    title="the listing of the rules does not tell what the kernel runs",
    severity="low",
    threats=("unauthorised-access",),
    what=(
        "Compares what `nft -j list ruleset` prints with the kernel's own messages: tables, chains, policies, rules, and the conditions that nft leaves "
        "out of its words (a family, a protocol, devices, a table that is dormant)."
    ),
    why=(
        "Whoever reviews the rules by their listing, a person or a program, believes more or less to be closed than is. librespot-guard itself reads "
        "the kernel; where the two tell of other rules, it certifies nothing until they agree."
    ),
    fix=(
        "update nftables (1.1.2 or newer prints most of what older ones leave out)",
        "state the condition openly in the rule, such as `meta nfproto ipv6 …` with a set, and review the rules with `librespot-guard reach`",
    ),
    verify="nft --debug=netlink list ruleset",
    look=_lies,
)

CHECKS = (LISTING,)
