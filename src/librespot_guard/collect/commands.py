"""The command lines of a unit as systemd makes them, and the programs that they start in the end: behind `env`, `nice`, a shell, ….

systemd.service(5) (quotes, escapes, `;`, variables, the search path of a program without a folder), core/load-fragment.c (`@` and its like).
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from librespot_guard.collect.units import Line, Unit

_SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\s")
# where an escaped character is kept while the words are told apart (a private use area of Unicode)
_KEPT = 0xF100
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
# programs that start another one, with those of their options that take a value of their own
_STARTERS: dict[str, tuple[str, ...]] = {
    "env": ("-u", "--unset", "-C", "--chdir"),
    "nice": ("-n", "--adjustment"),
    "ionice": ("-c", "--class", "-n", "--classdata"),
    "chrt": (),
    "taskset": (),
    "setsid": (),
    "nohup": (),
    "stdbuf": ("-i", "-o", "-e"),
    "timeout": ("-k", "--kill-after", "-s", "--signal"),
    "setpriv": ("--reuid", "--regid", "--groups", "--inh-caps", "--ambient-caps", "--bounding-set", "--securebits"),
    "sudo": ("-u", "-g", "-C", "-h", "-p", "-r", "-t"),
    "runuser": ("-u", "-g", "-G"),
    "systemd-cat": ("-t", "--identifier", "-p", "--priority"),
    "exec": ("-a",),
    "dbus-run-session": (),
}
# what stands between them and the program: a priority, a mask, a time
_OPERANDS: dict[str, int] = {"chrt": 1, "taskset": 1, "timeout": 1}
_MAX_WRAPPED = 8


def command_lines(unit: Unit, values: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """What each ExecStart= starts in the end: the arguments, its program found, and the variables that are set on the way.

    Of a shell's text every command is given. Words that can't be told are left as they stand.
    """
    for line in unit.all("ExecStart"):
        for words in _words(unit, line, values):
            for argv, variables in _wrapped(words, {}, _MAX_WRAPPED):
                yield (found_at(argv[0]), *argv[1:]), variables


def split_variable(value: str) -> list[str]:
    """The words of a variable that stands alone on a command line: quotes hold them together (basic/env-util.c: replace_env_argv)."""
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


def found_at(program: str) -> str:
    """The path of a program: one without a folder is looked for where systemd does (systemd.service(5))."""
    if "/" in program or "\0" in program:
        return program
    return next((path for f in _SEARCHED if os.access(path := f"{f}/{program}", os.X_OK)), program)


def _words(unit: Unit, line: Line, values: Mapping[str, str]) -> Iterator[list[str]]:
    """The commands of one line (a word `;` ends one), as words, specifiers and variables expanded."""
    plain = line.value.lstrip("@-:+!")
    named = "@" in line.value[: len(line.value) - len(plain)]
    try:
        words = [_restored(word) for word in shlex.split(_ESCAPE.sub(_kept, plain))]
    except ValueError:
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if word != ";":
            command += _expanded(unit.expand(word), values)
        elif command:
            # `@`: the second word is what the program is called, no argument
            yield [command[0], *command[2:]] if named else command
            command, named = [], False


def _kept(match: re.Match[str]) -> str:
    return chr(_KEPT + (int(match[1], 16) if match[1] else ord(" ")))


def _restored(word: str) -> str:
    return "".join(chr(ord(c) - _KEPT) if _KEPT <= ord(c) < _KEPT + 256 else c for c in word)


def _expanded(word: str, values: Mapping[str, str]) -> list[str]:
    """A word with its variables (systemd.service(5)): `$NAME` alone is split into words, `${NAME}` is not."""
    if alone := re.fullmatch(r"\$([A-Za-z_]\w*)", word):
        return split_variable(values.get(alone[1], ""))
    return [_VARIABLE.sub(lambda m: values.get(m[1], ""), word)]


def _wrapped(
    words: list[str], variables: dict[str, str], left: int
) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """The programs that a command starts in the end: itself, unless it is one that starts others."""
    while words and (given := _ASSIGNMENT.fullmatch(words[0])):
        variables = {**variables, given[1]: given[2]}
        words = words[1:]
    name = PurePosixPath(words[0]).name if words else ""
    if not words:
        return
    if left and name in _SHELLS:
        place = next((i for i, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word)), None)
        for command in _commands(words[place + 1] if place is not None and place + 1 < len(words) else ""):
            yield from _wrapped(command, variables, left - 1)
    elif left and name in _STARTERS:
        yield from _wrapped(_behind(words, name), variables, left - 1)
        return
    yield tuple(words), variables


def _behind(words: list[str], name: str) -> list[str]:
    """What stands behind the options and the operands of a program that starts another one."""
    index = 1
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] in _STARTERS[name] else 1
    return words[index + _OPERANDS.get(name, 0) :]


def _commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell's text, as words; what is no plain text of commands gives nothing of use."""
    lexer = shlex.shlex(text.replace("\n", ";"), posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    command: list[str] = []
    try:
        for word in lexer:
            if set(word) <= set(";&|()"):
                yield command
                command = []
            else:
                command.append(word)
    except ValueError:
        return
    yield command
