"""One setting changed in a program's configuration file, with every other byte as it was.

Each format has an editor of its own (`settings_env`, `settings_ini`, `settings_toml`, `settings_yaml`) that knows just enough of it to change
one line or to add one. What an editor does not understand for certain it refuses. Pure: bytes in, bytes out.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

from librespot_guard.errors import Refused
from librespot_guard.targets import settings_env, settings_ini, settings_toml, settings_yaml
from librespot_guard.targets.settings_lines import Lines, decode, encode
from librespot_guard.targets.steps import EditFile, RestoreFile

MAX_SIZE = 1 << 20
_EDITORS: dict[str, ModuleType] = {
    "env": settings_env,
    "ini": settings_ini,
    "toml": settings_toml,
    "yaml": settings_yaml,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file is to say: `key` is dotted ("server.address") or the name of a variable; `kind` as in `catalog.KINDS`."""

    key: str
    value: str
    kind: str = "text"


def value_of(data: bytes, form: str, key: str) -> str | None:
    """What a file says of a key now, without quotes; None if nothing.

    Raises:
        Refused: the file can't be read as its format for certain.
    """
    with _bounded():
        found: str | None = _editor(form).value_of(_lines(data), key)
    return found


def edited(data: bytes, form: str, wanted: Wanted) -> bytes:
    """The file with the setting, every other byte as before.

    Args:
        data: the whole file.
        form: one of `catalog.FORMATS`.
        wanted: what it is to say; the value is plain text without line breaks.

    Raises:
        Refused: it can't be done for certain; the text says where and why.
    """
    if any(ord(c) < 32 or c in "\"'\\" for c in wanted.value):
        raise Refused(f"the value of `{wanted.key}` has characters that are not written by this editor")
    editor = _editor(form)
    with _bounded():
        new = encode(editor.edited(_lines(data), wanted.key, wanted.value, wanted.kind))
    # an editor that did something else than it should is found out here, not on the host
    if editor.value_of(_lines(new), wanted.key) != wanted.value:
        raise Refused(f"`{wanted.key}` would not be {wanted.value!r} afterwards: edit it by hand")
    return new


def steps(
    path: str, before: bytes | None, after: bytes, why: str, *, between: Sequence[bytes] = ()
) -> tuple[EditFile, RestoreFile]:
    """The step that changes a file (or creates it, if `before` is None), and the one that brings the very bytes back.

    `between` is what the file is after each edit but the last, where there are several.
    """
    if before is None:
        digest = _digest(after)
        return EditFile(path, "", digest, 0, 0, after.decode(), why), RestoreFile(path, "", digest, f"back: {why}")
    first, *more = [_piece(one, other) for one, other in pairwise([before, *between, after])]
    old, new = _digest(before), _digest(after)
    return EditFile(path, old, new, *first, why, tuple(more)), RestoreFile(path, old, new, f"back: {why}")


def _piece(before: bytes, after: bytes) -> tuple[int, int, str]:
    """Where two texts differ: the place, how many bytes go there, and what comes."""
    start = _common(before, after)
    end = min(_common(before[start:][::-1], after[start:][::-1]), len(before) - start, len(after) - start)
    put = after[start : len(after) - end].decode("utf-8", "surrogateescape")
    return start, len(before) - end - start, put


def difference(path: str, before: bytes | None, after: bytes) -> str:
    """The lines that one edit changes, without their neighbours (a file may hold secrets that a diff with context would show)."""
    # without their ends: a last line that only gets one is not shown
    old, new = ([line.rstrip("\r\n") for line in _lines(text).lines] for text in (before or b"", after))
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[len(old) - 1 - end] == new[len(new) - 1 - end]:
        end += 1
    gone = [f"-{line}" for line in old[start : len(old) - end]]
    come = [f"+{line}" for line in new[start : len(new) - end]]
    return "\n".join(map(_plain, [f"@@ {path}:{start + 1}", *gone, *come]))


def _plain(line: str) -> str:
    """A line with its control characters shown, not obeyed: paths and files were written by others."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)


@contextmanager
def _bounded() -> Iterator[None]:
    """What nests without end is refused, whatever reads it."""
    try:
        yield
    except RecursionError:
        raise Refused("it is nested too deeply: edit it by hand") from None


def _editor(form: str) -> ModuleType:
    if form not in _EDITORS:
        raise Refused(f"files of this format ({form}) are not edited here: edit it by hand")
    return _EDITORS[form]


def _lines(data: bytes) -> Lines:
    if len(data) > MAX_SIZE:
        raise Refused(f"it is larger than {MAX_SIZE >> 20} MiB: this is no configuration file")
    return decode(data)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two texts have in common at their beginning, never cutting a character of UTF-8."""
    count = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    while count and (count < len(one) and one[count] & 0xC0 == 0x80):
        count -= 1
    return count


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
