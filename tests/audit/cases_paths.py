"""Hosts with a container behind a bridge, with and without a published port; and services that were meant for the host alone."""

from dataclasses import replace

from audit.case import Case, clean, has
from audit.hosts import EMPTY, HOME, LAN, PORT, connect, filters, home_only, host, librespot, to
from librespot_guard.firewall.model import Chain, Hook, Immediate, Nat, Rule, Ruleset, Table
from librespot_guard.snapshot import Address, Link, Namespace, Route, Snapshot

BOX = "4026532001"
_ROUTES = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.eth0.forwarding": "1", "net.ipv4.conf.docker0.forwarding": "1"}


def _boxed() -> Snapshot:
    """A service in a container (172.17.0.2) on docker0 of an ordinary host."""
    service = librespot(netns=BOX, container="speaker", unit=None, listeners=(connect(),))
    networks = {**LAN, "docker0": ("172.17.0.1/16",)}
    outside = host(service, networks=networks, kinds={"docker0": "bridge"}, sysctls=_ROUTES, listeners=())
    cable = Link(9, "veth1", up=True, kind="veth", master="docker0", peer=2, peer_netns=BOX)
    home = replace(outside.home, links=(*outside.home.links, cable))
    inside = Namespace(
        BOX,
        home=False,
        links=(Link(1, "lo", up=True, arp_type=772), Link(2, "eth0", up=True, kind="veth", peer=9, peer_netns=HOME)),
        addresses=(Address("ipv4", "172.17.0.2", 16, "eth0"),),
        routes=(
            Route("ipv4", 255, "172.17.0.2/32", "local", ("eth0",)),
            Route("ipv4", 254, "172.17.0.0/16", "unicast", ("eth0",)),
            Route("ipv4", 254, "0.0.0.0/0", "unicast", ("eth0",), gateway="172.17.0.1"),
        ),
        listeners=(connect().listener,),
        nft=EMPTY,
    )
    return replace(outside, namespaces=(home, inside))


def _dnat() -> Table:
    """Port 8080 of the host, led to the container."""
    exprs = (
        *to("tcp", 8080),
        Immediate(4, bytes((172, 17, 0, 2))),
        Immediate(5, PORT.to_bytes(2, "big")),
        Nat("dnat", "ip", addr_min=4, port_min=5),
    )
    return Table("ip", "nat", (Chain("PREROUTING", 1, (Rule(2, exprs),), Hook("prerouting", -100, "accept", "nat")),))


def _forward(policy: str) -> Table:
    return Table("ip", "filter", (Chain("FORWARD", 1, (), Hook("forward", 0, policy)),))


def _loopback(**sysctls: str) -> Snapshot:
    named = {f"net.ipv4.conf.{name}.route_localnet": value for name, value in sysctls.items()}
    return host(librespot(listeners=(connect(address="127.0.0.1"),)), sysctls=named)


def _rules(policy: str) -> dict[str, Ruleset]:
    return filters(home_only(), _dnat(), _forward(policy))


PATHS: tuple[Case, ...] = (
    has("LG501", "published", "medium", "port 8080 of 192.168.10.2", "container", of=_boxed(), rules=_rules("accept")),
    clean("LG501", "forward closed", of=_boxed(), rules=_rules("drop")),
    clean("LG501", "a service of the host itself"),
    has("LG502", "host network", "low", "speaker", of=host(librespot(container="speaker")), rules={}),
    clean("LG502", "no container"),
    has("LG503", "route_localnet", "high", "127.0.0.1", "eth0", of=_loopback(eth0="1"), rules={}),
    clean("LG503", "no route_localnet", of=_loopback(eth0="0"), rules={}),
)
