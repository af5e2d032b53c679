"""One network namespace, ready for questions: its facts with its packet filter decoded and its hooks in order."""

from dataclasses import dataclass, field

from librespot_guard import firewall
from librespot_guard.firewall.model import TABLE_DORMANT, Chain, Ruleset, Table
from librespot_guard.snapshot import Link, Namespace, OtherFilter, Snapshot

# which table families see a packet of which family on the IP hooks
_SEES = {"ipv4": ("inet", "ip"), "ipv6": ("inet", "ip6")}


@dataclass(frozen=True, slots=True)
class World:
    """A namespace and its ruleset.

    `doubts` are reasons that hold for every answer (rules that could not be read), `filters` packet filters of other kinds, which
    may stop packets of one interface or one family: `doubts_about` tells which count.
    """

    namespace: Namespace
    ruleset: Ruleset
    doubts: tuple[str, ...] = ()
    filters: tuple[OtherFilter, ...] = ()
    _links: dict[str, Link] = field(default_factory=dict, repr=False, compare=False)

    def link(self, name: str) -> Link | None:
        """The interface of this name."""
        if not self._links:
            self._links.update({link.name: link for link in self.namespace.links})
        return self._links.get(name)

    def doubts_about(self, iface: str, family: str) -> tuple[str, ...]:
        """Why a packet of `family` ("ipv4"/"ipv6") that comes in on `iface` may be stopped by something that is not analysed."""
        named = (f for f in self.filters if _concerns(f, iface, family))
        return (*self.doubts, *(f"{f.kind} {f.where}: this kind of packet filter is not analysed" for f in named))

    def base_chains(self, hook: str, family: str, device: str | None = None) -> list[tuple[Table, Chain]]:
        """The base chains of a hook that see packets of `family` ("ipv4"/"ipv6"), in the order in which they run.

        Dormant tables are not hooked. Of equal priorities the one that was registered last runs first
        (nf_hook_entries_grow of net/netfilter/core.c); the kernel lists them in the order of their registration, as long as
        no table was given a further base chain later. For "ingress" `device` must be given; a chain's device `eth*` stands
        for all whose names begin so.
        """
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
    if other.kind == "bpf-netfilter" and other.where.startswith("ipv"):
        return other.where.startswith(family)
    if other.kind.endswith("tables-legacy"):
        return other.kind.startswith("ip6") == (family == "ipv6")
    return True


def _hooked(devices: tuple[str, ...], device: str | None) -> bool:
    return device is not None and any(d == device or (d.endswith("*") and device.startswith(d[:-1])) for d in devices)


def world(snapshot: Snapshot, ns_id: str | None = None, *, ruleset: Ruleset | None = None) -> World:
    """The world of one namespace of a snapshot (the reader's own by default), or with another ruleset in place of its own."""
    namespace = snapshot.home if ns_id is None else snapshot.namespace(ns_id)
    doubts: list[str] = []
    if ruleset is None:
        if namespace.nft is None:
            ruleset = Ruleset((), snapshot.byteorder)
            doubts.append("the packet filter of this namespace could not be read")
        else:
            ruleset = firewall.decode(namespace.nft, byteorder=snapshot.byteorder)
    doubts += ruleset.incomplete
    return World(namespace, ruleset, tuple(doubts), namespace.other_filters)
