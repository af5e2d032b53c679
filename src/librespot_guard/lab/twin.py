"""A twin of a recorded network namespace: same interfaces, addresses, routes, sysctls, rules and sockets, and a wire behind each.

The twin stands in a sandbox, so any packet may be sent to it. Every interface is the near end of a cable (veth) with the name and
index of the original; what depends on its being something else is named in `Twin.notes`, and so is whatever else could not be
reproduced. The rules are not written anew but loaded as recorded, byte for byte, and read back and compared.
"""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from librespot_guard import firewall
from librespot_guard.errors import GuardError, MachineError
from librespot_guard.lab import replay
from librespot_guard.lab._depends import dependencies
from librespot_guard.lab.inject import Way
from librespot_guard.lab.sandbox import Host, Sandbox, one_line, write_sysctls
from librespot_guard.snapshot import Link, Listener, Namespace, Route, RoutingRule
from librespot_guard.targets.compare import canonical

_LOCAL_TABLE = 255
_IFF_FREEBIND, _SO_REUSEPORT = 15, 15  # IP_FREEBIND, SO_REUSEPORT
_JOINED_BY_KERNEL = ("224.0.0.1", "ff02::1", "ff01::1", "ff05::1")


@dataclass(slots=True)
class Twin:
    """A twin that stands. `ways` lead in over each interface; `notes` say what it does not reproduce.

    `faithful` is false if its rules are not those of the original: then its answers mean nothing.
    """

    host: Host
    ways: dict[str, Way]
    namespace: Namespace
    notes: list[str] = field(default_factory=list)
    faithful: bool = True

    def sockets(self) -> list[socket.socket]:
        """Open the original's listeners and multicast groups in the calling thread's namespace (to be called in the twin)."""
        opened: list[socket.socket] = []
        for listener in self.namespace.listeners:
            opened += _listen(listener)
        for group in self.namespace.groups or ():
            if (
                group.address not in _JOINED_BY_KERNEL
                and not group.address.startswith("ff02::1:ff")
                and group.dev != "lo"
            ):
                opened += _join(group.family, group.dev, group.address)
        return opened


def build(box: Sandbox, namespace: Namespace, *, byteorder: str, name: str = "twin") -> Twin:
    """Build the twin of a namespace in a sandbox. Raises MachineError where not even its interfaces can be made."""
    host = box.host(name)
    world = box.host(f"{name}-world")
    world.sysctl({"net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1})
    twin = Twin(host, {}, namespace)
    for link in sorted(namespace.links, key=lambda one: one.index):
        if not link.loopback and _cable(box, twin, world, link) and link.up:
            twin.ways[link.name] = Way(world, f"w{link.index}")
    _sysctls(twin)
    _addresses(twin)
    _routes(twin)
    _compare_network(twin)
    _rules(twin, byteorder)
    return twin


def _cable(box: Sandbox, twin: Twin, world: Host, link: Link) -> bool:
    """Make one interface; false if this kernel has put one of that name there by itself (tunl0, sit0).

    One that got the wanted index by itself costs the index: the comparison afterwards says so.
    """
    far = f"w{link.index}"
    for index in (link.index, None):
        try:
            box.link(twin.host, link.name, world, far, one_index=index, up=False)
        except MachineError:
            continue
        _dress(twin.host, world, link, far)
        return True
    return False


def _dress(host: Host, world: Host, link: Link, far: str) -> None:
    lines = [f"link set {link.name} addrgenmode none mtu {max(link.mtu, 1280)} group {link.group}"]
    if link.arp_type == 1 and link.mac and link.mac != "00:00:00:00:00:00":
        lines.append(f"link set {link.name} address {link.mac}")
    if link.up:
        lines.append(f"link set {link.name} up")
        world.ip(f"link set {far} mtu {max(link.mtu, 1280)} up")
    host.ip(*lines)


def _sysctls(twin: Twin) -> None:
    """Set what differs. "all" and "default" come first, because writing them changes the others."""
    wanted = twin.namespace.sysctls
    order = sorted(wanted, key=lambda n: (".all." not in n and n.count(".") > 2, ".default." not in n))

    def write() -> list[str]:
        failed = []
        for name in order:
            try:
                write_sysctls({name: wanted[name]})
            except OSError as error:
                failed.append(f"sysctl {name} = {wanted[name]}: {error.strerror}")
        return failed

    failed = twin.host.call(write)
    # those that exist only on the machine itself (bridge netfilter) are the same for the twin
    twin.notes += [f for f in failed if "net.bridge." not in f]


def _addresses(twin: Twin) -> None:
    lines: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    for a in twin.namespace.addresses:
        if (a.dev, a.address) in (("lo", "127.0.0.1"), ("lo", "::1")):
            continue  # the kernel gives them
        scope = {0: "global", 253: "link", 254: "host"}.get(a.scope, "global")
        broadcast = f" broadcast {a.broadcast}" if a.broadcast else ""
        extra = " nodad" if a.family == "ipv6" else f"{broadcast} scope {scope}"
        lines[a.family].append(f"address replace {a.address}/{a.prefixlen} dev {a.dev}{extra}")
    for family, some in lines.items():
        _try_each(twin, family, some)


def _routes(twin: Twin) -> None:
    routes = sorted(twin.namespace.routes, key=lambda r: (r.gateway is not None, r.priority))
    for family in ("ipv4", "ipv6"):
        lines = [line for r in routes if r.family == family for line in _route(r)]
        lines += [line for r in twin.namespace.rules if r.family == family for line in _rule(r)]
        _try_each(twin, family, lines)


def _route(r: Route) -> list[str]:
    if r.kind in ("multicast", "anycast") or (r.table == _LOCAL_TABLE and r.kind not in ("local", "broadcast")):
        return []  # the kernel makes them
    kind = "" if r.kind == "unicast" else f"{r.kind} "
    metric = f" metric {r.priority}" if r.priority else ""
    tail = f"table {r.table}{metric}"
    if r.kind in ("blackhole", "unreachable", "prohibit", "throw"):
        return [f"route add {kind}{r.dst} {tail}"]
    if len(r.devs) > 1:
        hops = " ".join(f"nexthop dev {d}" for d in r.devs)
        return [f"route add {kind}{r.dst} {tail} {hops}"]
    via = f" via {r.gateway}" if r.gateway and (":" in r.gateway) == (r.family == "ipv6") else ""
    dev = f" dev {r.devs[0]}" if r.devs else ""
    scope = " scope link" if r.kind == "unicast" and r.family == "ipv4" and not via else ""
    onlink = " onlink" if via else ""
    return [f"route add {kind}{r.dst}{via}{dev}{scope} {tail}{onlink}"]


def _rule(r: RoutingRule) -> list[str]:
    if (r.priority, r.table) in ((0, 255), (32766, 254), (32767, 253)) and not (
        r.src or r.dst or r.iif or r.oif or r.mark
    ):
        return []
    parts = ["rule add"]
    parts += ["not"] if r.inverted else []
    parts += [f"from {r.src or 'all'}"]
    parts += [f"to {r.dst}"] if r.dst else []
    parts += [f"iif {r.iif}"] if r.iif else []
    parts += [f"oif {r.oif}"] if r.oif else []
    parts += [f"fwmark {r.mark}/{r.mask if r.mask is not None else 0xFFFFFFFF}"] if r.mark is not None else []
    parts += [f"priority {r.priority}", f"lookup {r.table}" if r.action == "to_table" else r.action]
    parts += [f"suppress_prefixlength {r.suppress}"] if r.suppress is not None else []
    return [" ".join(parts)]


def _try_each(twin: Twin, family: str, lines: Iterable[str]) -> None:
    """Have iproute2 do all it can; what it could not is found by the comparison afterwards."""
    text = "\n".join(filter(one_line, lines))
    if text:
        twin.host.run(["ip", "-6" if family == "ipv6" else "-4", "-force", "-batch", "-"], input=text + "\n")


def _compare_network(twin: Twin) -> None:
    """Read the twin as any host is read, and note what differs from the original."""
    from librespot_guard.collect import read_namespace  # noqa: PLC0415 - lab stands above collect; only here

    copy, _ = twin.host.call(read_namespace)
    original = twin.namespace
    links = {(one.name, one.index, one.up) for one in copy.links}
    twin.notes += [
        f"interface {one.name} could not be made the same"
        for one in original.links
        if (one.name, one.index, one.up) not in links
    ]
    addresses = {(a.family, a.address, a.prefixlen, a.dev) for a in copy.addresses}
    twin.notes += [
        f"address {a.address}/{a.prefixlen} on {a.dev} is missing in the twin"
        for a in original.addresses
        if (a.family, a.address, a.prefixlen, a.dev) not in addresses
    ]
    routes = {_essence(r) for r in copy.routes}
    up = {one.name for one in original.links if one.up}
    twin.notes += [
        f"route {r.kind} {r.dst} (table {r.table}, {', '.join(r.devs) or 'no interface'}) is missing in the twin"
        for r in original.routes
        if r.kind not in ("multicast", "anycast") and set(r.devs) <= up and _essence(r) not in routes
    ]
    twin.notes += [
        f"route {r.kind} {r.dst} (table {r.table}, {', '.join(r.devs) or 'no interface'}) is in the twin only"
        for r in copy.routes
        if r.kind not in ("multicast", "anycast") and _essence(r) not in {_essence(o) for o in original.routes}
    ]
    rules = {_rule_essence(r) for r in copy.rules}
    if {_rule_essence(r) for r in original.rules} - rules or any(r.other for r in original.rules):
        twin.notes.append("some routing rules could not be reproduced")


def _essence(r: Route) -> tuple[str, int, str, str, tuple[str, ...]]:
    return r.family, r.table, r.dst, r.kind, r.devs


def _rule_essence(r: RoutingRule) -> tuple[object, ...]:
    return r.family, r.priority, r.table, r.action, r.src, r.dst, r.iif, r.oif, r.mark, r.inverted, r.suppress


def _rules(twin: Twin, byteorder: str) -> None:
    """Load the recorded rules, read them back and compare."""
    from librespot_guard.collect import read_nft  # noqa: PLC0415 - lab stands above collect; only here

    namespace = twin.namespace
    twin.notes += [
        f"{f.kind} {f.where}: a packet filter of this kind is not in the twin" for f in namespace.other_filters
    ]
    if namespace.nft is None:
        twin.notes.append("the packet filter of the host could not be read")
        twin.faithful = False
        return
    dump = namespace.nft
    try:
        twin.host.call(lambda: replay.load(dump, byteorder=byteorder))
        loaded = twin.host.call(lambda: read_nft(texts=False))
    except GuardError as error:
        twin.notes.append(f"the rules could not be loaded into the twin: {error}")
        twin.faithful = False
        return
    original = firewall.decode(dump, byteorder=byteorder)
    copy = firewall.decode(loaded, byteorder=byteorder)
    if [canonical(t) for t in original.tables] != [canonical(t) for t in copy.tables]:
        other = {(t.family, t.name): canonical(t) for t in copy.tables}
        differing = [f"{t.family} {t.name}" for t in original.tables if other.get((t.family, t.name)) != canonical(t)]
        twin.notes.append(f"the twin's rules are not the host's (table {', '.join(differing) or 'order'})")
        twin.faithful = False
    twin.notes += dependencies(original, namespace)


def _listen(listener: Listener) -> list[socket.socket]:
    """A socket that stands where the original's stands; none if another process of the same port already stands there."""
    family = socket.AF_INET if listener.family == "ipv4" else socket.AF_INET6
    kind = socket.SOCK_STREAM if listener.proto == "tcp" else socket.SOCK_DGRAM
    if listener.proto not in ("tcp", "udp"):
        return []
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IFF_FREEBIND, 1)
        if family == socket.AF_INET6 and listener.v6only is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(listener.v6only))
        if listener.device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, listener.device.encode())
        sock.bind((listener.address, listener.port))
        if kind == socket.SOCK_STREAM:
            sock.listen(16)
    except OSError:
        # a socket more or less does not change what passes the input hook, which is what is asked
        sock.close()
        return []
    return [sock]


def _join(family: str, dev: str, group: str) -> list[socket.socket]:
    """Join a multicast group, as a daemon of the original has: without a member the packet is not for this host."""
    sock = socket.socket(
        socket.AF_INET if family == "ipv4" else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    )
    try:
        index = socket.if_nametoindex(dev)
        if family == "ipv4":
            member = socket.inet_aton(group) + struct.pack("=4si", b"\0" * 4, index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=i", index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    except OSError:
        sock.close()  # an interface that is down
        return []
    return [sock]
