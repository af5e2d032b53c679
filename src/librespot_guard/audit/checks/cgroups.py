"""Rules about the cgroup of a socket whose cgroup is gone."""

from collections.abc import Iterator, Mapping

from librespot_guard.audit.checks._rules import INWARD, based, denies, place, rule_text, running, spaces, whose
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.firewall.cgroups import cgroup_paths_of, cgroups_of
from librespot_guard.firewall.model import TABLE_DORMANT

# cgroup_mt asks for the socket of a packet (net/netfilter/xt_cgroup.c), which the first of a flow has not yet
_UNSEEN = "on the way in, a packet that opens a flow has no socket yet: `-m cgroup` does not match it"
_ROOT = "1"  # the id of the root cgroup: who does not see it sees only a part of the tree


def _told(
    known: Mapping[str, str], wanted: tuple[int, ...], paths: tuple[str, ...], *, inward: bool
) -> tuple[list[str], list[str]]:
    """Why a rule does not match one and another of its cgroups, and paths of which that can't be told."""
    if paths and inward:
        return [_UNSEEN], []
    there = set(known.values())
    gone = [f"no cgroup has the number {number}" for number in wanted if str(number) not in known]
    gone += [f"there is no cgroup {path}" for path in paths if path not in there]
    # the root is never made anew, and systemd keeps slices
    return gone, [path for path in paths if path in there and path != "/" and not path.endswith(".slice")]


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
            inward = running(table, based(table, INWARD))
            for chain in chains:
                for rule in chain.rules:
                    wanted = cgroups_of(table, rule, ruleset.byteorder)
                    paths = cgroup_paths_of(rule)
                    gone, perhaps = _told(known, wanted, paths, inward=chain.name in inward)
                    if not gone and not perhaps:
                        continue
                    text = rule_text(namespace, table, chain, rule)
                    if _ROOT not in known and gone != [_UNSEEN]:
                        yield check.unable(
                            None, f"the cgroups that `{text}` asks for", "the tree of cgroups was not read, or only a part of it", "run the audit as root, outside of containers"
                        )  # fmt: skip
                        continue
                    if perhaps:
                        yield check.unable(
                            None, f"whether `{text}` still matches", f"the kernel keeps the cgroup that {perhaps[0]} was when the rule was added, and does not show which", "add the rule anew whenever the unit was restarted, or write it for a slice"
                        )  # fmt: skip
                    if not gone:
                        continue
                    yield check.finding(
                        None,
                        [f"{place(table, chain)}: `{text}`", *gone, *now],
                        severity="high" if denies(rule) and len(gone) == len(wanted) + len(paths) else None,
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
            "Compares the numbers in rules on `socket cgroupv2` (and in the sets that these look into), and the paths of `-m cgroup --path` of iptables, "
            "with the cgroup tree. High if the rule denies and none of its cgroups is there, or if it asks for a path on the way in, where it never "
            "matches the first packet of a flow. A path that is there may be that of a cgroup made since: "
            "of such a rule it is said that this can't be told."
        ),
        why=(
            "nft stores the number of a unit's cgroup, iptables the cgroup that a path led to, and systemd makes a new one at each start: after "
            "`systemctl restart` the rule never matches again, and nothing tells. What it denied is open."
        ),
        fix=(
            "put the service into a slice of its own (`Slice=` in a drop-in) and write the rule for that slice: it stays over restarts",
            "or let systemd (255 or newer) keep a set up to date: `NFTSet=cgroup:inet:TABLE:SET`",
        ),
        verify="nft list ruleset",
        look=_gone,
    ),
)
