"""The commands with a line for each, and `--help` of the program without click, which would cost more than the answer.

`text` prints exactly what click would print for `main`; a test compares them.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# name -> (module:attribute, one line for `--help`, which must not import the command)
COMMANDS: dict[str, tuple[str, str]] = {
    "scan": ("librespot_guard.cli.scan:scan", "What runs here, what it opens, and what a stranger can do there"),
    "audit": ("librespot_guard.cli.audit:audit", "Findings with their threats, a fix for each, and a grade"),
    "explain": (
        "librespot_guard.cli.explain:explain",
        "One finding or concept: what, why, how to fix it, how to check",
    ),
    "doctor": ("librespot_guard.cli.doctor:doctor", "Why a speaker is not discovered, or not reachable"),
    "reach": ("librespot_guard.cli.reach:reach", "Exactly who can reach each listener, on the kernel's own rules"),
    "trace": ("librespot_guard.cli.trace:trace", "What happens to a concrete packet, rule by rule"),
    "snapshot": ("librespot_guard.cli.snapshot:snapshot", "Write all facts about this host to a file"),
    "minimise": (
        "librespot_guard.cli.minimise:minimise",
        "Which features a stated use does not need, and what turns each off",
    ),
    "init": ("librespot_guard.cli.init:init", "Write a commented policy from what was found"),
    "check": ("librespot_guard.cli.check:check", "Validate a policy: every fault with its line and column"),
    "plan": ("librespot_guard.cli.plan:plan", "What a policy would change, and why"),
    "apply": ("librespot_guard.cli.apply:apply", "Change this host, with a way back that cannot be lost"),
    "confirm": ("librespot_guard.cli.confirm:confirm", "Keep the pending change"),
    "rollback": ("librespot_guard.cli.rollback:rollback", "Undo the pending change, or the last confirmed one"),
    "status": ("librespot_guard.cli.status:status", "Which change is pending, which is in force"),
    "history": ("librespot_guard.cli.history:history", "Every change of this host, with its outcome"),
    "verify": ("librespot_guard.cli.verify:verify", "Prove the policy on the live rules and try it with real packets"),
    "demo": ("librespot_guard.cli.demo:demo", "The whole story in a sandbox on this machine, no root needed"),
}

EPILOG = """\b
First steps:
  librespot-guard demo                  see it all in a sandbox, nothing outside is touched
  librespot-guard scan                  what runs here
  librespot-guard audit                 what is wrong with it
  librespot-guard init -o policy.yaml   a policy from what was found, to edit
  librespot-guard plan policy.yaml      what would change
  librespot-guard apply policy.yaml     change it; `confirm` from a second session keeps it

\b
Exit status: 0 done or nothing found, 1 the answer is no, 2 wrong input, 3 this machine cannot,
4 undecided, 5 the change was rolled back.
"""

PURPOSE = (
    "Find every librespot service on this host, prove who can reach it, and close it without locking yourself out."
)
MOST_COLUMNS = 110
_FEWEST_COLUMNS = 80
_OPTIONS = (("-V, --version", "Show the version and exit."), ("-h, --help", "Show this message and exit."))


def text(columns: int) -> str | None:
    """The help of the program for a terminal of this width, or None where it is so narrow that click must wrap the lines."""
    if columns < _FEWEST_COLUMNS:
        return None
    lines = [
        "Usage: librespot-guard [OPTIONS] COMMAND [ARGS]...",
        "",
        *_wrapped(PURPOSE, min(columns, MOST_COLUMNS) - 4),
    ]
    lines += [
        "",
        "Options:",
        *_listed(_OPTIONS),
        "",
        "Commands:",
        *_listed((name, line) for name, (_, line) in COMMANDS.items()),
        "",
    ]
    lines += [
        f"  {line}" if line.strip("\b") else line.strip("\b")
        for line in EPILOG.rstrip().replace("\b\n", "").split("\n")
    ]
    return "\n".join(lines) + "\n"


def columns() -> int:
    """The width of the terminal, as `shutil.get_terminal_size` tells it; 80 if there is none."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns or _FEWEST_COLUMNS
    except (OSError, ValueError):
        return _FEWEST_COLUMNS


def _wrapped(words: str, width: int) -> "list[str]":
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [f"  {line}" for line in lines]


def _listed(rows: "Iterable[tuple[str, str]]") -> "list[str]":
    rows = list(rows)
    width = max(len(term) for term, _ in rows)
    return [f"  {term:{width}}  {line}" for term, line in rows]
