"""Every setting that a service was given: where each value stands, which one wins, and what it does not do.

The catalogue says what can be set, and what wins over what. The environment of a running process is the truth about its variables; the
files of its unit tell where they came from, and whether they say something else by now.
"""

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TypeVar

from librespot_guard.catalog import ConfigFile, Flavour, Setting
from librespot_guard.collect.formats import Entry, MalformedError, parse
from librespot_guard.collect.redact import HIDDEN, redact_text, secret_name, values_of
from librespot_guard.collect.textfile import read
from librespot_guard.snapshot import Gap, ServiceSetting

T = TypeVar("T")

_OFF = {"off", "false", "no", "0", "disabled", "none", ""}
_ORDER = ("argv", "environment", "file")


@dataclass(frozen=True, slots=True)
class Start:
    """How a program is, or would be, started.

    Attributes:
        environment: its variables; `origins` says of some where they were set ("FILE:LINE").
        pending: what the files of its unit say of its variables now: name -> (value, "FILE:LINE"); it takes effect at a restart.
        root: the folder that it takes for /, as seen from here.
        working: its working folder, as it sees it; home: that of its user.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    origins: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    root: str = "/"
    working: str = "/"
    home: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings of a service with secrets hidden; `raw` every value that wins of each, not hidden, which must not be kept."""

    settings: tuple[ServiceSetting, ...] = ()
    every: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    unread: bool = False

    @property
    def raw(self) -> Mapping[str, str]:
        """The value of each setting; of those that may be given several times, the last one."""
        return {name: values[0] for name, values in self.every.items()}


@dataclass(frozen=True, slots=True)
class _Value:
    kind: str  # argv, environment, file
    value: str
    origin: str
    note: str = ""
    # of an earlier name, which is ignored where the present one is set
    yields: bool = False


def home_of(uid: int) -> str:
    """The home folder of a user, "" if it has none."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return ""


def canonical(environment: Mapping[str, T], flavour: Flavour) -> dict[str, T]:
    """Variables by the names that the catalogue has for them.

    librespot takes those with its prefix in small letters too, and the prefix twice; of two, the first one holds (src/main.rs:698-735).
    """
    prefix = flavour.arguments.environment_prefix
    found: dict[str, T] = {}
    for name, value in environment.items():
        plain = name
        while prefix and plain.startswith(prefix):
            plain = plain.removeprefix(prefix)
        found.setdefault(prefix + plain.upper().replace("-", "_") if plain != name else name, value)
    return found


def resolve(flavour: Flavour, version: str | None, start: Start) -> Resolved:
    """The settings that a program was given, those that win first within each name."""
    files, gaps = _files(flavour, version, start)
    order = flavour.arguments.precedence or _ORDER
    found: list[ServiceSetting] = []
    every: dict[str, tuple[str, ...]] = {}
    origins: dict[str, str] = {}
    for name, forms in _forms(flavour, version).items():
        called = {_names(form): form for form in reversed(forms)}
        given = [
            (v, f) for f in reversed(called.values()) for v in _values(f, flavour, start, files) if v.kind in order
        ]
        given.sort(key=lambda one: (one[0].yields, order.index(one[0].kind)))
        several = any(form.several for form in forms)
        for place, (one, form) in enumerate(given):
            # what has another name is read by other versions, so that both may hold
            first = all(other is not form for _, other in given[:place])
            wins = first or (several and one.yields == given[0][0].yields)
            note = " ".join(n for n in (one.note, "" if version else _only(form, forms), _note(form)) if n)
            found.append(ServiceSetting(name, _shown(flavour, form, one.value), one.origin, wins, note))
            if wins:
                every[name] = (*every.get(name, ()), one.value)
                origins.setdefault(name, one.origin)
        default = forms[0].default
        if not given and default and forms[0].surface:
            every[name] = (default,)
            at = f"default of {flavour.title}{f' {version}' if version else ''}"
            if len({form.default for form in forms}) > 1:
                at += " as the newest version has it: its own is not known"
            origins[name] = at
            found.append(ServiceSetting(name, default, at, wins=True))
    return Resolved(tuple(found), every, origins, tuple(gaps), unread=bool(gaps))


def _forms(flavour: Flavour, version: str | None) -> dict[str, list[Setting]]:
    """The settings by name. One of a version that is not known has the forms of all versions, the newest first."""
    found: dict[str, list[Setting]] = {}
    for setting in flavour.settings_of(version) if version else flavour.settings:
        # of a version that is not known, the earlier name is a form of its own
        found.setdefault(setting.name, []).append(setting if version else replace(setting, older=""))
    return {name: forms[:1] if version else forms for name, forms in found.items()}


def _names(setting: Setting) -> tuple[str | None, ...]:
    return setting.key, setting.long, setting.short, setting.environment


def _only(form: Setting, forms: Sequence[Setting]) -> str:
    """Which versions read a setting under this name, where its own version is not known and the others call it otherwise."""
    same = [f for f in forms if _names(f) == _names(form)]
    first, last = same[-1].since, same[0].until
    if not last and len(same) == len(forms):
        return ""
    which = f"from {first} to before {last}" if first and last else f"before {last}" if last else f"from {first} on"
    return f"its version is not known: only those {which} read this."


def _note(setting: Setting) -> str:
    wrong = f"its documentation is wrong: {setting.wrong_docs}" if setting.wrong_docs else ""
    unsure = f"not confirmed: {setting.unconfirmed}" if setting.unconfirmed else ""
    return " ".join(n for n in (setting.trap, wrong, unsure) if n)


def _shown(flavour: Flavour, setting: Setting, value: str) -> str:
    if setting.key in flavour.secrets.keys and "://" in value:
        return redact_text(value)
    named = secret_name(setting.name) and setting.kind not in ("flag", "switch")
    hidden = setting.kind == "secret" or setting.key in flavour.secrets.keys or named
    return HIDDEN if hidden and value else redact_text(value)[:200]


def _values(
    setting: Setting, flavour: Flavour, start: Start, files: Sequence[tuple[ConfigFile, list[Entry]]]
) -> Iterator[_Value]:
    yield from reversed(list(_from_argv(setting, flavour, start)))
    if setting.environment and setting.environment in start.environment:
        yield _from_environment(setting, flavour, start)
    if setting.key:
        for file, entries in files:
            names: list[tuple[str, ...]] = (
                [(setting.key, setting.older)]
                if not file.section
                else [(f"{flavour.name}.{setting.key}",), (f"{file.section}.{setting.key}",)]
            )
            for some in names:
                # what is there twice: the last one holds
                yield from (
                    _named(setting, e.key, _Value("file", e.value, f"{file.path}:{e.line}"))
                    for e in reversed(entries)
                    if e.key in some
                )


def _named(setting: Setting, name: str, value: _Value) -> _Value:
    """The value, with what is to say of it if it is given by an earlier name of its setting."""
    if not setting.older or name != setting.older:
        return value
    note = f"an old name, read with a warning: the present one is `{setting.long}`."
    return replace(value, note=note, yields=setting.older_yields)


def _from_argv(setting: Setting, flavour: Flavour, start: Start) -> Iterator[_Value]:
    names = [n for n in (setting.long, setting.short, setting.older) if n]
    if names and setting.kind == "flag":
        for argument in start.argv[1:]:
            if argument == "--":
                return
            if argument == f"--{setting.long}" or (
                setting.short
                and argument[:1] == "-"
                and argument[:2] != "--"
                and _in_group(setting.short, argument, flavour)
            ):
                yield _Value("argv", "on", f"argv {argument}")
    elif setting.alone:
        for argument in start.argv[1:]:
            option, equals, value = argument.partition("=")
            if option == f"--{setting.long}":
                yield _Value("argv", value if equals else "true", f"argv {option}")
    elif names:
        for option, value in values_of(start.argv, names, flavour.arguments.flags):
            yield _named(setting, option.lstrip("-"), _Value("argv", value, f"argv {option}"))
    if setting.key:
        for option, value in values_of(start.argv, ["conf", "c"], flavour.arguments.flags):
            key, equals, text = value.partition("=")
            if equals and key == setting.key:
                yield _Value("argv", text, f"argv {option} {key}")


def _in_group(letter: str, argument: str, flavour: Flavour) -> bool:
    """Whether a short flag is in a group such as -vO: what follows an option with a value is its value."""
    for one in argument[1:]:
        if one == letter:
            return True
        if one not in flavour.arguments.flags:
            return False
    return False


def _from_environment(setting: Setting, flavour: Flavour, start: Start) -> _Value:
    name = setting.environment or ""
    value = start.environment[name]
    note = ""
    shown = value
    if setting.kind == "flag" and not flavour.arguments.flag_values:
        shown = "on"
        if value.strip().lower() in _OFF:
            note = f"on, although it says {value!r}: a flag is on as soon as its variable exists."
    pending = start.pending.get(name)
    origin = start.origins.get(name) or f"environment {name}"
    if pending is not None and pending[0] == value:
        origin = pending[1]
    elif pending is not None:
        note = f"{note} {pending[1]} says something else by now: that holds after a restart.".strip()
    return _Value("environment", shown, origin, note)


def _files(
    flavour: Flavour, version: str | None, start: Start
) -> tuple[list[tuple[ConfigFile, list[Entry]]], list[Gap]]:
    """The configuration files that are read: those named on the command line, else the first ones that are there."""
    found: list[tuple[ConfigFile, list[Entry]]] = []
    gaps: list[Gap] = []
    taken: int | None = None
    for file in flavour.files_of(version):
        if file.format == "env":  # its variables are in the environment
            continue
        path, named = path_of(file, flavour, start)
        if path is None or (taken is not None and file.first > taken):
            continue
        content = read(path, root=start.root)
        if content.gap:
            gaps.append(content.gap)
        if content.text is None:
            if named and content.gap is None:
                why = (
                    "its name is not UTF-8" if "\ufffd" in path else "it is named on the command line and is not there"
                )
                gaps.append(Gap(f"the configuration file {path}", why))
            continue
        taken = file.first
        try:
            entries = parse(content.text, file.format)
        except MalformedError as error:
            gaps.append(Gap(f"the configuration file {path}", f"malformed: {error}", "mend it: it may be half written"))
            continue
        found.append((ConfigFile(path, file.format, file.source, section=file.section), entries))
    return found, list(dict.fromkeys(gaps))


def path_of(file: ConfigFile, flavour: Flavour, start: Start) -> tuple[str | None, bool]:
    """Where a file is, as the program sees it (None if that can't be told), and whether its command line says so."""
    given = values_of(start.argv, list(file.options), flavour.arguments.flags)
    if given:
        path = os.path.join(start.working, given[-1][1])  # noqa: PTH118 - a path of another root
        return (f"{path}/{PurePosixPath(file.path).name}" if given[-1][0].endswith("dir") else path), True
    if file.path.startswith("~/"):
        config = start.environment.get("XDG_CONFIG_HOME", "")
        if config.startswith("/") and file.path.startswith("~/.config/"):
            return f"{config}/{file.path.removeprefix('~/.config/')}", False
        home = start.environment.get("HOME") or start.home
        return (f"{home}/{file.path[2:]}" if home.startswith("/") else None), False
    return os.path.join(start.working, file.path), False  # noqa: PTH118
