"""A policy on a host: which service each entry speaks of, and which addresses it lets in. Pure."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network

from librespot_guard.errors import InputError
from librespot_guard.policy.model import Entry, Match, Policy, Source
from librespot_guard.reach.intervals import WIDTH, IntervalSet
from librespot_guard.snapshot import Namespace, Service, Snapshot

# RFC 4291 section 2.5.6: on-link by definition
_LINK_LOCAL = IntervalSet.networks([ip_network("fe80::/10")])
# as many digits of a container's id as `docker ps` shows stand for it
_SHORT_ID = 12


@dataclass(frozen=True, slots=True)
class Assignment:
    """An entry of the policy and a service it speaks of."""

    entry: Entry
    service: Service


def matches(match: Match, service: Service) -> bool:
    """Whether every key of `match` agrees with the service; an empty match agrees with none."""
    agree = {
        "flavour": match.flavour is None or match.flavour == service.flavour,
        "unit": match.unit is None or match.unit == service.unit,
        "name": match.name is None or _same_name(match.name, service),
        "container": match.container is None or _same_container(match.container, service.container or ""),
        "port": match.port is None or any(item.listener.port == match.port for item in service.listeners),
    }
    return match != Match() and all(agree.values())


def _same_name(name: str, service: Service) -> bool:
    """The name as a snapshot has it (`living-room`), or as it is announced (`Living Room`)."""
    return (
        name in (service.name, service.info.remote_name if service.info else None) or slug(name) == service.name != ""
    )


def _same_container(wanted: str, container: str) -> bool:
    return wanted == container or (len(wanted) >= _SHORT_ID and container.startswith(wanted))


def slug(title: str) -> str:
    """An announced name as a snapshot writes it: lower-case ASCII letters and digits with `-` between them."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-")


def matching(policy: Policy, service: Service) -> tuple[Entry, ...]:
    """Every entry that speaks of the service; more than one is a fault of the policy."""
    return tuple(entry for entry in policy.services.values() if matches(entry.match, service))


def assign(policy: Policy, snapshot: Snapshot) -> tuple[Assignment, ...]:
    """Every service that the policy speaks of, with its entry, in the order of the snapshot.

    Raises:
        InputError: two entries speak of the same service; all such services are named.
    """
    found, faults = [], []
    for service in snapshot.services:
        entries = matching(policy, service)
        if len(entries) > 1:
            faults.append(ambiguous(policy, service, entries))
        elif entries:
            found.append(Assignment(entries[0], service))
    if faults:
        raise InputError(
            "\n".join(faults),
            hint="add a key to one `match` (`unit`, `name`, `container`, `port`) so that it leaves the other's service out",
        )
    return tuple(found)


def ambiguous(policy: Policy, service: Service, entries: tuple[Entry, ...]) -> str:
    """That several entries speak of one service, and where they stand."""
    names = " and ".join(f"`{entry.name}` ({entry.where or policy.file})" for entry in entries)
    return f"{entries[-1].where or policy.file}: the service `{service.name}` (pid {service.pid}) is matched by {names}"


def unmatched(policy: Policy, snapshot: Snapshot) -> tuple[Entry, ...]:
    """The entries that speak of no service of this snapshot."""
    return tuple(
        entry
        for entry in policy.services.values()
        if not any(matches(entry.match, service) for service in snapshot.services)
    )


def allowed(
    policy: Policy, entry: Entry, surface: str, iface: str, family: str, namespace: Namespace, *, today: date
) -> IntervalSet:
    """The source addresses that the policy lets in to one surface of a service, by the interface they come in on.

    Args:
        policy: where the sources are.
        entry: what is said of the service.
        surface: "discovery", "connect", …; a surface that could not be told ("unknown") is denied.
        iface: the interface a packet comes in on. Over "lo" it is the host itself, which is always allowed.
        family: "ipv4" or "ipv6".
        namespace: whose addresses say what is on-link; discovery is cut to that.
        today: a source holds up to and including its last day.
    """
    if iface == "lo":
        return IntervalSet.full(WIDTH[family])
    if surface == "unknown":
        return IntervalSet()
    on_link = _connected(namespace, iface, family) if surface == "discovery" else None
    total = IntervalSet()
    for name in entry.allow.get(surface, ()):
        source = policy.sources[name]
        addresses = _addresses(source, iface, family, today)
        if on_link is not None:
            # everybody behind an interface is also who has only a link-local address there
            addresses &= on_link if source.networks or family == "ipv4" else on_link | _LINK_LOCAL
        total |= addresses
    return total


def _addresses(source: Source, iface: str, family: str, today: date) -> IntervalSet:
    """Who a source is on one interface: nobody when it has expired, belongs to another interface, or says neither who nor where."""
    if source.expires is not None and source.expires < today:
        return IntervalSet()
    if source.interface is not None and source.interface != iface:
        return IntervalSet()
    if source.networks:
        return IntervalSet.networks(n for n in source.networks if f"ipv{n.version}" == family)
    return IntervalSet.full(WIDTH[family]) if source.interface is not None else IntervalSet()


def _connected(namespace: Namespace, iface: str, family: str) -> IntervalSet:
    """The networks that are on-link at an interface, by its addresses."""
    own = [a for a in namespace.addresses if a.dev == iface and a.family == family]
    return IntervalSet.networks(ip_network(f"{a.address}/{a.prefixlen}", strict=False) for a in own)
