"""Ways to a service that go round the rules people look at: containers and addresses that were meant for the host alone."""

from collections.abc import Iterator
from ipaddress import ip_address

from librespot_guard.audit.checks._words import RESTRICT, reach_command, socket_name, ways
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable

SURFACES = ("connect", "api", "login", "stream", "control", "metadata", "unknown")


def _published(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        found = [e for e in context.reachable(service, *SURFACES) if e.through is not None]
        if not found:
            continue
        ports = sorted({f"port {e.port} of {e.destination} over {e.link.name}" for e in found})
        yield check.finding(
            service.name,
            [
                *ways(found),
                *(f"{port} leads to {socket_name(found[0].listener.listener)} in the container" for port in ports),
            ],
            place=socket_name(found[0].listener.listener),
        )


def _host_network(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if service.container is None or service.netns != context.snapshot.home.id:
            continue
        found = context.reachable(service, *SURFACES)
        if found:
            yield check.finding(
                service.name,
                [f"container {service.container_name} shares the network namespace of the host", *ways(found)],
                verify=reach_command(found),
                place=socket_name(found[0].listener.listener),
            )


def _localnet(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        found = [e for e in context.reachable(service, *SURFACES) if ip_address(e.destination).is_loopback]
        if found:
            names = sorted({e.link.name for e in found})
            yield check.finding(
                service.name,
                [*ways(found), f"route_localnet is on for {', '.join(names)}"],
                verify=reach_command(found),
                place=socket_name(found[0].listener.listener),
            )


CHECKS = (
    Check(
        id="LG501",
        title="a published port of a container, over which the input rules have no say",
        severity="medium",
        threats=("unauthorised-access", "network-attack"),
        what=(
            "Follows packets through address translation, forwarding and the cable into the container, and reports the ports of this host "
            "by which somebody reaches the service there."
        ),
        why=(
            "Packets for a published port are translated before routing and are then forwarded: they never meet the input chain, so that ufw "
            "and every other rule on input lets them pass unseen."
        ),
        fix=(
            "publish the port on one address only (`-p 127.0.0.1:PORT:PORT`), or not at all where other containers are the only users",
            (
                "or restrict it where forwarded packets pass: in the chain DOCKER-USER, by the port before translation "
                "(`-m conntrack --ctorigdstport PORT`)"
            ),
        ),
        verify="librespot-guard reach",
        look=_published,
    ),
    Check(
        id="LG502",
        title="a container that shares the network of the host",
        severity="low",
        threats=("network-attack",),
        what="Looks for services in containers whose network namespace is that of the host and which somebody can reach.",
        why=(
            "Nothing of what Docker does for published ports concerns such a container: its sockets are sockets of the host, on every address of "
            "it, and only the host's own input rules stand before them."
        ),
        fix=(
            *RESTRICT,
            "or give the container a network of its own and publish only what is needed; discovery then needs an mDNS repeater",
        ),
        verify="librespot-guard reach",
        look=_host_network,
    ),
    Check(
        id="LG503",
        title="a loopback address that can be reached from the network",
        severity="high",
        threats=("unauthorised-access", "network-attack"),
        what="Asks who reaches listeners on 127.0.0.0/8 by other interfaces than loopback; this takes the sysctl route_localnet.",
        why=(
            "With route_localnet the kernel routes packets for 127.0.0.0/8 that come from the wire (CVE-2020-8558): whoever is on the same link "
            "reaches what was bound to localhost so that nobody does."
        ),
        fix=(
            "switch it off: `sysctl -w net.ipv4.conf.all.route_localnet=0` and the same for each interface",
            (
                "or, if something needs it (kube-proxy, an old Docker), drop such packets in prerouting: "
                "`ip daddr 127.0.0.0/8 iifname != lo drop`"
            ),
        ),
        verify="librespot-guard reach",
        look=_localnet,
    ),
)
