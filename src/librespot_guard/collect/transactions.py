"""What the commands of a unit do to the packet filter, transaction by transaction.

`nft -f` and each iptables-restore replace what they replace at once (nft(8): a file is one transaction; iptables-restore(8)); each other
command is a transaction of its own, and between two of them packets pass.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from librespot_guard.collect.loaded import INCLUDE, included
from librespot_guard.collect.textfile import read
from librespot_guard.snapshot import FilterStep

_MOST_FILES, _MOST_STEPS = 64, 500
_OTHERS = {"ufw", "ufw-init", "firewalld", "netfilter-persistent", "ferm", "foomuuri", "shorewall", "shorewall6"}
_SHELLS = {"sh", "bash", "dash"}
_BEFORE_COMMAND = {
    "if",
    "then",
    "else",
    "elif",
    "do",
    "while",
    "until",
    "!",
    "{",
    "(",
    "time",
    "sudo",
    "exec",
    "command",
}
# which of several ways a script goes is not followed
_BRANCHES = re.compile(r"^\s*(?:case\s|function\s|[\w-]+\s*\(\s*\))", re.MULTILINE)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_ASSIGNED = re.compile(r"(\w+)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_ENDS = {";", ";;", "&&", "||", "|", "&", "(", ")"}


class _UnknownError(Exception):
    """What a command does to the packet filter can't be told from the files."""


def steps_of(commands: list[tuple[str, str, str]], root: str) -> tuple[FilterStep, ...] | None:
    """The transactions of commands as (key, value, origin) of Exec settings, in their order; None where they can't be told.

    Args:
        commands: in the order in which systemd runs them, key by key.
        root: the folder in which files are looked for, "" for this host.
    """
    try:
        found = [step for key, value, origin in commands for step in _command(key, value, origin, root)]
    except _UnknownError:
        return None
    return tuple(found) if len(found) <= _MOST_STEPS else None


def _command(key: str, value: str, origin: str, root: str) -> Iterator[FilterStep]:
    """The transactions of one Exec setting."""
    try:
        words = shlex.split(value.lstrip("@-:+!"))
    except ValueError:
        raise _UnknownError from None
    if not words:
        return
    name = Path(words[0]).name
    if name in _SHELLS and words[1:2] and re.fullmatch(r"-\w*c", words[1]):
        yield from _script(key, " ".join(words[2:3]), origin, root, numbered=False)
    elif name in _SHELLS or _is_script(words[0], root):
        path = words[0] if name not in _SHELLS else next((w for w in words[1:] if w.startswith("/")), "")
        text = read(path, root=root or "/").text or ""
        if re.match(r"#!\s*\S*/nft\b", text):
            yield from _nft(key, ["-f", path], value, origin, root)
        elif re.match(r"#!\s*\S*[/ ](?:sh|bash|dash)\b", text) or name in _SHELLS:
            yield from _script(key, text, path, root, numbered=True)
        else:
            raise _UnknownError
    else:
        yield from _run(key, words, value, origin, root, "")


def _is_script(path: str, root: str) -> bool:
    return path.startswith("/") and (read(path, root=root or "/").text or "").startswith("#!")


def _script(key: str, text: str, origin: str, root: str, *, numbered: bool) -> Iterator[FilterStep]:
    """The transactions of a shell script, read from its first line to its last."""
    if _BRANCHES.search(text):
        raise _UnknownError
    values: dict[str, str] = {}
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        whole = line
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines, (0, ""))[1]
        body = ""
        if here := _HEREDOC.search(whole):
            taken = []
            for _, inner in lines:
                if inner.strip() == here[2]:
                    break
                taken.append(inner)
            body = "\n".join(taken)
            whole = whole[: here.start()] + whole[here.end() :]
        place = f"{origin}:{number}" if numbered else origin
        for words in _simple(whole):
            known = [_VARIABLE.sub(lambda m: values.get(m[1] or m[2], m[0]), word) for word in words]
            while known and (known[0] in _BEFORE_COMMAND or (given := _ASSIGNED.fullmatch(known[0]))):
                if known[0] not in _BEFORE_COMMAND and given:
                    values[given[1]] = given[2]
                known = known[1:]
            if known:
                yield from _run(key, known, " ".join(known), place, root, body)


def _simple(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of a shell script."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if word in _ENDS:
                yield words
                words = []
            else:
                words.append(word)
    except ValueError:
        raise _UnknownError from None
    yield words


def _run(key: str, words: list[str], text: str, origin: str, root: str, stdin: str) -> Iterator[FilterStep]:
    """The transaction of one program, if it is one that writes a packet filter."""
    name = Path(words[0]).name
    if name in _OTHERS:
        raise _UnknownError
    if name == "nft":
        yield from _nft(key, words[1:], text, origin, root, stdin)
    elif tables := re.fullmatch(r"(ip6?)tables(?:-legacy|-nft)?(-restore)?", name):
        family = {"ip": "ipv4", "ip6": "ipv6"}[tables[1]]
        if tables[2]:
            paths = [word for word in words[1:] if word.startswith("/")]
            saved = stdin or "".join(read(path, root=root or "/").text or "" for path in paths[-1:])
            policy = re.search(r"^:INPUT\s+(ACCEPT|DROP)\b", saved, re.MULTILINE)
            closes = None if policy is None else policy[1] == "DROP"
            removes = "" if {"-n", "--noflush"} & set(words) else "rules"
            yield FilterStep(key, text, origin, family, removes, loads=True, closes=closes)
        else:
            yield from _iptables(key, words[1:], text, origin, family)


def _iptables(key: str, words: list[str], text: str, origin: str, family: str) -> Iterator[FilterStep]:
    """One call of iptables(8): what it does to the filter table, as far as it is about packets to this host."""
    table = next((words[i + 1] for i, w in enumerate(words[:-1]) if w in ("-t", "--table")), "filter")
    if table in ("nat", "mangle", "raw", "security"):
        return
    for at, word in enumerate(words):
        chain = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("-") else ""
        if chain in ("OUTPUT", "FORWARD"):
            continue
        if word in ("-F", "--flush"):
            yield FilterStep(key, text, origin, family, "rules")
        elif word in ("-A", "--append", "-I", "--insert"):
            yield FilterStep(key, text, origin, family, loads=True)
        elif word in ("-P", "--policy") and chain == "INPUT":
            yield FilterStep(key, text, origin, family, closes=words[at + 2 : at + 3] == ["DROP"])


def _nft(key: str, words: list[str], text: str, origin: str, root: str, stdin: str = "") -> Iterator[FilterStep]:
    """One call of nft(8): a file, what it gets on stdin, or a command."""
    at = next((i for i, w in enumerate(words) if w in ("-f", "--file")), None)
    if at is None:
        said = " ".join(words)
    elif words[at + 1 : at + 2] in (["-"], ["/dev/stdin"]):
        if not stdin:
            raise _UnknownError
        said = stdin
    else:
        said = _whole(words[at + 1] if at + 1 < len(words) else "", root, set())
    said = re.sub(r"#.*", "", said)
    removes = "rules" if re.search(r"\bflush\s+(?:table|chain)\b", said) else ""
    if re.search(r"\b(?:delete|destroy)\s+table\b", said):
        removes = "tables"
    if re.search(r"\bflush\s+ruleset\b", said):
        removes = "all"
    loads = bool(re.search(r"\bchain\s+\S+\s*\{|\b(?:add|insert)\s+rule\b", said))
    closes = True if loads and re.search(r"\bpolicy\s+drop\b", said) else None
    if removes or loads:
        yield FilterStep(key, text, origin, "", removes, loads, closes)


def _whole(path: str, root: str, seen: set[str]) -> str:
    """The text of a file of nft with all that it includes."""
    text = read(path, root=root or "/").text
    if text is None or path in seen or len(seen) >= _MOST_FILES:
        raise _UnknownError
    seen.add(path)
    out = []
    for line in text.splitlines():
        found = INCLUDE.match(line)
        out += [_whole(one, root, seen) for one in included(found[1], root)] if found else [line]
    return "\n".join(out)
