"""What `status` says: the records, and whether the kernel agrees with them."""

from librespot_guard.apply import gate, loaded, machine
from librespot_guard.apply.journal import State
from librespot_guard.errors import MachineError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHOWN = ("id", "title", "policy", "time")


def document() -> "dict[str, Any]":
    """The JSON document of `status`. Finishes first what a killed command left behind. Raises MachineError."""
    state = State()
    warnings: list[str] = []
    pending = None
    if state.exists and not state.writable:
        pending = state.pending()
        if pending is not None:
            warnings.append(
                f"{state.folder} can't be written to, so the end of the change {pending['id']} is not recorded"
            )
    elif state.exists:
        try:
            with state:
                pending = machine.recover(state, ask=True)
        except Refused as busy:
            pending = state.pending()
            warnings.append(str(busy))
    confirmed = state.confirmed() if state.exists else []
    in_force = confirmed[-1] if confirmed else None
    kernel = None
    try:
        kernel = gate.kernel()
    except MachineError as error:
        warnings.append(f"the kernel could not be asked: {error}")
    if kernel is not None:
        if pending is not None and not state.writable and kernel.gated != pending["id"]:
            # its end can't be recorded here
            pending = None
        warnings += _disagreement(kernel, in_force, pending)
        if kernel.gated and pending is None:
            warnings.append(
                f"the change {kernel.gated} stands behind the gate, and nothing is recorded of it in {state.folder}: the kernel takes it back by "
                "itself when its time is over"
            )
    return {
        "schema": "librespot-guard/status/1",
        "pending": _pending(pending) if pending else None,
        "in_force": {key: in_force.get(key, "") for key in _SHOWN} if in_force else None,
        "kernel": {"loaded": kernel.loaded, "in_force": kernel.base or None, "behind_gate": kernel.gated or None}
        if kernel
        else None,
        "warnings": warnings,
    }


def _pending(pending: "dict[str, Any]") -> "dict[str, Any]":
    left = max(0, round(pending["deadline"] - gate.now()))
    return {
        **{key: pending.get(key, "") for key in _SHOWN},
        "pid": pending["pid"],
        "phase": pending["phase"],
        "seconds_left": left,
    }


def text(found: "dict[str, Any]") -> str:
    """The document for people, without its warnings."""
    pending, in_force = found["pending"], found["in_force"]
    if in_force:
        lines = [f"in force: {in_force['id']} ({in_force['title']}), confirmed {in_force['time']}"]
    else:
        lines = ["in force: no policy was confirmed"]
    if pending:
        lines.append(
            f"pending:  {pending['id']} ({pending['title']}), {pending['seconds_left']} s left: `librespot-guard confirm {pending['id']}`"
        )
    else:
        lines.append("pending:  nothing")
    return "\n".join(lines)


def _disagreement(
    kernel: gate.Kernel, in_force: "dict[str, Any] | None", pending: "dict[str, Any] | None"
) -> list[str]:
    wanted = in_force["id"] if in_force else ""
    if kernel.base == wanted:
        return [*_changed(kernel, in_force, pending), *(_moved(in_force) if in_force else [])]
    if in_force is not None and not kernel.base:
        return [
            f"the rules of {wanted} are NOT loaded: another program removed them; `librespot-guard apply {in_force.get('policy', 'POLICY')}` loads them"
        ]
    return [
        f"the kernel holds the policy {kernel.base}, which is not the one that was confirmed last ({wanted or 'none'})"
    ]


def _changed(kernel: gate.Kernel, in_force: "dict[str, Any] | None", pending: "dict[str, Any] | None") -> list[str]:
    """What another program did to the rules: what is pending was loaded together with what is in force."""
    last = pending if pending is not None and kernel.gated == pending["id"] else in_force
    if last is None:
        return []
    done = loaded.missing(_shape(last["change"]["arm" if last is pending else "confirm"]), loaded.Shape(kernel.listing))
    told = f"the rules of {last['id']} were changed by another program: {done}; they may let in anybody. Look at the table `inet librespot_guard`"
    if last is in_force:
        told += "; `nft -f /etc/librespot-guard/rules.nft` loads it as it was confirmed"
    return [told] if done else []


def _moved(in_force: "dict[str, Any]") -> list[str]:
    """Whether the services of the policy in force are still where they were."""
    silent = loaded.silent(_shape(in_force["change"]["confirm"]).ports)
    told = (
        f"nothing listens on {', '.join(silent)}: the service is not running, or it has taken another port, which these rules do not "
        f"cover; `librespot-guard plan {in_force['policy'] or 'POLICY'}` tells which"
    )
    return [told] if silent else []


def _shape(steps: "list[dict[str, Any]]") -> loaded.Shape:
    return loaded.Shape("".join(step["text"] for step in steps if step["step"] == "load-nft"))
