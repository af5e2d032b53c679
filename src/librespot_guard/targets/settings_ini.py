"""Files of sections with `key = value` lines, as snapserver reads its own; comments are whole lines that begin with `#` or `;`."""

import re

from librespot_guard.errors import Refused
from librespot_guard.targets.settings_lines import Lines

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*")
_ENTRY = re.compile(r"(?P<head>\s*(?P<key>[A-Za-z0-9_.-]+)\s*=[ \t]*)(?P<value>.*?)(?P<space>\s*)")


def _section(lines: Lines, name: str) -> tuple[int, int] | None:
    """The lines of a section behind its header, as (first, one past the last); None if there is none."""
    headers = [(i, m[1].strip()) for i in range(len(lines.lines)) if (m := _HEADER.fullmatch(lines.text(i)))]
    here = [place for place, (_, title) in enumerate(headers) if title == name]
    if len(here) > 1:
        raise Refused(f"the section `[{name}]` is there {len(here)} times: edit it by hand")
    if not here:
        return None
    start = headers[here[0]][0] + 1
    return start, headers[here[0] + 1][0] if here[0] + 1 < len(headers) else len(lines.lines)


def _entries(lines: Lines, key: str) -> list[tuple[int, re.Match[str]]]:
    name, _, leaf = key.rpartition(".")
    place = _section(lines, name)
    if place is None:
        return []
    found = ((i, _ENTRY.fullmatch(lines.text(i))) for i in range(*place))
    return [(i, m) for i, m in found if m and m["key"] == leaf]


def value_of(lines: Lines, key: str) -> str | None:
    """What the section says of the key, None if nothing."""
    found = _entries(lines, key)
    return found[-1][1]["value"] if found else None


def edited(lines: Lines, key: str, value: str, kind: str) -> Lines:  # noqa: ARG001 - every editor takes the kind
    """The file with the key set. Raises Refused."""
    name, _, leaf = key.rpartition(".")
    found = _entries(lines, key)
    if len(found) > 1:
        raise Refused(f"line {found[1][0] + 1}: `{leaf}` is there {len(found)} times in `[{name}]`: edit it by hand")
    if found:
        index, match = found[0]
        if re.search(r"[#;]", match["value"]):
            raise Refused(
                f"line {index + 1}: behind the value of `{leaf}` stands what may be a comment: edit it by hand"
            )
        return lines.put(index, match["head"] + value + match["space"])
    place = _section(lines, name)
    if place is None:
        gap = ("",) if lines.lines and lines.text(len(lines.lines) - 1).strip() else ()
        return lines.insert(len(lines.lines), *gap, f"[{name}]", f"{leaf} = {value}")
    return lines.insert(_behind(lines, place, leaf), f"{leaf} = {value}")


def _behind(lines: Lines, place: tuple[int, int], leaf: str) -> int:
    """Where a new line goes: behind the line that has it commented out, else behind the last line with something in it."""
    template = re.compile(rf"\s*[#;]+\s*{re.escape(leaf)}\s*=.*")
    commented = [i for i in range(*place) if template.fullmatch(lines.text(i))]
    if commented:
        return commented[-1] + 1
    filled = [i for i in range(*place) if lines.text(i).strip() and lines.text(i).lstrip()[0] not in "#;"]
    return filled[-1] + 1 if filled else place[0]
