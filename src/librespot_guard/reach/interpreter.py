"""The concrete interpreter: what the kernel does with one packet, rule by rule.

It runs the kernel's own bytecode on real header bytes and shares nothing with the symbolic engine but the facts and the
routing. What one packet cannot tell (rate limits, what a sender chooses freely, expressions that are not analysed) is followed
every way: where all ways end the same, that is the answer; else the verdict is "undecided" and names the rule.

The way of a packet (Documentation/networking/netfilter, include/uapi/linux/netfilter_ipv4.h): ingress of the interface,
prerouting with connection tracking at priority -200 and all destination NAT at -100, the routing decision, then input with
source NAT at 100 and the socket, or forward and postrouting. The packet opens a flow unless its `state` says otherwise.
"""

from dataclasses import replace
from ipaddress import ip_address

from librespot_guard.errors import InputError
from librespot_guard.firewall.model import Chain, Table, Verdict
from librespot_guard.reach._concrete_execute import execute
from librespot_guard.reach._concrete_flow import (
    IPS_CONFIRMED,
    IPS_DST_NAT_DONE,
    IPS_SRC_NAT_DONE,
    PACKET_HOST,
    Flow,
    address_number,
    flow,
    forwarded_priority,
    lost_behind,
    moved,
    refused_early,
    track,
)
from librespot_guard.reach._concrete_rules import ACCEPT, Library, Runner
from librespot_guard.reach._concrete_values import Choices, Undecidable, is_sure
from librespot_guard.reach._passage import MOST_HOPS
from librespot_guard.reach._sockets import socket_of
from librespot_guard.reach.packet import Into, Packet, Step, Trace
from librespot_guard.reach.routing import deliver, fib, number
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Link

_DEFRAG, _CONNTRACK, _NAT_DST, _NAT_SRC = -400, -200, -100, 100  # enum nf_ip_hook_priorities
# how many ways through the rules are followed, and how many rules run in all, before the answer is "undecided"
_RUNS, _RULES = 500, 200_000

_libraries: dict[int, Library] = {}


def trace(world: World, packet: Packet) -> Trace:
    """What happens to a packet in a world.

    Raises:
        InputError: the packet's interface does not exist.
    """
    link = world.link(packet.iface)
    if link is None:
        known = ", ".join(f"`{link.name}`" for link in world.namespace.links) or "none"
        raise InputError(f"there is no interface `{packet.iface}`", hint=f"the interfaces are: {known}")
    return _with_doubts(world, packet, _every_way(_library(world), packet, link, back=False))


def answer_back(world: World, packet: Packet) -> Trace:
    """What the filters do with a packet that this host sends: "sent" if it gets out, or dropped, rejected, undecided.

    The packet's `iface` means nothing: routing tells by which it leaves.
    """
    family = packet.family
    found = fib(world, family, number(packet.dst), source=number(packet.src))
    if found.kind not in ("unicast", "local") or not found.devs:
        return Trace("dropped", (), (f"no way back to {packet.dst} ({found.kind})",))
    link = world.link("lo" if found.kind == "local" else found.devs[0])
    if link is None:
        return Trace("undecided", (), (f"the interface `{found.devs[0]}` is not known",))
    return _every_way(_library(world), replace(packet, iface=link.name), link, back=True)


def _every_way(library: Library, packet: Packet, link: Link, *, back: bool) -> Trace:
    """The one end of all ways through the rules, or "undecided"."""
    first, choices = _once(library, packet, link, (), back=back)
    runs, rules, shared = 1, choices.rules, first.trail
    while (script := choices.following()) is not None:
        if runs >= _RUNS or rules >= _RULES:
            reasons = dict.fromkeys(why for _, _, why in choices.made)
            return Trace("undecided", shared, (f"more than {runs} ways through the rules", *list(reasons)[:5]))
        answer, choices = _once(library, packet, link, script, back=back)
        runs, rules, shared = runs + 1, rules + choices.rules, _common(shared, answer.trail)
        if _ending(answer) != _ending(first) or answer.verdict == "undecided":
            # the last choice of the script is the one that made the difference
            because = dict.fromkeys((choices.made[len(script) - 1][2], *first.because, *answer.because))
            return Trace("undecided", shared, tuple(because))
    return first


def _ending(answer: Trace) -> tuple[object, ...]:
    """What two ways must have in common to be one answer."""
    into = answer.into
    beyond = () if into is None else (into.namespace, into.destination, into.port, *_ending(into.trace))
    return answer.verdict, answer.listener, *beyond


def _library(world: World) -> Library:
    """What was prepared for this world at its first packet."""
    library = _libraries.get(id(world))
    if library is None or library.world is not world:
        if len(_libraries) > 16:
            _libraries.clear()
        library = _libraries[id(world)] = Library(world)
    return library


def _with_doubts(world: World, packet: Packet, answer: Trace) -> Trace:
    """A packet that passes is undecided where another filter may stop it."""
    at = answer.listener
    doubts = world.doubts_about(packet.iface, packet.family)
    doubts += world.doubts_at(at.proto, at.port) if at is not None else ()
    if doubts and answer.verdict in ("delivered", "forwarded"):
        return Trace("undecided", answer.trail, doubts)
    return answer


def _common(one: tuple[Step, ...], other: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps that two ways have in common before they part."""
    out = []
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        out.append(a)
    return tuple(out)


def _once(
    library: Library, packet: Packet, link: Link, script: tuple[int, ...], *, back: bool
) -> tuple[Trace, Choices]:
    """One way through the rules."""
    choices = Choices(script)
    current = flow(library.world, packet, link)
    if back:
        current.sent, current.oif = True, link
    journey = _Journey(library, current, choices)
    try:
        return (journey.leave() if back else journey.travel()), choices
    except Undecidable as doubt:
        return Trace("undecided", tuple(journey.trail), (str(doubt),)), choices


class _Journey:
    """One packet on one way through the stack."""

    def __init__(self, library: Library, current: Flow, choices: Choices, hops: int = 0) -> None:
        self.hops = hops
        self.library, self.world, self.flow, self.choices = library, library.world, current, choices
        self.runner = Runner(library, current, choices, execute)
        self._orders: dict[str, list[tuple[Table, Chain]]] = {}
        self._translates = library.translates(current.family)
        if current.iif.loopback and not current.sent:
            # what arrives on lo was sent by this host: tracked and translated on its way out (skb keeps its connection)
            self._track()
            if current.connection is not None and current.connection.fresh:
                done = IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE if self._translates else 0
                current.connection.status |= IPS_CONFIRMED | done

    @property
    def trail(self) -> list[Step]:
        """The rules met so far."""
        return self.runner.trail

    def travel(self) -> Trace:
        """From the interface to the socket, or as far as it gets."""
        family = self.flow.family
        stopped = self._hook("ingress", self.world.base_chains("ingress", family, self.flow.iif.name))
        if not stopped and (why := refused_early(self.flow)):
            return Trace("dropped", tuple(self.trail), (why,))
        stopped = stopped or self._prerouting()
        if stopped:
            return self._end(stopped)
        outcome, why, dev, hop = self._route()
        if outcome == "drop":
            return Trace("dropped", tuple(self.trail), (why,))
        if outcome == "local":
            stopped = self._hook("input", self.world.base_chains("input", family))
            return self._end(stopped or "delivered")
        self.flow.oif = self.world.link(dev) if dev else None
        if self.flow.oif is None:
            raise Undecidable(f"routing: {why}, but which interface it leaves by is not known")
        if not self._hop():
            return Trace(
                "dropped", tuple(self.trail), ("its time to live ends here, or its frame was not for this host",)
            )
        stopped = self._hook("forward", self.world.base_chains("forward", family))
        stopped = stopped or self._hook("postrouting", self.world.base_chains("postrouting", family))
        stopped = stopped or self._hook("egress", self.world.base_chains("egress", family, dev))
        if stopped or dev is None:
            return self._end(stopped or "forwarded")
        if doubts := self.world.doubts_leaving(dev):
            return Trace("undecided", tuple(self.trail), doubts)
        return Trace("forwarded", tuple(self.trail), into=self._into(dev, hop))

    def leave(self) -> Trace:
        """Out of this host: output, postrouting, egress of the interface. Replies are not translated by rules again."""
        family = self.flow.family
        self._track()
        stopped = self._hook("output", self.world.base_chains("output", family))
        stopped = stopped or self._hook("postrouting", self.world.base_chains("postrouting", family))
        stopped = stopped or self._hook("egress", self.world.base_chains("egress", family, self.flow.iif.name))
        return Trace(stopped or "sent", tuple(self.trail))

    def _into(self, dev: str, hop: str) -> Into | None:
        """On into the namespace at the other end of the cable, if it is known."""
        beyond = self.world.behind(dev, hop)
        if beyond is None:
            return None
        world, iface = beyond
        link = world.link(iface)
        if self.hops >= MOST_HOPS or link is None:
            raise Undecidable("the packet goes in circles between namespaces")
        current = moved(self.flow, link)
        journey = _Journey(_library(world), current, self.choices, self.hops + 1)
        try:
            after = journey.travel()
        except Undecidable as doubt:
            after = Trace("undecided", tuple(journey.trail), (str(doubt),))
        after = _with_doubts(world, current.packet, after)
        dst, port = self.flow.dst, self.flow.port(destination=True)
        return Into(
            world.namespace.id,
            world.namespace.name,
            iface,
            str(ip_address(dst[0])) if is_sure(dst) else "",
            int.from_bytes(port[0], "big") if self.flow.ported and is_sure(port) else None,
            after,
        )

    def _hop(self) -> bool:
        """Count the hop, before the hook (ip_forward, ip6_forward); false if it was the last, or the frame not for this host."""
        if not is_sure(self.flow.pkttype):
            raise Undecidable("routing: to whom the frame was addressed is not known")
        if self.flow.pkttype[0] != bytes([PACKET_HOST]):
            return False
        offset = 8 if self.flow.family == "ipv4" else 7
        left = self.flow.network.read(offset, 1)
        if left is None or not is_sure(left):
            raise Undecidable("routing: how many hops the packet has left is not known")
        if left[0][0] <= 1:
            return False
        self.flow.network.write(offset, (bytes([left[0][0] - 1]), b"\xff"))
        forwarded_priority(self.flow, self.world.ruleset.byteorder)
        return True

    def _end(self, verdict: str) -> Trace:
        if verdict == "delivered" and (why := lost_behind(self.flow)):
            return Trace("dropped", tuple(self.trail), (why,))
        listener = socket_of(self.world, self.flow) if verdict == "delivered" else None
        return Trace(verdict, tuple(self.trail), (), listener)

    def _run(self, table: Table, chain: Chain, hook: str) -> str | None:
        verdict = self.runner.run(table, chain, hook)
        return _stops(verdict)

    def _hook(self, hook: str, chains: list[tuple[Table, Chain]], priorities: range | None = None) -> str | None:
        """Run the chains of a hook in order; how the packet ends there, or None if it passes."""
        filters = [(t, c) for t, c in self._ordered(hook, chains) if c.hook and c.hook.kind != "nat"]
        if priorities is not None:
            filters = [(t, c) for t, c in filters if c.hook and c.hook.priority in priorities]
        nat_at = self._behind(_NAT_SRC, chains, "source translation") if hook in ("input", "postrouting") else None
        for table, chain in filters:
            if nat_at is not None and chain.hook and chain.hook.priority >= nat_at:
                if stopped := self._nat(hook, chains):
                    return stopped
                nat_at = None
            if stopped := self._run(table, chain, hook):
                return stopped
        return self._nat(hook, chains) if nat_at is not None else None

    def _ordered(self, hook: str, chains: list[tuple[Table, Chain]]) -> list[tuple[Table, Chain]]:
        """The chains of a hook, in one of the orders that those of the same priority may have.

        Which of them was registered first can't be seen; it makes a difference only where one changes what another sees.
        """
        if hook in ("ingress", "egress"):
            return chains
        if hook not in self._orders:
            self._orders[hook] = self.library.arranged(chains, self.choices)
        return self._orders[hook]

    def _prerouting(self) -> str | None:
        chains = self.world.base_chains("prerouting", self.flow.family)
        first = self._behind(_CONNTRACK, chains, "connection tracking")
        second = self._behind(_NAT_DST, chains, "destination translation")
        whole = first
        if self.flow.packet.extensions and self.library.tracks(self.flow.family):
            whole = min(first, self._behind(_DEFRAG, chains, "defragmentation"))
        stopped = self._hook("prerouting", chains, range(-(1 << 31), whole))
        if not stopped and whole < first:
            self.flow.defragment()
            stopped = self._hook("prerouting", chains, range(whole, first))
        if stopped:
            return stopped
        self._track()
        stopped = self._hook("prerouting", chains, range(first, second))
        stopped = stopped or (None if self.flow.iif.loopback else self._nat("prerouting", chains))
        return stopped or self._hook("prerouting", chains, range(second, 1 << 31))

    def _track(self) -> None:
        if self.library.tracks(self.flow.family):
            track(self.world, self.flow)

    def _behind(self, priority: int, chains: list[tuple[Table, Chain]], what: str) -> int:
        """The lowest priority of chains that run behind a hook of the kernel's own with this priority.

        At the very same priority the hook that was registered last runs first, and which one that was can't be seen.
        """
        if not self.library.tracks(self.flow.family) or (
            priority not in (_DEFRAG, _CONNTRACK) and not self._translates
        ):
            return priority
        if any(c.hook and c.hook.priority == priority and c.hook.kind != "nat" for _, c in chains):
            return priority + self.choices.choose(
                2, f"a chain has the priority {priority}, which is that of {what} itself"
            )
        return priority

    def _nat(self, hook: str, chains: list[tuple[Table, Chain]]) -> str | None:
        """All NAT chains of a hook at once, whatever their priorities, until one has translated (nf_nat_inet_fn)."""
        connection = self.flow.connection
        if not self._translates or connection is None:
            return None
        icmp_error = self.flow.packet.state == "related" and self.flow.packet.proto.startswith("icmp")
        if self.flow.packet.state not in ("new", "related") or icmp_error:
            return None
        done = IPS_DST_NAT_DONE if hook == "prerouting" else IPS_SRC_NAT_DONE
        if connection.status & done:
            return None
        for table, chain in self._ordered(hook, chains):
            if chain.hook is None or chain.hook.kind != "nat":
                continue
            if stopped := self._run(table, chain, hook):
                return stopped
            if self.runner.translated:
                break
        connection.status |= done
        return None

    def _route(self) -> tuple[str, str, str | None, str]:
        """The routing decision: local, forward or drop, why, the interface it leaves by, and the next hop."""
        order = "little" if self.world.ruleset.byteorder == "little" else "big"
        mark = int.from_bytes(self.flow.mark[0], order) if is_sure(self.flow.mark) else None  # type: ignore[arg-type]
        src = address_number(self.flow.src, "routing: the source address is not known")
        dst = address_number(self.flow.dst, "routing: a rule changed the destination to one of several addresses")
        found = deliver(self.world, self.flow.family, self.flow.iif.name, src, dst, mark=mark)
        dev, hop = found.dev, str(ip_address(self.flow.dst[0]))
        if found.outcome == "forward":
            route = fib(self.world, self.flow.family, dst, source=src, iif=self.flow.iif.name, mark=mark)
            hop = route.via or hop
            if len(route.devs) > 1:
                dev = route.devs[self.choices.choose(len(route.devs), "routing: the route has several ways out")]
        if found.certain:
            return found.outcome, found.because, dev, hop
        ways = list(dict.fromkeys((found.outcome, "local", "drop")))
        taken = self.choices.choose(len(ways), f"routing: {found.doubt}")
        return ways[taken], found.because, dev, hop


def _stops(verdict: Verdict) -> str | None:
    """How a packet ends by a base chain's verdict, None if it goes on."""
    if verdict is ACCEPT or verdict.kind == "accept":
        return None
    return {"drop": "dropped", "reject": "rejected"}.get(verdict.kind, "dropped")
