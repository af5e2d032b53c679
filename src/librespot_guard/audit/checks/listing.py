"""What `nft list ruleset` and `iptables-save` show, held against what the kernel runs."""

from collections.abc import Iterator
from dataclasses import replace

from librespot_guard import firewall, reach
from librespot_guard.audit.checks._rules import spaces
from librespot_guard.audit.checks._words import socket_name
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.sources import FAMILY_NAMES, in_words
from librespot_guard.errors import InputError
from librespot_guard.firewall.agreement import differences, misleading
from librespot_guard.firewall.legacy import SUFFIX as LEGACY
from librespot_guard.firewall.listings import SAVES
from librespot_guard.firewall.model import Ruleset
from librespot_guard.reach import World, Worlds
from librespot_guard.snapshot import Listener, Namespace

_SHOWN = 8
NOBODY = reach.Answer(reach.IntervalSet(), reach.IntervalSet())


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


def _told(context: Context, namespace: Namespace) -> tuple[World, tuple[str, ...]]:
    """The namespace as it would be with the rules that iptables-save prints; and what that leaves out, in its own words."""
    texts = [t for t in namespace.texts if t.kind in (*SAVES, "ipset-save")]
    try:
        shown = firewall.read_listings(texts, interfaces={n.name: n.index for n in namespace.links})
    except InputError as error:
        # iptables 1.8.11 stops in the middle at a rule that it can't read
        return context.world(namespace.id), (str(error),)
    printed = {(t.family, t.name): t for t in shown.tables}
    whole = context.world(namespace.id).ruleset
    tables = (printed.get((t.family, t.name), t) for t in whole.tables if not t.name.endswith(LEGACY))
    ruleset = Ruleset(tuple(tables), whole.byteorder, whole.incomplete)
    return Worlds(context.snapshot, {**context.rulesets, namespace.id: ruleset})[namespace.id], tuple(
        r for r in shown.incomplete if "is not printed" in r
    )


def _reachable(world: World, listener: Listener) -> dict[tuple[str, str, str, int | None], reach.Answer]:
    return {
        (r.question.iface, r.question.family, r.question.dst, r.question.port): r.answer
        for r in reach.answers(world, listener)
    }


def _saved(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        if not any(t.kind in SAVES for t in namespace.texts) or namespace.nft is None:
            continue
        world, remarks = _told(context, namespace)
        lines = dict.fromkeys(f"it prints less than there is: {r}" for r in remarks)
        opened = False
        for listener in (o.listener for s in context.snapshot.services if s.netns == namespace.id for o in s.listeners):
            told = _reachable(world, listener)
            for key, answer in _reachable(context.world(namespace.id), listener).items():
                other = told.get(key, NOBODY)
                iface, family, dst, _ = key
                where = f"{socket_name(listener)} over {iface}, {FAMILY_NAMES[family]} to {dst}: the kernel"
                if answer.may - other.may:
                    opened = True
                    more = in_words(family, answer.shown_may - other.shown_may)
                    lines[f"{where} lets in {more}, whom the printed rules shut out"] = None
                if other.must - answer.may:
                    less = in_words(family, other.shown_must - answer.shown_may)
                    lines[f"{where} shuts out {less}, whom the printed rules let in"] = None
        if lines:
            found = list(lines)
            rest = len(found) - _SHOWN
            yield check.finding(
                None,
                [*found[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])],
                severity="medium" if opened else None,
                place=namespace.name or namespace.id,
            )


SAVED = Check(
    id="LG602",
    title="`iptables-save` tells of other rules than the kernel runs",
    severity="low",
    threats=("unauthorised-access",),
    what=(
        "Computes who reaches each listener once from the kernel's own messages, and once with the rules that iptables-save prints for its tables. "
        "Medium if the printed rules shut out somebody who gets in."
    ),
    why=(
        "A rule that nft put into a table of iptables is printed without what iptables has no words for (a set, a range, a verdict map), or not at "
        "all, and the exit status is 0 (iptables 1.8.11 stops at some such rules, with status 3): whoever reads the print, restores it or checks it "
        "by a program has another firewall in mind."
    ),
    fix=(
        "put such rules into a table of their own: `nft add table inet NAME`, with a base chain",
        "review the rules with `librespot-guard reach`, which reads the kernel",
    ),
    verify="nft list ruleset",
    look=_saved,
)

CHECKS = (LISTING, SAVED)
