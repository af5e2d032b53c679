"""The way of regions of packets through a host: its hooks, its routing, and on into the namespaces behind its cables.

Ingress and prerouting, the routing decision, then input to a socket of this namespace, or forward, postrouting and egress and from
there into the namespace that answers for the next hop: a container has hooks and routes of its own. A namespace forgets what
another knew beside the packet: mark and tracking start anew (skb_scrub_packet of net/core/skbuff.c).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from librespot_guard.firewall.model import Chain, Table
from librespot_guard.reach import routing
from librespot_guard.reach._environment import Environment
from librespot_guard.reach._hooks import (
    CONNTRACK_PRIORITY,
    LATE,
    NAT_PRIORITIES,
    Hooks,
    apart,
    effective_priority,
    reassembles,
)
from librespot_guard.reach._onward import Onward, onward
from librespot_guard.reach._outcome import complement
from librespot_guard.reach._region import Region, Universe, add, remove, restricted
from librespot_guard.reach._walk import Regions, TooComplexError, Walker, merge
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.world import World

MOST_HOPS = 4


@dataclass(frozen=True, slots=True)
class Arrival:
    """Packets behind the last hook: delivered in `world`, or (None) sent on to a host that is not of this snapshot.

    `crossed` are the interfaces on the way as (namespace id, interface in, interface out).
    """

    world: World | None
    environment: Environment
    region: Region
    crossed: tuple[tuple[str, str, str], ...] = ()


@dataclass(slots=True)
class Passage:
    """One run. `stopped` are packets that (perhaps) ended on the way, `martian` sources that routing refuses at the entry.

    `refusals` are those by the destination that packets have by then: routing takes a packet from 0.0.0.0 to a broadcast, and none to
    an address.
    """

    family: str
    proto: str
    universe: Universe
    hooks: Callable[[World], Hooks]
    walkers: Callable[[World, str], Walker]
    forward: bool
    stopped: Region = field(default_factory=dict)
    martian: IntervalSet = field(default_factory=IntervalSet)
    refusals: dict[int, IntervalSet] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    doubts: dict[str, None] = field(default_factory=dict)

    def enter(self, world: World, iface: str, current: Regions, crossed: tuple[tuple[str, str, str], ...] = ()) -> None:
        """Let packets come in on an interface. Raises TooComplexError."""
        walker, hooks = self.walkers(world, iface), self.hooks(world)
        if len(crossed) > MOST_HOPS:
            raise TooComplexError(f"more than {MOST_HOPS} namespaces on the way")
        if crossed:
            self.doubts |= dict.fromkeys((*world.doubts_about(iface, self.family), *hooks.unordered()))
        current = self.before_routing(world, iface, current)
        local: Regions = {}
        for environment, region in current.items():
            self._route(walker, environment, region, local, crossed)
        for table, chain in hooks.at("input"):
            local = self._base(walker, table, chain, local)
        self.arrivals += [Arrival(world, e, r, crossed) for e, r in local.items() if r]

    def refused(self, arrival: Arrival) -> IntervalSet:
        """The senders of an arrival that routing refuses."""
        dst = arrival.environment.dst
        return self.martian if arrival.crossed or dst is None else self.refusals.get(dst, self.martian)

    def before_routing(self, world: World, iface: str, current: Regions) -> Regions:
        """Ingress and prerouting: what gets through, and to where it goes then."""
        walker, hooks = self.walkers(world, iface), self.hooks(world)
        for hook, device in (("ingress", iface), ("prerouting", None)):
            for table, chain in hooks.at(hook, device):
                current = self._base(walker, table, chain, current)
        return current

    def _route(
        self,
        walker: Walker,
        environment: Environment,
        region: Region,
        local: Regions,
        crossed: tuple[tuple[str, str, str], ...],
    ) -> None:
        """The routing decision for packets of one environment."""
        world, iface = walker.world, walker.iface
        if environment.dst is None:
            merge(local, environment, region)
            if self.forward:
                self.arrivals.append(Arrival(None, environment, dict(region), crossed))
            return
        if environment.masked:
            self._route_masked(walker, environment, region, local, crossed)
            return
        sources = routing.local_sources(world, self.family, iface, environment.dst, mark=environment.mark)
        walker.reasons.update(sources.doubts)
        if not crossed:
            self.martian |= sources.martian
            self.refusals[environment.dst] = self.refusals.get(environment.dst, IntervalSet()) | sources.martian
        # what the first host refuses as a sender is taken out of the answer in the end; a later one may refuse others
        refused = sources.martian - self.martian
        ends = replace(sources, may=sources.may - refused, must=sources.must - refused)
        going = restricted(region, self.universe.slots(ends.may), None)
        rest = restricted(region, complement(self.universe.slots(ends.must), len(self.universe.starts)), None)
        merge(local, environment, going)
        if not self.forward:
            add(self.stopped, rest)
            return
        ways = onward(world, self.family, iface, environment.dst, mark=environment.mark)
        for way in ways:
            if crossed:
                way = replace(way, may=way.may - refused, must=way.must - refused)  # noqa: PLW2901
            remove(rest, restricted(region, self.universe.slots(way.must), None))
            self._send(walker, environment, restricted(region, self.universe.slots(way.may), None), way, crossed)
        add(self.stopped, rest)

    def _route_masked(
        self,
        walker: Walker,
        environment: Environment,
        region: Region,
        local: Regions,
        crossed: tuple[tuple[str, str, str], ...],
    ) -> None:
        """The same where the source was translated: one decision for all."""
        if environment.source is None or environment.dst is None:
            walker.reasons["routing by a source that was translated to no constant"] += 1
            merge(local, environment, region)
            add(self.stopped, region)
            return
        found = routing.deliver(
            walker.world, self.family, walker.iface, environment.source, environment.dst, mark=environment.mark
        )
        if found.outcome == "local":
            merge(local, environment, region)
        if found.outcome != "local" or not found.certain:
            # on from here under another name than one's own: nobody builds this, so it is not followed
            add(self.stopped, region)
            if found.outcome == "forward":
                walker.reasons["a second host forwards what the first one translated"] += 1
                self.arrivals.append(Arrival(None, environment, dict(region), crossed))

    def _send(
        self,
        walker: Walker,
        environment: Environment,
        region: Region,
        way: Onward,
        crossed: tuple[tuple[str, str, str], ...],
    ) -> None:
        """Forward, postrouting, egress, and in at the other end of the cable."""
        world, hooks = walker.world, self.hooks(walker.world)
        link = world.link(way.dev)
        if not region or link is None or not link.up:
            add(self.stopped, region)
            return
        current: Regions = {replace(environment, oif=way.dev): region}
        for hook in ("forward", "postrouting"):
            for table, chain in hooks.at(hook):
                current = self._base(walker, table, chain, current)
        current = {replace(e, egress=True): r for e, r in current.items()}
        for table, chain in hooks.at("egress", way.dev):
            current = self._base(walker, table, chain, current)
        self.doubts |= dict.fromkeys(world.doubts_leaving(way.dev))
        current = {e: r for e, r in current.items() if r}
        passed = (*crossed, (world.namespace.id, walker.iface, way.dev))
        beyond = world.behind(way.dev, way.hop)
        if beyond is None:
            self.arrivals += [Arrival(None, e, r, passed) for e, r in current.items()]
            return
        arriving: Regions = {}
        for e, r in current.items():
            merge(arriving, Environment(e.dst, e.dport, masked=e.masked, source=e.source), r)
        if arriving:
            self.enter(beyond[0], beyond[1], arriving, passed)

    def _base(self, walker: Walker, table: Table, chain: Chain, current: Regions) -> Regions:
        """One base chain of a hook."""
        if chain.hook is None:
            raise AssertionError(chain.name)
        out: Regions = {}
        hook = chain.hook.hook
        parts = self.universe.fragmented and apart(chain, self.family, whole=reassembles(walker.world, self.family))
        for start, region in current.items():
            environment = start if start.apart is parts else replace(start, apart=parts)
            priority = effective_priority(chain, NAT_PRIORITIES.get(hook, 0))
            tracked = hook not in ("ingress", "prerouting") or (hook == "prerouting" and priority > CONNTRACK_PRIORITY)
            if tracked:
                environment = environment.past_tracking()
            done = environment.masked if hook in ("input", "postrouting") else environment.translated
            if chain.hook.kind == "nat" and (environment.ct != "new" or done):
                merge(out, environment, region)
                if environment.ct == "late":
                    walker.reasons[LATE] += 1
                    add(self.stopped, region)
                continue
            result = walker.chain(table, chain, environment, region)
            add(self.stopped, result.stop)
            for where, part in result.accept.items():
                merge(out, where, part)
            for where, part in result.fall.items():
                if chain.hook.policy == "accept":
                    merge(out, where, part)
                else:
                    add(self.stopped, part)
        return out
