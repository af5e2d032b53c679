"""The standard streams, made fit to be written to: closed, full, and in another encoding than UTF-8."""

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def prepare() -> None:
    """Make the standard streams such that no answer fails on one that is closed, or on a character that its encoding lacks."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # the next file that is opened would get this number, and what a child says would be written into it
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or _nothing(0)
    sys.stdout = sys.stdout or _nothing(1)
    sys.stderr = sys.stderr or _nothing(2)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        # as stderr does by itself: a name in another script must not keep `status` from answering
        reconfigure(errors="backslashreplace")


def _nothing(number: int) -> "TextIO":
    stream: TextIO = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
    return stream


def flush() -> None:
    """Write what is left of the answer. Raises OSError where that fails: it is not whole."""
    sys.stdout.flush()


def lost(reason: OSError) -> tuple[str, OSError] | None:
    """Which standard stream can't be written to, and why, if that is the reason of an error; else None.

    What it still holds is given up, or Python would complain of it at its end.
    """
    found = None
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            found = found or (name, error)
            discard(stream)
    # without a buffer (PYTHONUNBUFFERED) nothing is left to flush
    if found is None and reason.filename is None and reason.errno in _FULL:
        return "standard output", reason
    return found


def discard(stream: "TextIO") -> None:
    """Give up what a stream holds: from now on it leads nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
