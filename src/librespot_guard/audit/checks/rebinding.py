"""DNS rebinding: HTTP interfaces that answer a web page whose own name was made to point to them. They were asked (`--probe`)."""

from collections.abc import Iterator
from ipaddress import ip_address

from librespot_guard.audit.checks._words import RESTRICT, socket_name
from librespot_guard.audit.checks.api import BIND
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.snapshot import Service, ServiceListener

_RESOLVER = (
    "let the resolver of the network refuse names of others that point into it (dnsmasq: `stop-dns-rebind`; Unbound: `private-address:` with "
    "each of its networks); a browser that asks another resolver over HTTPS goes past that"
)


def _asked(service: Service, surface: str) -> tuple[list[ServiceListener], bool]:
    """The listeners of a surface that answer to any name, and whether of another it is not known."""
    there = [s for s in service.listeners if s.surface == surface and s.listener.proto == "tcp"]
    return [s for s in there if s.any_host], any(s.any_host is None for s in there)


def _control(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        found, unknown = _asked(service, "api")
        if found:
            local = all(ip_address(s.listener.address).is_loopback for s in found)
            yield check.finding(
                service.name,
                [
                    f"{socket_name(s.listener)} gives `Host: rebinding.invalid` the same answer as `Host: localhost`"
                    for s in found
                ],
                fix=(*((BIND[service.flavour],) if service.flavour in BIND and not local else ()), *check.fix),
                place=socket_name(found[0].listener),
            )
        elif unknown:
            yield check.unable(
                service.name,
                "whether its control interface answers to any name",
                "it was not asked",
                "run the audit with `--probe`, which sends it two requests",
            )


CONTROL = Check(
    id="LG106",
    title="a control interface answers a web page that pretends to be it (DNS rebinding)",
    severity="medium",
    threats=("unauthorised-access", "credential-theft"),
    what=(
        "With `--probe`, calls each HTTP control interface of this host by its own name and by one that nobody has, and compares the answers. A "
        "packet filter has no say in it, nor has a bind to localhost."
    ),
    why=(
        "The page of a stranger, open in a browser on this host or in its network, lets its own name point here, and then talks to the interface as "
        "if that were its own server: it reads what is played, and takes an access token where the interface gives one out."
    ),
    fix=(
        "put a reverse proxy in front that answers its own host names only (nginx: a `server` with `server_name`, and a default one with `return 421`)",
        "or switch the interface off, if nothing uses it",
        _RESOLVER,
    ),
    verify="librespot-guard audit --probe",
    look=_control,
)


def _speaker(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        found, unknown = _asked(service, "connect")
        if found:
            yield check.finding(
                service.name,
                [
                    f"{socket_name(s.listener)} answers `getInfo` to `Host: rebinding.invalid` as it does to its own address"
                    for s in found
                ],
                here=""
                if all(s.pinned for s in found)
                else "The port of this one is a random one, which the page has to find first.",
                place=socket_name(found[0].listener),
            )
        elif unknown:
            yield check.unable(
                service.name,
                "whether its Spotify Connect listener answers to any name",
                "it was not asked, or did not answer",
                "run the audit with `--probe`, which sends it two `getInfo`",
            )


SPEAKER = Check(
    id="LG107",
    title="a Spotify Connect listener answers a web page that pretends to be it (DNS rebinding)",
    severity="medium",
    threats=("unauthorised-access", "denial-of-service", "information-disclosure"),
    what=(
        "With `--probe`, asks each Spotify Connect listener of this host who it is (`getInfo`), by its own address and under a name that nobody has, "
        "and compares the answers. A packet filter has no say in it: the browser is on a host that may connect, or on this one."
    ),
    why=(
        "Any web page can send `addUser`, a simple form, without being shown the answer; but a login that is accepted is made with what `getInfo` "
        "tells, and a browser keeps that from pages of other origins. A page that is served on the same port and then lets its own name point here is of the "
        "same origin: it reads who is logged in, and takes the speaker over with a login of its own, or ends what plays with a bad one (LG202), as if "
        "its author stood in the network."
    ),
    fix=(
        (
            "no setting makes a family member look at the name, and apps call it by its address: let only phones reach it, and no host on which "
            "web pages of others are opened"
        ),
        *RESTRICT,
        _RESOLVER,
        "or switch discovery off where no app hands the speaker a login: `librespot-guard minimise` says how",
    ),
    verify="librespot-guard audit --probe",
    look=_speaker,
)

CHECKS = (CONTROL, SPEAKER)
