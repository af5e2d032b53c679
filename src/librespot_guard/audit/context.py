"""What the checks look at: the snapshot, and what can be derived from it, derived once and only if a check asks.

The expensive part is reach: the worlds of the namespaces and the answer for each way to each listener.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address
from typing import TypeVar

from librespot_guard import catalog, reach
from librespot_guard.audit.sources import never_sources, own_networks
from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.firewall.model import Ruleset
from librespot_guard.reach import Answer, IntervalSet, Reached, World, Worlds
from librespot_guard.reach.intervals import WIDTH
from librespot_guard.snapshot import Link, Listener, Namespace, Service, ServiceListener, Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exposure:
    """One way from outside to a listener of a service, and who can take it.

    `answer` is what the packet filter and the routing let through, `free` what routing alone would let through,
    `own` the networks of the interface itself, `elsewhere` those of the other interfaces: who takes such an address as
    its source gets no answer here, so that no TCP connection comes about. `through` is the namespace of the host in front of a
    container, and `port` the port that is asked for there.
    """

    service: Service
    listener: ServiceListener
    link: Link
    family: str
    destination: str
    answer: Answer
    free: Answer
    own: IntervalSet
    elsewhere: IntervalSet
    through: str | None = None
    port: int | None = None

    @property
    def answered(self) -> IntervalSet:
        """The sources that may get through and that are not on the link of another interface."""
        return self.answer.may - self.elsewhere - never_sources(self.family)

    @property
    def beyond(self) -> IntervalSet:
        """The sources outside the interface's own networks that may get through."""
        return self._outside(self.answer.may)

    @property
    def surely_beyond(self) -> IntervalSet:
        """The sources outside the interface's own networks that get through for certain."""
        return self._outside(self.answer.must)

    def _outside(self, sources: IntervalSet) -> IntervalSet:
        # no router passes on what is sent to a link-local or link-scope multicast address (RFC 4291 2.5.6, RFC 5771 4)
        if self.link_scope:
            return IntervalSet()
        return sources - self.own - self.elsewhere - never_sources(self.family)

    @property
    def link_scope(self) -> bool:
        """Whether only hosts on the same link can send to the destination."""
        address = ip_address(self.destination)
        return address.is_link_local or address.is_multicast

    @property
    def filtered(self) -> bool:
        """Whether the packet filter surely keeps out somebody whom routing alone would let through."""
        return bool(self.free.must - self.answer.may)

    @property
    def untouched(self) -> bool:
        """Whether the packet filter surely keeps out nobody."""
        return not self.free.may - self.answer.must


def _anybody(reached: Reached) -> Reached:
    """The same question, answered as if no filter stood in the way."""
    every = IntervalSet.full(WIDTH[reached.question.family]) - reached.answer.martian
    return replace(reached, answer=Answer(every, every, (), reached.answer.martian, every, every))


class Context:
    """The facts, and derived values that are computed at first use and kept.

    Args:
        snapshot: the facts.
        rulesets: packet filters to use in place of the snapshot's own, by namespace id: how the host would look with them.
    """

    def __init__(self, snapshot: Snapshot, rulesets: Mapping[str, Ruleset] | None = None) -> None:
        self.snapshot = snapshot
        self.rulesets = dict(rulesets or {})
        self._kept: dict[tuple[object, ...], object] = {}

    @cached_property
    def catalog(self) -> Catalog:
        """What is known about every family member."""
        return catalog.load()

    def flavour(self, service: Service) -> Flavour | None:
        """What is known about the flavour of a service; None if the catalogue has nothing on it."""
        return next((f for f in self.catalog.flavours if f.name == service.flavour), None)

    def namespace(self, service: Service) -> Namespace:
        """The network namespace of a service."""
        return self.snapshot.namespace(service.netns)

    @cached_property
    def _worlds(self) -> Worlds:
        return Worlds(self.snapshot, self.rulesets)

    def filter_known(self, ns_id: str) -> bool:
        """Whether the packet filter of a namespace was read."""
        return ns_id in self.rulesets or self.snapshot.namespace(ns_id).nft is not None

    def world(self, ns_id: str) -> World:
        """The world of a namespace, its packet filter decoded."""
        return self.keep(("world", ns_id), lambda: self._worlds[ns_id])

    def _unfiltered(self, ns_id: str) -> World:
        """The same namespace without any packet filter."""

        def bare() -> World:
            return World(self.snapshot.namespace(ns_id), Ruleset((), self.snapshot.byteorder))

        return self.keep(("unfiltered", ns_id), bare)

    def exposures(self, service: Service, *surfaces: str) -> tuple[Exposure, ...]:
        """Every way from outside (not over loopback) to the listeners of a service that have one of these surfaces."""
        return self.keep(
            ("exposures", service.netns, service.pid, *surfaces), lambda: tuple(self._exposures(service, surfaces))
        )

    def reachable(self, service: Service, *surfaces: str) -> tuple[Exposure, ...]:
        """The exposures through which somebody may really get."""
        return tuple(e for e in self.exposures(service, *surfaces) if e.answered)

    def _exposures(self, service: Service, surfaces: tuple[str, ...]) -> Iterator[Exposure]:
        world = self.world(service.netns)
        for owned in service.listeners:
            if owned.surface not in surfaces:
                continue
            filtered, free = self._answers(service.netns, owned.listener)
            shown = reach.telling_ways(filtered)
            for reached, bare in zip(filtered, free, strict=True):
                question = reached.question
                if question.beside and not any(one is reached for one in shown):
                    continue
                world = self.world(question.through or service.netns)
                link = world.link(question.iface)
                if link is None or link.loopback:
                    continue
                own = own_networks(world.namespace, (question.iface,), question.family)
                others = (other.name for other in world.namespace.links if other.name != question.iface)
                elsewhere = own_networks(world.namespace, others, question.family) - own
                yield Exposure(
                    service,
                    owned,
                    link,
                    question.family,
                    question.dst,
                    reached.answer,
                    bare.answer,
                    own,
                    elsewhere,
                    question.through,
                    question.port,
                )

    def _answers(self, ns_id: str, listener: Listener) -> tuple[list[Reached], list[Reached]]:
        """Who gets to a listener, with the packet filter and without it; in the same order of questions."""

        def ask() -> tuple[list[Reached], list[Reached]]:
            filtered = reach.answers(self.world(ns_id), listener)
            bare = reach.answers(self._unfiltered(ns_id), listener)
            # without the rules of the host in front there is no published port to compare with: anybody would get through
            bare += [_anybody(r) for r in filtered if r.question.through is not None]
            return filtered, bare

        return self.keep(("answers", ns_id, listener), ask)

    def keep(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What was made under a key, made now if it was not."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]  # type: ignore[assignment]
        return kept
