"""Who is at work: for the journal, and to tell a new connection from the one that made the change."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def ssh_connection() -> str:
    """The SSH_CONNECTION of this session ("client port server port"), "" if there is none.

    sudo drops the variable, so the environments of the parents are asked too (proc(5); root may read them).
    """
    own = os.environ.get("SSH_CONNECTION", "")
    if own:
        return own
    pid = os.getppid()
    # a session is not that deep; a loop can't occur, but a process may end while we look
    for _ in range(32):
        if pid <= 1:
            break
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
                for item in file.read().split(b"\0"):
                    if item.startswith(b"SSH_CONNECTION="):
                        return item[15:].decode("ascii", "replace")
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - see above
                # the name in brackets may hold anything: the fields begin after the last bracket
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
    return ""


def who() -> "dict[str, Any]":
    """Who runs this: uid, the user behind sudo, the client of the SSH connection."""
    found: dict[str, Any] = {"uid": os.getuid()}
    user = os.environ.get("SUDO_USER", "")
    if user:
        found["sudo_user"] = user
    ssh = ssh_connection()
    if ssh:
        found["ssh_client"] = ssh.split()[0]
    return found
