"""Plain values to checked ones, with every fault on the way: what a shape may be made of.

A reader takes a value with its path and returns what it stands for, or `BAD` after it has noted a fault. Readers are combined into the
shape of the policy in `schema`. Nothing is optional by being empty: a key without a value is a fault, because to read `networks:` as
"no networks" would widen a source that has an interface to everybody behind it.

Written by hand and not as pydantic models: to import pydantic and define one model costs the processor time of 13 bare interpreters, and
all of `check` may cost 16 (benchmarks/start.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from librespot_guard.policy.document import Document, Path
from librespot_guard.policy.faults import Fault, describe, quote, suggest

BAD: Any = object()
# after so many faults nobody reads what was meant, and to look for it takes time
_MAX_SUGGESTED = 500


@dataclass(slots=True)
class Decoder:
    """Reads one document; `faults` grows."""

    document: Document
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: Path, text: str, *, key: bool = False) -> Any:
        """Note a fault at a value (or at its key), unless the YAML reader has complained about that value; returns BAD."""
        broken = self.document.broken
        if not broken or not any(path[:n] in broken for n in range(len(path) + 1)):
            place = self.document.places[path]
            self.faults.append(Fault(place.key if key else place.value, text))
        return BAD


Reader = Callable[[Decoder, Path, Any], Any]


def named(path: Path, text: str) -> str:
    """The text with the key it speaks of in front."""
    name = quote(next(part for part in reversed(path) if isinstance(part, str)))
    return f"each of {name} {text}" if isinstance(path[-1], int) else f"{name} {text}"


def text(parse: Callable[[str], Any]) -> Reader:
    """Text that a function of `values` understands. What it complains about already says what is meant, if it begins with a quote."""

    def read(decoder: Decoder, path: Path, value: Any) -> Any:
        if not isinstance(value, str):
            advice = " (put it in quotes)" if isinstance(value, int | float) else ""
            return decoder.fault(path, named(path, f"must be text, found {describe(value)}{advice}"))
        try:
            return parse(value)
        except ValueError as error:
            said = str(error)
            return decoder.fault(path, said if said.startswith("`") else named(path, said))

    return read


def one_of(known: Sequence[str], what: str) -> Reader:
    """One of a few words; `what` they are, with an article."""

    def read(decoder: Decoder, path: Path, value: Any) -> Any:
        if not isinstance(value, str):
            return decoder.fault(
                path, named(path, f"must be {what}, found {describe(value)} (one of: {', '.join(known)})")
            )
        if value not in known:
            return decoder.fault(path, f"{quote(value)} is not {what}{suggest(value, known, what='one of')}")
        return value

    return read


def whole(low: int, high: int, what: str) -> Reader:
    """A whole number; a truth value is none."""

    def read(decoder: Decoder, path: Path, value: Any) -> Any:
        if type(value) is not int or not low <= value <= high:
            return decoder.fault(path, named(path, f"must be {what}, found {describe(value)}"))
        return value

    return read


def many(item: Reader, what: str, *, empty: bool = False) -> Reader:
    """A list, as a tuple without the items that are wrong; `what` says what it is a list of, with an example."""

    def read(decoder: Decoder, path: Path, value: Any) -> Any:
        if not isinstance(value, list):
            return decoder.fault(path, named(path, f"must be {what}, found {describe(value)}"))
        if not value and not empty:
            return decoder.fault(path, named(path, "is empty (name at least one, or leave the key out)"))
        found = (item(decoder, (*path, index), each) for index, each in enumerate(value))
        return tuple(each for each in found if each is not BAD)

    return read


def table(check: Reader, item: Reader) -> Reader:
    """Keys that the user chooses (or some of a few words): each must pass `check`, its value `item`."""

    def read(decoder: Decoder, path: Path, value: Any) -> Any:
        if not isinstance(value, dict):
            return decoder.fault(path, named(path, f"must be keys with values, found {describe(value)}"))
        found = {}
        for key, each in value.items():
            at = (*path, key)
            before = len(decoder.faults)
            # a fault of the key stands at the key
            check(_AtKey(decoder), at, key)
            result = item(decoder, at, each)
            if result is not BAD and len(decoder.faults) == before:
                found[key] = result
        return found

    return read


class _AtKey(Decoder):
    """Notes the faults of a key in its decoder, at the key."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder.document, decoder.faults)

    def fault(self, path: Path, text: str, *, key: bool = True) -> Any:  # noqa: ARG002 - always at the key
        return Decoder.fault(self, path, text, key=True)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys with values of fixed names. `missing` has a text for each that must be there; `advice` for some that are not known."""

    known: Mapping[str, Reader]
    missing: Mapping[str, str] = field(default_factory=dict)
    advice: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, decoder: Decoder, path: Path, value: Any) -> Any:
        """What was read, by name; without what is absent or wrong."""
        if not isinstance(value, dict):
            said = f"must be keys with values, found {describe(value)}"
            return decoder.fault(path, named(path, said) if path else f"a policy {said}")
        found = {}
        for key, each in value.items():
            at = (*path, key)
            if key not in self.known:
                plain = len(decoder.faults) > _MAX_SUGGESTED
                decoder.fault(at, f"unknown key {quote(key)}" if plain else self._unknown(key, value), key=True)
                continue
            result = self.known[key](decoder, at, each)
            if result is not BAD:
                found[key] = result
        for key, said in self.missing.items():
            if key not in value:
                decoder.fault(path, said, key=True)
        return found

    def _unknown(self, key: str, present: Mapping[str, Any]) -> str:
        known = list(self.known)
        meant = suggest(key, known)
        if "did you mean" not in meant:
            meant = (
                f" ({self.advice[key]})"
                if key in self.advice
                else suggest(key, [k for k in known if k not in present] or known)
            )
        return f"unknown key {quote(key)}{meant}"


def either(short: Reader, long: Reader, what: str) -> Reader:
    """A list in the short form, keys with values in the long one."""

    def read(decoder: Decoder, path: Path, value: Any) -> Any:
        if isinstance(value, list):
            return short(decoder, path, value)
        if isinstance(value, dict):
            return long(decoder, path, value)
        return decoder.fault(path, named(path, f"must be {what}, found {describe(value)}"))

    return read
