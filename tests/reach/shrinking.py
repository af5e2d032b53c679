"""Delta debugging of a ruleset: lines first, then the words of each line (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def smallest(text: str, fails: Callable[[str], bool]) -> str:
    """A text from which no block, line, or few words can be taken away without the failure going away."""
    while True:
        lines = reduced(_blocks(text), lambda blocks: fails("\n".join(blocks)))
        lines = reduced("\n".join(lines).splitlines(), lambda kept: fails("\n".join(kept)))
        for number, line in enumerate(lines):
            if re.match(r"\s*(table|chain|type|\}|set|map)", line) and "elements" not in line:
                continue
            indent = line[: len(line) - len(line.lstrip())]

            def holds(words: list[str], number: int = number, indent: str = indent, lines: list[str] = lines) -> bool:
                return fails("\n".join([*lines[:number], indent + " ".join(words), *lines[number + 1 :]]))

            lines[number] = indent + " ".join(reduced(re.findall(r"[^\s,]+,?|,", line), holds))
        shorter = "\n".join(lines)
        if len(shorter) >= len(text):
            return shorter
        text = shorter


def reduced(parts: list[str], fails: Callable[[list[str]], bool]) -> list[str]:
    """The parts that are needed for a failure: runs of them are left out, long ones first."""
    size = max(1, len(parts) // 2)
    while size:
        at = 0
        while at < len(parts):
            fewer = parts[:at] + parts[at + size :]
            if len(fewer) < len(parts) and fails(fewer):
                parts = fewer
            else:
                at += size
        size //= 2
    return parts


def _blocks(text: str) -> list[str]:
    """Tables and chains as parts of their own where they stand alone."""
    out: list[str] = []
    depth = 0
    for line in text.splitlines():
        inside = re.match(r"\s+chain ", line) is not None
        if inside:
            depth = 1
            out.append(line)
        elif depth:
            out[-1] += "\n" + line
            depth = 0 if line.strip() == "}" else 1
        else:
            out.append(line)
    return out
