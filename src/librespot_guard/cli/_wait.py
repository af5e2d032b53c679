"""Wait until a pending change is confirmed, undone or has fallen, and count down meanwhile."""

import sys
import time
from typing import Any

from librespot_guard.apply import gate, machine
from librespot_guard.apply.journal import State
from librespot_guard.cli import _streams

_STEP = 0.1
_PLAIN_EVERY = 10


def wait(pending: dict[str, Any], caught: list[int]) -> str:
    """The outcome: "confirmed", "cancelled", "expired" or "failed"; "pending" if a signal (a number in `caught`) came first."""
    shown = -1
    terminal = _is_terminal()
    reader = State()
    while True:
        outcome = _outcome(reader, pending["id"])
        if outcome is not None:
            break
        if caught:
            outcome = "pending"
            break
        left = pending["deadline"] - gate.now()
        if left < -0.2:
            with State(patience=10) as state:
                machine.recover(state)
        seconds = max(0, round(left))
        if seconds != shown and (terminal or seconds % _PLAIN_EVERY == 0):
            shown = seconds
            _show(f"\r{seconds:4} s to confirm " if terminal else f"{seconds} s to confirm\n")
        time.sleep(_STEP)
    if terminal:
        _show("\r                     \r")
    return outcome


def _outcome(reader: State, change_id: str) -> str | None:
    """How the change ended, None while it is pending. The records are written so that no lock is needed to read them."""
    now = reader.pending()
    if now is not None and now["id"] == change_id:
        return None
    last = next((e["event"] for e in reversed(reader.history()) if e["id"] == change_id), "failed")
    return "failed" if last == "armed" else str(last)


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except ValueError:
        return False


def _show(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # the terminal hung up: the countdown is a courtesy, the gate is in the kernel
        _streams.discard(sys.stderr)
