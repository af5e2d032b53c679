"""What dnat, redirect, snat and masquerade do to the packet that opens a flow (nf_nat_core.c, nft_nat.c, nft_redir.c)."""

from dataclasses import dataclass
from ipaddress import ip_address

from librespot_guard.firewall.model import Nat, Redirect
from librespot_guard.reach._concrete_flow import IPS_DST_NAT, IPS_SRC_NAT, Connection, Flow
from librespot_guard.reach._concrete_values import Registers, Undecidable, Value, between, is_sure, sure, unsure
from librespot_guard.reach.routing import link_scoped
from librespot_guard.reach.world import World

# linux/netfilter/nf_nat.h
RANGE_PROTO_RANDOM, RANGE_PROTO_RANDOM_FULLY, RANGE_PROTO_OFFSET, RANGE_NETMAP = 4, 16, 32, 64
_FAMILY = {"ipv4": "ip", "ipv6": "ip6"}
_LENGTH = {"ipv4": 4, "ipv6": 16}


@dataclass(frozen=True, slots=True)
class Span:
    """To what a packet is translated (struct nf_nat_range2): addresses and ports, None where they are kept, and NF_NAT_RANGE_* flags."""

    low: Value | None = None
    high: Value | None = None
    port_low: Value | None = None
    port_high: Value | None = None
    flags: int = 0


def span(flow: Flow, expr: Nat | Redirect, registers: Registers) -> Span:
    """The range that the registers of a nat or redirect expression hold."""

    def read(slot: int | None, length: int) -> Value | None:
        return None if slot is None else registers.read(slot, length)

    length = _LENGTH[flow.family]
    addresses = (read(expr.addr_min, length), read(expr.addr_max, length)) if isinstance(expr, Nat) else (None, None)
    return Span(*addresses, read(expr.port_min, 2), read(expr.port_max, 2), expr.flags)


def for_other_family(flow: Flow, expr: Nat) -> bool:
    """Whether the expression leaves a packet of this family alone (nft_nat_inet_eval)."""
    return expr.family not in ("inet", _FAMILY[flow.family])


def translate(flow: Flow, kind: str, to: Span) -> None:
    """Apply "dnat" or "snat" to the packet."""
    old = flow.dst if kind == "dnat" else flow.src
    address = old if to.low is None else _address(to, to.low, old, _LENGTH[flow.family])
    _apply(flow, kind, address, _port(flow, to, destination=kind == "dnat"))


def _address(to: Span, low: Value, old: Value, length: int) -> Value:
    high = low if to.high is None else to.high
    if not is_sure(low) or not is_sure(high):
        return unsure(length)
    if to.flags & RANGE_NETMAP:
        # the bits in which the ends of the range differ are those of the host, which are kept
        differ = bytes(a ^ b for a, b in zip(low[0], high[0], strict=True))
        data = bytes((o & d) | (n & ~d & 0xFF) for o, d, n in zip(old[0], differ, low[0], strict=True))
        return data, bytes(k | (~d & 0xFF) for k, d in zip(old[1], differ, strict=True))
    # one of many addresses is chosen by a hash with a secret seed
    return low if low == high else unsure(length)


def _port(flow: Flow, to: Span, *, destination: bool) -> Value:
    """The port after translation (get_unique_tuple, nf_nat_l4proto_unique_tuple)."""
    old = flow.port(destination=destination)
    if to.port_low is None or not flow.ported:
        return old
    first, last = to.port_low, to.port_low if to.port_high is None else to.port_high
    if not is_sure(first) or not is_sure(last):
        return unsure(2)
    if first == last and not to.flags & RANGE_PROTO_OFFSET:
        return first
    if to.flags & (RANGE_PROTO_RANDOM | RANGE_PROTO_RANDOM_FULLY | RANGE_PROTO_OFFSET):
        return unsure(2)
    inside = between(old, first[0], last[0])
    if inside is None:
        return unsure(2)
    if inside:
        return old
    return first if destination else unsure(2)


def redirect(world: World, flow: Flow, to: Span) -> bool:
    """Apply redirect: to the first usable address of the ingress interface; false if it has none (the packet is dropped)."""
    own = [a for a in world.namespace.addresses if a.family == flow.family and a.dev == flow.iif.name]
    if flow.family == "ipv4":
        usable = [a for a in own if a.scope == 0]  # inet_select_addr(dev, 0, RT_SCOPE_UNIVERSE)
    else:
        # nf_nat_redirect_ipv6: an address of the destination's scope
        local = is_sure(flow.dst) and link_scoped("ipv6", int.from_bytes(flow.dst[0], "big"))
        usable = [a for a in own if not local or ip_address(a.address).is_link_local]
    if not usable:
        return False
    _apply(flow, "dnat", sure(ip_address(usable[0].address).packed), _port(flow, to, destination=True))
    return True


def masquerade(flow: Flow) -> None:
    """Apply masquerade: the source becomes an address of the outgoing interface, which one is not followed further."""
    _apply(flow, "snat", unsure(_LENGTH[flow.family]), unsure(2))


def _apply(flow: Flow, kind: str, address: Value, port: Value) -> None:
    connection = _connection(flow)
    before = (flow.dst, flow.port(destination=True)) if kind == "dnat" else (flow.src, flow.port(destination=False))
    if kind == "dnat":
        flow.dst = address
        flow.set_port(port, destination=True)
        connection.reply.src = address
        connection.reply.sport = flow.port(destination=True)
    else:
        flow.src = address
        flow.set_port(port, destination=False)
        connection.reply.dst = address
        connection.reply.dport = flow.port(destination=False)
    after = (flow.dst, flow.port(destination=True)) if kind == "dnat" else (flow.src, flow.port(destination=False))
    # the flag says that something changed, not that a rule was there (nf_nat_setup_info)
    if before != after or not is_sure(address):
        connection.status |= IPS_DST_NAT if kind == "dnat" else IPS_SRC_NAT


def _connection(flow: Flow) -> Connection:
    if flow.connection is None:
        raise Undecidable("address translation of a packet without a tracked connection")
    return flow.connection
