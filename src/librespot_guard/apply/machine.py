"""The state machine around a change: pending -> confirmed | cancelled | expired, and confirmed -> reverted.

Each function wants an entered `State` (its lock). The order of the writes is what survives a kill at any instant: intent first
(`pending.json` with its phase), then the kernel, then the boot files, then `confirmed.json`, the history, and last the intent goes.
"""

import os

from librespot_guard.apply import executor, gate, nft, session
from librespot_guard.apply.journal import State, timestamp
from librespot_guard.errors import GuardError, MachineError, Refused, RolledBack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LATE = "nobody confirmed it in time"
_REMOVED = "its table was removed or replaced by another program"
_FALLEN = "the gate had fallen when the confirmation came"


def recover(state: State, *, ask: bool = False) -> "dict[str, Any] | None":
    """Finish or undo what an earlier command left behind; returns the change that is still pending, if any.

    Args:
        state: the entered state.
        ask: ask the kernel even where the deadline says that the change is still pending.

    Raises:
        MachineError: what is left to do could not be done; it stays recorded and is tried again by the next command.
    """
    pending = state.pending()
    if pending is None:
        return None
    if pending["boot"] != gate.boot_id():
        _after_restart(state, pending)
        return None
    phase = pending["phase"]
    if phase == "reverting":
        _finish_revert(state, pending)
        return None
    if phase == "undoing":
        _finish_undo(state, pending, "cancelled", pending.get("reason", ""))
        return None
    if phase == "armed" and gate.now() < pending["deadline"] and not ask:
        return pending
    kernel = gate.kernel()
    if kernel.gated == pending["id"]:
        # killed between loading and recording, or a clock that ran on while the machine slept
        if phase != "armed":
            pending = {**pending, "phase": "armed"}
            state.write_pending(pending)
        return pending
    if phase == "confirming" and kernel.base == pending["id"]:
        _finish_confirm(state, pending)
        return None
    late = phase != "arming" or gate.now() >= pending["deadline"]
    reason = _LATE if late else "the command was killed before the rules were loaded"
    if late and gate.now() < pending["deadline"]:
        reason = _REMOVED
    _finish_undo(state, pending, "expired" if late else "failed", reason)
    return None


def _after_restart(state: State, pending: "dict[str, Any]") -> None:
    """The machine was restarted: what the boot files say is in force."""
    if pending["phase"] == "reverting":
        _finish_revert(state, pending)
    elif pending["phase"] == "confirming" and executor.in_place(pending["change"]["boot"]):
        # boot files are written only after the kernel took the confirmation
        if gate.kernel().base != pending["id"]:
            nft.load(next(s["content"] for s in reversed(pending["change"]["boot"]) if s["step"] == "write-file"))
        _finish_confirm(state, pending)
    else:
        state.record("expired", pending, "the machine was restarted before it was confirmed")
        state.clear_pending()


def refuse_pending(other: "dict[str, Any] | None") -> None:
    """Refuse a second change while one is pending. Raises Refused, naming it."""
    if other is None:
        return
    left = max(0, round(other["deadline"] - gate.now()))
    raise Refused(
        f"the change {other['id']} of pid {other['pid']} is pending for another {left} s",
        hint=f"`librespot-guard confirm {other['id']}` keeps it, `librespot-guard rollback` undoes it",
    )


def arm(state: State, change: "dict[str, Any]", seconds: int, about: "dict[str, Any]") -> "dict[str, Any]":
    """Load the new rules behind the gate, which falls back by itself after `seconds`; returns what is now pending.

    Args:
        state: the entered state.
        change: a `steps.Change` in its JSON form.
        seconds: the time of the gate.
        about: `title`, `policy` (file) and `policy_sha256`, for the history.

    Raises:
        Refused: another change is pending.
        MachineError: it could not be loaded or recorded; nothing is changed.
    """
    gate.check_seconds(seconds)
    refuse_pending(recover(state))
    pending = {
        "id": change["id"],
        "phase": "arming",
        "deadline": gate.now() + seconds,
        "boot": gate.boot_id(),
        "seconds": seconds,
        "time": timestamp(),
        "pid": os.getpid(),
        "ssh": session.ssh_connection(),
        **about,
        "change": change,
    }
    state.write_pending(pending)
    try:
        executor.perform(change["arm"], seconds=seconds)
    except GuardError:
        _take_back(state, pending)
        raise
    pending = {**pending, "phase": "armed", "deadline": gate.now() + seconds}
    try:
        state.write_pending(pending)
        state.record("armed", pending)
    except GuardError:
        executor.perform(change["undo"])
        state.clear_pending()
        raise
    return pending


def _take_back(state: State, pending: "dict[str, Any]") -> None:
    """After nft failed: it may have been killed when the kernel had the transaction already."""
    try:
        if gate.kernel().gated == pending["id"]:
            executor.perform(pending["change"]["undo"])
    except MachineError:
        # the kernel can't be asked or changed at all; if the rules are there against all odds, the gate takes them away
        state.clear_pending()
        return
    state.clear_pending()


def confirm(state: State, wanted: str | None, *, force: bool = False) -> "dict[str, Any]":
    """Keep the pending change: the kernel first, then the boot files. Returns the change that is in force now.

    Args:
        state: the entered state.
        wanted: the id that the user gave, or None for whatever is pending.
        force: confirm even from the connection that made the change.

    Raises:
        Refused: nothing is pending, it has another id, or this is the connection that made the change.
        RolledBack: the gate has fallen already: the old rules are in force.
        MachineError: it could not be done; the text says what is in force.
    """
    pending = recover(state)
    if pending is None:
        return _nothing_pending(state, wanted)
    if wanted is not None and wanted != pending["id"]:
        raise Refused(
            f"the pending change is {pending['id']}, not {wanted}", hint=f"`librespot-guard confirm {pending['id']}`"
        )
    ssh = session.ssh_connection()
    if ssh and ssh == pending["ssh"] and not force:
        raise Refused(
            "this is the connection that made the change: that it is still open does not show that a new one can be made",
            hint=f"open a second session and run `librespot-guard confirm {pending['id']}` there (or add `--force`)",
        )
    state.write_pending({**pending, "phase": "confirming"})
    try:
        executor.perform(pending["change"]["confirm"])
    except MachineError:
        kernel = gate.kernel()
        if kernel.gated == pending["id"]:
            state.write_pending(pending)
            raise
        if kernel.base == pending["id"]:
            return _finish_confirm(state, pending)
        # the kernel counts in whole ticks, and may be a little early by our clock
        reason = _FALLEN if gate.now() > pending["deadline"] - 1 else _REMOVED
        _finish_undo(state, pending, "expired", reason)
        raise _undone(pending["id"], "expired", reason) from None
    return _finish_confirm(state, pending)


def _nothing_pending(state: State, wanted: str | None) -> "dict[str, Any]":
    confirmed = state.confirmed()
    if confirmed and wanted == confirmed[-1]["id"]:
        return confirmed[-1]
    last = next((e for e in reversed(state.history()) if wanted is None or e["id"] == wanted), None)
    if last is not None and last["event"] in ("expired", "cancelled", "failed"):
        raise _undone(last["id"], last["event"], last["reason"])
    raise Refused("no change is pending", hint="`librespot-guard status` shows what is in force")


def _undone(change_id: str, event: str, reason: str) -> RolledBack:
    if event == "expired" and reason in (_LATE, _FALLEN):
        return _too_late(change_id)
    return RolledBack(
        f"the change {change_id} was undone ({event}{f': {reason}' if reason else ''})",
        hint="apply it again" if event == "expired" else "",
    )


def _too_late(change_id: str) -> RolledBack:
    return RolledBack(
        f"the change {change_id} was not confirmed in time: the kernel has put the old rules back",
        hint="apply it again, with a longer `--confirm-within`",
    )


def _finish_confirm(state: State, pending: "dict[str, Any]") -> "dict[str, Any]":
    try:
        executor.perform(pending["change"]["boot"])
    except MachineError as error:
        raise MachineError(
            f"{error}: the new rules are in force, but will not come back after a restart of the machine",
            hint="mend that, then run `librespot-guard status`: it finishes what is left",
        ) from None
    done: dict[str, Any] = {
        key: pending[key] for key in ("id", "title", "policy", "policy_sha256", "change") if key in pending
    }
    done["time"] = timestamp()
    earlier = state.confirmed()
    if not earlier or earlier[-1]["id"] != done["id"]:
        state.write_confirmed([*earlier, done])
    state.record("confirmed", pending)
    state.clear_pending()
    return done


def cancel(state: State, pending: "dict[str, Any]", reason: str, event: str = "cancelled") -> None:
    """Undo the pending change now. Raises MachineError."""
    try:
        state.write_pending({**pending, "phase": "undoing", "reason": reason})
    except MachineError:
        # a full disk must not keep the old rules from coming back
        executor.perform(pending["change"]["undo"])
        state.clear_pending()
        state.record(event, pending, reason)
        return
    _finish_undo(state, pending, event, reason)


def _finish_undo(state: State, pending: "dict[str, Any]", event: str, reason: str) -> None:
    executor.perform(pending["change"]["undo"])
    state.record(event, pending, reason)
    state.clear_pending()


def revert(state: State, reason: str = "") -> "dict[str, Any]":
    """Go back from the confirmed change to what was confirmed before it, in the kernel and in the boot files; returns the undone one.

    Raises:
        Refused: nothing was ever confirmed.
        MachineError: it could not be done now; the next command tries again.
    """
    confirmed = state.confirmed()
    if not confirmed:
        raise Refused("there is nothing to roll back: no change is pending and none was confirmed")
    intent = {
        **confirmed[-1],
        "phase": "reverting",
        "boot": gate.boot_id(),
        "deadline": 0.0,
        "reason": reason,
        "pid": os.getpid(),
        "ssh": "",
    }
    state.write_pending(intent)
    try:
        executor.perform(intent["change"]["revert"])
    except MachineError:
        if gate.kernel().base == intent["id"]:
            state.clear_pending()
            raise
    _finish_revert(state, intent, loaded=True)
    return confirmed[-1]


def _finish_revert(state: State, intent: "dict[str, Any]", *, loaded: bool = False) -> None:
    if not loaded:
        executor.perform(intent["change"]["revert"])
    executor.perform(intent["change"]["revert_boot"])
    confirmed = state.confirmed()
    if confirmed and confirmed[-1]["id"] == intent["id"]:
        confirmed.pop()
        state.write_confirmed(confirmed)
    state.record("reverted", intent, intent.get("reason", ""))
    state.clear_pending()
