"""A table of a data file as a frozen value: the fields of the dataclass are the keys, its annotations what they hold."""

import functools
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, cast

from librespot_guard.errors import InputError

T = TypeVar("T")

_WORDS = {
    str: "text",
    str | None: "text",
    bool: "true or false",
    int: "a whole number",
    int | None: "a whole number",
    tuple[str, ...]: "a list of text",
    tuple[int, ...]: "a list of whole numbers",
}


@functools.cache
def keys_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The keys of a dataclass: what each holds, and whether it must be there."""
    return {f.name: (f.type, f.default is MISSING and f.default_factory is MISSING) for f in fields(kind)}


def read(kind: type[T], file: str, where: str, table: Any, *, given: Mapping[str, Any] | None = None) -> T:
    """The value of a table. `given` are fields that do not come from the table. Raises InputError, naming file and key."""
    if not isinstance(table, dict):
        raise InputError(f"{file}: {where}: expected a table")
    prefix = f"{where}." if where else ""
    fixed = given or {}
    known = {k: v for k, v in keys_of(cast("Any", kind)).items() if k not in fixed}
    values: dict[str, Any] = dict(fixed)
    for key, value in table.items():
        if key not in known:
            raise InputError(f"{file}: {prefix}{key}: unknown key", hint=f"known keys: {', '.join(known)}")
        if not _fits(known[key][0], value):
            raise InputError(f"{file}: {prefix}{key}: expected {_WORDS[known[key][0]]}, found {value!r}")
        values[key] = tuple(value) if isinstance(value, list) else value
    for key, (_, required) in known.items():
        if required and key not in values:
            raise InputError(f"{file}: {prefix}{key}: this key is missing")
    return kind(**values)


def _fits(wanted: Any, value: Any) -> bool:
    if wanted in (str, str | None):
        return isinstance(value, str)
    if wanted is bool:
        return isinstance(value, bool)
    if wanted in (int, int | None):
        return _number(value)
    if not isinstance(value, list):
        return False
    return all(map(_number, value)) if wanted == tuple[int, ...] else all(isinstance(item, str) for item in value)


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
