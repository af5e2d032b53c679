"""What `iptables-save` and `ip6tables-save` printed: its tables, chains and rules, token by token.

This only splits; `iptables_rules` gives the tokens their meaning. Source: iptables/iptables-save.c and libxtables of iptables 1.8.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from librespot_guard.errors import InputError

MOST_BYTES = 64 << 20
_MOST_TOKENS = 4096
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(?=\s|$)|([^\s"]\S*)')
_INCOMPATIBLE = re.compile(r"^# Table `(.+?)' is incompatible")
_COUNTERS = re.compile(r"^\[\d+:\d+\] ")
_CHAIN = re.compile(r"^:(\S+) (ACCEPT|DROP|QUEUE|RETURN|-)(?: \[\d+:\d+\])?$")


@dataclass(frozen=True, slots=True)
class Module:
    """`-m NAME` or `-j NAME` with its options: each as (inverted, option, values)."""

    name: str
    options: tuple[tuple[bool, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class SavedRule:
    """One `-A` line: what it asks of the packet's headers, its matches, and its target (None: it only counts)."""

    line: int
    text: str
    entry: tuple[tuple[bool, str, tuple[str, ...]], ...]
    matches: tuple[Module, ...]
    target: Module | None
    goto: bool = False


@dataclass(slots=True)
class SavedTable:
    """One `*table`: the policies of its built-in chains (None for others) and its rules by chain, in order."""

    name: str
    policies: dict[str, str | None] = field(default_factory=dict)
    rules: dict[str, list[SavedRule]] = field(default_factory=dict)


@dataclass(slots=True)
class Saved:
    """A whole listing; `remarks` are the tool's own words about what it could not print."""

    tables: list[SavedTable] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


# options of the entry itself and how many values each has
ENTRY = {
    "-s": 1, "-d": 1, "-i": 1, "-o": 1, "-p": 1, "-f": 0, "-4": 0, "-6": 0,
    "--source": 1, "--destination": 1, "--in-interface": 1, "--out-interface": 1, "--protocol": 1, "--fragment": 0,
}  # fmt: skip
_SHORT = {
    "--source": "-s", "--destination": "-d", "--in-interface": "-i", "--out-interface": "-o", "--protocol": "-p",
    "--fragment": "-f", "--jump": "-j", "--goto": "-g", "--match": "-m",
}  # fmt: skip


def parse_iptables_save(text: str, *, source: str) -> Saved:
    """The listing. Raises InputError with line and column for what is none."""
    out = Saved()
    table: SavedTable | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.rstrip()
        where = f"{source}:{number}"
        if not line:
            continue
        if line.startswith("#"):
            if found := _INCOMPATIBLE.match(line):
                out.remarks.append(f"{where}: table `{found[1]}` is not printed ({line.lstrip('# ')})")
            elif "legacy" in line and "Warning" in line:
                out.remarks.append(f"{where}: {line.lstrip('# ')}")
            continue
        if line.startswith("*"):
            if table is not None:
                raise InputError(f"{where}:1: `{line}` begins before `COMMIT` ended table `{table.name}`", hint=_HINT)
            table = SavedTable(line[1:])
            out.tables.append(table)
        elif line == "COMMIT" and table is not None:
            table = None
        elif table is None:
            raise InputError(f"{where}:1: expected `*TABLE`, found {_shown(line)}", hint=_HINT)
        elif line.startswith(":"):
            found = _CHAIN.match(line)
            if found is None:
                raise InputError(
                    f"{where}:1: expected `:CHAIN POLICY [packets:bytes]`, found {_shown(line)}", hint=_HINT
                )
            table.policies[found[1]] = None if found[2] == "-" else found[2]
            table.rules.setdefault(found[1], [])
        else:
            chain, rule = _rule(line, number, where)
            table.rules.setdefault(chain, []).append(rule)
    if table is not None:
        raise InputError(
            f"{source}: it ends within table `{table.name}`, before its `COMMIT`",
            hint="the listing is cut; write it again",
        )
    return out


_HINT = "the input has to be what `iptables-save` prints"


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "...")


def _tokens(line: str, where: str) -> Iterator[tuple[int, str, bool]]:
    """Each word with its column, and whether it was quoted."""
    position, count = 0, 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        found = _TOKEN.match(line, position)
        if found is None:
            raise InputError(f"{where}:{position + 1}: a quoted word does not end", hint=_HINT)
        quoted = found[1] is not None
        yield position + 1, re.sub(r"\\(.)", r"\1", found[1]) if quoted else found[2], quoted
        position = found.end()
        count += 1
        if count > _MOST_TOKENS:
            raise InputError(f"{where}: a rule of more than {_MOST_TOKENS} words", hint=_HINT)


def _rule(line: str, number: int, where: str) -> tuple[str, SavedRule]:
    text = _COUNTERS.sub("", line)
    offset = len(line) - len(text)
    words = [(column + offset, word, quoted) for column, word, quoted in _tokens(text, where)]
    if len(words) < 2 or words[0][1] not in ("-A", "--append"):
        raise InputError(
            f"{where}:{words[0][0] if words else 1}: expected `-A CHAIN …`, found {_shown(line)}", hint=_HINT
        )
    chain = words[1][1]
    entry: list[tuple[bool, str, tuple[str, ...]]] = []
    matches: list[tuple[str, list[tuple[bool, str, tuple[str, ...]]]]] = []
    target: tuple[str, list[tuple[bool, str, tuple[str, ...]]]] | None = None
    goto = inverted = False
    position = 2
    while position < len(words):
        column, word, quoted = words[position]
        position += 1
        if word == "!" and not quoted:
            inverted = True
            continue
        option = _SHORT.get(word, word)
        if option in ("-m", "-j", "-g") and not quoted:
            if position >= len(words):
                raise InputError(f"{where}:{column}: `{word}` without a name", hint=_HINT)
            name = words[position][1]
            position += 1
            if option == "-m":
                matches.append((name, []))
            else:
                target, goto = (name, []), option == "-g"
            inverted = False
            continue
        if not word.startswith("-") or quoted:
            raise InputError(f"{where}:{column}: {_shown(word)} belongs to no option", hint=_HINT)
        values, position = _values(words, position, ENTRY.get(word))
        item = (inverted, option, values)
        inverted = False
        if word in ENTRY and target is None:
            if len(values) != ENTRY[word]:
                raise InputError(f"{where}:{column}: `{word}` needs a value", hint=_HINT)
            entry.append(item)
        elif target is not None:
            target[1].append(item)
        elif matches:
            matches[-1][1].append(item)
        else:
            # `-p tcp --dport 22` without `-m tcp`: the protocol's own extension
            protocol = next((v[0] for _, o, v in entry if o == "-p"), "?")
            matches.append((protocol, [item]))
    made = tuple(Module(name, tuple(options)) for name, options in matches)
    end = None if target is None else Module(target[0], tuple(target[1]))
    return chain, SavedRule(number, text, tuple(entry), made, end, goto)


def _values(words: list[tuple[int, str, bool]], position: int, count: int | None) -> tuple[tuple[str, ...], int]:
    """The values behind an option: `count` of them, or all up to the next option."""
    values: list[str] = []
    while position < len(words) and (count is None or len(values) < count):
        _, word, quoted = words[position]
        if not quoted and (word == "!" or (word.startswith("-") and len(word) > 1 and not word[1].isdigit())):
            break
        values.append(word)
        position += 1
    return tuple(values), position
