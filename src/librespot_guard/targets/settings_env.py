"""Files of variables, `NAME=value` a line, as systemd reads them (systemd.exec(5), EnvironmentFile=).

There, `#` and `;` begin a comment only at the start of a line, a quoted value may go on over lines, and of several assignments the last wins.
`export NAME=value` is none: systemd ignores such a line.
"""

import re
from dataclasses import dataclass

from librespot_guard.errors import Refused
from librespot_guard.targets.settings_lines import Lines

_ASSIGNMENT = re.compile(r"(?P<head>\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*)(?P<value>.*)", re.DOTALL)
_PLAIN = re.compile(r"[^\s\"'\\$`#;]*")


@dataclass(frozen=True, slots=True)
class _Assignment:
    name: str
    first: int
    last: int
    head: str
    raw: str


def _assignments(lines: Lines) -> list[_Assignment]:
    found = []
    index = 0
    while index < len(lines.lines):
        first = index
        text = lines.text(index)
        index += 1
        if text.lstrip()[:1] in ("", "#", ";"):
            continue
        parts, state = [text], _end(text, ("", False))
        while state != ("", False):
            if index >= len(lines.lines):
                raise Refused(f"line {first + 1}: the value that begins here has no end")
            parts.append("\n" + lines.text(index))
            state = _end(parts[-1], state)
            index += 1
        match = _ASSIGNMENT.fullmatch("".join(parts))
        if match:
            found.append(_Assignment(match["name"], first, index - 1, match["head"], match["value"]))
    return found


def _end(text: str, state: tuple[str, bool]) -> tuple[str, bool]:
    """The quote that is open behind a text, and whether a backslash is its last character: then it goes on in the next line."""
    quote, escaped = state
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
    return quote, escaped


def value_of(lines: Lines, key: str) -> str | None:
    """What the variable is set to, None if it is not."""
    last = next((a for a in reversed(_assignments(lines)) if a.name == key), None)
    if last is None:
        return None
    raw = last.raw.strip()
    quoted = len(raw) >= 2 and raw[0] == raw[-1] and raw[0] in "\"'"
    return raw[1:-1] if quoted else raw


def edited(lines: Lines, key: str, value: str, kind: str) -> Lines:
    """The file with the variable set. Raises Refused. A flag that is there already is on, whatever its value."""
    found = [a for a in _assignments(lines) if a.name == key]
    if found:
        last = found[-1]
        if kind == "flag" and value_of(lines, key) == value:
            return lines
        return lines.put(last.first, last.head + _new(last, value))
    if not _PLAIN.fullmatch(value):
        value = f'"{value}"'
    template = re.compile(rf"\s*[#;]+\s*{re.escape(key)}(?:=.*)?\s*")
    places = [i for i in range(len(lines.lines)) if template.fullmatch(lines.text(i))]
    return lines.insert(places[-1] + 1 if places else len(lines.lines), f"{key}={value}")


def _new(old: _Assignment, value: str) -> str:
    where = f"line {old.first + 1}: `{old.name}`"
    if old.first != old.last:
        raise Refused(f"{where} goes on over several lines: edit it by hand")
    raw = old.raw.rstrip()
    space = old.raw[len(raw) :]
    quote = raw[:1] if raw[:1] in ("'", '"') else ""
    if quote:
        if raw.find(quote, 1) != len(raw) - 1 or "\\" in raw:
            raise Refused(f"{where} has more than one quoted text: edit it by hand")
        return f"{quote}{value}{quote}{space}"
    if not _PLAIN.fullmatch(raw):
        raise Refused(f"{where} is no plain value (a comment behind it is part of it for systemd): edit it by hand")
    return (value if _PLAIN.fullmatch(value) else f'"{value}"') + space
