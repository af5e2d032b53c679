"""What the user should know before a policy is applied: warnings, each with what to do."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from ipaddress import ip_address
from itertools import islice

from librespot_guard import catalog
from librespot_guard.firewall.model import Ruleset
from librespot_guard.plan.minimise_place import OLD_PREFIX, PREFIX
from librespot_guard.plan.model import EffectiveRule
from librespot_guard.plan.proof import Claim, Proof
from librespot_guard.policy import Assignment, Policy, unmatched
from librespot_guard.reach import Packet, World
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.routing import text
from librespot_guard.snapshot import Listener, Namespace, Snapshot
from librespot_guard.snapshot.setting_file import SettingFile
from librespot_guard.targets.selector import members, strangers
from librespot_guard.targets.syntax import FAMILY, TABLE, GuardTable, Port

# ranges of blocked sources in which a rule of somebody else is looked for
_MOST_BLOCKED = 64
# the tables of iptables-nft: no `flush ruleset` belongs to them
_IPTABLES = {"filter", "nat", "mangle", "raw", "security"}


def advice(
    policy: Policy,
    snapshot: Snapshot,
    assignments: Sequence[Assignment],
    rules: Sequence[EffectiveRule],
    ruleset: Ruleset,
    today: date,
) -> tuple[str, ...]:
    """Every warning that follows from the policy and the facts."""
    namespace = snapshot.home
    found = [*policy.warnings]
    found += _unmatched(policy, snapshot)
    found += _expired(policy, assignments, today)
    found += _nowhere(policy, assignments, rules, namespace)
    found += _deaf(assignments)
    found += _random_ports(assignments)
    found += _shared(assignments, namespace)
    found += _unnamed(snapshot, assignments)
    found += _flushed(ruleset)
    return tuple(dict.fromkeys(found))


def _unmatched(policy: Policy, snapshot: Snapshot) -> Iterator[str]:
    for entry in unmatched(policy, snapshot):
        yield f"{entry.where or policy.file}: `{entry.name}` matches no service that runs here: nothing is guarded for it"


def _expired(policy: Policy, assignments: Sequence[Assignment], today: date) -> Iterator[str]:
    for assignment in assignments:
        for surface, names in assignment.entry.allow.items():
            for name in names:
                expires = policy.sources[name].expires
                if expires is not None and expires < today:
                    yield f"source `{name}` expired on {expires.isoformat()}: it may no longer reach {surface} of `{assignment.entry.name}`"


def _nowhere(
    policy: Policy, assignments: Sequence[Assignment], rules: Sequence[EffectiveRule], namespace: Namespace
) -> Iterator[str]:
    """Sources that may never be seen here: none of their addresses is on-link, or their interface is not there."""
    links = {link.name for link in namespace.links}
    used = {name for a in assignments for names in a.entry.allow.values() for name in names}
    own = [ip_address(a.address) for a in namespace.addresses]
    for name in sorted(used):
        source = policy.sources[name]
        if source.interface is not None and source.interface not in links:
            yield f"source `{name}`: there is no interface `{source.interface}` here (yet)"
        for network in source.networks:
            if network.prefixlen < network.max_prefixlen and not any(
                a in network for a in own if a.version == network.version
            ):
                yield f"source `{name}`: no interface of this host has an address in {network}; if that is meant, its packets come over a router"
    allowed = {(rule.entry, rule.surface) for rule in rules if rule.source is not None}
    for assignment in assignments:
        entry, here = assignment.entry, {item.surface for item in assignment.service.listeners}
        if "discovery" in here and entry.allow.get("discovery") and (entry.name, "discovery") not in allowed:
            yield f"`{entry.name}`: none of its discovery sources is on-link at any interface, so nobody can discover it"


def _deaf(assignments: Sequence[Assignment]) -> Iterator[str]:
    """Services without a listener: rules name ports, so there is none for them."""
    for assignment in assignments:
        if not assignment.service.listeners:
            yield (
                f"no listener of `{assignment.service.name}` (pid {assignment.service.pid}) was seen, so these rules guard nothing of it; "
                "if it is only starting, plan again when it listens"
            )


def _random_ports(assignments: Sequence[Assignment]) -> Iterator[str]:
    flavours = catalog.load()
    for assignment in assignments:
        service = assignment.service
        for item in service.listeners:
            if item.pinned or item.surface == "unknown":
                continue
            port = item.listener.port
            try:
                setting = _pin(flavours.flavour(service.flavour), item.surface, port)
            except KeyError:
                setting = f"set its port to {port}"
            yield (
                f"a restart of `{service.name}` takes a new port that these rules do not cover ({item.surface} is on {item.listener.proto} "
                f"port {port} now); pin it first: {setting}"
            )


def _pin(flavour: catalog.Flavour, surface: str, port: int) -> str:
    """The exact setting that keeps a surface of this flavour on this port."""
    own = flavour.surface(surface)
    if surface != "connect" and own is not None and own.long:
        return f"start it with `--{own.long} {port}`"
    # the sentences of the catalogue speak of port 37878
    return flavour.pin.replace("37878", str(port))


def _shared(assignments: Sequence[Assignment], namespace: Namespace) -> Iterator[str]:
    by_port: dict[tuple[str, int], list[Assignment]] = {}
    for assignment in assignments:
        for item in assignment.service.listeners:
            by_port.setdefault((item.listener.proto, item.listener.port), []).append(assignment)
    everybody = members(assignments)
    for (proto, port), here in sorted(by_port.items()):
        group = [m for m in everybody if (m.listener.proto, m.listener.port) == (proto, port)]
        others = strangers(group, namespace)
        if others:
            names = ", ".join(sorted({_owner(other) for other in others}))
            yield f"{proto} port {port} is shared with other programs ({names}): the policy applies to their packets too"
        if proto == "udp" and len({a.entry.name for a in here}) > 1:
            names = ", ".join(sorted({f"`{a.entry.name}`" for a in here}))
            yield f"udp port {port} is shared by {names}: who may reach one of them reaches all"


def _owner(listener: Listener) -> str:
    pids = ", ".join(map(str, listener.pids))
    at = f"[{listener.address}]" if ":" in listener.address else listener.address
    return f"pid {pids} on {at}" if pids else f"an unknown process on {at}"


def _unnamed(snapshot: Snapshot, assignments: Sequence[Assignment]) -> Iterator[str]:
    assigned = {id(a.service) for a in assignments}
    for service in snapshot.services:
        if id(service) not in assigned and service not in [a.service for a in assignments]:
            yield f"the policy does not mention `{service.name}` ({service.flavour}, pid {service.pid}): it stays as open as it is"


def _flushed(ruleset: Ruleset) -> Iterator[str]:
    others = [f"{t.family} {t.name}" for t in ruleset.tables if (t.family, t.name) != (FAMILY, TABLE)]
    native = [name for name in others if name.split()[1] not in _IPTABLES or name.startswith("inet")]
    if native:
        yield (
            f"other nftables rules are loaded ({', '.join(native)}): a `nft flush ruleset` of their owner removes ours too; "
            "after nftables.service they are loaded again"
        )


def lost_ports(wanted: GuardTable, current: GuardTable | None) -> list[str]:
    """Ports that only one of both guards: their service may be stopped at the moment, or have taken another port since."""

    def ports(table: GuardTable) -> set[Port]:
        part = table.confirmed
        chain = next((c for c in part.chains if c.name == part.entry), None) if part else None
        return {m for rule in (chain.rules if chain else ()) for m in rule.matches if isinstance(m, Port)}

    if current is None or current.confirmed is None:
        return []

    def shown(some: set[Port]) -> list[str]:
        return [f"{p.proto} port {p.port}" for p in sorted(some, key=lambda p: (p.proto, p.port))]

    return [
        *(f"{p} is guarded today and would not be any more" for p in shown(ports(current) - ports(wanted))),
        *(
            f"{p} is not guarded by the rules in force: who reaches it today does so until this is applied"
            for p in shown(ports(wanted) - ports(current))
        ),
    ]


def proof_texts(proof: Proof, after: World) -> tuple[list[str], list[str]]:
    """What the proof on the planned rules says: reasons to refuse, and warnings."""
    refusals, warnings = [], []
    for claim in proof.claims:
        if claim.question.iface == "lo":
            continue
        what = f"{claim.listener.surface} of `{claim.service}` over {claim.question.iface} ({claim.question.family})"
        if claim.verdict == "refuted":
            example = f": {claim.counterexample.to_json()}" if claim.counterexample else ""
            refusals.append(
                f"internal error: the planned rules do not hold the policy for {what}{example}; please report it"
            )
        elif claim.verdict == "undecided":
            warnings.append(
                f"{what}: not decided exactly, because {'; '.join(claim.answer.because) or 'the analysis has no exact answer'}"
            )
        if claim.blocked:
            blocker = _blocker(claim, after)
            if blocker:
                warnings.append(f"{what}: allowed by the policy, but `{blocker}` drops it")
    return refusals, list(dict.fromkeys(warnings))


def _blocker(claim: Claim, after: World) -> str | None:
    """The rule of somebody else that drops an allowed source, as `table chain rule`."""
    question, listener = claim.question, claim.listener.listener
    # not every one of them meets a rule: this host's own addresses are blocked as well, as no packet comes from there
    for source in dict.fromkeys(end for pair in islice(claim.blocked, _MOST_BLOCKED) for end in pair):
        packet = Packet(
            question.iface, text(question.family, source), question.dst, listener.proto, dport=listener.port
        )
        result = trace(after, packet)
        last = result.trail[-1] if result.trail else None
        if result.verdict in ("dropped", "rejected") and last is not None and last.table != f"{FAMILY} {TABLE}":
            return f"{last.table} {last.chain} {last.rule}"
    return None


def weak_drop_ins(files: Mapping[str, Sequence[SettingFile]], changed: Collection[str]) -> Iterator[str]:
    """Drop-ins of earlier versions that this plan does not replace: others are read after them, and hold without a word."""
    for path in dict.fromkeys(f.path for each in files.values() for f in each if f.form == "unit"):
        name = path.rpartition("/")[2]
        if name.startswith(OLD_PREFIX) and path not in changed:
            better = name.replace(OLD_PREFIX, PREFIX, 1)
            yield f"{path} was written by an earlier version, and a drop-in such as override.conf wins over it: rename it to {better}"
