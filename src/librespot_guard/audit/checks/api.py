"""Control interfaces without authentication, and mDNS that answers strangers beyond the link."""

from collections.abc import Iterator

from librespot_guard.audit.checks._words import RESTRICT, reach_command, socket_name, ways
from librespot_guard.audit.checks.exposure import unread_filter
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable

# facts/librespot-network.md 4.1, 5.1, 9.1: the settings that really bind, and since when
BIND = {
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
            fix=(*((BIND[service.flavour],) if service.flavour in BIND else ()), *RESTRICT),
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


CHECKS = (API, MDNS)
