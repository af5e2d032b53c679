"""Restart a unit of somebody else through systemd, when the user asked for it."""

import os
import sys


def restart(unit: str) -> None:
    """Read the units again and restart one; what goes wrong is said, with the command to try by hand (the rules hold all the same)."""
    for arguments in (["systemctl", "daemon-reload"], ["systemctl", "restart", "--", unit]):
        try:
            child = os.posix_spawnp("systemctl", arguments, os.environ, setpgroup=0)
        except OSError as error:
            status, why = 1, str(error.strerror)
        else:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            why = f"exit status {status}"
        if status:
            sys.stderr.write(
                f"note: `{' '.join(arguments)}` failed ({why}): the new settings do not hold yet; run it by hand\n"
            )
            return
