"""The way of a region of packets through the hooks and chains to the socket: what is delivered, under which condition.

A packet takes one way only, so what rules change is kept once, guarded by where it was changed. Order of the hooks:
include/uapi/linux/netfilter_ipv4.h; NAT: nf_nat_inet_fn of net/netfilter/nf_nat_core.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from librespot_guard.reach import routing
from librespot_guard.reach._headers import CUT
from librespot_guard.reach._hooks import LATE, apart, reassembles
from librespot_guard.reach.bdd import _routes as routes
from librespot_guard.reach.bdd._machine import Machine
from librespot_guard.reach.intervals import IntervalSet

if TYPE_CHECKING:
    from librespot_guard.firewall.model import Chain, Table, Verdict
    from librespot_guard.reach.bdd._bits import Function
    from librespot_guard.reach.bdd._packet import Packet
    from librespot_guard.reach.bdd._space import Space

CONNTRACK, NAT_DST, NAT_SRC = -200, -100, 100  # enum nf_ip_hook_priorities
_MOST_STEPS = 200_000
_DEPTH = 16  # NFT_JUMP_STACK_SIZE


class TooManyStepsError(Exception):
    """The rules need more steps than are allowed."""


@dataclass(slots=True)
class Outcome:
    """Where packets are delivered, those of them that routing refuses for their source whatever the filters say, and such sources."""

    delivered: Function
    refused: Function
    martian: IntervalSet


class Walk:
    """One walk of all packets of a question."""

    def __init__(
        self, space: Space, packet: Packet, hooks: dict[str, list[tuple[Table, Chain]]], *, tracks: bool
    ) -> None:
        self.space, self.packet, self.hooks, self.tracks = space, packet, hooks, tracks
        self._whole = reassembles(packet.wire.world, packet.wire.family)
        self.machine = Machine(space, packet, lambda expr, live: routes.fib(space, packet, expr, live))
        self._steps = 0
        self._none: Function = space.false
        self._accepted: Function = space.false
        self._translated: Function = space.false
        self._refused: Function = space.false

    def deliver(self, dst: int, dport: int) -> Outcome:
        """Where packets end at a port of this host."""
        space, packet = self.space, self.packet
        region: Function = space.true
        for table, chain in self.hooks["ingress"]:
            region = self._base(table, chain, region)
        region = self._prerouting(region)
        region, martian = self._route(region)
        region = self._stage("input", NAT_SRC, region)
        here = space.equal(packet.field("dport", 16), dport)
        address = space.equal(packet.field("daddr", packet.wire.address_bits), dst)
        delivered = region & here & (address | packet.translated) & ~packet.refused
        delivered = delivered & packet.sent(whole=self._whole)
        if not (followed := packet.followed()).valid():
            delivered = delivered & (followed | space.oracle(CUT))
        if packet.lost.satisfiable():
            # what happened to these is not followed: they may be delivered, if routing takes their sender at all
            wire = packet.wire
            found = routing.local_sources(wire.world, wire.family, wire.iface, dst, mark=None)
            martian |= found.martian
            self._refused = self._refused | (packet.lost & space.sources(list(found.martian.pairs)))
            perhaps = (
                packet.lost & space.sources(list(found.may.pairs)) & space.oracle("a rule does what is not analysed")
            )
            delivered = (delivered & ~packet.lost) | perhaps
        return Outcome(delivered, self._refused, martian)

    def _prerouting(self, region: Function) -> Function:
        early = [(t, c) for t, c in self.hooks["prerouting"] if _priority(c) <= CONNTRACK and not _is_nat(c)]
        for table, chain in early:
            region = self._base(table, chain, region)
        if self.tracks:
            self.packet.track(region)
        return self._stage("prerouting", NAT_DST, region, after=CONNTRACK)

    def _stage(self, hook: str, nat: int, region: Function, after: int = -(1 << 31)) -> Function:
        """The chains of a hook behind a priority, all NAT chains together at the kernel's own."""
        filters = [(t, c) for t, c in self.hooks[hook] if not _is_nat(c) and _priority(c) > after]
        for table, chain in filters:
            if _priority(chain) < nat:
                region = self._base(table, chain, region)
        if self.tracks:
            region = self._nat(hook, region)
        for table, chain in filters:
            if _priority(chain) >= nat:
                region = self._base(table, chain, region)
        return region

    def _nat(self, hook: str, region: Function) -> Function:
        """NAT chains, whatever their priorities, until one has translated; only for tracked packets."""
        self._translated = self._none
        late = region & self.packet.template
        if late.satisfiable() and any(_is_nat(chain) for _, chain in self.hooks[hook]):
            # a template that came behind tracking: the chains look at it, and may stop it, but translate nothing
            region = region & (~late | self.space.oracle(LATE))
        for table, chain in self.hooks[hook]:
            if _is_nat(chain):
                asked = region & self.packet.tracked & ~self._translated
                region = (region & ~asked) | self._base(table, chain, asked)
        return region

    def _base(self, table: Table, chain: Chain, region: Function) -> Function:
        """One base chain; what goes on."""
        self._accepted = self._none
        self.packet.in_parts = apart(chain, self.packet.wire.family, whole=self._whole)
        fallen = self._chain(table, chain, region, 0)
        accepts = chain.hook is None or chain.hook.policy == "accept"
        return self._accepted | fallen if accepts else self._accepted

    def _chain(self, table: Table, chain: Chain, region: Function, depth: int) -> Function:
        """One chain; what leaves it at its end or by return."""
        if depth > _DEPTH:
            raise TooManyStepsError("chains nested deeper than the kernel allows")
        left = self._none

        for rule in chain.rules:
            if not region.satisfiable():
                break
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise TooManyStepsError("the ruleset needs too many steps")
            taken, back = [self._none], [self._none]

            def decide(
                verdict: Verdict, where: Function, taken: list[Function] = taken, back: list[Function] = back
            ) -> None:
                nonlocal left
                taken[0] = taken[0] | where
                match verdict.kind:
                    case "accept":
                        self._accepted = self._accepted | where
                    case "translated":
                        self._accepted = self._accepted | where
                        self._translated = self._translated | where
                    case "return":
                        left = left | where
                    case "jump":
                        back[0] = back[0] | self._called(table, verdict, where, depth)
                    case "goto":
                        left = left | self._called(table, verdict, where, depth)

            self.machine.where = f"{table.family} {table.name} {chain.name} handle {rule.handle}"
            self.machine.rule(table, rule, region, decide)
            region = (region & ~taken[0]) | back[0]
        return left | region

    def _called(self, table: Table, verdict: Verdict, where: Function, depth: int) -> Function:
        try:
            chain = table.chain(verdict.chain or "")
        except KeyError:
            self.packet.lost = self.packet.lost | where
            return self._none
        return self._chain(table, chain, where, depth + 1)

    def _route(self, region: Function) -> tuple[Function, IntervalSet]:
        """The routing decision: what is delivered to this host."""
        space, packet, wire = self.space, self.packet, self.packet.wire
        out = self._none
        martian = IntervalSet()
        if (packet.moved & region).satisfiable():
            packet.lost = packet.lost | (packet.moved & region)
        for dst, part in routes.destinations(space, packet, region):
            if dst is None:
                packet.lost = packet.lost | part
                continue
            for mark, here in routes.marks(space, packet, part):
                found = routing.local_sources(wire.world, wire.family, wire.iface, dst, mark=mark)
                martian |= found.martian
                self._refused = self._refused | (here & space.sources(list(found.martian.pairs)))
                out = out | (here & space.sources(list(found.must)))
                if found.may != found.must:
                    doubtful = here & space.sources(list(found.may - found.must))
                    out = out | (doubtful & space.oracle("; ".join(found.doubts)))
        return out, martian


def _priority(chain: Chain) -> int:
    return chain.hook.priority if chain.hook else 0


def _is_nat(chain: Chain) -> bool:
    return chain.hook is not None and chain.hook.kind == "nat"
