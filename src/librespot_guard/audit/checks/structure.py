"""Rules that are not what they look like: chains that nothing runs, replies let in by port, rules of one family only."""

from collections.abc import Iterator

from librespot_guard.audit.checks._rules import (
    INWARD,
    accepts,
    based,
    denies,
    place,
    rule_text,
    running,
    spaces,
    tables_of_others,
    whose,
)
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.sources import listed
from librespot_guard.firewall.model import (
    Chain,
    Cmp,
    Ct,
    Lookup,
    Meta,
    Payload,
    Range,
    Rule,
    Table,
    Xt,
)
from librespot_guard.snapshot import Namespace


def _unreferenced(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        for table in tables_of_others(context, namespace):
            runs = running(table, based(table))
            for chain in table.chains:
                if chain.name in runs or not chain.rules:
                    continue
                # Docker and others leave a chain for the user's rules with one `return` in it
                denying = any(denies(rule) for rule in chain.rules)
                count = len(chain.rules)
                owner = whose(table, chain)
                yield check.finding(
                    None,
                    [
                        (
                            f"{place(table, chain)} holds {count} rule{'s' * (count != 1)}"
                            f"{', some of which deny' * denying}, and no chain that runs jumps to it"
                        ),
                        f"it is {owner.place}",
                    ],
                    severity="medium" if denying else "low",
                    place=place(table, chain),
                )


UNREFERENCED = Check(
    id="LG401",
    title="rules stand in a chain that nothing runs",
    severity="medium",
    threats=("unauthorised-access",),
    what=(
        "Reports chains with rules that no base chain reaches by jump, goto or verdict map. A known case: `DOCKER-USER` with rules in it, and no jump "
        "to it, because the program that puts the jump there was restarted or replaced."
    ),
    why="Whoever wrote the rules believes that they protect something. No packet ever meets them.",
    fix=(
        "put the jump back (for DOCKER-USER: restart Docker, or `iptables -I FORWARD -j DOCKER-USER`), or remove the chain",
        "see that the rules are loaded after the program that makes the chain",
    ),
    verify="nft list ruleset",
    look=_unreferenced,
)


def _loads(rule: Rule) -> Iterator[tuple[str, bytes | None]]:
    """Which 16-bit fields of the transport header a rule compares ("sport", "dport"), and with what if it is one value."""
    where: dict[int, str] = {}
    for expr in rule.exprs:
        if isinstance(expr, Payload) and expr.base == "transport":
            where[expr.dreg] = {(0, 2): "sport", (2, 2): "dport", (0, 4): "both"}.get((expr.offset, expr.length), "")
        elif isinstance(expr, Meta | Ct):
            where.pop(expr.dreg, None)
        elif isinstance(expr, Cmp | Range | Lookup) and where.get(expr.sreg):
            inverted = getattr(expr, "inverted", False) or getattr(expr, "op", "eq") == "neq"
            data = expr.data if isinstance(expr, Cmp) and not inverted else None
            if where[expr.sreg] == "both":
                yield "dport", data[2:4] if data else None
                yield "sport", data[:2] if data else None
            elif not (inverted and where[expr.sreg] == "sport"):
                yield where[expr.sreg], data


def _stateless(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        for table in tables_of_others(context, namespace):
            for chain in running(table, based(table, INWARD)).values():
                for rule in chain.rules:
                    tested = dict(_loads(rule))
                    if (
                        not accepts(rule)
                        or "sport" not in tested
                        or "dport" in tested
                        or any(
                            isinstance(e, Ct) or (isinstance(e, Xt) and e.name in ("conntrack", "state"))
                            for e in rule.exprs
                        )
                    ):
                        continue
                    text = rule_text(namespace, table, chain, rule)
                    data = tested["sport"]
                    port = f"source port {int.from_bytes(data, 'big')}" if data else "such a source port"
                    yield check.finding(
                        None,
                        [
                            f"{place(table, chain)}: `{text}`",
                            f"whoever sends from {port} gets to every port of this host",
                        ],
                        fix=(
                            "accept replies by their state instead: `ct state established,related accept`",
                            f"remove the rule: {whose(table, chain, rule, text).change}",
                        ),
                        place=place(table, chain),
                    )


STATELESS = Check(
    id="LG402",
    title="replies are let in by their source port, which anybody can choose",
    severity="high",
    threats=("unauthorised-access", "network-attack"),
    what=(
        "Reports rules on the way in that accept packets for their source port alone (53, 123, 443, …), without looking at the state of the "
        "connection or at the destination port."
    ),
    why="Such a rule is meant for replies. A stranger binds that source port and opens connections to every service of the host.",
    fix=("accept replies by their state instead: `ct state established,related accept`, and remove the rule",),
    verify="librespot-guard reach",
    look=_stateless,
)


def _ports(table: Table, *, denying: bool) -> dict[tuple[str, int], tuple[Chain, Rule]]:
    """Destination ports that rules on the way in name: those that deny them, or all."""
    found: dict[tuple[str, int], tuple[Chain, Rule]] = {}
    for chain in running(table, based(table, INWARD)).values():
        for rule in chain.rules:
            if denying and not denies(rule):
                continue
            protos = [
                e.data[0]
                for e in rule.exprs
                if isinstance(e, Cmp) and e.op == "eq" and len(e.data) == 1 and e.data[0] in (6, 17)
            ]
            for name, data in _loads(rule):
                if name == "dport" and data and len(data) == 2:
                    proto = "udp" if 17 in protos else "tcp"
                    found.setdefault((proto, int.from_bytes(data, "big")), (chain, rule))
    return found


def _one_family(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        tables = tables_of_others(context, namespace)
        if not any(a.family == "ipv6" and not a.address.startswith(("::1", "fe80")) for a in namespace.addresses):
            continue
        other = [t for t in tables if t.family in ("ip6", "inet")]
        if any(
            c.hook is not None and c.hook.hook == "input" and c.hook.policy == "drop" for t in other for c in t.chains
        ):
            continue
        named = {port for t in other for port in _ports(t, denying=False)}
        listening = {(one.proto, one.port) for one in namespace.listeners if one.family == "ipv6"}
        for table in (t for t in tables if t.family == "ip"):
            for port, (chain, rule) in _ports(table, denying=True).items():
                if port in named or port not in listening:
                    continue
                text = rule_text(namespace, table, chain, rule)
                yield check.finding(
                    None,
                    [
                        f"{place(table, chain)}: `{text}`",
                        f"no rule of family ip6 or inet is about {port[0]}/{port[1]}, where a socket takes IPv6 too",
                    ],
                    here=f"This host has the IPv6 address{'es' * (len(_global(namespace)) > 1)} {listed(_global(namespace))}.",
                    place=place(table, chain),
                )


def _global(namespace: Namespace) -> list[str]:
    return [a.address for a in namespace.addresses if a.family == "ipv6" and not a.address.startswith(("::1", "fe80"))]


ONE_FAMILY = Check(
    id="LG403",
    title="a port is closed for IPv4 only",
    severity="high",
    threats=("unauthorised-access",),
    what=(
        "Reports rules of an `ip` table (or of iptables) that deny a destination port, where no rule for IPv6 names that port, no base chain drops "
        "IPv6 by its policy, the host has an IPv6 address, and a socket on that port takes IPv6."
    ),
    why="The same stranger comes by IPv6, and meets no rule.",
    fix=(
        "write the rule in a table of family `inet`, which is for both",
        "with iptables: the same rule with `ip6tables`; with ufw: `IPV6=yes` in /etc/default/ufw, then `ufw reload`",
    ),
    verify="librespot-guard reach",
    look=_one_family,
)

CHECKS = (UNREFERENCED, STATELESS, ONE_FAMILY)
