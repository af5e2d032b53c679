"""Block mappings of YAML 1.2, one or two levels deep, as go-librespot's config.yml has them.

What is nested deeper is known by its indentation and left alone. Tabs, several documents, flow mappings, anchors and merge keys on
the way to the key, and values over several lines are refused.
"""

import re
from dataclasses import dataclass

from librespot_guard.errors import Refused
from librespot_guard.targets.settings_lines import Lines

_KEY = re.compile(
    r"(?P<indent> *)(?P<quote>[\"']?)(?P<key>[A-Za-z0-9_.-]+)(?P=quote)(?P<colon>\s*:)(?P<rest>(?:\s.*)?)"
)
_SCALAR = re.compile(
    r"(?P<space>\s+)(?P<value>\"[^\"\\]*\"|'[^']*'|[^\s\"'#&*!|>{\[\]}%@`,-][^#:]*?|-?[0-9]+|~)(?P<rest>\s*|\s+#.*)"
)
_TEXT = re.compile(r"(?:^|[:\s-])[|>][0-9+-]*\s*(?:#.*)?$")
_NOTHING = re.compile(r"\s*(?:#.*)?")
# a text in several lines begins; without an end of its last line, it has none either (YAML 1.2.2, 8.1.1.2)
_BLOCK = re.compile(r":\s*[|>][-+0-9]*\s*(#.*)?$")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    index: int
    match: re.Match[str]


def _content(lines: Lines, first: int, last: int) -> list[tuple[int, str]]:
    """The lines that are neither empty nor comments."""
    numbered = ((i, lines.text(i)) for i in range(first, last))
    return [(i, t) for i, t in numbered if t.strip() and not t.lstrip().startswith("#")]


def _start(lines: Lines) -> int:
    """The first line of the mapping. Raises Refused for a file that is not one plain document."""
    content = _content(lines, 0, len(lines.lines))
    for place, (index, text) in enumerate(content):
        if "\t" in text[: len(text) - len(text.lstrip())]:
            raise Refused(f"line {index + 1}: a tab in the indentation: edit it by hand")
        if (re.match(r"---(\s|$)", text) and (place or text.strip() != "---")) or re.match(r"\.\.\.(\s|$)", text):
            raise Refused(f"line {index + 1}: more than one document: edit it by hand")
        if text.startswith("%"):
            raise Refused(f"line {index + 1}: a directive: edit it by hand")
    return content[0][0] + 1 if content and content[0][1].strip() == "---" else 0


def _level(lines: Lines, first: int, last: int, indent: int | None) -> tuple[list[_Entry], int]:
    """The keys of one level, and its indentation (that of its first line, if not given)."""
    content = _content(lines, first, last)
    if not content:
        return [], indent if indent is not None else 2
    width = len(content[0][1]) - len(content[0][1].lstrip(" ")) if indent is None else indent
    if len(content[0][1]) - len(content[0][1].lstrip(" ")) > width:
        raise Refused(f"line {content[0][0] + 1}: indented more than it should be: edit it by hand")
    found = []
    for index, text in content:
        own = len(text) - len(text.lstrip(" "))
        if own > width:
            continue
        match = _KEY.fullmatch(text)
        if own < width or match is None:
            raise Refused(f"line {index + 1}: no plain key of a mapping: edit it by hand")
        found.append(_Entry(match["key"], index, match))
    twice = {e.key for e in found if sum(o.key == e.key for o in found) > 1}
    if twice:
        raise Refused(f"`{min(twice)}` is there twice: edit it by hand")
    return found, width


def _end(entries: list[_Entry], place: int, last: int) -> int:
    return entries[place + 1].index if place + 1 < len(entries) else last


def _find(lines: Lines, key: str) -> tuple[_Entry | None, int, int, int, bool]:
    """The entry of a key or None; where its level begins and ends, its indentation, and whether the level is there."""
    first, last, indent = _start(lines), len(lines.lines), 0
    *above, leaf = key.split(".")
    for name in above:
        entries, _ = _level(lines, first, last, indent if indent == 0 else None)
        place = next((i for i, e in enumerate(entries) if e.key == name), None)
        if place is None:
            return None, first, last, indent, False
        entry = entries[place]
        if not _NOTHING.fullmatch(entry.match["rest"]):
            raise Refused(f"line {entry.index + 1}: `{name}` is no block of keys: edit it by hand")
        first, last = entry.index + 1, _end(entries, place, last)
        inner = _level(lines, first, last, None)
        indent = inner[1]
        if inner[0] and indent == 0:
            raise Refused(f"line {entry.index + 1}: `{name}` is empty: edit it by hand")
    entries, indent = _level(lines, first, last, indent if not above else None)
    found = next((i for i, e in enumerate(entries) if e.key == leaf), None)
    if found is None:
        return None, first, last, indent, True
    return entries[found], first, _end(entries, found, last), indent, True


def value_of(lines: Lines, key: str) -> str | None:
    """What the file says of the key, without quotes; None if nothing."""
    entry, _, last, _, _ = _find(lines, key)
    if entry is None or _NOTHING.fullmatch(entry.match["rest"]):
        return None
    return _scalar(entry, lines, last)["value"].strip("\"'")


def _scalar(entry: _Entry, lines: Lines, last: int) -> re.Match[str]:
    match = _SCALAR.fullmatch(entry.match["rest"])
    if match is None or _content(lines, entry.index + 1, last):
        raise Refused(
            f"line {entry.index + 1}: the value of `{entry.key}` is no plain one on one line: edit it by hand"
        )
    return match


def edited(lines: Lines, key: str, value: str, kind: str) -> Lines:
    """The file with the key set. Raises Refused."""
    bare = kind in ("port", "switch", "flag") or (
        _PLAIN.fullmatch(value) and value[0].isalpha() and value.lower() not in _WORDS
    )
    written = value if bare else f'"{value}"'
    entry, first, last, indent, there = _find(lines, key)
    if entry is not None:
        head = entry.match["indent"] + entry.match[0][entry.match.end("indent") : entry.match.start("rest")]
        if _NOTHING.fullmatch(entry.match["rest"]) and not _content(lines, entry.index + 1, last):
            return lines.put(entry.index, f"{head} {written}{entry.match['rest']}")
        match = _scalar(entry, lines, last)
        return lines.put(entry.index, head + match["space"] + written + match["rest"])
    if lines.lines and not lines.lines[-1].endswith(("\n", "\r")) and any(map(_BLOCK.search, lines.lines)):
        raise Refused("the last line has no end, and a text in several lines may be there: end it, or edit it by hand")
    *above, leaf = key.split(".")
    if not there:
        if len(above) != 1:
            raise Refused(f"`{'.'.join(above)}` is not there: add it by hand")
        return _ended(lines, len(lines.lines)).insert(len(lines.lines), f"{above[0]}:", f"  {leaf}: {written}")
    place = _behind(lines, first, last, leaf)
    return _ended(lines, place).insert(place, f"{' ' * indent}{leaf}: {written}")


def _ended(lines: Lines, place: int) -> Lines:
    """The same lines, if a new one can stand there: the end that a last line lacks would become a part of a text (`|`, `>`) that it belongs to."""
    last = lines.lines[-1] if lines.lines else "\n"
    if place == len(lines.lines) and not last.endswith("\n") and any(_TEXT.search(line) for line in lines.lines):
        raise Refused(
            "its last line has no end, and may belong to a text (`|` or `>`): end that line, or edit it by hand"
        )
    return lines


_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def _behind(lines: Lines, first: int, last: int, leaf: str) -> int:
    """Behind the line that has it commented out at this level, else behind the last line with something in it."""
    template = re.compile(rf"\s*#+\s*{re.escape(leaf)}\s*:.*")
    commented = [i for i in range(first, last) if template.fullmatch(lines.text(i))]
    content = _content(lines, first, last)
    if commented and not any(i > commented[-1] and _deeper(lines, first, last, i) for i, _ in content):
        return commented[-1] + 1
    return content[-1][0] + 1 if content else first


def _deeper(lines: Lines, first: int, last: int, index: int) -> bool:
    """Whether a line belongs to a value that is nested in this level: nothing may be put into the middle of it."""
    content = _content(lines, first, last)
    widths = {i: len(t) - len(t.lstrip(" ")) for i, t in content}
    return widths[index] > min(widths.values())
