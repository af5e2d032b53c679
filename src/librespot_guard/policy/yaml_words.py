"""What is wrong with text that is no YAML, in words that say what to do. PyYAML's own speak of the parser."""

from typing import Any

import yaml

from librespot_guard.policy.faults import Fault, quote
from librespot_guard.policy.model import Where

ENDS_IN_COLON = 'a value in brackets that ends in `:` (put it in quotes, such as "fd00::")'
NO_CHARACTER = "this escape is no character (write the character itself)"
# libyaml points at the end of what these speak of
_AT_THE_START = (ENDS_IN_COLON, NO_CHARACTER)
# a part of PyYAML's or libyaml's problem -> our words; the first that fits
_WORDS = (
    (
        "apping values are not allowed",
        "a `:` that does not fit here (check the indentation; put text that holds `: ` in quotes)",
    ),
    ("equence entries are not allowed", "a list can't begin here (put its `-` on a line of its own, or write [a, b])"),
    ("found unexpected ':'", 'a value that ends in `:` here (put it in quotes, such as "fd00::")'),
    ("unknown escape character", "an unknown escape (write `\\\\` for a backslash, or use single quotes)"),
    ("escape sequence of", "an escape that is not complete (write `\\\\` for a backslash, or use single quotes)"),
    ("expected the node content", "a value is missing here"),
    ("did not find expected node content", "a value is missing here"),
    ("could not find expected ':'", "a key without `:` (write `key: value`)"),
    ("expected alphabetic or numeric", "`*` and `&` can't begin a value (put it in quotes)"),
    (
        "document separator",
        "the text in quotes that begins {begin} does not end before the document does (close the quotes)",
    ),
)


def fault(error: yaml.MarkedYAMLError, text: str, file: str) -> Fault:
    """The fault that a PyYAML error speaks of."""
    mark: Any = error.problem_mark or error.context_mark
    where = Where(file, mark.line + 1, mark.column + 1) if mark is not None else Where(file, 1, 1)
    problem, context = str(error.problem or ""), str(error.context or "")
    start: Any = error.context_mark
    begin = f"at line {start.line + 1}, column {start.column + 1}" if start is not None else "before"
    words = _words(problem, context, _at(text, where), begin)
    if words in _AT_THE_START and start is not None:
        where = Where(file, start.line + 1, start.column + 1)
    return Fault(where, words)


def _words(problem: str, context: str, found: str, begin: str) -> str:
    for part, words in _WORDS:
        if part in problem:
            return words.format(begin=begin) if "{begin}" in words else words
    if "cannot start any token" in problem:
        return (
            "a tab can't indent (use spaces)"
            if found == "\t"
            else f"{quote(found)} can't begin a value (put it in quotes)"
        )
    if "end of stream" in problem and "scalar" in context:
        return f"the text in quotes that begins {begin} does not end (close the quotes)"
    for bracket, what in (("']'", "list"), ("'}'", "mapping")):
        if bracket in problem and "flow" in context:
            return f"the {what} in brackets that begins {begin} goes on without `,` or `{bracket[1]}`{_seen(found)}"
    if "<block end>" in problem or "did not find expected" in problem:
        what = f"{quote(found)} does" if found in ("]", "}", ",") else "this line does"
        return f"{what} not fit what stands above it (check the indentation and the brackets)"
    return f"no YAML: {problem or 'it cannot be read'} (check the indentation, the brackets and the quotes)"


def _seen(found: str) -> str:
    return f" (found {quote(found)})" if found.strip() else " (close it)"


def _at(text: str, where: Where) -> str:
    """The character at a place, or "" at the end."""
    lines = text.splitlines()
    line = lines[where.line - 1] if where.line <= len(lines) else ""
    return line[where.column - 1 : where.column]
