"""What is known about a family member, as frozen values. `loader` reads them from the data files."""

from dataclasses import dataclass

from librespot_guard.catalog.settings import ConfigFile, Credential, Endpoint, Outbound, Quirk, Removal, Setting, holds


@dataclass(frozen=True, slots=True)
class Source:
    """Where facts were read: `name` is what a `source` begins with; `version` is a commit, a tag or a date, `about` what was looked at."""

    name: str
    project: str
    version: str
    about: str


@dataclass(frozen=True, slots=True)
class PortOption:
    """How the port of the Spotify Connect listener is fixed.

    Attributes:
        long: long command line option without dashes, or None; `short` its one-letter form.
        environment: environment variable, or None.
        config_key: key of the configuration file, or None.
        code: function that a program calls, for libraries, or None.
        pin: one sentence with the exact setting.
    """

    pin: str
    source: str
    long: str | None = None
    short: str | None = None
    environment: str | None = None
    config_key: str | None = None
    code: str | None = None
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Surface:
    """One listener of a flavour.

    Attributes:
        name: surface of design section 4: "connect", "discovery", "login", …; `which` tells those of one name apart ("tls").
        proto: "tcp" or "udp".
        port: the default port, None if it is random.
        bind: the address it is bound to by default; "::" is dual-stack.
        opened: "always" or, for what is off by default, when it is opened: "only while …".
        stranger: what somebody without any credentials can do there: verb phrases that complete "a stranger can".
        narrow: which option binds it elsewhere, or why none does.
        off: how to turn it off: one sentence with the exact setting.
        long: long option that changes the port, or None; `short`, `environment` its other forms.
        random: the first and last port of the range that a random one is taken from, () if the kernel or the port decides.
        since: first version with these facts, until: first version without; a surface may be there once for each range.
        source: where the facts come from. `unconfirmed` names what is not certain, "" if all is.
    """

    name: str
    proto: str
    bind: str
    stranger: tuple[str, ...]
    narrow: str
    off: str
    source: str
    port: int | None = None
    long: str | None = None
    short: str | None = None
    environment: str | None = None
    which: str = ""
    opened: str = "always"
    random: tuple[int, ...] = ()
    since: str = ""
    until: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line and environment of a flavour, as far as needed to read and to redact them.

    Attributes:
        flags: the short options that take no value.
        name: options (without dashes; one letter is a short one) that set the announced name; `name_environment` the variable.
        cache: options that set the folder with credentials.json, the one that wins first; `cache_environment` the variables.
        environment_prefix: variables with this prefix are settings, "" if there are none.
        precedence: what wins, first to last: "argv", "environment", "file".
        flag_values: whether the value of a flag variable counts ("false" is off); False: it is on as soon as it exists.
    """

    flags: str = ""
    name: tuple[str, ...] = ()
    name_environment: str | None = None
    cache: tuple[str, ...] = ()
    cache_environment: tuple[str, ...] = ()
    environment_prefix: str = ""
    precedence: tuple[str, ...] = ()
    flag_values: bool = True
    source: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Command line options (without dashes), environment variables and dotted keys of configuration files whose values are secrets."""

    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    source: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class GetInfo:
    """How it answers `getInfo`: brandDisplayName, modelDisplayName, and whether libraryVersion is the version of the flavour itself.

    Brand and model are "" for a flavour that does not answer it at all.
    """

    brand: str
    model: str
    version: bool
    source: str = ""
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Flavour:
    """A member of the librespot family.

    Attributes:
        name: as in design section 4, e.g. "librespot-python".
        title: how people write it.
        based_on: the flavour it is built around, or None.
        executables: file names of its program, none for a library.
        python_package: the package that contains it, for a Python library, or None.
        units: systemd units that usually run it.
        config_files: its configuration files, by path; `files` says more of each.
        jars: patterns of file names of its program, for Java; `main_classes` the classes that run it.
        receiver: whether it is a Spotify Connect receiver: apps on the network can choose it.
        restart: what its unit does when it ends, in one sentence, or "".
        unconfirmed: what is not certain about it as a whole, or "".
        sources: where its facts were read, with those of the flavour that it is based on.
    """

    name: str
    title: str
    executables: tuple[str, ...]
    units: tuple[str, ...]
    source: str
    config_files: tuple[str, ...]
    getinfo: GetInfo
    port: PortOption
    arguments: Arguments
    secrets: Secrets
    surfaces: tuple[Surface, ...]
    based_on: str | None = None
    python_package: str | None = None
    jars: tuple[str, ...] = ()
    main_classes: tuple[str, ...] = ()
    receiver: bool = True
    restart: str = ""
    unconfirmed: str = ""
    files: tuple[ConfigFile, ...] = ()
    settings: tuple[Setting, ...] = ()
    removals: tuple[Removal, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    outbound: tuple[Outbound, ...] = ()
    credentials: tuple[Credential, ...] = ()
    quirks: tuple[Quirk, ...] = ()
    sources: tuple[Source, ...] = ()

    @property
    def pin(self) -> str:
        """How to fix the port of the Spotify Connect listener: one sentence with the exact setting."""
        return self.port.pin

    def surface(self, name: str, version: str | None = None) -> Surface | None:
        """The surface of this name in this version (the newest, if None), or None if the flavour has none."""
        return next((s for s in self.surfaces if s.name == name and holds(version, s.since, s.until)), None)

    def surfaces_of(self, version: str | None) -> tuple[Surface, ...]:
        """Every surface of this version (the newest, if None)."""
        return tuple(s for s in self.surfaces if holds(version, s.since, s.until))

    def setting(self, name: str, version: str | None = None) -> Setting | None:
        """The setting of this name in this version (the newest, if None), or None if that version has none."""
        return next((s for s in self.settings if s.name == name and holds(version, s.since, s.until)), None)

    def settings_of(self, version: str | None) -> tuple[Setting, ...]:
        """Every setting that this version (the newest, if None) has."""
        return tuple(s for s in self.settings if holds(version, s.since, s.until))

    def files_of(self, version: str | None) -> tuple[ConfigFile, ...]:
        """The configuration files that this version (the newest, if None) reads, those that win first."""
        return tuple(sorted((f for f in self.files if holds(version, f.since, f.until)), key=lambda f: f.first))


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every family member that is known."""

    flavours: tuple[Flavour, ...]

    def flavour(self, name: str) -> Flavour:
        """The flavour of this name; KeyError if it is not known."""
        for candidate in self.flavours:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    def by_executable(self, name: str) -> Flavour | None:
        """The flavour whose program has this file name; the one that others are built around comes first."""
        found = [f for f in self.flavours if name in f.executables]
        return min(found, key=lambda f: f.based_on is not None, default=None)

    def by_unit(self, unit: str) -> Flavour | None:
        """The flavour that this systemd unit runs."""
        return next((f for f in self.flavours if unit in f.units), None)

    def by_getinfo(self, brand: str, model: str) -> Flavour | None:
        """The flavour that answers `getInfo` with this brand and model; the one that others are built around comes first."""
        found = [f for f in self.flavours if f.getinfo.brand and (f.getinfo.brand, f.getinfo.model) == (brand, model)]
        return min(found, key=lambda f: f.based_on is not None, default=None)
