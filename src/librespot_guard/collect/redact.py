"""Arguments and environment with their secrets replaced by "***"; nothing that is a secret leaves `collect`.

What counts as a secret: the values of the options and variables that the catalogue names, of any other option whose name
ends like that of a secret, user information in URLs, and secret parameters in URLs (`snapserver` sources). A value too many
is hidden rather than one too few.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from librespot_guard.catalog import Flavour
from librespot_guard.snapshot import Secret

HIDDEN = "***"

_NAME = (
    r"(?:password|passwd|passphrase|pass|pwd|token|secret|credentials?|api[-_]?key|auth|blob)(?:[-_]?(?:cmd|command))?"
)
_SECRET_NAME = re.compile(rf"(?:^|[-_.]){_NAME}$", re.IGNORECASE)
# every pattern takes time in proportion to the text: an argument may be 128 KiB of what somebody else likes
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,30}://", re.IGNORECASE)
_WORD = re.compile(r"\S+")
# a value ends where the next parameter begins, and nowhere else: a password may hold spaces, `;` and `#` (seen in snapserver 0.26.0)
_PARAMETER = re.compile(rf"(?P<name>[?&;]\s*(?:[a-z0-9]+[-_.])*{_NAME}=)(?:(?!;\s*[\w.-]+=)[^&])+", re.IGNORECASE)
# arguments for another program in a parameter (snapserver: `params=--username%20u%20-p%20x`): all that follows such an option
_SPACE = r"(?:%20|%09|\+|\s|[\"']|%2[27])"
_WRAPPED = re.compile(
    rf"(?P<name>(?:=|{_SPACE})(?:--?(?:[a-z0-9]+[-_.])*{_NAME}(?:=|%3D|{_SPACE})|(?-i:-[pk])))[^&]+", re.IGNORECASE
)
# in the text of a command, as of `sh -c`: an option or a variable, and its value
_INNER = re.compile(
    rf"(?P<name>(?:^|[\s;&|(\"'])(?:--?(?:[a-z0-9]+[-_.])*{_NAME}(?:=|\s+)|(?:[a-z0-9]+[-_.])*{_NAME}=))"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s;&|)\"']+)",
    re.IGNORECASE,
)
_PROXY = re.compile(r"(?:https?|all|ftp|no)_proxy", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Options:
    """Command line options by name without dashes; a name of one letter is a short option. `flags` are the letters without a value."""

    secret: tuple[str, ...] = ()
    flags: str = ""


@dataclass(slots=True)
class _Redactor:
    options: Options
    secrets: list[Secret] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)

    def hide(self, name: str) -> str:
        self.secrets.append(Secret("argv", name))
        return HIDDEN


def options_of(flavour: Flavour | None) -> Options:
    """What the catalogue says about the options of a flavour."""
    return Options() if flavour is None else Options(flavour.secrets.arguments, flavour.arguments.flags)


def redact_argv(argv: Sequence[str], options: Options) -> tuple[tuple[str, ...], tuple[Secret, ...]]:
    """The arguments with secrets hidden, and what was hidden.

    All forms of getopt are understood: `--token X`, `--token=X`, `-k X`, `-kX`, `-k=X`, and short options behind flags, `-vkX`.
    """
    work = _Redactor(options)
    pending = ""
    for index, argument in enumerate(argv):
        if pending:
            work.ready.append(work.hide(pending))
            pending = ""
        elif index == 0 or not argument.startswith("-") or argument in ("-", "--"):
            work.ready.append(_text(argument, work, "URL"))
        elif argument.startswith("--"):
            pending = _long(argument, work, argv[index + 1 : index + 2])
        else:
            pending = _short(argument, work, argv[index + 1 : index + 2])
    return tuple(work.ready), tuple(dict.fromkeys(work.secrets))


def _long(argument: str, work: _Redactor, following: Sequence[str]) -> str:
    name, equals, value = argument[2:].partition("=")
    certain = name in work.options.secret
    if not certain and not _SECRET_NAME.search(name):
        work.ready.append(_text(argument, work, f"--{name}" if equals else "URL"))
        return ""
    if equals:
        work.ready.append(f"--{name}={work.hide(f'--{name}')}" if value else argument)
        return ""
    work.ready.append(argument)
    # of an option that only sounds like a secret it is not known whether it takes a value
    return f"--{name}" if following and (certain or not following[0].startswith("-")) else ""


def _short(argument: str, work: _Redactor, following: Sequence[str]) -> str:
    for place, letter in enumerate(argument[1:], start=1):
        if letter in work.options.secret:
            name, value = f"-{letter}", argument[place + 1 :]
            if value:
                equals = "=" if value.startswith("=") else ""
                work.ready.append(argument[: place + 1] + equals + work.hide(name))
                return ""
            work.ready.append(argument)
            return name if following else ""
        if letter not in work.options.flags:
            break
    work.ready.append(_text(argument, work, argument[:2]))
    return ""


def _text(value: str, work: _Redactor, name: str) -> str:
    clean = redact_text(value)
    if clean != value:
        work.hide(name)
    return clean


def secret_name(name: str) -> bool:
    """Whether something of this name is a secret by its name."""
    return _SECRET_NAME.search(name) is not None


def redact_text(value: str) -> str:
    """A text without the secrets of its URLs (user information, parameters) and of commands that stand in it."""
    if "://" in value:
        value = _WORD.sub(lambda word: _without_user(word[0]), value)
    value = _PARAMETER.sub(rf"\g<name>{HIDDEN}", value)
    if "://" in value:
        return _WRAPPED.sub(rf"\g<name>{HIDDEN}", value)
    return _INNER.sub(rf"\g<name>{HIDDEN}", value)


def _without_user(word: str) -> str:
    """A word without the user information of a URL, up to the last @: a password may have an @ or a slash in it, valid or not."""
    scheme, at = _SCHEME.search(word), word.rfind("@")
    return word if scheme is None or at < scheme.end() else f"{word[: scheme.end()]}{HIDDEN}{word[at:]}"


def redact_environment(
    environment: Mapping[str, str], flavour: Flavour | None
) -> tuple[dict[str, str], tuple[Secret, ...]]:
    """The variables that matter to exposure (settings of the family and proxies), secrets hidden, and what was hidden."""
    prefix = flavour.arguments.environment_prefix if flavour else ""
    named = flavour.secrets.environment if flavour else ()
    kept: dict[str, str] = {}
    secrets: list[Secret] = []
    for name, value in sorted(environment.items()):
        ours = name.startswith("LIBRESPOT_GUARD_")  # settings of this tool, not of the family
        if ours or not (
            name.startswith("LIBRESPOT_")
            or (prefix and name.startswith(prefix))
            or name in named
            or _PROXY.fullmatch(name)
        ):
            continue
        clean = redact_text(value)
        if value and (name in named or _SECRET_NAME.search(name)):
            clean = HIDDEN
        if clean != value:
            secrets.append(Secret("environment", name))
        kept[name] = clean
    return kept, tuple(secrets)


def values_of(argv: Sequence[str], names: Sequence[str], flags: str) -> list[tuple[str, str]]:
    """The values given to an option, as (option as written, value); `names` without dashes, all forms of getopt."""
    found: list[tuple[str, str]] = []
    waiting = ""
    for argument in argv[1:]:
        if waiting:
            found.append((waiting, argument))
            waiting = ""
        elif argument == "--":
            break
        elif argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            if name in names and len(name) > 1:
                if equals:
                    found.append((f"--{name}", value))
                else:
                    waiting = f"--{name}"
        elif argument.startswith("-") and "_" in (name := argument[1:].partition("=")[0]) and name in names:
            # Go's flag package takes one dash as well (go-librespot before 0.1.0); no short options are written so
            if "=" in argument:
                found.append((f"-{name}", argument.partition("=")[2]))
            else:
                waiting = f"-{name}"
        elif argument.startswith("-"):
            for place, letter in enumerate(argument[1:], start=1):
                if letter in names:
                    rest = argument[place + 1 :]
                    if rest:
                        found.append((f"-{letter}", rest.removeprefix("=")))
                    else:
                        waiting = f"-{letter}"
                    break
                if letter not in flags:
                    break
    return found
