"""Asking systemd: to read its units again, and to restart one of somebody else when the user asked for it."""

import os
import sys


def reload() -> None:
    """Let systemd read the units again; if it does not, that is said, with the command to try by hand."""
    _run(["systemctl", "daemon-reload"], "what was written for the boot holds from the next boot on")


def restart(unit: str) -> None:
    """Read the units again and restart one; what goes wrong is said, with the command to try by hand (the rules hold all the same)."""
    held = "the new settings do not hold yet; run it by hand"
    if _run(["systemctl", "daemon-reload"], held):
        _run(["systemctl", "restart", "--", unit], held)


def _run(arguments: list[str], otherwise: str) -> bool:
    try:
        child = os.posix_spawnp("systemctl", arguments, os.environ, setpgroup=0)
    except OSError as error:
        status, why = 1, str(error.strerror)
    else:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        why = f"exit status {status}"
    if status:
        sys.stderr.write(f"note: `{' '.join(arguments)}` failed ({why}): {otherwise}\n")
    return not status
