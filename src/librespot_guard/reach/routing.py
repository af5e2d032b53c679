"""What routing does with a packet that arrived: delivered here, forwarded, or dropped, and for which sources.

One decision is concrete (`deliver`, `fib`). The set of sources that routing lets through (`local_sources`) asks the
concrete decision once for each elementary interval between the addresses at which it can change, so both always agree.

Encodes net/ipv4/route.c (ip_route_input_slow, ip_mc_validate_source), net/ipv4/fib_frontend.c (fib_validate_source),
net/ipv6/ip6_input.c (ip6_rcv_core) and Documentation/networking/ip-sysctl.rst.
"""

from dataclasses import dataclass, replace

from librespot_guard.reach._fib import HIGHEST, Found, Tables, fib, number, tables, text
from librespot_guard.reach.intervals import IntervalSet, Pair
from librespot_guard.reach.world import World

__all__ = [
    "ALWAYS_JOINED", "Decision", "Found", "Sources", "Tables", "deliver", "either", "elementary", "fib", "link_scoped", "local_sources", "number",
    "sysctl", "tables", "text",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """`outcome` is "local", "forward" or "drop"; where that is not `certain`, `doubt` says why.

    `martian` marks a drop because of the source address alone: no other machine can have it, whatever the rules say.
    """

    outcome: str
    because: str
    dev: str | None = None
    certain: bool = True
    martian: bool = False
    doubt: str = ""


def sysctl(world: World, name: str, default: int = 0) -> int:
    """A sysctl as a number; `default` if it was not read."""
    try:
        return int(world.namespace.sysctls.get(name, default))
    except ValueError:
        return default


def either(world: World, iface: str, name: str, default: int = 0) -> bool:
    """A sysctl of net.ipv4.conf that holds if set for "all" or for the interface (IN_DEV_ORCONF)."""
    return any(sysctl(world, f"net.ipv4.conf.{where}.{name}", default) for where in ("all", iface))


def _forwards_broadcasts(world: World, iface: str) -> bool:
    """Whether broadcasts of a network are sent on and not taken in (IN_DEV_BFORWARD: "all" and the interface)."""
    return all(sysctl(world, f"net.ipv4.conf.{where}.bc_forwarding") for where in ("all", iface))


def deliver(world: World, family: str, iface: str, src: int, dst: int, *, mark: int | None = 0) -> Decision:
    """What routing does with a packet from `src` to `dst` (addresses as numbers) that came in on `iface`."""
    link = world.link(iface)
    if link is None:
        return Decision("drop", f"there is no interface `{iface}`")
    if not link.up:
        return Decision("drop", f"interface `{iface}` is down")
    if link.loopback:
        found = _loopback(world, family, src, dst, mark)
    else:
        found = (_deliver4 if family == "ipv4" else _deliver6)(world, iface, src, dst, mark)
    return found if found.certain or found.doubt else replace(found, doubt=tables(world, family).doubt)


def _loopback(world: World, family: str, src: int, dst: int, mark: int | None) -> Decision:
    """The loopback interface carries what the host sends to itself: from one of its addresses to another."""
    if fib(world, family, src, mark=mark).kind != "local":
        return Decision("drop", "only this host's own addresses are sources on the loopback interface")
    found = fib(world, family, dst, source=src, iif="lo", mark=mark)
    if found.kind in ("local", "broadcast") or _is_multicast(family, dst):
        return Decision("local", "an address of this host", None, found.certain)
    return Decision("drop", "the destination is not an address of this host")


def _is_multicast(family: str, address: int) -> bool:
    return address >> 28 == 0xE if family == "ipv4" else address >> 120 == 0xFF


def link_scoped(family: str, address: int) -> bool:
    """Whether an address is looked up on one interface only: fe80::/10, and multicast of link-local scope, ff02:: and its like.

    nft_fib6_flowi_init asks for IPV6_ADDR_LINKLOCAL, which __ipv6_addr_type gives to both.
    """
    if family == "ipv4":
        return False
    return address >> 118 == 0xFE80 >> 6 or (address >> 120 == 0xFF and address >> 112 & 0xF == 2)


# every host, and every node on a link and on an interface: the kernel joins these by itself (ip_mc_up, ipv6_add_dev)
ALWAYS_JOINED = {"ipv4": ("224.0.0.1",), "ipv6": ("ff02::1", "ff01::1")}


def _group(world: World, family: str, iface: str, dst: int) -> Decision:
    """Whether packets to a multicast group are taken in."""
    name = text(family, dst)
    groups = world.namespace.groups
    if groups is None and name not in ALWAYS_JOINED[family]:
        return Decision(
            "local", "multicast", None, certain=False, doubt=f"who has joined {name} on `{iface}` is not known"
        )
    if groups is None or any((g.family, g.dev, g.address) == (family, iface, name) for g in groups):
        return Decision("local", "multicast, joined")
    return Decision("drop", f"nobody has joined {name} on `{iface}`")


def _deliver4(world: World, iface: str, src: int, dst: int, mark: int | None) -> Decision:
    if src >> 28 == 0xE or src == HIGHEST["ipv4"]:
        return Decision("drop", "a multicast or broadcast address is no source (martian)", martian=True)
    if dst == HIGHEST["ipv4"]:
        # ip_route_input_slow, brd_input: the source is looked at unless it is 0.0.0.0
        valid = _valid_source(world, iface, src, dst, mark) if src else Decision("local", "")
        return valid if valid.outcome == "drop" else Decision("local", "limited broadcast", None, valid.certain)
    localnet = either(world, iface, "route_localnet")
    if src >> 24 == 127 and not localnet:
        return Decision("drop", "127.0.0.0/8 is no source on a wire (martian; route_localnet is off)", martian=True)
    if _is_multicast("ipv4", dst):
        if src == 0 and dst >> 8 != 0xE00000:
            return Decision("drop", "0.0.0.0 is no source (martian)", martian=True)
        group = _group(world, "ipv4", iface, dst)
        if group.outcome == "drop" or not src:
            return group
        valid = _valid_source(world, iface, src, dst, mark)
        return valid if valid.outcome == "drop" or not valid.certain else group
    if src == 0:
        if dst == 0:
            return Decision("local", "an old way to write the limited broadcast")
        return Decision("drop", "0.0.0.0 is no source (martian)", martian=True)
    if dst == 0:
        return Decision("drop", "0.0.0.0 is no destination (martian)")
    if dst >> 24 == 127 and not localnet:
        return Decision("drop", "127.0.0.0/8 is no destination on a wire (martian; route_localnet is off)")
    found = fib(world, "ipv4", dst, source=src, iif=iface, mark=mark)
    valid = _valid_source(world, iface, src, dst, mark)
    certain = found.certain and valid.certain
    handed_on = found.kind == "broadcast" and _forwards_broadcasts(world, iface)
    if found.kind in ("local", "broadcast") and not handed_on:
        return valid if valid.outcome == "drop" else Decision("local", "an address of this host", None, certain)
    if (found.kind == "unicast" or handed_on) and sysctl(
        world, f"net.ipv4.conf.{iface}.forwarding", sysctl(world, "net.ipv4.ip_forward")
    ):
        valid = _valid_source(world, iface, src, dst, mark, *found.devs[:1])
        certain = found.certain and valid.certain
        if valid.outcome == "drop":
            return valid
        return Decision("forward", "a route leads on", found.devs[0] if found.devs else None, certain)
    why = "this host does not forward" if found.kind == "unicast" else f"no way to the destination ({found.kind})"
    return Decision("drop", why, None, certain)


def _valid_source(world: World, iface: str, src: int, dst: int, mark: int | None, out: str | None = None) -> Decision:
    """fib_validate_source: the host's own addresses, and rp_filter (the larger of "all" and the interface's).

    `out` is where the packet leaves if it is forwarded. The way back is looked up as that of a packet that comes in by `out`, or else
    by the loopback interface, and not by the one that it came in by.
    """
    reverse_path = max(sysctl(world, "net.ipv4.conf.all.rp_filter"), sysctl(world, f"net.ipv4.conf.{iface}.rp_filter"))
    accept_local = either(world, iface, "accept_local")
    book = tables(world, "ipv4")
    # what leaves as it came is looked at fully where a redirect may be due
    fully = out == iface and either(world, iface, "send_redirects", default=1)
    if not reverse_path and not fully:
        if not accept_local and not book.custom_rules and not book.custom_local:
            if src in book.addresses:
                return Decision(
                    "drop", "the source is an address of this host (martian; accept_local is off)", martian=True
                )
            return Decision("local", "")
        if accept_local:
            return Decision("local", "")
    seen_mark = mark if either(world, iface, "src_valid_mark") else 0
    found = fib(world, "ipv4", src, source=dst, iif=out or "lo", mark=seen_mark)
    name = text("ipv4", src)
    if not reverse_path and book.only_plain and found.kind in ("none", "unicast"):
        return Decision("local", "")  # whatever the rules say
    if found.kind in ("none", "blackhole", "unreachable", "prohibit"):  # fib_lookup fails for all of these
        if reverse_path:
            return Decision("drop", f"rp_filter: no route back to {name}", None, found.certain)
        return Decision("local", "", None, found.certain)
    if found.kind != "unicast" and not (found.kind == "local" and accept_local):
        return Decision(
            "drop", f"{name} is no source that can be answered ({found.kind} route)", None, found.certain, martian=True
        )
    if reverse_path and iface not in found.devs:
        if reverse_path == 1:
            return Decision("drop", f"rp_filter: the way back to {name} is not `{iface}`", None, found.certain)
        if not any(a.dev == iface and a.family == "ipv4" for a in world.namespace.addresses):
            why = f"rp_filter: the way back to {name} is not `{iface}`, which has no IPv4 address"
            return Decision("drop", why, None, found.certain)
    return Decision("local", "", None, found.certain)


def _deliver6(world: World, iface: str, src: int, dst: int, mark: int | None) -> Decision:
    if sysctl(world, f"net.ipv6.conf.{iface}.disable_ipv6"):
        return Decision("drop", f"IPv6 is disabled on `{iface}`")
    if dst == 1:
        return Decision("drop", "::1 is no destination on a wire")
    if src == 1:
        return Decision("drop", "::1 is no source on a wire", martian=True)
    if _is_multicast("ipv6", src):
        return Decision("drop", "a multicast address is no source", martian=True)
    if _is_multicast("ipv6", dst):
        return _group(world, "ipv6", iface, dst)
    link_local = dst >> 118 == 0xFE80 >> 6
    found = fib(world, "ipv6", dst, source=src, iif=iface, mark=mark, dev=iface if link_local else None)
    if found.kind in ("local", "anycast"):
        return Decision("local", "an address of this host", None, found.certain)
    # force_forwarding came with Linux 6.17
    forwards = sysctl(world, "net.ipv6.conf.all.forwarding") or sysctl(world, f"net.ipv6.conf.{iface}.force_forwarding")
    if found.kind == "unicast" and forwards:
        # ip6_forward looks at the source only where the packet leaves by another interface
        if found.devs[:1] != (iface,) and (src == 0 or src >> 118 == 0xFE80 >> 6):
            return Decision("drop", "a link-local or unspecified source is not forwarded", None, found.certain)
        return Decision("forward", "a route leads on", found.devs[0] if found.devs else None, found.certain)
    why = "this host does not forward" if found.kind == "unicast" else f"no way to the destination ({found.kind})"
    return Decision("drop", why, None, found.certain)


def elementary(world: World, family: str) -> list[Pair]:
    """The intervals of source addresses inside which every routing decision is the same."""
    return tables(world, family).elementary


@dataclass(frozen=True, slots=True)
class Sources:
    """Where routing delivers packets to this host, by source address.

    `may` and `must` include the `martian` sources, which routing refuses whatever the filters say, so that a filter's
    answer reads "192.168.10.0/24" and not that network without the host's own address; subtract them for the truth.
    """

    may: IntervalSet
    must: IntervalSet
    martian: IntervalSet
    doubts: tuple[str, ...] = ()


def local_sources(world: World, family: str, iface: str, dst: int, *, mark: int | None = 0) -> Sources:
    """The sources whose packets to `dst` routing delivers to this host."""
    key = ("local sources", family, iface, str(dst), str(mark))
    if key not in world.shared:
        world.shared[key] = _local_sources(world, family, iface, dst, mark)
    found: Sources = world.shared[key]
    return found


def _local_sources(world: World, family: str, iface: str, dst: int, mark: int | None) -> Sources:
    may: list[Pair] = []
    must: list[Pair] = []
    martian: list[Pair] = []
    doubts: set[str] = set()
    for low, high in elementary(world, family):
        decision = deliver(world, family, iface, low, dst, mark=mark)
        if decision.martian:
            martian.append((low, high))
        if not decision.certain:
            doubts.add(decision.doubt)
            may.append((low, high))
        elif decision.outcome == "local":
            may.append((low, high))
            must.append((low, high))
    if may:  # where nothing is delivered at all, a martian is no exception
        may += martian
        must += martian
    return Sources(IntervalSet.of(may), IntervalSet.of(must), IntervalSet.of(martian), tuple(sorted(doubts)))
