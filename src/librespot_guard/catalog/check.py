"""What must hold of a flavour beyond the shape of its tables: names that refer to others do, ranges are ranges, sources are known."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from librespot_guard.catalog.model import Flavour
from librespot_guard.catalog.settings import FORMATS, KINDS, ROLES, numbers
from librespot_guard.errors import InputError

SURFACES = ("discovery", "connect", "api", "login", "stream", "control", "metadata")
_ORIGINS = ("argv", "environment", "file")


def facts(flavour: Flavour) -> Iterator[tuple[str, Any]]:
    """Every table of a flavour that states facts, with its place: each of them has a source."""
    yield "flavour", flavour
    for name in ("getinfo", "port", "arguments", "secrets"):
        table = getattr(flavour, name)
        if table.source or name in ("arguments", "secrets"):
            yield name, table
    for name in (
        "surfaces",
        "files",
        "settings",
        "removals",
        "endpoints",
        "outbound",
        "credentials",
        "quirks",
    ):
        for index, table in enumerate(getattr(flavour, name)):
            yield f"{name.removesuffix('s') if name != 'files' else 'file'}[{index}]", table


def cited(source: str) -> tuple[str, ...]:
    """The names of the sources that a `source` cites: the first word of each part between semicolons."""
    return tuple(part.split()[0].rstrip(":") for part in source.split("; ") if part.split())


def check_flavour(file: str, flavour: Flavour) -> None:
    """Raise InputError for the first thing that does not hold."""
    if not flavour.executables and not flavour.python_package and not flavour.jars:
        raise InputError(f"{file}: executables: give a program, `jars`, or a `python_package`")
    known = {source.name for source in flavour.sources}
    for where, table in facts(flavour):
        if not cited(table.source):
            raise InputError(f"{file}: {where}.source: a fact without a source")
        for name in cited(table.source):
            if name not in known:
                raise InputError(
                    f"{file}: {where}.source: there is no source `{name}`",
                    hint="say where it was read in a table [[origin]]",
                )
        _range(file, where, getattr(table, "since", ""), getattr(table, "until", ""))
    _surfaces(file, flavour)
    _settings(file, flavour)
    _removals(file, flavour)
    for index, endpoint in enumerate(flavour.endpoints):
        _one_of(file, f"endpoint[{index}].role", endpoint.role, ROLES)
        _one_of(file, f"endpoint[{index}].surface", endpoint.surface, [s.name for s in flavour.surfaces])
    for index, each in enumerate(flavour.files):
        _one_of(file, f"file[{index}].format", each.format, FORMATS)
    for origin in flavour.arguments.precedence:
        _one_of(file, "arguments.precedence", origin, _ORIGINS)


def _surfaces(file: str, flavour: Flavour) -> None:
    for index, surface in enumerate(flavour.surfaces):
        where = f"surface[{index}]"
        _one_of(file, f"{where}.name", surface.name, SURFACES)
        _one_of(file, f"{where}.proto", surface.proto, ("tcp", "udp"))
        for port in (surface.port, *surface.random):
            if port is not None and not 1 <= port <= 65535:
                raise InputError(f"{file}: {where}.port: {port} is no port (1 to 65535; leave it out if it is random)")
        try:
            ip_address(surface.bind)
        except ValueError:
            raise InputError(f"{file}: {where}.bind: `{surface.bind}` is no address") from None
    _once(file, "surface", ((s.name, s.port if s.name in _MANY else None, s) for s in flavour.surfaces))


_MANY = frozenset({"api", "control", "stream", "metadata"})
"""Surfaces that a flavour may offer at several ports."""


def _settings(file: str, flavour: Flavour) -> None:
    for index, setting in enumerate(flavour.settings):
        where = f"setting[{index}]"
        _one_of(file, f"{where}.kind", setting.kind, KINDS)
        if setting.surface:
            _one_of(file, f"{where}.surface", setting.surface, [s.name for s in flavour.surfaces])
        if not any((setting.long, setting.short, setting.environment, setting.key, setting.code)):
            raise InputError(f"{file}: {where}: there is no way to set `{setting.name}`")
    _once(file, "setting", ((s.name, None, s) for s in flavour.settings))


def _removals(file: str, flavour: Flavour) -> None:
    names = {setting.name for setting in flavour.settings}
    for index, removal in enumerate(flavour.removals):
        where = f"removal[{index}]"
        for surface in removal.surfaces:
            _one_of(file, f"{where}.surfaces", surface, [s.name for s in flavour.surfaces])
        if removal.setting and removal.setting not in names:
            raise InputError(f"{file}: {where}.setting: there is no setting `{removal.setting}`")


def _once(file: str, table: str, items: Iterable[tuple[str, object, Any]]) -> None:
    """Of one name there may be several, for ranges of versions that do not overlap."""
    seen: dict[tuple[str, object], list[Any]] = {}
    for name, more, item in items:
        for other in seen.setdefault((name, more), []):
            apart = (item.until and numbers(item.until) <= numbers(other.since)) or (
                other.until and numbers(other.until) <= numbers(item.since)
            )
            if not apart:
                raise InputError(f"{file}: {table}: `{name}` is there twice for the same versions")
        seen[name, more].append(item)


def _range(file: str, where: str, since: str, until: str) -> None:
    for key, value in (("since", since), ("until", until)):
        if value and not numbers(value):
            raise InputError(f"{file}: {where}.{key}: `{value}` is no version")
    if since and until and numbers(since) >= numbers(until):
        raise InputError(f"{file}: {where}: the versions from {since} to {until} are none")


def _one_of(file: str, where: str, value: str, options: Iterable[str]) -> None:
    known = tuple(dict.fromkeys(options))
    if value not in known:
        raise InputError(f"{file}: {where}: `{value}` is none of {', '.join(known)}")
