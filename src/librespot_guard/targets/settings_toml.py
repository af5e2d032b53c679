"""TOML 1.0: the line of a key is found by its table, and `tomllib` judges that nothing else changed."""

import re
import tomllib
from typing import Any

from librespot_guard.errors import Refused
from librespot_guard.targets.settings_lines import Lines, encode

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ARRAY = re.compile(r"\s*\[\[.*\]\]\s*(?:#.*)?")
_VALUE = r"\"[^\"\\]*\"|'[^']*'|[^\s#\"'\[\]{},]+"
_PART = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_KEY = rf"(?P<key>{_PART}(?:\s*\.\s*{_PART})*)"
_ENTRY = re.compile(rf"(?P<head>\s*{_KEY}\s*=\s*)(?P<value>{_VALUE})(?P<rest>\s*(?:#.*)?)")
_ANY = re.compile(rf"\s*{_KEY}\s*=.*")


def _document(lines: Lines) -> dict[str, Any]:
    try:
        return tomllib.loads(encode(lines).decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise Refused("it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"it is not TOML: {error}") from None


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split("."))


def _tables(lines: Lines) -> list[tuple[int, tuple[str, ...] | None]]:
    """The table that each line is in; None for one that is in a list of tables."""
    current: tuple[str, ...] | None = ()
    found = []
    for index in range(len(lines.lines)):
        text = lines.text(index)
        if _ARRAY.fullmatch(text):
            current = None
        elif match := _HEADER.fullmatch(text):
            current = _parts(match[1])
        found.append((index, current))
    return found


def value_of(lines: Lines, key: str) -> str | None:
    """What the file says of the key, as text ("true", "37878", "localhost"); None if nothing."""
    value: Any = _document(lines)
    for part in _parts(key):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return str(value).lower() if isinstance(value, bool) else str(value)


def edited(lines: Lines, key: str, value: str, kind: str) -> Lines:
    """The file with the key set. Raises Refused."""
    before = _document(lines)
    path = _parts(key)
    plain: Any = value
    if kind == "port":
        plain = int(value)
    elif kind in ("switch", "flag"):
        plain = value != "false"
    written = f'"{value}"' if isinstance(plain, str) else str(plain).lower()
    wanted = _with(before, path, plain)
    new = _changed(lines, path, written)
    try:
        same = _document(new) == wanted
    except Refused:
        same = False
    if not same:
        raise Refused(f"`{key}` can't be set here without changing something else: edit it by hand")
    return new


def _changed(lines: Lines, path: tuple[str, ...], written: str) -> Lines:
    tables = _tables(lines)
    for index, table in tables:
        match = _ANY.fullmatch(lines.text(index))
        if table is None or match is None or (*table, *_parts(match["key"])) != path:
            continue
        entry = _ENTRY.fullmatch(lines.text(index))
        if entry is None:
            raise Refused(f"line {index + 1}: the value of `{'.'.join(path)}` is no plain one: edit it by hand")
        return lines.put(index, entry["head"] + written + entry["rest"])
    table, leaf = path[:-1], path[-1]
    inside = [i for i, name in tables if name == table]
    if not inside:
        if not table:
            return lines.insert(0, f"{leaf} = {written}")
        gap = ("",) if lines.lines and lines.text(len(lines.lines) - 1).strip() else ()
        return lines.insert(len(lines.lines), *gap, f"[{'.'.join(table)}]", f"{leaf} = {written}")
    template = re.compile(rf"\s*#+\s*{re.escape(leaf)}\s*=.*")
    commented = [i for i in inside if template.fullmatch(lines.text(i))]
    filled = [i for i in inside if lines.text(i).strip() and not lines.text(i).lstrip().startswith("#")]
    last = commented[-1] if commented else filled[-1] if filled else None
    return lines.insert(inside[0] if last is None else last + 1, f"{leaf} = {written}")


def _with(document: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The document with one value changed."""
    head, *rest = path
    if not rest:
        return {**document, head: value}
    inner = document.get(head, {})
    if not isinstance(inner, dict):
        raise Refused(f"`{head}` is no table")
    return {**document, head: _with(inner, tuple(rest), value)}
