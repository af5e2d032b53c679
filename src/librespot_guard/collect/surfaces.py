"""Which surface each listener of a process is, and whether its port stays the same over a restart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from librespot_guard.catalog import Flavour, PortOption, Surface
from librespot_guard.collect.declared import port_of
from librespot_guard.collect.processes import Process
from librespot_guard.collect.pythons import is_python, port_set_in_code
from librespot_guard.collect.redact import values_of
from librespot_guard.collect.settings import Resolved
from librespot_guard.snapshot import Info, Listener, ServiceListener

RANDOM = "random port (changes at restart)"
MDNS = 5353


def loopback(address: str) -> bool:
    """Whether a listener bound to this address serves its own host only."""
    return ip_address(address).is_loopback


def wildcard(address: str) -> bool:
    """Whether a listener bound to this address serves every address of the host."""
    return ip_address(address).is_unspecified


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of the process whose listeners are told apart."""

    process: Process
    flavour: Flavour
    environment: Mapping[str, str]
    version: str | None = None
    resolved: Resolved = field(default_factory=Resolved)


def classify(
    subject: Subject, listeners: Sequence[Listener], answers: Mapping[Listener, Info]
) -> tuple[ServiceListener, ...]:
    """Say of each listener what it is for. `answers` holds those that answered getInfo."""
    return tuple(_classify(subject, one, answers) for one in listeners)


def _classify(subject: Subject, listener: Listener, answers: Mapping[Listener, Info]) -> ServiceListener:
    flavour = subject.flavour
    if listener in answers:
        pinned, by = pin_of(subject, listener.port)
        return ServiceListener(listener, "connect", pinned, by, "asked")
    if listener.proto == "udp":
        if listener.port == MDNS and flavour.surface("discovery", subject.version):
            return ServiceListener(listener, "discovery", pinned=True, pinned_by="mDNS is always UDP 5353 (RFC 6762)")
        return ServiceListener(listener, "unknown", pinned=False, pinned_by="not in the catalogue")
    for surface in flavour.surfaces_of(subject.version):
        if (
            surface.proto != "tcp"
            or surface.name == "connect"
            or (surface.name == "login" and not _may_be(surface, listener))
        ):
            continue
        port, by = port_of(surface, flavour, subject.version, subject.resolved)
        if surface.name == "login":
            given = _option(subject, surface)
            port, by = (given[0][1], given[0][0]) if given else (port, by)
        if port == listener.port:
            return ServiceListener(listener, surface.name, pinned=True, pinned_by=by)
    api = flavour.surface("api", subject.version)
    if api and api.port is None and "connect" in _seen(answers) and _enabled(subject):
        # its Spotify Connect listener answered, so that this is the other one
        return ServiceListener(listener, "api", pinned=False, pinned_by=RANDOM)
    if flavour.surface("connect", subject.version) and wildcard(listener.address) and not answers:
        pinned, by = pin_of(subject, listener.port)
        return ServiceListener(listener, "connect", pinned, by)
    return ServiceListener(listener, "unknown", pinned=False, pinned_by="not in the catalogue")


def _may_be(surface: Surface, listener: Listener) -> bool:
    return loopback(listener.address) or not loopback(surface.bind)


def _seen(answers: Mapping[Listener, Info]) -> set[str]:
    return {"connect"} if answers else set()


def _enabled(subject: Subject) -> bool:
    return subject.resolved.raw.get("server-enabled", "").lower() in ("true", "yes", "on")


def pin_of(subject: Subject, port: int) -> tuple[bool, str]:
    """Whether a setting fixes the port of the Spotify Connect listener, and which; or what is known otherwise."""
    process, flavour, resolved = subject.process, subject.flavour, subject.resolved
    if flavour.port.code:
        if is_python(process):
            return port_set_in_code(process, flavour.port.code, port)
        return False, f"can't be told: its program is not Python, `{flavour.port.code}` could not be looked for"
    given = _option(subject, flavour.port) or _settled(subject)
    for by, value in given:
        if value == port:
            return True, by
    if given:
        return False, f"can't be told: {given[0][0]} asks for port {given[0][1]}"
    if flavour.port.config_key and resolved.unread:
        return (
            False,
            f"{RANDOM} unless `{flavour.port.config_key}` in its configuration file fixes it, which was not read",
        )
    return False, RANDOM


def _settled(subject: Subject) -> list[tuple[str, int]]:
    """The port that its settings give the Spotify Connect listener, with where it stands."""
    connect = subject.flavour.surface("connect", subject.version)
    if connect is None:
        return []
    port, by = port_of(connect, subject.flavour, subject.version, subject.resolved)
    return [(by, port)] if port else []


def _option(subject: Subject, setting: PortOption | Surface) -> list[tuple[str, int]]:
    """The port that a setting gives, with where it stands; the command line wins over the environment."""
    names = [n for n in (setting.long, setting.short) if n]
    given = values_of(subject.process.argv, names, subject.flavour.arguments.flags)
    found = [(f"argv {option}", value) for option, value in given]
    if not found and setting.environment and (value := subject.environment.get(setting.environment)):
        found = [(_stated(subject, setting.environment, value), value)]
    return [(by, int(value)) for by, value in found if value.isascii() and value.isdigit()]


def _stated(subject: Subject, variable: str, value: str) -> str:
    """Where a variable got its value: the line of the unit or of its file, where that is known; else its name."""
    name = next((s.name for s in subject.flavour.settings if s.environment == variable), "")
    known = subject.resolved.raw.get(name) == value
    return subject.resolved.origins[name] if known else f"environment {variable}"
