"""Which surface each listener of a process is, and whether its port stays the same over a restart."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from librespot_guard.catalog import Flavour, PortOption, Surface
from librespot_guard.collect.processes import Process
from librespot_guard.collect.pythons import is_python, port_set_in_code
from librespot_guard.collect.redact import values_of
from librespot_guard.snapshot import Info, Listener, ServiceListener

RANDOM = "random port (changes at restart)"
MDNS = 5353


def loopback(address: str) -> bool:
    """Whether a listener bound to this address serves its own host only."""
    return ip_address(address).is_loopback


def wildcard(address: str) -> bool:
    """Whether a listener bound to this address serves every address of the host."""
    return ip_address(address).is_unspecified


def classify(
    process: Process,
    flavour: Flavour,
    environment: Mapping[str, str],
    listeners: Sequence[Listener],
    answers: Mapping[Listener, Info],
) -> tuple[ServiceListener, ...]:
    """Say of each listener what it is for. `answers` holds those that answered getInfo."""
    return tuple(_classify(process, flavour, environment, one, answers) for one in listeners)


def _classify(
    process: Process,
    flavour: Flavour,
    environment: Mapping[str, str],
    listener: Listener,
    answers: Mapping[Listener, Info],
) -> ServiceListener:
    if listener in answers:
        pinned, by = pin_of(process, flavour, environment, listener.port)
        return ServiceListener(listener, "connect", pinned, by, "asked")
    if listener.proto == "udp":
        if listener.port == MDNS and flavour.surface("discovery"):
            return ServiceListener(listener, "discovery", pinned=True, pinned_by="mDNS is always UDP 5353 (RFC 6762)")
        return ServiceListener(listener, "unknown", pinned=False, pinned_by="not in the catalogue")
    login = flavour.surface("login")
    if login and loopback(listener.address):
        given = _option(process, flavour, environment, login)
        if listener.port in {port for _, port in given} or (not given and listener.port == login.port):
            return ServiceListener(
                listener, "login", pinned=True, pinned_by=given[0][0] if given else f"always {login.port} unless set"
            )
    if flavour.surface("connect") and wildcard(listener.address) and not answers:
        pinned, by = pin_of(process, flavour, environment, listener.port)
        return ServiceListener(listener, "connect", pinned, by)
    return ServiceListener(listener, "unknown", pinned=False, pinned_by="not in the catalogue")


def pin_of(process: Process, flavour: Flavour, environment: Mapping[str, str], port: int) -> tuple[bool, str]:
    """Whether a setting fixes the port of the Spotify Connect listener, and which; or what is known otherwise."""
    if flavour.port.code:
        if is_python(process):
            return port_set_in_code(process, flavour.port.code, port)
        return False, f"can't be told: its program is not Python, `{flavour.port.code}` could not be looked for"
    given = _option(process, flavour, environment, flavour.port)
    for by, value in given:
        if value == port:
            return True, by
    if given:
        return False, f"can't be told: {given[0][0]} asks for port {given[0][1]}"
    if flavour.port.config_key:
        return (
            False,
            f"{RANDOM} unless `{flavour.port.config_key}` in its configuration file fixes it, which was not read",
        )
    return False, RANDOM


def _option(
    process: Process, flavour: Flavour, environment: Mapping[str, str], setting: PortOption | Surface
) -> list[tuple[str, int]]:
    """The port that a setting gives, with where it stands; the command line wins over the environment."""
    names = [n for n in (setting.long, setting.short) if n]
    found = [(f"argv {option}", value) for option, value in values_of(process.argv, names, flavour.arguments.flags)]
    if not found and setting.environment and environment.get(setting.environment):
        found = [(f"environment {setting.environment}", environment[setting.environment])]
    return [(by, int(value)) for by, value in found if value.isascii() and value.isdigit()]
