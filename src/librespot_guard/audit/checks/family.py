"""What the catalogue knows of a flavour and version that no packet filter takes away: web pages as attackers, and a login for everybody."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address

from librespot_guard.audit.checks._words import RESTRICT, socket_name
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.catalog import Flavour, Quirk, holds
from librespot_guard.snapshot import Service, ServiceListener

_NO_API = "turn the interface off if nothing uses it: `librespot-guard minimise --use phones` says how"


def _quirk(flavour: Flavour, version: str | None, name: str) -> Quirk | None:
    return next((q for q in flavour.quirks if q.name == name and holds(version, q.since, q.until)), None)


def _by_quirk(name: str, *surfaces: str) -> Callable[[Check, Context], Iterator[Finding | Unable]]:
    """A look for services whose flavour and version behave so, with a listener at which it matters."""

    def look(check: Check, context: Context) -> Iterator[Finding | Unable]:
        for service in context.snapshot.services:
            flavour = context.flavour(service)
            quirk = _quirk(flavour, service.version, name) if flavour else None
            there = [s for s in service.listeners if s.surface in surfaces]
            if flavour is None or quirk is None or not there:
                continue
            evidence = [f"{socket_name(s.listener)} ({s.surface})" for s in there]
            evidence.append(f"{flavour.title}{_version(service)}: {quirk.text}")
            if quirk.unconfirmed:
                evidence.append(f"not confirmed: {quirk.unconfirmed}")
            yield check.finding(service.name, evidence, place=evidence[0].partition(" (")[0])

    return look


def _version(service: Service) -> str:
    return f" {service.version}" if service.version else " (version not known; supposed to be the newest)"


def _wide(owned: ServiceListener) -> bool:
    return owned.surface == "login" and not ip_address(owned.listener.address).is_loopback


def _login(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        there = [s for s in service.listeners if _wide(s)]
        if there:
            names = [socket_name(s.listener) for s in there]
            yield check.finding(service.name, [f"{name} is not on loopback" for name in names], place=names[0])


CHECKS = (
    Check(
        id="LG701",
        title="any web page may read the answers of the control interface",
        severity="high",
        threats=("credential-theft", "unauthorised-access"),
        what=(
            "Reports a control interface that answers every web page with `Access-Control-Allow-Origin: *` (librespot-java since 1.3.1, OwnTone as "
            "shipped), wherever it is bound."
        ),
        why=(
            "A page that somebody opens in a browser on this host, or on any host that may reach the interface, can send it requests and read the answers, "
            "an access token of the account among them. The packet filter sees a connection from an allowed host."
        ),
        fix=(
            _NO_API,
            'OwnTone: set `allow_origin = ""` in `general` of its configuration',
            "open no web pages on the hosts that may reach it, or put an authenticating proxy in front",
        ),
        verify="librespot-guard audit",
        look=_by_quirk("cors-star", "api"),
    ),
    Check(
        id="LG702",
        title="a web page may reach the control interface under a foreign name (DNS rebinding)",
        severity="medium",
        threats=("unauthorised-access", "credential-theft"),
        what="Reports a control interface that answers whatever the Host header says (go-librespot), wherever it is bound.",
        why=(
            "A page whose name is made to point to this host is, for the browser, of the same origin as the interface, and may then use all of it: on "
            "localhost, too, if the browser runs here. The packet filter sees a connection from an allowed host."
        ),
        fix=(
            _NO_API,
            "put a proxy that checks Host and Origin in front of it, and bind the interface to localhost",
        ),
        verify="librespot-guard audit",
        look=_by_quirk("no-host-check", "api"),
    ),
    Check(
        id="LG703",
        title="a link or an image in a web page is enough to end what plays",
        severity="low",
        threats=("denial-of-service", "unauthorised-access"),
        what="Reports a Spotify Connect listener that takes `addUser` by GET (go-librespot, librespot-java, librespot-python).",
        why=(
            "A browser sends such a request for any page, without asking and without being allowed to read the answer. Who opens the page inside the "
            "allowed network acts for a stranger outside of it."
        ),
        fix=(
            "fix the port to one that a page does not guess, and let only the phones reach it",
            *RESTRICT,
        ),
        verify="librespot-guard reach",
        look=_by_quirk("get-adds-user", "connect"),
    ),
    Check(
        id="LG704",
        title="the callback of an interactive login listens on every address",
        severity="medium",
        threats=("denial-of-service", "network-attack"),
        what="Reports a login callback that is not bound to loopback, while it waits (go-librespot with `credentials.type: interactive`).",
        why=(
            "The first request of anybody ends the wait: the login fails, and the program ends with it. Its state value is not checked."
        ),
        fix=(
            "finish the login, or use `device_auth`, which needs no listener (go-librespot after 0.9.0)",
            *RESTRICT,
        ),
        verify="librespot-guard scan",
        look=_login,
    ),
)
