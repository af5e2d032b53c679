"""Rules about the cgroup of a socket whose cgroup is gone."""

from collections.abc import Iterator

from librespot_guard.audit.checks._rules import based, denies, place, rule_text, running, spaces, whose
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.firewall.cgroups import cgroups_of
from librespot_guard.firewall.model import TABLE_DORMANT

_ROOT = "1"  # the id of the root cgroup: who does not see it sees only a part of the tree


def _gone(check: Check, context: Context) -> Iterator[Finding | Unable]:
    known = context.snapshot.cgroups or {}
    numbers = {path: number for number, path in known.items()}
    now = [
        f"{s.name} is in cgroup {numbers[s.cgroup]} now ({s.cgroup})"
        for s in context.snapshot.services
        if s.cgroup in numbers
    ]
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        ruleset = context.world(namespace.id).ruleset
        for table in ruleset.tables:
            chains = running(table, based(table)).values() if not table.flags & TABLE_DORMANT else ()
            for chain in chains:
                for rule in chain.rules:
                    wanted = cgroups_of(table, rule, ruleset.byteorder)
                    gone = [str(number) for number in wanted if str(number) not in known]
                    if not gone:
                        continue
                    text = rule_text(namespace, table, chain, rule)
                    if _ROOT not in known:
                        yield check.unable(
                            None, f"the cgroups that `{text}` asks for", "the tree of cgroups was not read, or only a part of it", "run the audit as root, outside of containers"
                        )  # fmt: skip
                        continue
                    yield check.finding(
                        None,
                        [
                            f"{place(table, chain)}: `{text}`",
                            *(f"no cgroup has the number {number}" for number in gone),
                            *now,
                        ],
                        severity="high" if denies(rule) and len(gone) == len(wanted) else None,
                        fix=(
                            *check.fix,
                            f"the rule is {(origin := whose(table, chain, rule, text)).place}: {origin.change}",
                        ),
                        place=place(table, chain),
                    )


CHECKS = (
    Check(
        id="LG407",
        title="a rule asks for a cgroup that is gone",
        severity="medium",
        threats=("unauthorised-access",),
        what=(
            "Compares the numbers in rules on `socket cgroupv2` (and in the sets that these look into) with the cgroup tree. High if the rule denies "
            "and none of its cgroups is there. Not looked at: `-m cgroup --path` of iptables, which holds a path."
        ),
        why=(
            "nft stores the number of a unit's cgroup, and systemd makes a new one at each start: after `systemctl restart` the rule never matches "
            "again, and nothing tells. What it denied is open."
        ),
        fix=(
            "put the service into a slice of its own (`Slice=` in a drop-in) and write the rule for that slice: it stays over restarts",
            "or let systemd (255 or newer) keep a set up to date: `NFTSet=cgroup:inet:TABLE:SET`",
        ),
        verify="nft list ruleset",
        look=_gone,
    ),
)
