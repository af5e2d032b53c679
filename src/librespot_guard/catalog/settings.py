"""What can be set on a family member, as frozen values: files, settings, what removes a surface, and what it keeps and contacts.

Versions are written as the projects write them ("0.5.0"); a range is from `since` (first version that has it) up to, but not including,
`until`; "" leaves that end open. A version that is not known is taken for the newest one.
"""

from dataclasses import dataclass

KINDS = ("port", "flag", "switch", "address", "text", "secret", "folder")
"""Kinds of settings: `flag` is on as soon as it is there, `switch` takes true or false, the others take a value."""

FORMATS = ("env", "ini", "toml", "yaml", "braces")
"""Formats of configuration files: `env` has lines NAME=value as systemd.exec(5) reads them in EnvironmentFile=; `braces` is libconfuse's."""

USES = ("phones", "application", "nobody")
"""Stated uses: phones on the network choose the speaker; only an application drives it; nobody on another host needs it."""

ROLES = ("viewer", "listener", "dj", "admin", "deny")
"""Roles of a front end, from the least to the most; `deny` is for what nobody needs."""


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "v0.8.0-dev" is (0, 8, 0)."""
    found: list[int] = []
    for part in version.removeprefix("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
        if digits != part:
            break
    return tuple(found)


def holds(version: str | None, since: str, until: str) -> bool:
    """Whether a version lies in a range; None (not known) lies in every range that is open to the newest."""
    own = numbers(version or "")
    if not own:
        return not until
    return own >= numbers(since) and (not until or own < numbers(until))


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that a family member (or its unit) reads settings from.

    Attributes:
        path: absolute, "~/…" in the home of its user, or relative to its working directory.
        format: one of `FORMATS`.
        options: command line options (without dashes) that name another file.
        section: the table that holds top-level keys ("global" for spotifyd), "" if there is none.
        first: of several files the one with the lowest number is read; those with equal numbers are read together.
    """

    path: str
    format: str
    source: str
    options: tuple[str, ...] = ()
    section: str = ""
    first: int = 0
    since: str = ""
    until: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set.

    Attributes:
        name: as the catalogue calls it, usually the long option.
        kind: one of `KINDS`.
        effect: what it does, in one sentence.
        surface: the surface that it concerns, "" for none; `which` as in `Surface`, `also` further surfaces that it holds for.
        opens: the value with which its surface is open, and with no other one; "*": it is open as soon as this is set (but not to 0). "" for
            what does not decide that.
        long: long option without dashes, or None; `short` its one-letter form.
        environment: environment variable, or None.
        key: dotted key of the configuration file ("server.port"), or None; a flag has the value true there.
        code: function that a program calls, for libraries, or None.
        default: what holds without it, "" if that is nothing.
        trap: what it does not do although one would think so, or "".
        wrong_docs: what the program's own documentation says wrongly about it, or "".
        several: whether it may be given several times and all hold, those of files and those of the command line.
        alone: a switch that may stand alone on the command line and is true then; its value, if any, follows a `=`.
        older: an earlier name of it (long option and key) that is still read, or "". What is read last wins, unless `older_yields`: then
            the earlier name is ignored where the present one is set at all.
        since: first version that has it; `until` first one that has it no longer.
    """

    name: str
    kind: str
    effect: str
    source: str
    surface: str = ""
    which: str = ""
    also: tuple[str, ...] = ()
    long: str | None = None
    short: str | None = None
    environment: str | None = None
    key: str | None = None
    code: str | None = None
    default: str = ""
    opens: str = ""
    trap: str = ""
    wrong_docs: str = ""
    several: bool = False
    alone: bool = False
    older: str = ""
    older_yields: bool = False
    since: str = ""
    until: str = ""
    unconfirmed: str = ""

    def concerns(self, surface: str, which: str) -> bool:
        """Whether it is a setting of this surface, by its name and which of that name it is."""
        return (self.surface == surface and self.which == which) or surface in self.also


@dataclass(frozen=True, slots=True)
class Removal:
    """How a surface is taken from the network by a setting: turned off, or bound to the host itself.

    Attributes:
        surfaces: what it removes; `which` as in `Surface`.
        setting: name of a `Setting`, or "" where only `how` (another program, other code) helps.
        value: what to set ("true", "127.0.0.1"); for a flag "".
        how: the exact change as one sentence.
        local: whether the host itself still reaches it (it is bound to loopback).
        stops: what will stop working, one sentence each.
        needs: what must be there first, or "".
        vain_with: settings with which it does nothing, or ends the program: "name=value", or "name" for a flag that is on.
    """

    surfaces: tuple[str, ...]
    setting: str
    value: str
    how: str
    stops: tuple[str, ...]
    source: str
    which: str = ""
    local: bool = False
    needs: str = ""
    vain_with: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request that a surface answers: `method` and `path` of HTTP, or the name of a JSON-RPC method; `role` is one of `ROLES`."""

    surface: str
    method: str
    path: str
    role: str
    effect: str
    source: str
    changes: bool = False
    since: str = ""
    until: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Outbound:
    """A connection that it opens: host names may begin with "*."."""

    purpose: str
    hosts: tuple[str, ...]
    proto: str
    ports: tuple[int, ...]
    source: str
    note: str = ""
    since: str = ""
    until: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret at rest: `path` relative to `folder` ("cache" is the folder of the cache options, "working", "config", or "/")."""

    path: str
    folder: str
    holds: str
    mode: str
    stored: str
    source: str
    since: str = ""
    until: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Quirk:
    """A behaviour that matters to whoever guards it: `name` is stable, `text` one sentence."""

    name: str
    text: str
    source: str
    threats: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    unconfirmed: str = ""
