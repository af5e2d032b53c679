"""What a service was told on its command line and in its environment, as far as the snapshot keeps it.

Encodes how librespot reads its settings (src/main.rs: getopts, and LIBRESPOT_* since 0.4.0): a flag is on as soon as its
variable exists, whatever its value.
"""

from dataclasses import dataclass

from librespot_guard.snapshot import Service

RUST = frozenset({"librespot", "raspotify", "spotifyd"})
"""Flavours whose network side is librespot's (facts/librespot-network.md 6 and 7)."""

LIBRESPOT = frozenset({"librespot", "raspotify"})
"""Flavours that take librespot's own options and LIBRESPOT_* variables."""

FLAGS = {
    # long name: (short name, what it does when it is on, whether that opens something)
    "disable-audio-cache": ("G", "no audio is cached", False),
    "disable-credential-cache": ("H", "no login is stored", False),
    "disable-discovery": ("O", "no phone on the network can find or use the device", False),
    "disable-gapless": ("g", "playback is not gapless", False),
    "emit-sink-events": ("Q", "the event program runs for sink events", False),
    "enable-oauth": (
        "j",
        "a login listener is opened and the sign-in is asked for at each start without stored login",
        True,
    ),
    "enable-volume-normalisation": ("N", "volume is normalised", False),
    "quiet": ("q", "only warnings and errors are logged", False),
    "verbose": ("v", "everything is logged", False),
}
"""The options of librespot that take no value (0.8.0, `--help`)."""

_CLUSTER = {short for short, _, _ in FLAGS.values()}


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that was found: `place` is how it was written ("`--zeroconf-interface`"), `value` its text ("" if none)."""

    place: str
    value: str


def variable(long: str) -> str:
    """The environment variable of an option of librespot."""
    return f"LIBRESPOT_{long.upper().replace('-', '_')}"


def flag(service: Service, long: str) -> Setting | None:
    """Where a flag of librespot is set, with the word that follows it if that is no option; None if it is not set."""
    short = FLAGS[long][0]
    for index, word in enumerate(service.argv):
        clustered = len(word) > 1 and word[0] == "-" and set(word[1:]) <= _CLUSTER and short in word[1:]
        if word == f"--{long}" or clustered:
            after = service.argv[index + 1] if index + 1 < len(service.argv) else ""
            return Setting(f"`{word}`", "" if after.startswith("-") else after)
    if variable(long) in service.environment:
        return Setting(f"`{variable(long)}`", service.environment[variable(long)])
    return None


def option(service: Service, long: str, short: str | None = None) -> Setting | None:
    """Where an option with a value is set on the command line or (for librespot) in the environment; None if it is not."""
    for index, word in enumerate(service.argv):
        name, equals, value = word.partition("=")
        if name == f"--{long}" or (short and word == f"-{short}"):
            after = service.argv[index + 1] if index + 1 < len(service.argv) else ""
            return Setting(f"`{name}`", value if equals else after)
        if short and word.startswith(f"-{short}") and not word.startswith("--"):
            return Setting(f"`-{short}`", word[2:])
    if service.flavour in LIBRESPOT and variable(long) in service.environment:
        return Setting(f"`{variable(long)}`", service.environment[variable(long)])
    return None


def version(text: str | None) -> tuple[int, ...] | None:
    """The numbers of a version such as "0.8.0-dev" or "v0.9.0"; None if it does not begin with numbers."""
    numbers: list[int] = []
    for part in (text or "").removeprefix("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers) or None


def library_version(service: Service) -> str | None:
    """The version of the librespot in a service: what `getInfo` says, else the program's own if it is librespot itself."""
    if service.info is not None and service.info.library_version:
        return service.info.library_version
    return service.version if service.flavour in LIBRESPOT else None
