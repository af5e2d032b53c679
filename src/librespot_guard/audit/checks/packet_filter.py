"""The packet filter itself: can it be analysed, do several tools write it, are our own rules still about something."""

from collections.abc import Iterator
from ipaddress import ip_address

from librespot_guard.audit.checks._rules import INWARD, based, denies, running
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.ports import matched_ports
from librespot_guard.audit.sources import listed
from librespot_guard.firewall.legacy import SUFFIX as LEGACY
from librespot_guard.firewall.model import TABLE_DORMANT, Ruleset, Table
from librespot_guard.firewall.origin import origin
from librespot_guard.snapshot import Namespace, OtherFilter

OURS = ("inet", "librespot_guard")


def _namespaces(context: Context) -> Iterator[Namespace]:
    """The namespaces with a service in them."""
    wanted = {service.netns for service in context.snapshot.services}
    yield from (n for n in context.snapshot.namespaces if n.id in wanted)


def _named(namespace: Namespace) -> str:
    return "this host" if namespace.home else f"the network namespace {namespace.name or namespace.id}"


def _unclear(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in _namespaces(context):
        if not context.filter_known(namespace.id):
            yield check.unable(
                None,
                f"the packet filter of {_named(namespace)}",
                "it could not be read",
                "run the audit as root (or with CAP_NET_ADMIN)",
            )
            continue
        here = context.world(namespace.id)
        ways = [(link.name, family) for link in here.namespace.links for family in ("ipv4", "ipv6")]
        reasons = [*here.doubts, *(reason for iface, family in ways for reason in here.doubts_about(iface, family))]
        for service in context.snapshot.services:
            if service.netns == namespace.id:
                for exposure in context.exposures(
                    service, "connect", "api", "control", "stream", "login", "metadata", "discovery"
                ):
                    reasons += [] if exposure.answer.exact else list(exposure.answer.because)
        reasons = list(dict.fromkeys(reasons))
        if reasons:
            yield check.finding(
                None,
                [f"{_named(namespace)}: {reason}" for reason in reasons],
                here="Answers that depend on it are given as bounds (`may`, `must`), not as exact.",
                verify="librespot-guard reach --format json",
                place=namespace.name or namespace.id,
            )


UNCLEAR = Check(
    id="LG301",
    title="the packet filter cannot be analysed completely",
    severity="medium",
    threats=("network-attack",),
    what=(
        "Reports packet filters on the path that are not analysed (legacy iptables, XDP, tc, …) and expressions in rules whose effect on a single "
        "packet cannot be told (rate limits, unknown matches)."
    ),
    why="What is not understood may let in what looks closed. No finding about who reaches a listener is certain beyond these bounds.",
    fix=(
        "remove the filter that is not needed, or move its rules to nftables (`iptables-legacy-save | iptables-restore-translate -f -` prints them)",
        "where a rate limit is meant: keep it, and read `may` as who gets through at a low rate",
    ),
    verify="librespot-guard reach --format json",
    look=_unclear,
)

_NOT_ALONE = frozenset({"fail2ban"})
"""Writers that are made to stand beside a firewall."""
_WRITERS = ("ufw", "firewalld", "foomuuri", "Shorewall", "OpenWrt fw4", "fail2ban")
_BUILT_IN = {"INPUT", "FORWARD", "OUTPUT"}


def _owner(table: Table) -> str:
    """Which tool writes a table, as far as its names tell."""
    managers = {origin(table.family, table.name, chain.name).manager for chain in table.chains}
    for writer in _WRITERS:
        if writer in managers:
            return writer
    if table.name.endswith(LEGACY):
        return "iptables (legacy)"
    if "iptables" in managers and table.name == "filter" and {c.name for c in table.chains} >= _BUILT_IN:
        return "iptables"
    return "nftables"


def _denies(table: Table) -> bool:
    """Whether a table keeps something out of the host itself: it hangs on the way in and can drop or reject."""
    inward = [c for c in based(table, INWARD) if c.hook is not None and c.hook.kind == "filter"]
    return any(c.hook is not None and c.hook.policy == "drop" for c in inward) or any(
        denies(rule) for c in running(table, inward).values() for rule in c.rules
    )


def firewalls(ruleset: Ruleset, others: tuple[OtherFilter, ...]) -> dict[str, list[str]]:
    """Every tool whose rules deny something on the way into the host, with the tables it does that in. Ours does not count."""
    found: dict[str, list[str]] = {}
    for table in ruleset.tables:
        if (table.family, table.name) != OURS and not table.flags & TABLE_DORMANT and _denies(table):
            found.setdefault(_owner(table), []).append(f"table {table.family} {table.name}")
    for other in others:
        if "iptables" in other.kind or "legacy" in other.kind:
            found.setdefault("iptables (legacy)", []).append(f"{other.kind} {other.where}".strip())
    return {owner: tables for owner, tables in found.items() if owner not in _NOT_ALONE}


def _several(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in _namespaces(context):
        if not context.filter_known(namespace.id):
            yield check.unable(
                None,
                f"whether several firewalls are active on {_named(namespace)}",
                "the packet filter could not be read",
            )
            continue
        found = firewalls(context.world(namespace.id).ruleset, namespace.other_filters)
        if len(found) > 1:
            yield check.finding(
                None,
                [f"{_named(namespace)}: {owner} denies packets in {listed(tables)}" for owner, tables in found.items()],
                here=f"Here these are {listed(found)}.",
            )


SEVERAL = Check(
    id="LG302",
    title="two firewalls are active at once",
    severity="medium",
    threats=("unauthorised-access", "denial-of-service"),
    what=(
        "Looks for rules on the way into the host that deny something, and who writes them: nftables, iptables (nft or legacy), ufw, firewalld and "
        "others. Reports two or more. Our own table, NAT and fail2ban do not count."
    ),
    why=(
        "A packet must be accepted by each of them. What one opens stays closed by the other, and people then switch the wrong one off; a restart of "
        "one may flush the rules of the other."
    ),
    fix=(
        "decide which tool writes the firewall of this host, and disable the other: `systemctl disable --now` ufw, firewalld, nftables or netfilter-persistent",
        "look at what is still loaded: `nft list ruleset`, `iptables-legacy-save`",
    ),
    verify="nft list ruleset; iptables-legacy-save",
    look=_several,
)


def _dead(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in context.snapshot.namespaces:
        if not context.filter_known(namespace.id):
            if namespace.home:
                yield check.unable(
                    None,
                    f"whether our own rules on {_named(namespace)} still match a listener",
                    "the packet filter could not be read",
                )
            continue
        ruleset = context.world(namespace.id).ruleset
        ours = next((t for t in ruleset.tables if (t.family, t.name) == OURS), None)
        if ours is None:
            continue
        open_ports = {(listener.proto, listener.port) for listener in namespace.listeners}
        dead = sorted(matched_ports(ours) - open_ports)
        if not dead:
            continue
        served = [
            s for service in context.snapshot.services if service.netns == namespace.id for s in service.listeners
        ]
        outside = {
            (s.listener.proto, s.listener.port)
            for s in served
            if s.surface != "unknown" and not ip_address(s.listener.address).is_loopback
        }
        uncovered = sorted(outside - matched_ports(ours))
        evidence = [
            f"table inet librespot_guard has rules for {proto} {port}, and nothing listens there"
            for proto, port in dead
        ]
        evidence += [
            f"a service listens on {proto} {port}, for which the table has no rule" for proto, port in uncovered
        ]
        yield check.finding(
            None,
            evidence,
            here="A service went to another port, which is not restricted."
            if uncovered
            else "The service may come back on another port, or is gone.",
            severity="high" if uncovered else None,
            place="table inet librespot_guard",
        )


DEAD = Check(
    id="LG303",
    title="a rule of ours is about a port that nothing listens on",
    severity="low",
    threats=("unauthorised-access",),
    what=(
        "Compares the ports in our own table (`inet librespot_guard`) with the sockets of the namespace. High if at the same time a service listens "
        "on a port that the table has no rule for: it was restarted with another random port and stands open."
    ),
    why="A rule follows a port, not a service. When the service moves, the rule protects nothing, and nobody sees that.",
    fix=(
        "fix the port of the service (see `librespot-guard explain LG201`)",
        "make the rules anew: `librespot-guard plan policy.yaml`, `librespot-guard apply policy.yaml`, `librespot-guard confirm`",
    ),
    verify="librespot-guard plan policy.yaml",
    look=_dead,
)


def _responders(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in _namespaces(context):
        names = {s.pid: f"{s.name} (pid {s.pid})" for s in context.snapshot.services}
        sockets = [x for x in namespace.listeners if x.proto == "udp" and x.port == 5353]
        owners: dict[str, None] = {}
        for socket in sockets:
            for pid in socket.pids or (0,):
                owner = names.get(pid) or (
                    f"process {pid}" if pid else f"a process of uid {socket.uid} that could not be told"
                )
                owners[owner] = None
        if len(owners) > 1:
            yield check.finding(None, [f"{_named(namespace)}, udp 5353: {owner}" for owner in owners], place="udp 5353")


RESPONDERS = Check(
    id="LG304",
    title="several mDNS responders share UDP 5353",
    severity="low",
    threats=("denial-of-service",),
    what="Reports more than one process with a socket on UDP 5353 in the network namespace of a service.",
    why=(
        "A question by unicast reaches only one of them, and each answers only for itself: devices come and go in the phone's list. It is the most "
        "frequent cause of a speaker that is not found."
    ),
    fix=(
        "let one responder serve the host: a build with `--zeroconf-backend avahi` and avahi-daemon, or stop avahi-daemon if nothing else needs it",
        "with several speakers on one host, use avahi for all of them",
    ),
    verify="ss -lunp 'sport = :5353'",
    look=_responders,
)

CHECKS = (UNCLEAR, SEVERAL, DEAD, RESPONDERS)
