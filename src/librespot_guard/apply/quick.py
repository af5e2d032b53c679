"""`confirm` and `status` without click: somebody may be waiting for them with a frozen session.

Understood are exactly `confirm [ID] [--force] [--format text|json]` and `status [--format text|json]`; anything else is left to the
full command line.
"""

import json
import sys

from librespot_guard.apply import executor, machine
from librespot_guard.apply.journal import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# how long another command may hold the lock before we give up: apply holds it while nft loads
PATIENCE = 10.0


def confirm(argv: list[str]) -> int | None:
    """Run `confirm` with these arguments; returns its exit status, or None if click must parse them. Raises GuardError."""
    parsed = _parse(argv, words=1, flags=("--force",))
    if parsed is None:
        return None
    words, flags, output = parsed
    return run(words[0] if words else None, bool(flags), output)


def status(argv: list[str]) -> int | None:
    """Run `status` with these arguments; returns its exit status, or None if click must parse them. Raises GuardError."""
    parsed = _parse(argv, words=0, flags=())
    if parsed is None:
        return None
    return show_status(parsed[2])


def run(wanted: str | None, force: bool, output: str) -> int:
    """Confirm and say so. Raises GuardError."""
    with State(patience=PATIENCE) as state:
        done = machine.confirm(state, wanted, force=force)
    sys.stdout.write(confirmed(done["id"], output))
    return 0


def confirmed(change_id: str, output: str) -> str:
    """What is printed when a change is confirmed, by `confirm` and by the `apply` that waits for it."""
    if output == "json":
        return (
            json.dumps(document(change_id, "confirmed", boot="systemd" if executor.systemd() else "none"), indent=2)
            + "\n"
        )
    if executor.systemd():
        return f"confirmed: the policy {change_id} is in force, now and after a restart\n"
    return (
        f"confirmed: the policy {change_id} is in force now\n"
        "there is no systemd here: let your boot run `nft -f /etc/librespot-guard/rules.nft` before the network is up\n"
    )


def show_status(output: str) -> int:
    """Print what is pending and what is in force. Raises MachineError."""
    from librespot_guard.apply import report  # noqa: PLC0415 - `confirm` does not need it

    found = report.document()
    if output == "json":
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    sys.stdout.write(report.text(found) + "\n")
    sys.stdout.flush()
    for warning in found["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def document(change_id: str | None, outcome: str, **more: "Any") -> "dict[str, Any]":
    """The JSON document of `apply`, `confirm` and `rollback`."""
    return {"schema": "librespot-guard/apply/1", "id": change_id, "outcome": outcome, **more}


def _parse(argv: list[str], *, words: int, flags: tuple[str, ...]) -> tuple[list[str], list[str], str] | None:
    """Split arguments into words, flags and the format; None for anything that is not plain."""
    found: list[str] = []
    given: list[str] = []
    output = "text"
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word in flags:
            given.append(word)
        elif word == "--format" and rest and rest[0] in ("text", "json"):
            output = rest.pop(0)
        elif not word or word.startswith("-") or len(found) == words:
            return None
        else:
            found.append(word)
    return found, given, output
