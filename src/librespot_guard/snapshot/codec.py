"""A snapshot as one JSON document, and back.

The codec follows the dataclasses of `facts`: a field is a key, a tuple is a list, bytes are base64 text. Reading is
strict: a missing or unknown key, or a value of the wrong kind, is an `InputError` that names its place in the document.
"""

import base64
import binascii
import dataclasses
import json
import types
import typing
from typing import Any

from librespot_guard.errors import InputError
from librespot_guard.snapshot import sense
from librespot_guard.snapshot.facts import SCHEMA, Snapshot


def dumps(snapshot: Snapshot) -> str:
    """The JSON text of a snapshot, ending with a newline; the same facts give the same text."""
    return json.dumps({"schema": SCHEMA, **_plain(snapshot)}, indent=1, sort_keys=False) + "\n"


def loads(text: str, *, source: str = "snapshot") -> Snapshot:
    """Read what `dumps` wrote. Raises InputError, naming `source` and the place, for anything else."""
    try:
        document = json.loads(text)
    except ValueError as error:
        position = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(
            f"{source}{position}: not a whole JSON document ({error})",
            hint="the file may be truncated; write it again with `librespot-guard snapshot -o FILE`",
        ) from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply to be a snapshot") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise InputError(
            f"{source}: expected the schema `{SCHEMA}`, found {found!r}",
            hint="write it with `librespot-guard snapshot -o FILE`",
        )
    document.pop("schema")
    snapshot: Snapshot = _build(Snapshot, document, source)
    homes = sum(n.home for n in snapshot.namespaces)
    if homes != 1:
        raise InputError(f"{source}.namespaces: exactly one must be `home`, found {homes}")
    known = {n.id for n in snapshot.namespaces}
    for service in snapshot.services:
        if service.netns not in known:
            raise InputError(
                f"{source}.services: `{service.name}` is in namespace {service.netns}, which the snapshot does not hold"
            )
    return snapshot


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value


def _build(kind: Any, value: Any, where: str) -> Any:
    """Build a value of the annotated type `kind` out of JSON."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        return _build(next(o for o in options if o is not type(None)), value, where)
    if origin is tuple:
        _expect(isinstance(value, list), "a list", value, where)
        item = typing.get_args(kind)[0]
        return tuple(_build(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), "an object", value, where)
        return {k: _build(typing.get_args(kind)[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast("type", kind), value, where)
    if kind is bytes:
        _expect(isinstance(value, str), "base64 text", value, where)
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise InputError(f"{where}: not base64") from None
    if kind is float:
        _expect(isinstance(value, int | float) and not isinstance(value, bool), "a number", value, where)
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{where}: expected a number, found one that is far too large") from None
    names = {str: "text", int: "a whole number", bool: "true or false"}
    _expect(type(value) is kind, names[kind], value, where)
    if kind is int:
        _expect(-sense.LARGEST <= value <= sense.LARGEST, "a number of at most 64 bits", value, where)
    return value


def _build_dataclass(kind: type, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise InputError(f"{where}: unknown key `{unknown[0]}`", hint="the snapshot may come from a newer version")
    ready = {}
    for f in dataclasses.fields(kind):
        if f.name in value:
            ready[f.name] = _build(hints[f.name], value[f.name], f"{where}.{f.name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: the key `{f.name}` is missing")
    built = kind(**ready)
    for name, wanted in sense.faults(built):
        _expect(False, wanted, getattr(built, name), f"{where}.{name}")
    return built


def _expect(holds: bool, what: str, value: Any, where: str) -> None:
    if not holds:
        shown = repr(value)
        raise InputError(f"{where}: expected {what}, found {shown if len(shown) < 60 else shown[:57] + '...'}")
