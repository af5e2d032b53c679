"""What the causes look at: one service, the networks it is in, and who gets to it by which way."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from typing import Final

from librespot_guard.firewall.model import Cmp
from librespot_guard.reach import IntervalSet, Packet, World, world
from librespot_guard.reach.engine import Answer, Engine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.questions import MDNS, MDNS_PORT, families
from librespot_guard.reach.routing import number, text
from librespot_guard.snapshot import Announcement, Namespace, Service, ServiceListener, Snapshot

_NOBODY: Final = IntervalSet()


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sources that get somewhere at most (`may`) and surely (`must`)."""

    may: IntervalSet = _NOBODY
    must: IntervalSet = _NOBODY


@dataclass(frozen=True, slots=True)
class Way:
    """One interface and family by which a network reaches the host, and the sources in that network itself."""

    iface: str
    family: str
    neighbours: IntervalSet


@dataclass(slots=True)
class Subject:
    """A service of a snapshot, with what is worked out about it, once."""

    facts: Snapshot
    service: Service
    _world: World | None = None
    _engines: dict[tuple[str, str, str], Engine] = field(default_factory=dict)
    _answers: dict[tuple[str, str, str, int, str], Answer] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.name

    @property
    def space(self) -> Namespace:
        """The network namespace it runs in."""
        return self.facts.namespace(self.service.netns)

    def listeners(self, surface: str) -> list[ServiceListener]:
        """Its listeners for a surface."""
        return [one for one in self.service.listeners if one.surface == surface]

    @property
    def ports(self) -> list[int]:
        """The TCP ports of its Spotify Connect listeners."""
        return sorted({one.listener.port for one in self.listeners("connect")})

    def ways(self) -> list[Way]:
        """The interfaces by which networks reach its namespace, and their families."""
        return ways(self.space)

    def announcements(self) -> list[Announcement] | None:
        """What its own host announces under its name or with one of its ports; None if nobody asked."""
        if self.space.announcements is None:
            return None
        own = {a.address for a in self.space.addresses}
        others = {
            one.listener.port for s in self.facts.services if s is not self.service and s.netns == self.service.netns for one in s.listeners
        }  # fmt: skip
        return [
            a
            for a in self.space.announcements
            if a.sender in own
            and a.port not in others - set(self.ports)
            and (a.port in self.ports or a.name == self.title)
        ]

    @property
    def title(self) -> str:
        """The name it shows in the app, "" if it did not say."""
        return self.service.info.remote_name if self.service.info else ""

    def connect(self, way: Way, port: int | None = None) -> Bounds:
        """Which neighbours get to its Spotify Connect listener, or to another TCP port, by a way."""
        served = {f for one in self.listeners("connect") for f in families(one.listener)}
        wanted = self.ports if port is None else [port]
        if way.family not in served:
            return Bounds()
        own = [a.address for a in self.space.addresses if a.dev == way.iface and a.family == way.family]
        return self._union(way, "tcp", [(a, p) for a in own for p in wanted])

    def discovery(self, way: Way) -> Bounds:
        """Which neighbours' multicast questions get in by a way."""
        return self._union(way, "udp", [(MDNS[way.family], MDNS_PORT)])

    def joined(self, way: Way) -> bool:
        """Whether anybody in its namespace listens to the group of mDNS by a way; True if the groups could not be read."""
        groups = self.space.groups or ()
        return not groups or any((g.dev, g.address) == (way.iface, MDNS[way.family]) for g in groups)

    def _union(self, way: Way, proto: str, targets: list[tuple[str, int]]) -> Bounds:
        may = must = IntervalSet()
        for address, port in targets:
            answer = self._ask(way, proto, address, port)
            surely, perhaps = answer.must & way.neighbours, answer.may & way.neighbours
            must |= surely
            packet = Packet(way.iface, "", address, proto, MDNS_PORT if proto == "udp" else 40000, port)
            if surely or not self._stopped(packet, way.family, perhaps):
                may |= perhaps
        return Bounds(may, must)

    def _stopped(self, packet: Packet, family: str, sources: IntervalSet) -> bool:
        """Whether a plain packet is stopped from the first and the last of the sources: fragments that slip through are no phone's."""
        ends = {end for low, high in sources for end in (low, high)}
        return (
            all(
                trace(self._view, replace(packet, src=text(family, end))).verdict in ("dropped", "rejected")
                for end in (min(ends), max(ends))
            )
            if ends
            else True
        )

    def _ask(self, way: Way, proto: str, address: str, port: int) -> Answer:
        key = (way.iface, way.family, proto, port, address)
        if key not in self._answers:
            self._answers[key] = self._engine(way, proto).ask(number(address), port)
        return self._answers[key]

    def _engine(self, way: Way, proto: str) -> Engine:
        key = (way.iface, way.family, proto)
        if key not in self._engines:
            self._engines[key] = Engine(self._view, *key)
        return self._engines[key]

    @property
    def _view(self) -> World:
        if self._world is None:
            self._world = world(self.facts, self.service.netns)
        return self._world

    @property
    def rule_ports(self) -> list[int]:
        """TCP ports that single rules of its packet filter name, at most 64, lowest first."""
        return named_ports(self._view)


def ways(space: Namespace) -> list[Way]:
    """The interfaces of a namespace that are up and have another address than a link-local one of IPv6, by family.

    A bridge of containers or guests is none of them, unless there is nothing else: nobody chooses a speaker from there.
    """
    out = []
    links = [link for link in space.links if link.up and not link.loopback and link.master is None]
    outward = bridges_to_the_network(space)
    in_use = {a.dev for a in space.addresses if not a.address.startswith("fe80:")}
    links = [link for link in links if link.name in in_use]
    for link in [k for k in links if k.kind != "bridge" or k.name in outward] or links:
        for family in ("ipv4", "ipv6"):
            nets = [
                ip_interface(f"{a.address}/{a.prefixlen}").network
                for a in space.addresses
                if a.dev == link.name and a.family == family and not ip_address(a.address).is_loopback
            ]
            if nets:
                own = IntervalSet.of(
                    (number(a.address), number(a.address)) for a in space.addresses if a.family == family
                )
                out.append(Way(link.name, family, IntervalSet.networks(nets) - own))
    return out


def bridges_to_the_network(space: Namespace) -> list[str]:
    """Bridges that hold something else than the ends of cables into namespaces and guests."""
    return sorted({k.master for k in space.links if k.master and k.kind not in ("veth", "tun", "bridge")})


def named_ports(view: World) -> list[int]:
    """The values of two bytes that rules and sets of a ruleset compare packets with, which include every port they name."""
    found: set[int] = set()
    for table in view.ruleset.tables:
        for chain in table.chains:
            for rule in chain.rules:
                found |= {int.from_bytes(e.data, "big") for e in rule.exprs if isinstance(e, Cmp) and len(e.data) == 2}
        for one in table.sets:
            if one.key_length in (2, 4):
                found |= {int.from_bytes(e.key[:2], "big") for e in one.elements if len(e.key) >= 2}
    return sorted(p for p in found if 1024 <= p < 65536)[:64]
