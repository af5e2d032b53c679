"""Instances that are installed and do not run: units whose program is a family member, with the listeners that they would open."""

import os
import pwd
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.collect import declared, services, units
from librespot_guard.collect.commands import command_lines
from librespot_guard.collect.programs import Programs, Resolver, interpreter, is_java
from librespot_guard.collect.redact import options_of, redact_argv, redact_environment, values_of
from librespot_guard.collect.settings import Start, canonical, home_of, resolve
from librespot_guard.collect.textfile import read
from librespot_guard.collect.units import Unit
from librespot_guard.snapshot import Gap, Service

_START = re.compile(r"^\s*ExecStart\s*=\s*[@:+!-]*\"?(\S+)", re.MULTILINE)


def find(
    catalog: Catalog, running: Collection[tuple[str, str | None]], netns: str
) -> tuple[tuple[Service, ...], tuple[Gap, ...]]:
    """The services that are installed as a unit and not among the units that run, by unit and manager (`Service.manager`)."""
    found: list[Service] = []
    gaps: list[Gap] = []
    programs = Programs(catalog)
    words = _words(catalog)
    places: list[tuple[tuple[str, ...], str, str]] = [(units.SYSTEM, "", "")]
    places += [(units.user_folders(home), user, home) for user, home in units.homes().items()]
    for folders, user, home in places:
        # of the folders for all users, what the administrator's wants start
        for name in units.names_in(folders if not user else (folders[0], *units.USER[:1])):
            if (name, user or None) in running or not _worth(name, folders, words):
                continue
            unit = units.load(name, folders, home)
            if unit is None:
                continue
            made = _service(unit, programs, user, netns)
            if made is not None:
                found.append(made[0])
                gaps += made[1]
    return services.unique(found), tuple(dict.fromkeys(gaps))


def _words(catalog: Catalog) -> re.Pattern[str]:
    """What a unit's text holds if it may start a family member."""
    names = {e for f in catalog.flavours for e in (*f.executables, *f.main_classes, f.python_package or "librespot")}
    return re.compile("|".join(re.escape(n) for n in sorted(names | {"librespot"})))


def _worth(name: str, folders: tuple[str, ...], words: re.Pattern[str]) -> bool:
    """Whether a unit is worth a whole look: most are not, and there are hundreds."""
    template = re.sub(r"@[^.]*\.", "@.", name)
    for folder in folders:
        for one in dict.fromkeys((name, template)):
            text = read(f"{folder}/{one}").text
            if text is None:
                continue
            if words.search(text) or words.search(name) or os.path.isdir(f"{folder}/{one}.d"):  # noqa: PTH112
                return True
            program = _START.search(text)
            return (
                program is not None
                and Path(program[1]).is_symlink()
                and words.search(os.path.realpath(program[1])) is not None
            )
    return False


def _service(unit: Unit, programs: Programs, user: str, netns: str) -> tuple[Service, list[Gap]] | None:
    variables = units.environment_of(unit)
    values = {name: value for name, (value, _) in variables.values.items()}
    started = ((argv, more, _flavour(argv, unit, programs)) for argv, more in command_lines(unit, values))
    found = next(((argv, more, flavour) for argv, more, flavour in started if flavour is not None), None)
    if found is None:
        return None
    argv, more, flavour = found
    values = canonical(values | more, flavour)
    owner = user or unit.last("User") or ("" if unit.last("DynamicUser") in ("yes", "true", "1") else "root")
    try:
        uid = pwd.getpwnam(owner).pw_uid if owner else -1
    except KeyError:
        uid = -1
    start = Start(
        argv=_own(argv),
        environment=values,
        origins=canonical(
            {name: origin for name, (_, origin) in variables.values.items() if name not in more}, flavour
        ),
        working=(unit.last("WorkingDirectory") or "/").lstrip("-").replace("~", home_of(uid) or "/"),
        home=unit.home or home_of(uid) if uid >= 0 else unit.home,
    )
    version = programs.version_of(argv[0])
    resolved = resolve(flavour, version, start)
    if not services.family(flavour, resolved):
        return None
    redacted, argv_secrets = redact_argv(argv, options_of(flavour))
    kept, environment_secrets = redact_environment(values, flavour)
    title = values_of(start.argv, flavour.arguments.name, flavour.arguments.flags)
    name = (
        title[-1][1]
        if title
        else values.get(flavour.arguments.name_environment or "") or unit.name.removesuffix(".service")
    )
    service = Service(
        name=services.slug(name),
        flavour=flavour.name,
        version=version,
        pid=0,
        uid=uid,
        executable=os.path.realpath(argv[0]),
        netns=netns,
        listeners=declared.listeners(flavour, version, start.argv, resolved),
        argv=redacted,
        environment=kept,
        secrets=(*argv_secrets, *environment_secrets),
        user=owner or None,
        unit=unit.name,
        restart=unit.last("Restart"),
        start_limit=unit.start_limit,
        settings=resolved.settings,
        status="stopped",
        manager=user or None,
    )
    return service, [*variables.gaps, *resolved.gaps, *unit.gaps]


def _flavour(argv: tuple[str, ...], unit: Unit, programs: Programs) -> Flavour | None:
    """The family member that a command line starts, if its program is there."""
    if not argv or not os.path.exists(argv[0]):  # noqa: PTH110 - not worth a Path
        return None
    if is_java(argv[0], os.path.realpath(argv[0])):
        flavour, sure = programs.of_java(argv, Resolver("/", unit.last("WorkingDirectory") or "/"))
        return flavour if sure or "-jar" in argv else None
    real = os.path.realpath(argv[0])
    if interpreter(PurePosixPath(real).name):
        return _library(argv, programs.catalog)
    held, readable = programs.of_executable(argv[0])
    named = programs.catalog.by_executable(PurePosixPath(real).name) or programs.catalog.by_executable(
        PurePosixPath(argv[0]).name
    )
    flavour = held or (named if not readable else None)
    if flavour is None:
        return None
    packaged = programs.catalog.by_unit(unit.name)
    return packaged if packaged is not None and flavour.name in (packaged.name, packaged.based_on) else flavour


def _library(argv: tuple[str, ...], catalog: Catalog) -> Flavour | None:
    """A Python script that imports the library and offers it to the network."""
    scripts = [word for word in argv[1:] if word.endswith(".py") or word.startswith("/")][:1]
    text = (read(scripts[0]).text or "") if scripts else ""
    for flavour in catalog.flavours:
        package = flavour.python_package
        if (
            package
            and "ZeroconfServer" in text
            and re.search(rf"^\s*(?:from|import)\s+{package}\b", text, re.MULTILINE)
        ):
            return flavour
    return None


def _own(argv: tuple[str, ...]) -> tuple[str, ...]:
    return argv[argv.index("-jar") + 1 :] if "-jar" in argv[:-1] else argv
