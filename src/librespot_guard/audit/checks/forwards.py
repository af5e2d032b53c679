"""Ports that a router forwards from the internet to a service here. The router was asked (`--probe`)."""

from collections.abc import Iterator
from ipaddress import ip_address

from librespot_guard.audit.checks._words import RESTRICT, socket_name
from librespot_guard.audit.checks.paths import SURFACES
from librespot_guard.audit.context import Context, Exposure
from librespot_guard.audit.model import SEVERITIES, Check, Finding, Unable
from librespot_guard.reach import IntervalSet, parse_cidrs
from librespot_guard.reach.intervals import WIDTH
from librespot_guard.snapshot import PortMapping, Router, Service

_SURFACES = (*SURFACES, "discovery")
# RFC 1918, RFC 6598, RFC 3927
_PRIVATE = parse_cidrs("ipv4", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"])


def _matches(exposure: Exposure, mapping: PortMapping) -> bool:
    """Whether what the router forwards comes this way."""
    listener = exposure.listener.listener
    port = listener.port if exposure.port is None else exposure.port
    return (exposure.destination, port, listener.proto) == (mapping.client, mapping.client_port, mapping.proto)


def _senders(router: Router, mapping: PortMapping) -> IntervalSet:
    """Who stands outside of a router: the internet, or everybody where its outside is a private network itself."""
    if mapping.remote:
        return parse_cidrs("ipv4", [mapping.remote]) if ":" not in mapping.remote else IntervalSet()
    every = IntervalSet.full(WIDTH["ipv4"])
    return every if router.outside and not ip_address(router.outside).is_global else every - _PRIVATE


def _severity(ways: list[Exposure], outside: IntervalSet) -> str:
    """How far what is forwarded gets: the source of a forwarded packet is that of who sent it."""
    if any(e.surely_beyond & outside for e in ways):
        return "critical"
    return "high" if any(e.beyond & outside for e in ways) else "low"


_SAYS = {
    "critical": "the packet filter here lets it in",
    "high": "whether the packet filter here lets it in could not be told",
    "low": "the packet filter here keeps it out as long as it stays as it is",
}


def _line(router: Router, mapping: PortMapping, exposure: Exposure, severity: str) -> str:
    outside = f" of {router.outside}" if router.outside else ""
    who = f" for {mapping.remote}" if mapping.remote else ""
    named = f" ({mapping.description!r})" if mapping.description else ""
    return (
        f"router {router.address} on {router.dev} forwards {mapping.proto} port {mapping.port}{outside}{who} to {mapping.client}:{mapping.client_port}"
        f"{named}, which is {socket_name(exposure.listener.listener)}: {_SAYS[severity]}"
    )


def _found(context: Context, service: Service) -> Iterator[tuple[str, str, Exposure]]:
    """For each forward to a service: how bad it is, a line on it, and the way from the router on."""
    exposures = context.exposures(service, *_SURFACES)
    for space in context.snapshot.namespaces:
        for router in space.routers or ():
            for mapping in router.mappings:
                here = [e for e in exposures if (e.through or service.netns) == space.id and e.link.name == router.dev]
                ways = [e for e in here if _matches(e, mapping)]
                if ways and mapping.enabled:
                    severity = _severity(ways, _senders(router, mapping))
                    yield severity, _line(router, mapping, ways[0], severity), ways[0]


def _forwarded(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        found = list(_found(context, service))
        if found:
            yield check.finding(
                service.name,
                dict.fromkeys(line for _, line, _ in found),
                severity=max((severity for severity, _, _ in found), key=SEVERITIES.index),
                place=socket_name(found[0][2].listener.listener),
            )
        spaces = {e.through or service.netns for e in context.exposures(service, *_SURFACES)}
        if any(context.snapshot.namespace(one).routers is None for one in spaces):
            yield check.unable(
                service.name,
                "whether a router forwards a port of the internet to it",
                "no router was asked",
                "run the audit with `--probe`, which asks those on the links of this host for their forwards (UPnP)",
            )


CHECKS = (
    Check(
        id="LG505",
        title="a router forwards a port of the internet to the service",
        severity="critical",
        threats=("unauthorised-access", "network-attack", "remote-exploitation"),
        what=(
            "With `--probe`, asks the routers that answer by UPnP on the links of this host for the ports that they forward, and compares them with the "
            "listeners here. High if it is not sure that the packet filter here lets the forwarded packets in, low if it keeps them out. Forwards that were set by NAT-PMP or PCP, "
            "or by hand, are named only by routers that list them by UPnP, too; IPv6 pinholes nobody lists."
        ),
        why=(
            "Any program of the home network may open such a port without a password, and it stays open. What was meant for the living room is then "
            "asked by the whole internet, which looks for it all the time."
        ),
        fix=(
            "remove the forward on the router, in its pages or with `upnpc -d PORT PROTOCOL`, and switch UPnP, NAT-PMP and PCP off there, if nothing needs them",
            *RESTRICT,
        ),
        verify="librespot-guard audit --probe",
        look=_forwarded,
    ),
)
