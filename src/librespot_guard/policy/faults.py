"""A fault in a policy file, and the words that all of them share: what was found, and what was probably meant."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from librespot_guard.errors import InputError
from librespot_guard.policy.model import Where

# beyond these sizes nobody reads a suggestion, and looking for one takes time that grows with their product
_MAX_WORD = 64
_MAX_KNOWN = 200
_MAX_LISTED = 12


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place, with what to do about it in brackets. Also used for warnings."""

    where: Where
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def ordered(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The faults by their place in the file, each once."""
    return tuple(sorted(dict.fromkeys(faults), key=lambda f: (f.where.line, f.where.column)))


def error(faults: Iterable[Fault]) -> InputError:
    """All faults as one error, a line for each."""
    return InputError("\n".join(str(fault) for fault in faults))


def quote(text: str) -> str:
    """A text of the file in backticks: one line, no control characters, not too long."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return f"`{plain if len(plain) <= 60 else plain[:57] + '...'}`"


def describe(value: Any) -> str:
    """What a value is, for "found …"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return quote(value)
    return "a list" if isinstance(value, list) else "keys with values"


def suggest(word: str, known: Sequence[str], *, what: str = "known here") -> str:
    """What was probably meant, or what there is: " (did you mean `connect`?)"."""
    near: list[str] = []
    if len(word) <= _MAX_WORD and len(known) <= _MAX_KNOWN:
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
        near = near or difflib.get_close_matches(word.lower(), [k for k in known if k.islower()], n=1, cutoff=0.6)
    if near:
        return f" (did you mean {quote(near[0])}?)"
    if not known:
        return ""
    listed = ", ".join(quote(k) for k in known[:_MAX_LISTED])
    return f" ({what}: {listed}{', …' if len(known) > _MAX_LISTED else ''})"
