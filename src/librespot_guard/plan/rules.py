"""What a policy means on a host, line by line: its effective rules."""

from collections.abc import Sequence
from datetime import date

from librespot_guard.plan.model import EffectiveRule
from librespot_guard.policy import Assignment, Policy
from librespot_guard.reach.intervals import WIDTH, IntervalSet, cidrs
from librespot_guard.snapshot import Namespace
from librespot_guard.targets.nftables import effective


def networks(v4: IntervalSet, v6: IntervalSet) -> tuple[str, ...]:
    """The addresses as CIDR text; () for every address of both families."""
    if (v4, v6) == (IntervalSet.full(WIDTH["ipv4"]), IntervalSet.full(WIDTH["ipv6"])):
        return ()
    return (*cidrs("ipv4", v4), *cidrs("ipv6", v6))


def effective_rules(
    policy: Policy, assignments: Sequence[Assignment], namespace: Namespace, *, today: date
) -> tuple[EffectiveRule, ...]:
    """Every listener of every assigned service, with each source that may reach it, or with none."""
    out = []
    for assignment in assignments:
        entry, service = assignment.entry, assignment.service
        for item in service.listeners:
            at = (
                service.name,
                entry.name,
                item.surface,
                item.listener.proto,
                item.listener.port,
                item.listener.address,
            )
            lines = []
            for name in entry.allow.get(item.surface, ()):
                source = policy.sources[name]
                for iface, v4, v6 in effective(policy, source, entry, item.surface, namespace, today):
                    rule = EffectiveRule(*at, name, source.why, source.owner, source.expires, iface, networks(v4, v6))
                    lines.append(rule)
            out += lines or [EffectiveRule(*at)]
    return tuple(dict.fromkeys(out))
