"""What is known about a family member, as frozen values. `loader` reads them from the data files."""

from dataclasses import dataclass


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

    long: str | None
    short: str | None
    environment: str | None
    config_key: str | None
    code: str | None
    pin: str
    source: str


@dataclass(frozen=True, slots=True)
class Surface:
    """One listener of a flavour.

    Attributes:
        name: surface of design section 4: "connect", "discovery", "login", ….
        proto: "tcp" or "udp".
        port: the default port, None if it is random.
        bind: the address it is bound to by default; "::" is dual-stack.
        stranger: what somebody without any credentials can do there: verb phrases that complete "a stranger can".
        narrow: which option binds it elsewhere, or why none does.
        off: how to turn it off: one sentence with the exact setting.
        long: long option that changes the port, or None; `short`, `environment` its other forms.
        source: where the facts come from. `unconfirmed` names what is not certain, "" if all is.
    """

    name: str
    proto: str
    port: int | None
    bind: str
    stranger: tuple[str, ...]
    narrow: str
    off: str
    source: str
    long: str | None = None
    short: str | None = None
    environment: str | None = None
    unconfirmed: str = ""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line and environment of a flavour, as far as needed to read and to redact them.

    Attributes:
        flags: the short options that take no value.
        name: options (without dashes; one letter is a short one) that set the announced name; `name_environment` the variable.
        cache: options that set the folder with credentials.json, the one that wins first; `cache_environment` the variables.
        environment_prefix: variables with this prefix are settings, "" if there are none.
    """

    flags: str = ""
    name: tuple[str, ...] = ()
    name_environment: str | None = None
    cache: tuple[str, ...] = ()
    cache_environment: tuple[str, ...] = ()
    environment_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Command line options (without dashes) and environment variables whose values are secrets."""

    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GetInfo:
    """How it answers `getInfo`: brandDisplayName, modelDisplayName, and whether libraryVersion is the version of the flavour itself."""

    brand: str
    model: str
    version: bool


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
        config_files: its configuration files.
    """

    name: str
    title: str
    based_on: str | None
    executables: tuple[str, ...]
    python_package: str | None
    units: tuple[str, ...]
    config_files: tuple[str, ...]
    getinfo: GetInfo
    port: PortOption
    arguments: Arguments
    secrets: Secrets
    surfaces: tuple[Surface, ...]

    @property
    def pin(self) -> str:
        """How to fix the port of the Spotify Connect listener: one sentence with the exact setting."""
        return self.port.pin

    def surface(self, name: str) -> Surface | None:
        """The surface of this name, or None if the flavour has none."""
        return next((s for s in self.surfaces if s.name == name), None)


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
        found = [f for f in self.flavours if (f.getinfo.brand, f.getinfo.model) == (brand, model)]
        return min(found, key=lambda f: f.based_on is not None, default=None)
