"""One network namespace, ready for questions: its facts with its packet filter decoded and its hooks in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from librespot_guard import firewall
from librespot_guard.firewall.agreement import differences
from librespot_guard.firewall.model import TABLE_DORMANT, Chain, Ruleset, Table
from librespot_guard.snapshot import Link, Namespace, OtherFilter, Snapshot

# which table families see a packet of which family on the IP hooks
_SEES = {"ipv4": ("inet", "ip"), "ipv6": ("inet", "ip6")}
# kinds of devices that lie on another one, through whose hooks their frames go (IFLA_LINK)
_ON_TOP = frozenset(("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"))


@dataclass(frozen=True, slots=True)
class World:
    """A namespace and its ruleset.

    `doubts` are reasons that hold for every answer (rules that could not be read), `filters` packet filters of other kinds, which
    may stop packets of one interface or one family, or at one socket: `doubts_about` and `doubts_at` tell which count.
    """

    namespace: Namespace
    ruleset: Ruleset
    doubts: tuple[str, ...] = ()
    filters: tuple[OtherFilter, ...] = ()
    _links: dict[str, Link] = field(default_factory=dict, repr=False, compare=False)
    around: "Worlds | None" = field(default=None, repr=False, compare=False)
    # what engines work out once for all questions: one entry for each family and protocol; never carried over by `replace`
    shared: dict[tuple[str, ...], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def link(self, name: str) -> Link | None:
        """The interface of this name."""
        if not self._links:
            self._links.update({link.name: link for link in self.namespace.links})
        return self._links.get(name)

    def doubts_about(self, iface: str, family: str) -> tuple[str, ...]:
        """Why a packet of `family` ("ipv4"/"ipv6") that comes in on `iface` may be stopped by something that is not analysed."""
        devices = (iface, *self.below(iface))
        named = (f for f in self.filters if any(_concerns(f, device, family) for device in devices))
        said = (f"{f.kind} {f.where}: this kind of packet filter is not analysed" for f in named)
        return (*self.doubts, *said, *self._beneath(iface))

    def doubts_at(self, proto: str, port: int | None) -> tuple[str, ...]:
        """Why a packet that is delivered to a port (None: to some port) may be stopped at its socket by something that is not analysed.

        The programs of a cgroup see what the sockets in it receive, and nobody else's (sk_filter_trim_cap of net/core/filter.c).
        """
        seen = {o.where: o for o in self.filters if o.kind == "bpf-cgroup"}
        hit = (
            {s.cgroup for s in self.namespace.listeners if s.proto == proto and port in (None, s.port)} if seen else ()
        )
        return tuple(f"{seen[w].kind} {w}: this kind of packet filter is not analysed" for w in seen if w in hit)

    def doubts_leaving(self, dev: str) -> tuple[str, ...]:
        """Why a packet that leaves by `dev` may be stopped on its way out by something that is not analysed.

        br_netfilter is none of it: it leaves alone what did not come in by a bridge (br_nf_post_routing).
        """
        tc = (
            f"tc {f.where}: this kind of packet filter is not analysed"
            for f in self.filters
            if f.kind == "tc" and f.where in (dev, *self.below(dev))
        )
        return (*tc, *self._beneath(dev))

    def below(self, iface: str) -> tuple[str, ...]:
        """The devices that a frame goes through before it comes in on an interface: ports of a bridge or bond, what a VLAN lies on."""
        found: dict[str, None] = {}
        todo = [iface]
        for name in todo:
            link = self.link(name)
            under = link.peer if link is not None and link.kind in _ON_TOP and link.peer_netns is None else None
            for other in self.namespace.links:
                if (other.master == name or other.index == under) and other.name not in (iface, *found):
                    found[other.name] = None
                    todo.append(other.name)
        return tuple(found)

    def _beneath(self, iface: str) -> Iterator[str]:
        """Chains that frames meet below an interface before the IP hooks see them, or behind."""
        link = self.link(iface)
        if link is None:
            return
        below = self.below(iface)
        if link.told and link.kind != "bridge" and not below:
            return
        for table in self.ruleset.tables:
            for chain in table.chains:
                hook = chain.hook
                if hook is None or table.flags & TABLE_DORMANT or not (chain.rules or hook.policy == "drop"):
                    continue
                where = f"{table.family} {table.name} {chain.name}"
                at_port = [d for d in below if hook.hook in ("ingress", "egress") and _hooked(hook.devices, d)]
                if table.family == "bridge" and not link.told:
                    yield f"{where}: whether `{iface}` is a bridge is not known"
                elif link.kind == "bridge" and (table.family == "bridge" or at_port):
                    yield f"{where}: what happens inside bridge `{iface}` is not analysed"
                elif at_port:
                    yield f"{where}: what happens on `{at_port[0]}`, on which `{iface}` lies, is not analysed"

    def behind(self, dev: str, address: str) -> "tuple[World, str] | None":
        """The namespace of the same snapshot that answers for an address on the cables of `dev`, and its interface there."""
        if self.around is None:
            return None
        wanted = ip_address(address)
        for world, name in self.around.far_ends(self, dev):
            if any(ip_address(a.address) == wanted for a in world.namespace.addresses):
                return world, name
        return None

    def base_chains(self, hook: str, family: str, device: str | None = None) -> list[tuple[Table, Chain]]:
        """The base chains of a hook that see packets of `family` ("ipv4"/"ipv6"), in the order in which they run.

        Dormant tables are not hooked. Of equal priorities the one that was registered last runs first
        (nf_hook_entries_grow of net/netfilter/core.c); the kernel lists them in the order of their registration, as long as
        no table was given a further base chain later. For "ingress" `device` must be given; a chain's device `eth*` stands
        for all whose names begin so.
        """
        key = ("base chains", hook, family, device or "")
        if key not in self.shared:
            self.shared[key] = self._base_chains(hook, family, device)
        found: list[tuple[Table, Chain]] = self.shared[key]
        return found

    def _base_chains(self, hook: str, family: str, device: str | None) -> list[tuple[Table, Chain]]:
        found = []
        for table in reversed(self.ruleset.tables):
            if table.flags & TABLE_DORMANT:
                continue
            for chain in reversed(table.chains):
                if chain.hook is None or chain.hook.hook != hook:
                    continue
                if hook in ("ingress", "egress"):
                    if table.family in ("netdev", "inet") and _hooked(chain.hook.devices, device):
                        found.append((table, chain))
                elif table.family in _SEES[family]:
                    found.append((table, chain))
        return sorted(found, key=lambda pair: pair[1].hook.priority if pair[1].hook else 0)


def _concerns(other: OtherFilter, iface: str, family: str) -> bool:
    if other.kind in ("xdp", "tc", "bridge-nf-call", "ebtables"):
        return other.where == iface
    if other.kind == "bpf-cgroup":
        return False  # it is no hook of an interface: `doubts_at`
    if other.kind == "bpf-netfilter" and other.where.startswith("ipv"):
        return other.where.startswith(family)
    if other.kind.endswith("tables-legacy"):
        return other.kind.startswith("ip6") == (family == "ipv6")
    return True


def _hooked(devices: tuple[str, ...], device: str | None) -> bool:
    return device is not None and any(d == device or (d.endswith("*") and device.startswith(d[:-1])) for d in devices)


class Worlds(Mapping[str, World]):
    """Every namespace of a snapshot by its id, each made ready at first use; they know of each other by their cables.

    Args:
        snapshot: the facts.
        rulesets: packet filters in place of the snapshot's own, by namespace id.
    """

    def __init__(self, snapshot: Snapshot, rulesets: Mapping[str, Ruleset] | None = None) -> None:
        self.snapshot = snapshot
        self._rulesets = dict(rulesets or {})
        self._made: dict[str, World] = {}

    def __getitem__(self, ns_id: str) -> World:
        if ns_id not in self._made:
            self._made[ns_id] = _make(self, self.snapshot.namespace(ns_id), self._rulesets.get(ns_id))
        return self._made[ns_id]

    def __iter__(self) -> Iterator[str]:
        return iter(n.id for n in self.snapshot.namespaces)

    def __len__(self) -> int:
        return len(self.snapshot.namespaces)

    def far_ends(self, here: World, dev: str) -> list[tuple[World, str]]:
        """The interfaces of other namespaces at the ends of the cables of `dev`; through bridges, from port to port."""
        found: list[tuple[World, str]] = []
        seen = {(here.namespace.id, dev)}
        todo = [(here.namespace, dev)]
        while todo:
            space, name = todo.pop()
            for link in space.links:
                if name not in (link.name, link.master):
                    continue
                other, far = self._other_end(space, link)
                if other is None or far is None or (other.id, far.name) in seen:
                    continue
                seen.add((other.id, far.name))
                if far.master is not None:
                    seen.add((other.id, far.master))
                    todo.append((other, far.master))
                    far = next((one for one in other.links if one.name == far.master), far)
                if other.id != here.namespace.id:
                    found.append((self[other.id], far.name))
        return found

    def _other_end(self, space: Namespace, link: Link) -> tuple[Namespace | None, Link | None]:
        if link.kind != "veth" or link.peer is None or link.peer_netns == "?" or not link.up:
            return None, None
        other = space
        if link.peer_netns is not None:
            try:
                other = self.snapshot.namespace(link.peer_netns)
            except KeyError:
                return None, None
        return other, next((one for one in other.links if one.index == link.peer and one.up), None)


def world(snapshot: Snapshot, ns_id: str | None = None, *, ruleset: Ruleset | None = None) -> World:
    """The world of one namespace of a snapshot (the reader's own by default), or with another ruleset in place of its own."""
    chosen = snapshot.home.id if ns_id is None else ns_id
    return Worlds(snapshot, {} if ruleset is None else {chosen: ruleset})[chosen]


def _make(around: Worlds, namespace: Namespace, ruleset: Ruleset | None) -> World:
    doubts: list[str] = []
    if ruleset is None:
        if namespace.nft is not None:
            ruleset = firewall.decode(namespace.nft, byteorder=around.snapshot.byteorder)
            doubts += [d for t in namespace.texts if t.kind == "nft-json" for d in differences(ruleset, t.text)]
        elif any(t.kind != "ipset-save" for t in namespace.texts):
            ruleset = firewall.read_listings(namespace.texts, interfaces={n.name: n.index for n in namespace.links})
        else:
            ruleset = Ruleset((), around.snapshot.byteorder)
            doubts.append("the packet filter of this namespace could not be read")
    ruleset = _with_iptables(namespace, ruleset)
    doubts += ruleset.incomplete
    return World(namespace, ruleset, tuple(doubts), namespace.other_filters, around=around)


def _with_iptables(namespace: Namespace, ruleset: Ruleset) -> Ruleset:
    """The ruleset with the tables of legacy iptables beside its own, and extensions in native instructions where there are any."""
    listing = next((t for t in namespace.texts if t.kind == "ipset-save"), None)
    ipsets = firewall.IpSets(listing.text, source=listing.source) if listing else None
    numbers = ipsets.numbers if ipsets else {}
    tables, incomplete = firewall.legacy_tables(
        namespace.legacy, order=ruleset.byteorder, ipsets=ipsets, numbers=numbers
    )
    whole = replace(ruleset, tables=(*ruleset.tables, *tables), incomplete=(*ruleset.incomplete, *incomplete))
    return firewall.native(whole, ipsets=ipsets, numbers=numbers)
