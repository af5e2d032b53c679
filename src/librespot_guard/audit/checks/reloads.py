"""A packet filter that is loaded anew: is there a moment without rules."""

from collections.abc import Iterable, Iterator

from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.snapshot import FilterStep, UnitFacts

_START = ("ExecStartPre", "ExecStart", "ExecStartPost")
_RESTART = ("ExecStop", "ExecStopPost", *_START)


def _of(unit: UnitFacts, *keys: str) -> list[FilterStep]:
    return [step for key in keys for step in unit.steps or () if step.key == key]


def _moments(steps: Iterable[FilterStep], closed: dict[str, bool]) -> Iterator[tuple[FilterStep, FilterStep]]:
    """Transactions behind which rules are missing, each with the later one that brings some.

    `closed` are the families whose policy is to drop, before these steps and, changed here, behind them. One that takes all tables and
    loads its own takes those of the later ones, too.
    """
    gone: dict[str, FilterStep] = {}
    for step in steps:
        for family in (step.family, "") if step.loads or step.closes else ():
            if family in gone:
                yield gone.pop(family), step
        opens = step.closes is False and closed.get(step.family, False)
        if step.removes in ("tables", "all") and not step.loads:
            closed.clear()
        if step.closes is not None:
            closed[step.family] = step.closes
        if (opens or (step.removes and not closed.get(step.family, False))) and (
            not step.loads or step.removes == "all"
        ):
            gone.setdefault(step.family, step)


def _reload(check: Check, context: Context) -> Iterator[Finding | Unable]:
    boot = context.snapshot.boot
    for unit in boot.units if boot is not None else ():
        if not (unit.filters and unit.wanted_by):
            continue
        if unit.steps is None:
            if unit.removes:
                yield check.unable(
                    None, f"whether {unit.name} leaves a moment without rules when it loads them anew", "what it runs can't be followed, or the snapshot was taken by a version that did not try", "look whether it removes rules and loads them in two commands"
                )  # fmt: skip
            continue
        closed: dict[str, bool] = {}
        list(_moments(_of(unit, *_START), closed))
        found = {
            "reload": list(_moments(_of(unit, "ExecReload"), dict(closed))),
            "restart": list(_moments(_of(unit, *_RESTART), dict(closed))),
        }
        if any(found.values()):
            yield _found(check, unit, found)


def _found(check: Check, unit: UnitFacts, found: dict[str, list[tuple[FilterStep, FilterStep]]]) -> Finding:
    whole = any(step.loads for step in _of(unit, "ExecReload")) and not found["reload"]
    fix = list(check.fix)
    if whole:
        fix.insert(0, f"load changes with `systemctl reload {unit.name}`, which leaves no such moment")
    if any(gone.key.startswith("ExecStop") for gone, _ in found["restart"]):
        fix.append(
            f"in a drop-in (`systemctl edit {unit.name}`) empty `ExecStop=`: the next start then replaces the rules"
        )
    return check.finding(
        None,
        [
            f"`systemctl {verb} {unit.name}`: rules are missing from {gone.origin}: `{gone.text}` until {back.origin}: `{back.text}`"
            for verb, moments in found.items()
            for gone, back in moments
        ],
        severity="low" if whole else None,
        fix=fix,
        verify=f"systemctl cat {unit.name}",
        place=unit.name,
    )


RELOAD = Check(
    id="LG307",
    title="rules are loaded anew with a moment without any",
    severity="medium",
    threats=("unauthorised-access",),
    what=(
        "Follows what the enabled units that load a packet filter run at `systemctl reload` and `restart`, transaction by transaction: files of nft, "
        "calls of nft, iptables and iptables-restore, and shell scripts of these. Reports a transaction that takes rules away and leaves no policy to "
        "drop, with the later one that brings some. Low if only a restart does it and a reload does not. Of scripts that branch (`case`, functions), "
        "and of programs that write rules themselves, it is said that this can't be told."
    ),
    why=(
        "Between the two transactions everything gets in, and a connection that is made then stays where rules accept established ones. "
        "Who knocks all the time needs no luck."
    ),
    fix=(
        "take away and load in one transaction: one file for `nft -f` that begins with the removal of its own table, or iptables-restore, which replaces a table at once",
    ),
    verify="systemctl cat nftables.service",
    look=_reload,
)

CHECKS = (RELOAD,)
