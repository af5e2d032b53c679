"""The tables that a unit loads: those of the files of nft(8) that its commands name, and of what these include."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from librespot_guard.collect.textfile import read

_MOST_FILES = 64
# an include statement of nft(8)
INCLUDE = re.compile(r"^\s*include\s+[\"']([^\"']+)[\"']")
_TABLE = re.compile(
    r"(?:^|[;{])\s*(?:(add|create|delete|destroy)\s+)?table\s+(?:(ip|ip6|inet|arp|bridge|netdev)\s+)?(\$?[\w./\\-]+)"
)


def included(pattern: str, root: str) -> list[str]:
    """The files of an `include` of nft(8): a path or a pattern, from /etc if it is not absolute."""
    absolute = pattern if pattern.startswith("/") else f"/etc/{pattern.removeprefix('./')}"
    base = Path(root or "/")
    return sorted(f"/{p.relative_to(base)}" for p in base.glob(absolute.lstrip("/")))


def tables(commands: Iterable[str], root: str) -> tuple[str, ...] | None:
    """The tables ("inet filter") that are there when these commands have run one after the other on an empty packet filter.

    None where that can't be told: one of them is no `nft -f FILE` (nor `nft flush ruleset`), or a file can't be read.
    """
    found: dict[str, None] = {}
    for command in commands:
        try:
            words = shlex.split(command.lstrip("@-:+!"))
        except ValueError:
            return None
        if not words or Path(words[0]).name != "nft":
            return None
        if words[1:] == ["flush", "ruleset"]:
            found.clear()
        elif words[-2:-1] not in (["-f"], ["--file"]) or not _file(words[-1], root, found, set()):
            return None
    return tuple(found)


def _file(path: str, root: str, found: dict[str, None], seen: set[str]) -> bool:
    """Follow one file, and say whether all of it could be followed."""
    text = read(path, root=root or "/").text
    if text is None or path in seen or len(seen) >= _MOST_FILES:
        return False
    seen.add(path)
    for line in text.splitlines():
        plain = line.split("#", 1)[0]
        if re.match(r"\s*flush\s+ruleset\b", plain):
            found.clear()
        if include := INCLUDE.match(plain):
            if not all(_file(one, root, found, seen) for one in included(include[1], root)):
                return False
            continue
        for verb, family, name in _TABLE.findall(plain):
            if name.startswith("$"):
                return False
            table = f"{family or 'ip'} {name}"
            if verb in ("delete", "destroy"):
                found.pop(table, None)
            else:
                found[table] = None
    return True
