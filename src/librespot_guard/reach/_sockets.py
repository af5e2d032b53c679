"""Which socket receives a packet that passed the last hook."""

from ipaddress import IPv6Address, ip_address

from librespot_guard.reach._concrete_flow import Flow
from librespot_guard.reach._concrete_values import is_sure
from librespot_guard.reach.routing import fib
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Listener


def socket_of(world: World, current: Flow) -> Listener | None:
    """The socket that receives a delivered packet: an exact address before a wildcard, a bound device before none.

    Scores as compute_score of net/ipv4/inet_hashtables.c and net/ipv4/udp.c: an IPv4 socket before a dual-stack one.
    """
    packet = current.packet
    if (
        not current.ported
        or not is_sure(current.dst)
        or (packet.proto == "tcp" and packet.state in ("established", "related"))
    ):
        return None
    port = int.from_bytes(current.port(destination=True)[0], "big")
    dst = ip_address(current.dst[0])
    if packet.proto == "tcp" and not _of_one_host(world, current.family, int(dst)):
        return None
    best: tuple[tuple[bool, bool, bool], Listener] | None = None
    for listener in world.namespace.listeners:
        if listener.proto != packet.proto or listener.port != port or listener.device not in (None, packet.iface):
            continue
        bound = ip_address(listener.address)
        if isinstance(bound, IPv6Address) and bound.ipv4_mapped is not None:
            bound = bound.ipv4_mapped
        wildcard = int(bound) == 0
        dual = wildcard and bound.version == 6 and listener.v6only is False
        if not (bound == dst or (wildcard and (bound.version == dst.version or dual))):
            continue
        score = (not wildcard, listener.device is not None, listener.family == current.family)
        if best is None or score > best[0]:
            best = (score, listener)
    return best[1] if best else None


def _of_one_host(world: World, family: str, dst: int) -> bool:
    """Whether an address is this host's alone: TCP takes no other (tcp_v4_rcv, tcp_v4_conn_request, tcp_v6_conn_request)."""
    several = dst >> 28 == 0xE or dst == 0xFFFFFFFF if family == "ipv4" else dst >> 120 == 0xFF
    return not several and fib(world, family, dst).kind not in ("broadcast", "anycast")
