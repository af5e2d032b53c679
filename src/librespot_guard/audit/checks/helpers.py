"""Conntrack helpers: programs in the kernel that open ports for what a flow announces."""

from collections.abc import Iterator

from librespot_guard.audit.checks._rules import based, place, rule_text, running, spaces
from librespot_guard.audit.checks._words import socket_name
from librespot_guard.audit.context import Context, Exposure
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.firewall.helpers import OPENS, asked, assigned
from librespot_guard.firewall.model import TABLE_DORMANT
from librespot_guard.reach import Engine
from librespot_guard.reach.routing import number
from librespot_guard.reach.standing import Standing, standing
from librespot_guard.snapshot import Namespace

_SURFACES = ("connect", "api", "login", "stream", "control", "metadata", "unknown")
# until Linux 6.0: every flow to a well-known port gets its helper (Documentation/networking/nf_conntrack-sysctl.rst)
_AUTOMATIC = "net.netfilter.nf_conntrack_helper"


def _in_use(context: Context, namespace: Namespace) -> dict[str, str]:
    """The helpers that open ports and that flows get, each with the place that gives them."""
    ruleset = context.world(namespace.id).ruleset
    found: dict[str, str] = {}
    for table in ruleset.tables:
        if table.flags & TABLE_DORMANT:
            continue
        for chain in running(table, based(table)).values():
            for rule in chain.rules:
                for name in assigned(table, rule, ruleset.byteorder):
                    text = rule_text(namespace, table, chain, rule)
                    found.setdefault(name, f"{place(table, chain)}: `{text}`")
    if namespace.sysctls.get(_AUTOMATIC) == "1":
        for name in OPENS:
            found.setdefault(name, f"{_AUTOMATIC} = 1: the kernel gives it by the port of a flow")
    return {name: where for name, where in found.items() if name in OPENS}


def _related(context: Context, exposure: Exposure) -> tuple[Standing, ...]:
    """The rules that let in related flows to a listener."""
    engine = Engine(
        context.world(exposure.service.netns), exposure.link.name, exposure.family, exposure.listener.listener.proto
    )
    found = standing(engine, number(exposure.destination), exposure.listener.listener.port)
    return tuple(s for s in found if s.kind == "related")


def _helpers(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        used = _in_use(context, namespace)
        if not used:
            continue
        rules = {
            (f"{t.family} {t.name}", c.name, r.handle): r
            for t in context.world(namespace.id).ruleset.tables
            for c in t.chains
            for r in c.rules
        }
        for service in context.snapshot.services:
            lines: dict[str, None] = {}
            for exposure in context.exposures(service, *_SURFACES) if service.netns == namespace.id else ():
                proto = exposure.listener.listener.proto
                able = {name for name in used if proto in OPENS[name]}
                for one in _related(context, exposure) if able and exposure.through is None else ():
                    wanted = asked(rules[one.table, one.chain, one.handle])
                    for name in sorted(able if wanted is None else able & {wanted}):
                        lines[f"{used[name]} gives flows the helper {name}"] = None
                        lines[
                            f"{one.table} {one.chain}: `{one.rule}` lets in what it announces, {_to(exposure)} too"
                        ] = None
            if lines:
                yield check.finding(service.name, lines)


def _to(exposure: Exposure) -> str:
    return f"to {socket_name(exposure.listener.listener)} over {exposure.link.name}"


CHECKS = (
    Check(
        id="LG504",
        title="a connection tracking helper can open the port of a service",
        severity="medium",
        threats=("unauthorised-access", "network-attack"),
        what=(
            "Looks for rules that give flows a conntrack helper which expects a flow to a port named in the payload (FTP, IRC, SIP, H.323, Amanda), "
            "or the old sysctl that does so for all, together with a rule that accepts related packets to the port of a service. `reach` is "
            "about new flows; what is related to another comes in beside its answer."
        ),
        why=(
            "The helper believes what it reads: whoever can make this host, or one behind it, send such a line (a web page is enough for FTP "
            "and IRC) names the port of the service, and then comes in as related."
        ),
        fix=(
            "remove the rule that gives the helper, if nothing here uses that protocol",
            'or accept related flows only for that helper and to high ports: `ct state related ct helper "ftp" tcp dport 49152-65535 accept`',
        ),
        verify="librespot-guard reach",
        look=_helpers,
    ),
)
