"""Configuration files as (key, value, line): environment files, INI, TOML, YAML and libconfuse. Malformed text is an error that says where.

Environment files as systemd reads them (systemd.exec(5), EnvironmentFile=); snapserver.conf as its popl library does (`#` and `;` comments,
`[section]`); TOML v1.0 by tomllib; YAML by `yaml.compose`, which builds nothing and expands no alias.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_MAX_ENTRIES = 2000
_MAX_DEPTH = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOLLAR_ESCAPES = set('"\\`$')


class MalformedError(ValueError):
    """The text is not of its format; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting of a file. `key` is dotted ("server.port"); `line` counts from 1."""

    key: str
    value: str
    line: int


def parse(text: str, kind: str) -> list[Entry]:
    """The entries of a text of one of `catalog.FORMATS`, in their order.

    Raises:
        MalformedError: the text is not of that format, or nests or repeats beyond all reason.
    """
    try:
        found = list(_PARSERS[kind](text))
    except RecursionError:
        raise MalformedError("it is nested too deeply") from None
    if len(found) > _MAX_ENTRIES:
        raise MalformedError(f"it has more than {_MAX_ENTRIES} settings")
    return found


def _env(text: str) -> Iterator[Entry]:
    """Lines NAME=value; quotes, and a backslash at the end that goes on in the next line. Other lines are ignored, as systemd does."""
    text = text.replace("\r\n", "\n")  # a CR ends a line for systemd too (basic/env-file.c: NEWLINE)
    place = 0
    line = 1
    while place < len(text):
        start = line
        logical, place, line = _logical(text, place, line)
        stripped = logical.lstrip(" \t")
        if not stripped or stripped[0] in "#;":
            continue
        name, equals, value = stripped.partition("=")
        name = name.rstrip(" \t")
        if equals and _NAME.fullmatch(name):
            yield Entry(name, _unquoted(value.strip(" \t")), start)


def _logical(text: str, place: int, line: int) -> tuple[str, int, int]:
    """One logical line: a quoted value, and a line that ends in a backslash, go on in the next. What comes after it, and its line."""
    quote, out, comment = "", [], re.match(r"[ \t]*[#;]", text[place : place + 200]) is not None
    while place < len(text):
        char = text[place]
        if char == "\\" and quote != "'" and place + 1 < len(text):
            out.append("" if text[place + 1] == "\n" else text[place : place + 2])
            line += text[place + 1] == "\n"
            place += 2
            continue
        place += 1
        if char == "\n":
            line += 1
            if not quote:
                break
        if not comment and char in "\"'" and (quote in ("", char)):
            quote = "" if quote else char
        out.append(char)
    return "".join(out), place, line


def _unquoted(value: str) -> str:
    out, quote, place = [], "", 0
    while place < len(value):
        char = value[place]
        if char == "\\" and quote != "'" and place + 1 < len(value):
            following = value[place + 1]
            out.append(following if not quote or following in _DOLLAR_ESCAPES else char + following)
            place += 2
            continue
        place += 1
        if char in "\"'" and quote in ("", char):
            quote = "" if quote else char
        else:
            out.append(char)
    if quote:
        raise MalformedError(f"a quote ({quote}) is opened and never closed")
    return "".join(out)


def _ini(text: str) -> Iterator[Entry]:
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.strip()
        if not plain or plain[0] in "#;":
            continue
        if plain.startswith("["):
            if "]" not in plain:
                raise MalformedError(f"line {number}: the section `{plain[:40]}` has no `]`")
            if plain.endswith("]"):  # with a comment behind it, it begins no section: seen in snapserver 0.26.0
                section = plain[1:-1].strip()
            continue
        key, equals, value = plain.partition("=")
        if equals:
            yield Entry(f"{section}.{key.strip()}" if section else key.strip(), value.strip(), number)


def _braces(text: str) -> Iterator[Entry]:
    """libconfuse, as in owntone.conf: `section {`, `key = value`, `key = { list }` that may go on over lines, `}`."""
    sections: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.strip()
        key, equals, value = (part.strip() for part in plain.partition("="))
        if not plain or plain.startswith(("#", "//")):
            continue
        if plain.endswith("{"):
            sections.append(key.partition("{")[0].split(" ")[0])
        elif plain == "}":
            sections = sections[:-1]
        elif equals:
            yield Entry(".".join([*sections, key][:_MAX_DEPTH]), value.strip("{} ").strip('"'), number)


def _toml(text: str) -> Iterator[Entry]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MalformedError(str(error)) from None
    lines = _toml_lines(text)
    for key, value in _flat(document, "", 0):
        yield Entry(key, value, lines.get(key, 1))


def _toml_lines(text: str) -> dict[str, int]:
    """Where each key stands. tomllib does not say; this is for people, a key that is not found is said to be in line 1."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
            table = _bare(header[1])
        elif assigned := re.match(r"""\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""", line):
            key = _bare(assigned[1])
            found.setdefault(f"{table}.{key}" if table else key, number)
    return found


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _flat(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        raise MalformedError("it is nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    elif isinstance(value, list):
        yield prefix, ", ".join(_word(item) for item in value[:100])
    else:
        yield prefix, _word(value)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _yaml(text: str) -> Iterator[Entry]:
    import yaml  # noqa: PLC0415 - only a host with such a file pays for it

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise MalformedError(f"{where}{error.problem or error.context or 'not YAML'}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise MalformedError(str(error).splitlines()[0]) from None
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise MalformedError("it is no mapping of settings")
    budget = [_MAX_ENTRIES]
    yield from _yaml_node(yaml, root, "", budget, 0)


def _yaml_node(yaml: Any, node: Any, prefix: str, budget: list[int], depth: int) -> Iterator[Entry]:
    """The settings under a node. Aliases make a small text a large tree, or an endless one: both ends are bounded."""
    budget[0] -= 1
    if budget[0] < 0 or depth > _MAX_DEPTH:
        raise MalformedError("it is nested too deeply, or its aliases multiply")
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            yield from _yaml_node(yaml, value, f"{prefix}.{name}" if prefix else name, budget, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        items = [n.value for n in node.value[:100] if isinstance(n, yaml.ScalarNode)]
        yield Entry(prefix, ", ".join(items), line)
    else:
        truth = node.tag == "tag:yaml.org,2002:bool"
        text = node.value.lower() in ("yes", "true", "on") if truth else node.value
        yield Entry(prefix, _word(text), line)


_PARSERS: dict[str, Callable[[str], Iterator[Entry]]] = {
    "env": _env,
    "ini": _ini,
    "toml": _toml,
    "yaml": _yaml,
    "braces": _braces,
}
