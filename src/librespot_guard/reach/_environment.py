"""What is known of a packet while it goes through the chains, beyond the region it stands for."""

from dataclasses import dataclass, field, replace

from librespot_guard.firewall.model import Verdict
from librespot_guard.reach import _fields as fields
from librespot_guard.reach import routing
from librespot_guard.reach._bits import UNKNOWN, Value, width
from librespot_guard.reach._conditions import All, Entries
from librespot_guard.reach._region import Universe
from librespot_guard.reach.intervals import IntervalSet, Pair
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Link

_NUMBERS = {"tcp": 6, "udp": 17}
# what the kernel keeps beside the packet, so that no rewrite of its bytes changes it
_BESIDE = ("iif", "iifname", "iiftype", "iifgroup", "oif", "oifname", "oiftype", "oifgroup", "mark", "nfproto")
# NF_CT_STATE_BIT and friends, include/uapi/linux/netfilter/nf_conntrack_common.h
_CT_STATE = {
    "none": 1,
    "template": 8,
    "established": 2,
    "related": 4,
    "new": 8,
    "untracked": 64,
    "passed": 64,
    "late": 8,
}
_FLOWING = ("established", "related")
_TEMPLATES = ("template", "late")
_STATUS_DST_NAT = 0x20
# RTN_* of linux/rtnetlink.h, the values of `fib … type`
_ROUTE_TYPES = {"none": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6,
                "unreachable": 7, "prohibit": 8}  # fmt: skip
# NFTA_FIB_F_*
_FIB_SADDR, _FIB_DADDR, _FIB_MARK, _FIB_IIF, _FIB_OIF, _FIB_PRESENT = (1 << i for i in range(6))


@dataclass(frozen=True, slots=True)
class Environment:
    """What the rules so far made of a packet: its destination after NAT (None: not a constant), marks, tracking.

    `ct` is "none" (before conntrack), "new", "established", "related" or "untracked" ("passed" when conntrack has let that by). A
    rule that sets a zone makes it a "template" of a connection: conntrack puts the connection in its place, or comes no more ("late").
    `tainted` after a rewrite that is not followed. `oif` is the interface
    by which a forwarded packet leaves, `egress` whether it is there already. `masked` says that the source was translated, to
    `source` if that is a constant. `apart` says that the chain which runs may see a packet in fragments.
    """

    dst: int | None
    dport: int | None
    mark: int | None = 0
    ct_mark: int | None = 0
    ct: str = "none"
    zone: int | None = 0
    original: tuple[int | None, int | None] | None = None
    translated: bool = False
    tainted: bool = False
    oif: str | None = None
    egress: bool = False
    masked: bool = False
    source: int | None = None
    apart: bool = False

    def assigned(self, name: str, value: int | None) -> "Environment":
        """With "mark", "ct_mark" or "ct_zone" set to a host integer, or to something unknown (None).

        Only a connection has a mark, and only what has no connection gets a zone (nft_ct_set_eval, nft_ct_set_zone_eval).
        """
        if name == "mark":
            return replace(self, mark=value)
        if name == "ct_mark":
            return replace(self, ct_mark=value) if self.ct in ("new", *_FLOWING) else self
        if self.ct in ("none", "untracked", "passed"):
            return replace(self, ct="late" if self.ct == "passed" else "template", zone=value)
        return self

    @property
    def moved(self) -> bool | None:
        """Whether translation changed the destination; None if that can't be told. A rule may lead to where a packet goes anyway."""
        if not self.translated or self.original is None:
            return False
        if self.dst is None or self.dport is None or None in self.original:
            return None
        return self.original != (self.dst, self.dport)

    def past_tracking(self) -> "Environment":
        """Behind the hook of connection tracking (nf_conntrack_in)."""
        after = {"none": "new", "template": "new", "untracked": "passed"}.get(self.ct)
        return self if after is None else replace(self, ct=after)


@dataclass(slots=True)
class Reader:
    """Reads fields of packets in one environment: known, free, reported, broken or unknown."""

    world: World
    iface: str
    family: str
    proto: str
    environment: Environment
    universe: Universe
    maps: dict[str, Entries]
    _sources: dict[tuple[str, tuple[Pair, ...]], IntervalSet] = field(default_factory=dict)
    _table: dict[str, int | None] = field(default_factory=dict)

    def moved(self, environment: Environment) -> "Reader":
        """The same reader in another environment."""
        return replace(self, environment=environment, _sources={}, _table={})

    def state(self, name: str) -> str:
        """How a field stands: "known", "free", "source" (depends on the source address), "broken" (can't be loaded) or "unknown"."""
        env = self.environment
        if name.startswith(UNKNOWN):
            return "unknown"
        if name == "ct" or name.startswith("ct_"):
            if (env.ct in _FLOWING and name not in ("ct", "ct_state")) or (env.ct in _TEMPLATES and name != "ct_state"):
                return "unknown"
            if name != "ct_state" and env.ct != "new" and env.ct not in _FLOWING:
                return "broken"
            return "known" if name == "ct" or self._known(name) is not None else "unknown"
        if name.startswith("socket:"):
            # a new TCP flow has no socket yet; UDP may have been given one early (udp_v4_early_demux)
            return "broken" if self.proto == "tcp" else "unknown"
        if name.startswith("map:"):
            found = self._map(name)
            return "unknown" if found is None else "broken" if found == () else "known"
        if name == "saddr" and not env.masked:
            return "unknown" if env.tainted else "source"
        if env.masked and name == "sport":
            return "unknown"
        if name in ("oiftype", "oifgroup", "iiftype", "iifgroup") and self._link(name[:3]) is None:
            return "broken"
        if name.startswith("fib:"):
            link = self.world.link(self.iface)
            if (
                link is None
                or link.loopback
                or (self._fib_by_source(name) and not env.masked and self._fib(name, 0x08080808) is None)
            ):
                return "unknown"  # look-ups for loopback packets are answered in another way; an unread routing rule
            return (
                "source"
                if self._fib_by_source(name) and not env.masked
                else ("known" if self._known(name) is not None else "unknown")
            )
        if name in ("ether_src", "ether_dst", "ethertype"):
            link = self.world.link(self.iface)
            if link is None or link.arp_type != 1:
                return "unknown"
        if env.tainted and name not in _BESIDE:
            return "unknown"
        if self._known(name) is not None:
            return "known"
        if name in self.universe.dropped or fields.domain(name, self.family, self.proto) is None:
            return "unknown"
        return "free"

    def _known(self, name: str) -> int | None:
        """The value of a field that the question or the rules so far fix; None if it has none or it can't be told."""
        if name.startswith("fib:"):
            return self._fib(name, self.environment.source if self.environment.masked else None)
        if not self._table:
            self._table = self._fixed()
        return self._table.get(name)

    def _fixed(self) -> dict[str, int | None]:
        """The fields that the question or the rules so far fix, with their values."""
        env, v4 = self.environment, self.family == "ipv4"
        link, out = self._link("iif"), self._link("oif")
        return {
            "version": 4 if v4 else 6,
            "nfproto": 2 if v4 else 10,
            "l4proto": _NUMBERS[self.proto],
            "protocol": 0x0800 if v4 else 0x86DD,
            "ethertype": 0x0800 if v4 else 0x86DD,
            "fragment": 0,
            **dict.fromkeys(fields.FRAGMENTED, None if env.apart else 0),
            "iifname": interface_number("" if env.egress else self.iface),
            "iif": 0 if env.egress else link.index if link else None,
            "iiftype": link.arp_type if link else None,
            "iifgroup": link.group if link and link.told else None,
            "oifname": interface_number(env.oif or ""),
            "oif": out.index if out else 0,
            "oiftype": out.arp_type if out else None,
            "oifgroup": out.group if out and out.told else None,
            "mark": env.mark,
            "saddr": env.source if env.masked else None,
            "daddr": env.dst,
            "dport": env.dport,
            "ct_state": _CT_STATE[env.ct],
            "ct_mark": env.ct_mark,
            "ct_direction": 0,
            "ct_zone": env.zone,
            "ct_l3proto": 2 if v4 else 10,
            "ct_protocol": _NUMBERS[self.proto],
            # the status tells that something changed, not that a rule was there (nf_nat_setup_info)
            "ct_status": None if env.moved is None else _STATUS_DST_NAT if env.moved else 0,
            # a local route has no gateway and no IPsec (rt_nexthop of net/route.h)
            "rt_nexthop": env.dst if env.oif is None else None,
            "rt_xfrm": 0 if env.oif is None else None,
            "ct_daddr": env.original[0] if env.original else env.dst,
            "ct_dport": env.original[1] if env.original else env.dport,
        }

    def _link(self, which: str) -> Link | None:
        """The interface by which the packet came ("iif") or leaves ("oif"), as the hook that runs now knows it."""
        if which == "oif":
            return None if self.environment.oif is None else self.world.link(self.environment.oif)
        return None if self.environment.egress else self.world.link(self.iface)

    def constant(self, value: Value) -> int | None:
        """A value as the number that its bytes make in the order of its use, if every piece is constant or known."""
        number = 0
        for piece in value:
            if piece.field is None:
                part = piece.bits
            else:
                if self.state(piece.field) != "known":
                    return None
                known = self._map_value(piece.field) if piece.field.startswith("map:") else self._known(piece.field)
                if known is None:
                    return None
                part = (known >> piece.low & (1 << piece.width) - 1) ^ piece.bits
            number = number << piece.width | part
        return number if width(value) else None

    def holds(self, condition: All) -> tuple[list[Pair] | None, int | None, str | None] | None:
        """Where a condition holds: (slots or None for all, classes or None for all, doubt or None); None if nowhere."""
        sources: IntervalSet | None = None
        classes: int | None = None
        doubt = condition.doubt
        for key, values in condition.sets.items():
            name, _, part = key.partition("@")
            low, size = (int(n) for n in part.split(":")) if part else (0, 0)
            state = self.state(name)
            if state == "broken":
                return None
            if name == "ct_status" and state == "known":
                state = self._status(values, low, size)
            if state == "unknown":
                doubt = doubt or f"`{name}` is not known"
            elif state == "known":
                known = self._map_value(name) if name.startswith("map:") else self._known(name)
                if known is None or _bits(known, low, size) not in values:
                    return None
            elif state == "source":
                found = values if name == "saddr" else self._where_fib(name, values, low, size)
                sources = found if sources is None else sources & found
                if not sources:
                    return None
            elif state == "free":
                mask = self.universe.class_mask(name, values)
                classes = mask if classes is None else classes & mask
                if not classes:
                    return None
            elif state == "never":
                return None
        return (None if sources is None else self.universe.slots(sources)), classes, doubt

    def _status(self, values: IntervalSet, low: int, size: int) -> str:
        """Whether the ct status of a new flow lies in `values`: "always", "never" or "unknown"."""
        # IPS_DST_NAT is known, IPS_EXPECTED, SEEN_REPLY, ASSURED and CONFIRMED are not set; the DONE bits vary with loaded modules
        base = _STATUS_DST_NAT if self.environment.moved else 0
        inside = [_bits(base | snat | done, low, size) in values for snat in (0, 0x80) for done in (0, 0x100)]
        return "always" if all(inside) else "unknown" if any(inside) else "never"

    def _map(self, name: str) -> tuple[int] | tuple[()] | None:
        """The result of a data map: (value,), () on a miss, None if it can't be told."""
        entries = self.maps[name]
        if entries.doubt:
            return None
        for condition, data in entries.entries:
            found = self.holds(condition)
            if found is None:
                continue
            if found != (None, None, None) or data is None or isinstance(data, Verdict):
                return None
            return (int.from_bytes(data, "big"),)
        if entries.catchall and isinstance(entries.otherwise, bytes):
            return (int.from_bytes(entries.otherwise, "big"),)
        return ()

    def _map_value(self, name: str) -> int | None:
        found = self._map(name)
        return found[0] if found else None

    @staticmethod
    def _fib_by_source(name: str) -> bool:
        return bool(int(name.split(":")[1]) & 1)

    def _fib(self, name: str, source: int | None) -> int | None:
        """The value of a fib look-up as nft_fib_ipv4.c and nft_fib_ipv6.c store it; `source` if it is about the source."""
        _, raw, result = name.split(":")
        flags = int(raw)
        address = source if flags & _FIB_SADDR else self.environment.dst
        if address is None or (flags & _FIB_MARK and self.environment.mark is None) or flags & _FIB_OIF:
            return None
        dev = self.iface if flags & _FIB_IIF else None
        if result == "addrtype":
            return self._address_type(address, dev)
        link_local = routing.link_scoped(self.family, address)
        mark = self.environment.mark if flags & _FIB_MARK else 0
        # nft_fib6_flowi_init: a link-local address is looked up on an interface, the packet's if no other
        found = routing.fib(
            self.world, self.family, address, mark=mark, dev=(dev or self.iface) if link_local else None
        )
        if not found.certain:
            return None
        if self.family == "ipv4" and self._to_neighbours():
            # nft_fib4_eval: a packet from 0.0.0.0 to those belongs to its interface, whatever is looked up
            if not flags & _FIB_SADDR:
                return None
            if source == 0:
                found = replace(found, kind="unicast", devs=(self.iface,))
        # nft_fib4_eval: a broadcast route counts as a route; nft_fib6_eval: local and anycast ones do not
        usable = found.kind in (
            ("unicast", "broadcast", "multicast") if self.family == "ipv4" else ("unicast", "multicast")
        )
        out = (dev or found.devs[0]) if usable and found.devs and (dev is None or dev in found.devs) else None
        if flags & _FIB_PRESENT:
            return int(out is not None)
        if out is None:
            return 0
        if result == "oifname":
            return interface_number(out)
        link = self.world.link(out)
        return link.index if link else None

    def _to_neighbours(self) -> bool:
        """Whether the destination is the limited broadcast or a multicast group of the link."""
        dst = self.environment.dst
        return dst is not None and (dst == 0xFFFFFFFF or dst >> 8 == 0xE00000)

    def _address_type(self, address: int, dev: str | None) -> int | None:
        """`fib … type`: only the local table decides for IPv4 (inet_dev_addr_type), any route for IPv6."""
        if self.family == "ipv4":
            if address in (0, 0xFFFFFFFF):
                return _ROUTE_TYPES["broadcast"]
            if address >> 28 == 0xE:
                return _ROUTE_TYPES["multicast"]
            route = routing.tables(self.world, "ipv4").longest(255, address, None)
            if route is None or (dev is not None and dev not in route.devs):
                return _ROUTE_TYPES["unicast"]
            return _ROUTE_TYPES.get(route.kind, 0)
        found = routing.fib(
            self.world, "ipv6", address, dev=(dev or self.iface) if routing.link_scoped("ipv6", address) else None
        )
        if not found.certain:
            return None
        if found.kind in ("blackhole", "prohibit", "throw", "unreachable", "none"):
            return _ROUTE_TYPES["unreachable" if found.kind == "none" else found.kind]
        if found.kind == "anycast":
            return _ROUTE_TYPES["anycast"]
        if any(a.dev == dev and routing.number(a.address) == address for a in self.world.namespace.addresses):
            return _ROUTE_TYPES["local"]
        if dev is None and found.kind == "local":
            return _ROUTE_TYPES["local"]
        if address >> 120 == 0xFF:
            return _ROUTE_TYPES["multicast"]
        # ipv6_addr_type: the unspecified address and IPv4-mapped ones are no unicast
        return 0 if address == 0 or address >> 32 == 0xFFFF else _ROUTE_TYPES["unicast"]

    def _where_fib(self, name: str, values: IntervalSet, low: int, size: int) -> IntervalSet:
        """The sources for which a fib look-up gives one of `values`."""
        key = (f"{name}@{low}:{size}", values.pairs)
        if key not in self._sources:
            pairs = []
            for first, last in routing.elementary(self.world, self.family):
                found = self._fib(name, first)
                if found is not None and _bits(found, low, size) in values:
                    pairs.append((first, last))
            self._sources[key] = IntervalSet.of(pairs)
        return self._sources[key]


def interface_number(name: str) -> int:
    """The name of an interface as the 16 bytes that rules compare."""
    return int.from_bytes(name.encode()[:16].ljust(16, b"\0"), "big")


def _bits(value: int, low: int, size: int) -> int:
    """Bits low..low+size-1 of a value; all of it if size is 0."""
    return value >> low & (1 << size) - 1 if size else value
