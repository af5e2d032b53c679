"""Who reaches the Spotify Connect listener: strangers from other networks, containers, tunnels."""

import re
from collections.abc import Iterator
from ipaddress import ip_address

from librespot_guard.audit.checks._words import RESTRICT, reach_command, socket_name, ways
from librespot_guard.audit.context import Context, Exposure
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.sources import listed
from librespot_guard.snapshot import Link, Service

# rtnetlink kinds of point-to-point and tunnel devices (drivers/net, net/ipv4, net/xfrm)
_TUNNELS = frozenset(
    {
        "wireguard",
        "tun",
        "ppp",
        "ipip",
        "gre",
        "ip6gre",
        "sit",
        "vti",
        "vti6",
        "ip6tnl",
        "xfrm",
        "geneve",
        "vxlan",
        "netdevsim",
    }
)
_ARPHRD_PPP = 512
# bridges that container and virtual machine managers make
_CONTAINER_BRIDGE = re.compile(
    r"docker\d+|br-[0-9a-f]{12}|podman\d+|cni-?\w*|lxcbr\d+|lxdbr\d+|incusbr\d+|virbr\d+|cbr\d+|flannel\W?\w*"
)


def unread_filter(check: Check, context: Context, service: Service) -> Unable | None:
    """What to say if the packet filter on the way to a service was not read; None if it was."""
    if context.filter_known(service.netns):
        return None
    return check.unable(
        service.name,
        "who reaches this service",
        "the packet filter of its network namespace could not be read",
        "run the audit as root (or with CAP_NET_ADMIN)",
    )


def _beyond(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if not any(s.surface == "connect" for s in service.listeners):
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        open_ways = [e for e in context.exposures(service, "connect") if e.beyond and not inner_network(e.link)]
        if not open_ways:
            continue
        sure = any(e.surely_beyond for e in open_ways)
        internet = [e for e in open_ways if e.surely_beyond and _internet(e)]
        here = f"Here the packet filter lets in what comes over {listed(e.link.name for e in open_ways)} from beyond its own networks."
        if internet:
            here = f"{internet[0].destination} is a public address: the whole internet is let through to the listener."
        yield check.finding(
            service.name,
            ways(open_ways),
            here=here,
            title=None if sure else "the Spotify Connect listener may be reachable from other networks than its own",
            severity="critical" if internet else "high",
            fix=(
                f"no setting of {service.flavour} limits who reaches this listener: it always listens on every interface",
                *RESTRICT,
            ),
            verify=reach_command(open_ways),
            place=socket_name(open_ways[0].listener.listener),
        )


def _internet(exposure: Exposure) -> bool:
    # a global IPv6 address is usual behind a home router that lets nothing in; a global IPv4 address is not
    return exposure.family == "ipv4" and ip_address(exposure.destination).is_global


BEYOND = Check(
    id="LG101",
    title="the Spotify Connect listener is reachable from other networks than its own",
    severity="high",
    threats=("unauthorised-access", "denial-of-service", "network-attack"),
    what=(
        "Analyses the kernel's own packet filter rules and routing for every interface, family and address that leads to a Spotify Connect "
        "listener, and reports sources outside the networks of that interface that get through. Sources that can only be on the same "
        "link (to a link-local address) are not counted. The severity is critical if the address is a public IPv4 address."
    ),
    why=(
        "Whoever reaches this listener can use it: Spotify Connect asks for no password, and one request takes the device over or ends it. "
        "Phones that use the speaker are on its own network; nobody else needs to get there."
    ),
    fix=RESTRICT,
    verify="librespot-guard reach",
    look=_beyond,
)


def inner_network(link: Link) -> str | None:
    """What kind of inner network an interface leads to: "containers", "a tunnel", or None for an ordinary one."""
    if link.kind == "bridge" and _CONTAINER_BRIDGE.fullmatch(link.name):
        return "containers or virtual machines"
    if link.kind in _TUNNELS or link.arp_type == _ARPHRD_PPP:
        return "a tunnel"
    return None


def _inner(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if not any(inner_network(link) for link in context.namespace(service).links):
            continue
        if not any(s.surface == "connect" for s in service.listeners):
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        open_ways = [e for e in context.reachable(service, "connect") if inner_network(e.link)]
        if not open_ways:
            continue
        behind = listed(f"{inner_network(e.link)} behind {e.link.name}" for e in open_ways)
        yield check.finding(
            service.name,
            ways(open_ways),
            here=f"Here that is {behind}.",
            verify=reach_command(open_ways),
            place=listed(e.link.name for e in open_ways),
        )


INNER = Check(
    id="LG102",
    title="the Spotify Connect listener is reachable from containers or through a tunnel",
    severity="medium",
    threats=("unauthorised-access", "network-attack"),
    what=(
        "Reports a Spotify Connect listener that the packet filter leaves reachable over a bridge of a container or virtual machine manager, "
        "or over a tunnel (WireGuard, tun, PPP, GRE, …)."
    ),
    why=(
        "The listener is on every interface, also on those that were added later for something else. A container that was broken into, or any "
        "peer of a VPN, can then take the speaker over, although the local network looks restricted."
    ),
    fix=(
        "if nobody plays from there: allow in the policy only sources with the `interface` of your local network",
        *RESTRICT,
    ),
    verify="librespot-guard reach",
    look=_inner,
)

CHECKS = (BEYOND, INNER)
