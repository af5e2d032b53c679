"""The lock-out guard: the connections through which the user manages this host, and new ones like them, must still get through."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

from librespot_guard.firewall.model import Ruleset
from librespot_guard.plan.model import Lockout
from librespot_guard.reach import Packet, Trace, world
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.packet import FLAGS
from librespot_guard.snapshot import Connection, Namespace, Snapshot

_CUT = ("dropped", "rejected")


def packets(connection: Connection, namespace: Namespace) -> Iterator[tuple[Packet, str]]:
    """The packets that must get through for one connection, each with why it is asked."""
    for iface in _interfaces(connection, namespace):

        def packet(src: str, sport: int, flags: int, state: str, iface: str = iface) -> Packet:
            return Packet(
                iface, src, connection.local, "tcp", sport=sport, dport=connection.local_port, flags=flags, state=state
            )

        yield (
            packet(connection.peer, connection.peer_port, FLAGS["ack"], "established"),
            f"your own connection ({connection.why})",
        )
        yield (
            packet(connection.peer, _other(connection.peer_port), FLAGS["syn"], "new"),
            f"a new connection like yours ({connection.why})",
        )
        for neighbour in _neighbours(connection, namespace, iface):
            yield (
                packet(neighbour, _other(connection.peer_port), FLAGS["syn"], "new"),
                "a new connection from your network",
            )


def lockouts(snapshot: Snapshot, after: Ruleset) -> tuple[Lockout, ...]:
    """Every packet of the user's way in that passes today and would not pass with the ruleset `after`."""
    before_world, after_world = world(snapshot), world(snapshot, ruleset=after)
    out = []
    for connection in snapshot.admin:
        for packet, why in packets(connection, snapshot.home):
            then = trace(after_world, packet)
            if then.verdict in _CUT and not _cut_already(trace(before_world, packet)):
                out.append(Lockout(packet, then, why))
    return tuple(out)


def _cut_already(today: Trace) -> bool:
    return today.verdict in _CUT


def _other(port: int) -> int:
    """Another source port than that of the connection: a new connection has a new one."""
    return port + 1 if port < 65535 else port - 1


def _interfaces(connection: Connection, namespace: Namespace) -> list[str]:
    """The interfaces over which the connection comes in: the one that was read, else where its peer is on-link, else every one."""
    if connection.dev is not None:
        return [connection.dev]
    peer = ip_address(connection.peer.partition("%")[0])
    if peer.is_loopback or connection.peer == connection.local:
        return ["lo"]
    near = [a.dev for a in namespace.addresses if peer in ip_interface(f"{a.address}/{a.prefixlen}").network]
    return list(dict.fromkeys(near)) or [link.name for link in namespace.links if link.up and not link.loopback]


def _neighbours(connection: Connection, namespace: Namespace, iface: str) -> list[str]:
    """The first and the last other address of the peer's network on this interface."""
    peer, local = ip_address(connection.peer.partition("%")[0]), ip_address(connection.local.partition("%")[0])
    for address in namespace.addresses:
        network = ip_interface(f"{address.address}/{address.prefixlen}").network
        if address.dev == iface and peer in network and network.num_addresses > 4:
            ends = [
                network.network_address + 1,
                network.network_address + 2,
                network.network_address + network.num_addresses - 2,
            ]
            return [str(end) for end in (ends[0], ends[-1]) if end not in (peer, local)]
    return []
