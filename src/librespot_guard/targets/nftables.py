"""The policy as an nftables table: deny by default for the listeners of the services it names, and nothing else.

Layout (one `inet` table of our own, so that no other program's rules are touched)::

    input            base chain, before `filter`, policy accept: the gate, then the policy in force
    policy_<id>      lets loopback go, sends each guarded port to the chain of its surface, drops packets that hide their port
    <surface>_…_<id> accepts each allowed source, counts and drops everybody else

Names end in the id of the policy, so that an old and a new policy can be in the table at once.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from librespot_guard.errors import Refused
from librespot_guard.firewall.model import Verdict
from librespot_guard.policy import Assignment, Entry, Policy, Source, allowed
from librespot_guard.reach.intervals import WIDTH, IntervalSet, cidrs
from librespot_guard.snapshot import Namespace
from librespot_guard.targets import nft_text
from librespot_guard.targets.names import Names, comment
from librespot_guard.targets.selector import Group, Selector, groups
from librespot_guard.targets.syntax import (
    FromNetwork,
    FromSet,
    GuardChain,
    GuardRule,
    GuardSet,
    GuardTable,
    Iface,
    Known,
    Match,
    NfProto,
    Part,
    Port,
    To,
)

_ACCEPT = Verdict("accept")
_DROP = Verdict("drop")


def refusals(policy: Policy, assignments: Sequence[Assignment], namespace: Namespace) -> tuple[str, ...]:
    """Why this target can't hold the policy; empty if it can. To leave out what can't be held would widen access."""
    out = []
    for entry in dict.fromkeys(a.entry.name for a in assignments):
        for key, where in policy.services[entry].unenforced:
            out.append(
                f"{where}: `{key}` can't be enforced by this version; the nftables target refuses rather than leave it out"
            )
    out += [
        f"{a.service.name}: it runs in the network namespace {a.service.netns}, and this version changes only its own; "
        f"narrow `match` of `{a.entry.name}` (for instance by `name`), and run librespot-guard inside that namespace for it"
        for a in assignments
        if a.service.netns != namespace.id
    ]
    here = [a for a in assignments if a.service.netns == namespace.id]
    return (*out, *groups(here, namespace)[1])


def build(
    policy: Policy, assignments: Sequence[Assignment], namespace: Namespace, *, today: date, salt: str = ""
) -> GuardTable:
    """The table that allows exactly what `policy.allowed` says, for every interface and family.

    Args:
        policy: who may reach what.
        assignments: which service each entry speaks of.
        namespace: the network namespace that the table is for.
        today: sources that expired before this day allow nothing.
        salt: makes another id for the same rules, where the change is in something else.

    Raises:
        Refused: this target can't hold the policy; every reason is in the text.
        InputError: an interface has a name that nft can't write.
    """
    reasons = refusals(policy, assignments, namespace)
    if reasons:
        raise Refused(
            "\n".join(reasons), hint="take these keys out of the policy, or wait for the version that enforces them"
        )
    plan = groups(assignments, namespace)[0]
    draft = _Builder("0" * 8, policy, namespace, today).part(plan)
    digest = hashlib.sha256((nft_text.part(draft) + salt).encode()).hexdigest()[:8]
    return GuardTable(_Builder(digest, policy, namespace, today).part(plan))


def effective(
    policy: Policy, source: Source, entry: Entry, surface: str, namespace: Namespace, today: date
) -> list[tuple[str | None, IntervalSet, IntervalSet]]:
    """What one source may do to one surface: (interface or None for every one, IPv4 addresses, IPv6 addresses).

    A surface whose sources depend on the interface (discovery, which is cut to what is on-link) has a line per interface.
    """
    if surface == "unknown" or (source.expires is not None and source.expires < today):
        return []
    if surface == "discovery":
        lines: list[tuple[str | None, IntervalSet, IntervalSet]] = []
        alone = replace(entry, allow={surface: (source.name,)})
        for link in namespace.links:
            if not link.loopback:
                v4, v6 = (allowed(policy, alone, surface, link.name, f, namespace, today=today) for f in WIDTH)
                if v4 or v6:
                    lines.append((link.name, v4, v6))
        return lines
    if not source.networks and source.interface is None:
        return []
    everybody = not source.networks
    v4 = IntervalSet.full(32) if everybody else IntervalSet.networks(n for n in source.networks if n.version == 4)
    v6 = IntervalSet.full(128) if everybody else IntervalSet.networks(n for n in source.networks if n.version == 6)
    return [(source.interface, v4, v6)]


class _Builder:
    """Builds the part of one id; two builders with the same input differ in the id alone."""

    def __init__(self, part_id: str, policy: Policy, namespace: Namespace, today: date) -> None:
        self.id, self.policy, self.namespace, self.today = part_id, policy, namespace, today
        self.names = Names(part_id)
        self.sets: dict[tuple[str, IntervalSet], GuardSet] = {}
        self.chains: dict[tuple[tuple[str, str], ...], GuardChain] = {}

    def part(self, plan: Sequence[Group]) -> Part:
        rules = [GuardRule((Iface("lo"),), _ACCEPT, comment="this host itself")]
        for group in plan:
            if group.surfaces not in self.chains:
                self.chains[group.surfaces] = self.chain(group)
            target = Verdict("goto", self.chains[group.surfaces].name)
            who = ", ".join(dict.fromkeys(m.service for m in group.members))
            rules.append(GuardRule(_selected(group.selector), target, comment=comment(who)))
        rules += [
            GuardRule((Known(),), _ACCEPT, comment="not for a guarded port"),
            GuardRule((), _DROP, counter=True, comment="a fragment that hides its port (RFC 8200, 4.5)"),
        ]
        entry = GuardChain(f"policy_{self.id}", tuple(rules))
        return Part(self.id, (entry, *self.chains.values()), tuple(self.sets.values()))

    def chain(self, group: Group) -> GuardChain:
        first = group.members[0]
        words = (
            (first.surface, first.entry.name)
            if len(group.surfaces) == 1
            else (first.listener.proto, str(first.listener.port))
        )
        rules: dict[tuple[Match, ...], GuardRule] = {}
        for name, surface in group.surfaces:
            entry = self.policy.services[name]
            for rule in self.accepts(entry, surface):
                rules.setdefault(rule.matches, rule)
        whom = ", ".join(f"{surface} of {name}" for name, surface in group.surfaces)
        last = GuardRule((), _DROP, counter=True, comment=comment(f"nobody else: {whom}"))
        return GuardChain(self.names.new(*words), (*rules.values(), last))

    def accepts(self, entry: Entry, surface: str) -> Iterator[GuardRule]:
        for name in entry.allow.get(surface, ()):
            source = self.policy.sources[name]
            for iface, v4, v6 in effective(self.policy, source, entry, surface, self.namespace, self.today):
                ingress = (Iface(iface),) if iface is not None else ()
                note = comment(f"{source.name}: {source.why}")
                for matches in self.sources(source, v4, v6):
                    yield GuardRule((*ingress, *matches), _ACCEPT, comment=note)

    def sources(self, source: Source, v4: IntervalSet, v6: IntervalSet) -> Iterator[tuple[Match, ...]]:
        if (v4, v6) == (IntervalSet.full(32), IntervalSet.full(128)):
            yield ()
            return
        for family, addresses in (("ipv4", v4), ("ipv6", v6)):
            if addresses == IntervalSet.full(WIDTH[family]):
                yield (NfProto(family),)
            elif addresses:
                yield (self.addresses(source, family, addresses),)

    def addresses(self, source: Source, family: str, addresses: IntervalSet) -> Match:
        networks: list[IPv4Network | IPv6Network] = (
            [ip_network(text) for text in cidrs(family, addresses)] if len(addresses) == 1 else []
        )
        if len(networks) == 1:
            return FromNetwork(networks[0])
        key = (family, addresses)
        if key not in self.sets:
            self.sets[key] = GuardSet(self.names.new(source.name, family[-1]), family, addresses)
        return FromSet(family, self.sets[key].name)


def _selected(selector: Selector) -> tuple[Match, ...]:
    port = Port(selector.proto, selector.port)
    return (port,) if selector.address is None else (To(ip_address(selector.address)), port)
