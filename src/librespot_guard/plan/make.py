"""Policy and snapshot to a plan: pure, so that the same facts always give the same plan."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import date

from librespot_guard import catalog, firewall
from librespot_guard.errors import Refused
from librespot_guard.firewall.model import Ruleset
from librespot_guard.plan import advice
from librespot_guard.plan.change import change
from librespot_guard.plan.lockout import lockouts
from librespot_guard.plan.minimise import Review, reviews
from librespot_guard.plan.minimise_edits import Edits, edits
from librespot_guard.plan.model import Lockout, Plan
from librespot_guard.plan.proof import prove
from librespot_guard.plan.rules import effective_rules
from librespot_guard.policy import Assignment, Policy, assign
from librespot_guard.reach import world
from librespot_guard.snapshot import Snapshot
from librespot_guard.snapshot.setting_file import SettingFile
from librespot_guard.targets import nft_model, nft_text, nftables
from librespot_guard.targets.nft_read import Foreign, find, read
from librespot_guard.targets.syntax import FAMILY, TABLE, GuardTable


def make(
    policy: Policy,
    snapshot: Snapshot,
    *,
    today: date,
    timeout: int = 60,
    files: Mapping[str, Sequence[SettingFile]] | None = None,
    restart: bool = False,
) -> Plan:
    """What has to change so that this host holds the policy, and everything that speaks for and against it.

    Args:
        policy: who may reach what.
        snapshot: the facts about the host.
        today: the day on which expiring sources are judged.
        timeout: seconds for which the gate is to hold.
        files: configuration files by name of the service (`collect.setting_files`), for entries that state a use.
        restart: restart the units whose settings change.
    """
    home = snapshot.home
    assignments = assign(policy, snapshot)
    ours = [a for a in assignments if a.service.netns == home.id]
    before = firewall.decode(home.nft, byteorder=snapshot.byteorder) if home.nft else Ruleset((), snapshot.byteorder)
    refusals: list[str] = []
    if home.nft is None:
        refusals.append("the packet filter of this host could not be read: see `librespot-guard scan`; run it as root")
    current, wanted = None, None
    try:
        current = present(before)
    except Foreign as error:
        refusals.append(
            f"the table `{FAMILY} {TABLE}` was changed by somebody else ({error}); look at it with `nft list table {FAMILY} {TABLE}`, "
            f"remove it with `nft delete table {FAMILY} {TABLE}`, and apply again"
        )
    if not assignments:
        refusals.append("no entry of the policy matches a service that runs here: there is nothing to guard")
    elif not any(a.service.listeners for a in assignments):
        refusals.append("no service of the policy has a listener that could be seen: there is nothing to guard")
    rules = effective_rules(policy, ours, home, today=today)
    warnings = list(advice.advice(policy, snapshot, assignments, rules, before, today))
    try:
        wanted = nftables.build(policy, assignments, home, today=today)
    except Refused as error:
        refusals += str(error).splitlines()
    after, proved = before, ""
    locked: tuple[Lockout, ...] = ()
    if wanted is not None:
        after = before.replaced(nft_model.table(wanted))
        warnings += advice.lost_ports(wanted, current)
        if current and current.gated:
            warnings.append(f"the change {current.gated.id} is pending: confirm it or roll it back first")
        proof = prove(policy, snapshot, ruleset=after, today=today)
        proved = proof.verdict
        against, notes = advice.proof_texts(proof, world(snapshot, ruleset=after))
        refusals += against
        warnings += notes
        locked = lockouts(snapshot, after)
        refusals += [f"it would lock you out: {each.why} would be {each.trace.verdict}" for each in locked]
    settings: tuple[Review, ...] = ()
    todo_settings = Edits()
    if any(a.entry.use for a in ours):
        settings, todo_settings, said = _settings(ours, files or {}, restart=restart)
        warnings += said
    todo = None
    if wanted is not None and not refusals:
        if current is not None and current.confirmed and not difference(current, wanted):
            # the same rules keep their id, but a change of settings alone is a change with an id of its own
            salt = repr(todo_settings.steps) if todo_settings else ""
            wanted = (
                nftables.build(policy, assignments, home, today=today, salt=salt)
                if salt
                else GuardTable(current.confirmed)
            )
        if todo_settings or not _same(wanted, current):
            todo = change(wanted, current, settings=todo_settings.steps, back_settings=todo_settings.back)
    return Plan(
        title=policy.title,
        file=policy.file,
        id=wanted.id if wanted else "",
        change=todo,
        rules=rules,
        refusals=tuple(dict.fromkeys(refusals)),
        warnings=tuple(dict.fromkeys(warnings)),
        lockouts=locked,
        diff=difference(current, wanted) if wanted else "",
        timeout=timeout,
        wanted=wanted,
        current=current,
        ruleset_before=before,
        ruleset_after=after,
        proof=proved,
        settings=settings,
        settings_diff=todo_settings.diff,
    )


def _settings(
    ours: Sequence[Assignment], files: Mapping[str, Sequence[SettingFile]], *, restart: bool
) -> tuple[tuple[Review, ...], Edits, list[str]]:
    """The feature reviews, what they change in files, and what the user should know."""
    known = {flavour.name: flavour for flavour in catalog.load().flavours}
    items = [
        (a.service, a.entry.use, frozenset(s for s, names in a.entry.allow.items() if names))
        for a in ours
        if a.entry.use
    ]
    found = tuple(reviews(items, known, files))
    warnings = []
    for review in found:
        for proposal in review.proposals:
            about = f"`{review.service.name}`: {', '.join(proposal.surfaces)}"
            if proposal.problem:
                warnings.append(f"{about}: not changed by this plan: {proposal.problem} ({proposal.how})")
            elif proposal.place and proposal.needs:
                warnings.append(f"{about} will be taken away; first there must be: {proposal.needs}")
            if proposal.done:
                warnings.append(
                    f"{about}: its configuration says so already: {proposal.how}; restart it if it is still open"
                )
    try:
        made = edits(found, restart=restart)
    except Refused as error:
        return found, Edits(), [*warnings, f"no setting is changed: {error}"]
    warnings += advice.weak_drop_ins(files, {getattr(step, "path", "") for step in made.steps})
    if made and not restart:
        warnings.append("changed settings take effect when their services are restarted: `apply --restart` does it")
    return found, made, warnings


def present(ruleset: Ruleset) -> GuardTable | None:
    """Our table as it is on the host; None if there is none. Raises Foreign if somebody else changed it."""
    table = find(ruleset)
    return read(table) if table is not None else None


def difference(current: GuardTable | None, wanted: GuardTable) -> str:
    """Unified diff of the policy in force and the wanted one, with the ids taken out of the names; "" if they are equal."""
    old, new = _text(current), _text(GuardTable(wanted.confirmed))
    in_force = current.confirmed.id if current and current.confirmed else "none"
    lines = difflib.unified_diff(old, new, f"in force: {in_force}", f"wanted: {wanted.id}", lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _text(table: GuardTable | None) -> list[str]:
    if table is None or table.confirmed is None:
        return []
    return nft_text.table(GuardTable(table.confirmed)).replace(f"_{table.confirmed.id}", "").splitlines()


def _same(wanted: GuardTable, current: GuardTable | None) -> bool:
    return current is not None and current.confirmed == wanted.confirmed
