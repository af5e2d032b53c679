"""The destinations beside a host's addresses at which a packet reaches a socket that is bound to none of them.

A UDP socket takes what is sent to everybody: broadcasts, and every group that anybody on the host has joined (IP_MULTICAST_ALL and
IPV6_MULTICAST_ALL are on unless a program turns them off). Any socket takes what is sent to a network that a route makes the host's
own, and what is sent to 127.0.0.1 over a wire where route_localnet is on.
"""

from ipaddress import ip_address, ip_network

from librespot_guard.reach import routing
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Link, Listener, Route

_EVERYBODY = "255.255.255.255"
# ff02::1:ff00:0/104, one group for each address: what is sent there is for neighbour discovery
_SOLICITED = int(ip_address("ff02::1:ff00:0")) >> 24


def beside(world: World, listener: Listener, family: str, link: Link) -> list[str]:
    """Such destinations of packets that come in on an interface, for a listener that is bound to no address."""
    if link.loopback:
        return []
    out = ["127.0.0.1"] if family == "ipv4" and routing.either(world, link.name, "route_localnet") else []
    out += [str(ip_network(dst).network_address) for dst in routing.tables(world, family).custom_local]
    if listener.proto == "udp":
        out += _to_everybody(world, family, link)
    return list(dict.fromkeys(out))


def _to_everybody(world: World, family: str, link: Link) -> list[str]:
    # those of other interfaces too: a packet for them is taken in wherever it comes in
    routes = (r for r in world.namespace.routes if r.family == family and r.kind in ("broadcast", "anycast"))
    out = [str(ip_network(r.dst).network_address) for r in routes if not _of_loopback(world, r)]
    out += [_EVERYBODY] if family == "ipv4" else []
    out += routing.ALWAYS_JOINED[family][:1]
    joined = (g.address for g in world.namespace.groups or () if (g.family, g.dev) == (family, link.name))
    return out + [g for g in joined if routing.number(g) >> 24 != _SOLICITED and not g.startswith("ff01:")]


def _of_loopback(world: World, route: Route) -> bool:
    link = world.link(route.devs[0]) if route.devs else None
    return link is not None and link.loopback


def is_here(world: World, listener: Listener) -> bool:
    """Whether packets to the address of a listener may be taken in by this host."""
    address = listener.address.removeprefix("::ffff:")
    family = "ipv6" if ":" in address else "ipv4"
    parsed = ip_address(address)
    if parsed.is_multicast or parsed.is_loopback or address == _EVERYBODY:
        return True
    own = any(a.address == address for a in world.namespace.addresses)
    return own or routing.fib(world, family, routing.number(address)).kind in ("local", "broadcast", "anycast")


def on_link(world: World, address: str, dev: str) -> bool:
    """Whether an address belongs to an interface, or is one at which everybody on its network is called."""
    if ip_address(address).is_multicast or address == _EVERYBODY:
        return True
    if any((a.address, a.dev) == (address, dev) for a in world.namespace.addresses):
        return True
    return any(
        r.kind in ("broadcast", "anycast") and r.devs[:1] == (dev,) and ip_address(address) in ip_network(r.dst)
        for r in world.namespace.routes
        if ip_network(r.dst).version == ip_address(address).version
    )
