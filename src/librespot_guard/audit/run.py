"""Apply the checks to a snapshot."""

import difflib
from collections.abc import Iterable, Mapping

from librespot_guard.audit.context import Context
from librespot_guard.audit.grade import grade
from librespot_guard.audit.model import SEVERITIES, Finding, Report, Unable
from librespot_guard.audit.registry import BY_ID, CHECKS
from librespot_guard.errors import InputError
from librespot_guard.firewall.model import Ruleset
from librespot_guard.snapshot import Snapshot


def run(snapshot: Snapshot, *, ignore: Iterable[str] = (), rulesets: Mapping[str, Ruleset] | None = None) -> Report:
    """Make every check on a snapshot.

    Args:
        snapshot: the facts.
        ignore: ids of checks not to make (in any case).
        rulesets: packet filters to suppose in place of the snapshot's own, by namespace id (how the host would look after a plan).

    Raises:
        InputError: an id in `ignore` is not one of a check, or the snapshot's packet filter is truncated.
    """
    ignored = known_ids(ignore)
    context = Context(snapshot, rulesets)
    findings: list[Finding] = []
    incomplete = [Unable(None, None, gap.what, gap.why, gap.hint) for gap in snapshot.incomplete]
    for check in CHECKS:
        if check.id in ignored:
            continue
        for result in check.look(check, context):
            if isinstance(result, Finding):
                findings.append(result)
            else:
                incomplete.append(result)
    findings.sort(key=lambda f: (-SEVERITIES.index(f.severity), f.service or "", f.id))
    return Report(
        grade=grade(findings, incomplete),
        findings=tuple(findings),
        incomplete=tuple(dict.fromkeys(incomplete)),
        checks=tuple(check.id for check in CHECKS if check.id not in ignored),
        ignored=ignored,
        services=tuple(service.name for service in snapshot.services),
    )


def known_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids in their own spelling, sorted, each once; InputError for one that no check has."""
    found = set()
    for text in ids:
        if text.upper() not in BY_ID:
            near = difflib.get_close_matches(text.upper(), BY_ID, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "`librespot-guard explain` lists all checks"
            raise InputError(f"there is no check `{text}`", hint=hint)
        found.add(text.upper())
    return tuple(sorted(found))
