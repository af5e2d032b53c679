"""Which packets are for which service: listeners grouped by what a packet filter can tell apart.

A `Selector` says how the packets of a group are recognised. This version knows one way: the protocol and port that were seen,
with the address where the port alone would also hit somebody else. A service with a random port outruns such a rule at its next
restart (`plan` says so). The place for the other way, the service's cgroup, is here: a second kind of selector next to `Selector`,
made by `groups` for services in a slice of our own; nothing else needs to know, because chains are per service and surface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from librespot_guard.policy import Assignment, Entry
from librespot_guard.snapshot import Listener, Namespace

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - addresses of listeners, not binds of ours


@dataclass(frozen=True, slots=True)
class Selector:
    """Packets to a port, of one destination address if `address` is given."""

    proto: str
    port: int
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A surface of a service that the policy speaks of."""

    entry: Entry
    service: str
    surface: str
    listener: Listener


@dataclass(frozen=True, slots=True)
class Group:
    """Everybody who gets the packets of one selector: one surface of one entry, or, on a shared UDP port, several."""

    selector: Selector
    members: tuple[Member, ...]

    @property
    def surfaces(self) -> tuple[tuple[str, str], ...]:
        """The distinct (name of the entry, surface) of the members, in order."""
        return tuple(dict.fromkeys((m.entry.name, m.surface) for m in self.members))


def plain(address: str) -> str:
    """The address without the IPv6 form of IPv4 (`::ffff:192.0.2.1`) and without a zone."""
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def members(assignments: Sequence[Assignment]) -> list[Member]:
    """Every listener of every assigned service."""
    return [
        Member(a.entry, a.service.name, item.surface, item.listener)
        for a in assignments
        for item in a.service.listeners
    ]


def strangers(group: Sequence[Member], namespace: Namespace) -> list[Listener]:
    """Listeners on the same protocol and port that belong to no member."""
    first = group[0].listener
    ours = {_identity(m.listener) for m in group}
    same = [x for x in namespace.listeners if (x.proto, x.port) == (first.proto, first.port)]
    return [x for x in same if _identity(x) not in ours]


def _identity(listener: Listener) -> tuple[object, ...]:
    if listener.inode:
        return (listener.inode,)
    return (listener.proto, listener.family, listener.address, listener.port, listener.device)


def groups(assignments: Sequence[Assignment], namespace: Namespace) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """The groups in the order in which packets are to be dispatched, and what can't be told apart (texts for the user)."""
    found: list[Group] = []
    faults: list[str] = []
    by_port: dict[tuple[str, int], list[Member]] = {}
    for member in members(assignments):
        by_port.setdefault((member.listener.proto, member.listener.port), []).append(member)
    for (proto, port), here in sorted(by_port.items()):
        alone = len({(m.entry.name, m.surface) for m in here}) == 1 and not strangers(here, namespace)
        # a datagram to a group or broadcast address reaches every socket of the port, whatever address it is bound to
        if alone or (proto == "udp" and any(m.surface == "discovery" for m in here)):
            found.append(Group(Selector(proto, port), tuple(here)))
            continue
        by_address: dict[str | None, list[Member]] = {}
        for member in here:
            wildcard = member.listener.address in _WILDCARDS
            by_address.setdefault(None if wildcard else plain(member.listener.address), []).append(member)
        # the kernel prefers the socket bound to the address to a wildcard
        for address in sorted(by_address, key=lambda a: (a is None, a or "")):
            group = Group(Selector(proto, port, address), tuple(by_address[address]))
            if len(group.surfaces) > 1 and proto == "tcp":
                names = " and ".join(f"`{entry}` ({surface})" for entry, surface in group.surfaces)
                faults.append(
                    f"{proto} port {port} is shared by {names}: a packet filter can't tell their packets apart; give them different ports"
                )
            found.append(group)
    return tuple(found), tuple(faults)
