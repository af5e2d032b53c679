"""Control interfaces without authentication, or that answer to any name, and mDNS that answers strangers beyond the link."""

from collections.abc import Iterator
from ipaddress import ip_address

from librespot_guard.audit.checks._words import RESTRICT, reach_command, socket_name, ways
from librespot_guard.audit.checks.exposure import unread_filter
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.snapshot import ServiceListener

# facts/librespot-network.md 4.1, 5.1, 9.1: the settings that really bind, and since when
_BIND = {
    "go-librespot": (
        "set `server.address: localhost` in `config.yml` (or `server.enabled: false` if nothing uses the API) and restart it; "
        "versions before 0.0.15 listen on every interface whatever is set"
    ),
    "librespot-java": 'set `host = "127.0.0.1"` in section `[api]` of `config.toml`, or run the `librespot-player` jar, which has no API',
    "snapserver": (
        "set `bind_to_address = 127.0.0.1` in the sections `[http]` and `[tcp-control]` (`[tcp]` before 0.33) of `/etc/snapserver.conf`, "
        "or `enabled = false` where nothing uses them"
    ),
}


def _api(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if not any(s.surface in ("api", "control") for s in service.listeners):
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        open_ways = context.reachable(service, "api", "control")
        if not open_ways:
            continue
        beyond = any(e.surely_beyond for e in open_ways)
        yield check.finding(
            service.name,
            ways(open_ways),
            here="Sources beyond the local network get through."
            if beyond
            else "Every host on the local network gets through.",
            severity="critical" if beyond else "high",
            fix=(*((_BIND[service.flavour],) if service.flavour in _BIND else ()), *RESTRICT),
            verify=reach_command(open_ways),
            place=socket_name(open_ways[0].listener.listener),
        )


API = Check(
    id="LG104",
    title="a control interface without authentication is reachable over the network",
    severity="high",
    threats=("unauthorised-access", "credential-theft", "remote-exploitation"),
    what=(
        "Reports a control API (go-librespot, librespot-java) or a Snapcast control port that others than this host can reach. The severity is "
        "critical if sources beyond the local network get through."
    ),
    why=(
        "None of these interfaces asks who is there. The APIs of go-librespot and librespot-java hand out an access token of the logged-in "
        "account to anybody; Snapcast's lets anybody change every client and stream, and read files through a stream source."
    ),
    fix=("bind the interface to localhost, if nothing on other hosts uses it", *RESTRICT),
    verify="librespot-guard reach",
    look=_api,
)


def _mdns(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if not any(s.surface == "discovery" for s in service.listeners):
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        open_ways = [e for e in context.exposures(service, "discovery") if e.beyond]
        if not open_ways:
            continue
        sure = any(e.surely_beyond for e in open_ways)
        yield check.finding(
            service.name,
            ways(open_ways),
            title=None if sure else "mDNS may be asked from beyond the link",
            verify=reach_command(open_ways),
            place=socket_name(open_ways[0].listener.listener),
        )


MDNS = Check(
    id="LG105",
    title="mDNS can be asked from beyond the link",
    severity="low",
    threats=("information-disclosure", "network-attack"),
    what=(
        "Reports a UDP 5353 socket of a service to whose unicast address the packet filter lets through sources outside the networks of the "
        "interface. Questions to the multicast address cannot cross a router and are not counted."
    ),
    why=(
        "mDNS is meant for one link (RFC 6762 section 11). The responders of this family (libmdns, grandcat/zeroconf) do not test where a question came "
        "from; a question by unicast (with the unicast-response bit) from another network tells it name and port of the service, and a forged source turns the answer against "
        "somebody else (CERT VU#550620)."
    ),
    fix=RESTRICT,
    verify="librespot-guard reach --to udp/5353",
    look=_mdns,
)


def _any_host(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        listeners = [s for s in service.listeners if s.surface == "api" and s.listener.proto == "tcp"]
        found = [s for s in listeners if s.any_host]
        if found:
            yield check.finding(
                service.name,
                [
                    f"{socket_name(s.listener)} gives `Host: rebinding.invalid` the same answer as `Host: localhost`"
                    for s in found
                ],
                fix=(
                    *((_BIND[service.flavour],) if service.flavour in _BIND and not _only_local(found) else ()),
                    *check.fix,
                ),
                place=socket_name(found[0].listener),
            )
        elif any(s.any_host is None for s in listeners):
            yield check.unable(
                service.name,
                "whether its control interface answers to any name",
                "it was not asked",
                "run the audit with `--probe`, which sends it two requests",
            )


def _only_local(found: list[ServiceListener]) -> bool:
    return all(ip_address(s.listener.address).is_loopback for s in found)


ANY_HOST = Check(
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
    ),
    verify="librespot-guard audit --probe",
    look=_any_host,
)

CHECKS = (API, MDNS, ANY_HOST)
