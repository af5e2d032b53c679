"""How an error looks. Without click, because `confirm` shows errors too and must start fast."""

import os
import sys

from librespot_guard.cli import _streams
from librespot_guard.errors import GuardError


def show_error(error: GuardError) -> None:
    """`error: …` and, after a blank line, `hint: …`, on stderr; coloured on a terminal unless NO_COLOR is set."""
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    red, cyan, plain = ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") if colours else ("", "", "")
    hint = f"\n{cyan}hint{plain}: {error.hint}\n" if error.hint else ""
    try:
        sys.stderr.write(f"{red}error{plain}: {error}\n{hint}")
    except OSError:
        # nobody can be told: the exit status has to do
        _streams.discard(sys.stderr)
