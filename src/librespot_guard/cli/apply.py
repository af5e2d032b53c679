"""`apply`: change this host, with a way back that the kernel holds."""

import hashlib
import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from librespot_guard.cli import common
from librespot_guard.errors import InputError, MachineError, Refused, RolledBack

if TYPE_CHECKING:
    from types import FrameType

    from librespot_guard.plan import Plan


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> int:  # noqa: ARG001 - click calls it so
    """A time such as `90`, `60s`, `5m` or `1h`, in seconds, from 5 s to 1 h."""
    found = re.fullmatch(r"(\d{1,5})(s|m|h)?", value)
    seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"] if found else 0
    if not 5 <= seconds <= 3600:
        raise click.BadParameter(f"{value!r} is not a time from 5s to 1h, such as `60s` or `5m`")
    return seconds


@click.command(
    epilog="""\b
Examples:
  librespot-guard apply policy.yaml                        then, from a second session:
  librespot-guard confirm ID
  librespot-guard apply policy.yaml --confirm-within 5m
  librespot-guard apply policy.yaml --yes --no-wait        for scripts; `status` tells how it went
  librespot-guard apply policy.yaml --plan plan.json       only if the plan is still what `plan -o plan.json` saved
"""
)
@click.argument("policy_file", metavar="POLICY", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--confirm-within",
    callback=_seconds,
    metavar="TIME",
    default="60s",
    show_default=True,
    help="Fall back unless confirmed in this time (5s to 1h).",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before changing.")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Refuse if the plan is no longer the one that `plan -o FILE` saved.",
)
@click.option("--restart", is_flag=True, help="After `confirm`, restart the services whose settings change.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the change is armed.")
@common.format_option()
def apply(
    policy_file: Path,
    confirm_within: int,
    yes: bool,
    plan_file: Path | None,
    restart: bool,
    no_wait: bool,
    output: str,
) -> int:
    """Make this host hold the policy in the file POLICY.

    The new rules are loaded behind a gate in the kernel: if nobody runs `confirm` in time, from a second session, the old rules come
    back by themselves, even if this program is killed or the network is gone. Only then are they written for the next boot.
    """
    from librespot_guard.apply import machine, nft  # noqa: PLC0415 - `--help` must not pay for it
    from librespot_guard.apply.journal import State  # noqa: PLC0415
    from librespot_guard.cli.plan import make, render  # noqa: PLC0415

    text = common.read_policy(policy_file)
    saved = _saved(plan_file) if plan_file is not None else None
    nft.find()
    with State() as state:
        machine.refuse_pending(machine.recover(state))
    snapshot = common.load_snapshot(None)
    if snapshot.home.nft is None:
        why = next(
            (gap.why for gap in snapshot.incomplete if "packet filter" in f"{gap.what} {gap.why}"),
            "it could not be read",
        )
        raise MachineError(
            f"the packet filter of this host can't be changed: {why}", hint="run it as root, with `sudo`"
        )
    made = make(policy_file, snapshot, text=text, timeout=confirm_within, live=True, restart=restart)
    if output == "text":
        click.echo(render(made))
    if made.refusals:
        raise Refused("the policy can't be applied here:\n  " + "\n  ".join(made.refusals), hint=_refused_hint(made))
    if saved is not None:
        _still_planned(saved, made, str(plan_file))
    if made.unchanged:
        _mend_boot(made.id)
        _say(output, made.id, "unchanged")
        return 0
    _ask(yes)
    about = {
        "title": made.title,
        "policy": "-" if str(policy_file) == "-" else str(policy_file.absolute()),
        "policy_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    with _signals() as caught:
        pending = _arm(made, confirm_within, about)
        common.note(
            f"\nThe new rules are loaded, and fall back by themselves in {confirm_within} s.\n"
            f"Open a SECOND session to this host and run there:\n\n    librespot-guard confirm {made.id}\n"
        )
        if no_wait:
            _say(output, made.id, "pending")
            return 0
        from librespot_guard.cli._wait import wait  # noqa: PLC0415

        outcome = wait(pending, caught)
    return _end(output, made, outcome, caught)


# what a saved plan is compared by: all of it but the advice and the time to confirm, which do not change what is done
_PLANNED = ("schema", "id", "in_force", "unchanged", "rules", "diff", "settings", "settings_diff")


def _saved(plan_file: Path) -> dict[str, Any]:
    """A plan as `plan -o` saved it. Raises InputError."""
    hint = f"write it with `librespot-guard plan POLICY -o {plan_file}`"
    try:
        saved = json.loads(common.read_text(plan_file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{plan_file}: not a whole JSON document ({error})", hint=hint) from None
    if not isinstance(saved, dict) or any(key not in saved for key in _PLANNED):
        raise InputError(f"{plan_file}: not a saved plan", hint=hint)
    return saved


def _still_planned(saved: dict[str, Any], made: "Plan", plan_file: str) -> None:
    """Refuse if the world or the policy moved since the plan was saved."""
    now = made.to_json()
    moved = [key for key in _PLANNED if saved[key] != now[key]]
    if moved:
        raise Refused(
            f"{plan_file}: the plan is another one now (it differs in {', '.join(moved)})",
            hint=f"look at it again: `librespot-guard plan {made.file} -o {plan_file}`",
        )


def _mend_boot(change_id: str) -> None:
    """Write the boot files of the policy in force again if somebody removed or changed them."""
    from librespot_guard.apply import executor  # noqa: PLC0415
    from librespot_guard.apply.journal import State  # noqa: PLC0415

    with State() as state:
        confirmed = state.confirmed()
        if not confirmed or confirmed[-1]["id"] != change_id:
            return
        boot = [step for step in confirmed[-1]["change"]["boot"] if step["step"] != "restart-unit"]
        if not executor.in_place(boot):
            executor.perform(boot)
            common.note("the boot files of this policy were missing or changed: they are written again")


def _end(output: str, made: "Plan", outcome: str, caught: list[int]) -> int:
    if outcome == "pending":
        common.note(
            f"\n{signal.Signals(caught[0]).name}: nobody waits any more, but the change stays armed: the kernel puts the old rules back unless "
            f"`librespot-guard confirm {made.id}` comes in time"
        )
        _say(output, made.id, outcome)
        return 128 + caught[0]
    if outcome == "confirmed":
        _say(output, made.id, outcome)
        return 0
    if output == "json":
        _say(output, made.id, outcome)
    why = {"expired": _reason(made.id), "cancelled": "it was rolled back"}.get(outcome, "it failed")
    raise RolledBack(f"the change {made.id} is undone: {why}; the old rules are in force")


def _reason(change_id: str) -> str:
    """Why a change has expired: seldom it is not the time, but another program that removed the rules."""
    from librespot_guard.apply.journal import State  # noqa: PLC0415

    last = next((e for e in reversed(State().history()) if e["id"] == change_id), None)
    return str(last["reason"]) if last is not None and last["reason"] else "nobody confirmed it in time"


def _arm(made: "Plan", seconds: int, about: dict[str, str]) -> dict[str, Any]:
    """Load the change behind the gate and read it back."""
    from librespot_guard.apply import machine  # noqa: PLC0415
    from librespot_guard.apply.journal import State  # noqa: PLC0415
    from librespot_guard.targets import nft_model  # noqa: PLC0415
    from librespot_guard.targets.compare import canonical  # noqa: PLC0415
    from librespot_guard.targets.syntax import GuardTable  # noqa: PLC0415

    if made.change is None or made.wanted is None:
        raise AssertionError("a plan without a change is not armed")
    with State() as state:
        machine.refuse_pending(machine.recover(state))
        found = _loaded()
        if (found is None) != (made.current is None) or (found is not None and found != _planned_on(made)):
            raise Refused("the rules of this host changed while the plan was made", hint="run `apply` again")
        pending = machine.arm(state, made.change.to_json(), seconds, about)
        loaded = _loaded()
        planned = GuardTable(made.current.confirmed if made.current else None, made.wanted.confirmed)
        if loaded is None or loaded != canonical(nft_model.table(planned)):
            machine.cancel(state, pending, "what was loaded is not what was planned", "failed")
            raise RolledBack(
                "what the kernel loaded is not what was planned, so it is undone",
                hint="another program may be changing the rules at the same time; `nft monitor` shows which",
            )
    return pending


def _loaded() -> Any:
    """Our table as the kernel has it now, in comparable form; None if there is none."""
    from librespot_guard import collect, firewall  # noqa: PLC0415
    from librespot_guard.targets.compare import canonical  # noqa: PLC0415
    from librespot_guard.targets.nft_read import find  # noqa: PLC0415

    table = find(firewall.decode(collect.read_nft(texts=False), byteorder=sys.byteorder))
    return canonical(table) if table else None


def _planned_on(made: "Plan") -> Any:
    """Our table as it was when the plan was made, in comparable form."""
    from librespot_guard.targets.compare import canonical  # noqa: PLC0415
    from librespot_guard.targets.nft_read import find  # noqa: PLC0415

    table = find(made.ruleset_before)
    return canonical(table) if table else None


def _ask(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("there is no terminal to ask on", hint="add `--yes` to apply without being asked")
    if not click.confirm("\nApply this?", default=False, err=True):
        raise Refused("nothing was changed")


def _refused_hint(made: "Plan") -> str:
    if made.lockouts:
        return "allow your own connection in the policy first; packets are shown above, with their trail"
    return f"`librespot-guard plan {made.file}` shows all of it"


def _say(output: str, change_id: str, outcome: str) -> None:
    from librespot_guard.apply.quick import confirmed, document  # noqa: PLC0415

    if outcome == "confirmed":
        click.echo(confirmed(change_id, output), nl=False)
    elif output == "json":
        common.print_json(document(change_id, outcome))
    elif outcome == "unchanged":
        common.note("nothing was changed")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect signals that would end us, so that nothing is left half recorded; the kernel's gate needs nobody to wait."""
    caught: list[int] = []

    def note(number: int, frame: "FrameType | None") -> None:  # noqa: ARG001
        caught.append(number)

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, note) for kind in kinds}
    try:
        yield caught
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
