"""The hooks of one namespace for one family: its base chains in the order in which they run, and what that order leaves open."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain as one_after_another
from itertools import groupby, permutations, product

from librespot_guard.firewall.model import (
    Chain,
    Ct,
    CtSet,
    Expr,
    Masquerade,
    Nat,
    Redirect,
    Table,
    Unknown,
    Xt,
)
from librespot_guard.firewall.model_beyond import Connlimit
from librespot_guard.reach._conditions import Entries
from librespot_guard.reach._lower import Assign, Maybe, Op, Translate, Untrack
from librespot_guard.reach._lower import Rewrite as Rewritten
from librespot_guard.reach._shapes import Code, Sourced, read_by
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.world import World

DEFRAGMENTATION = -400  # NF_IP_PRI_CONNTRACK_DEFRAG, NF_IP6_PRI_CONNTRACK_DEFRAG
CONNTRACK_PRIORITY = -200  # NF_IP_PRI_CONNTRACK
# NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC
NAT_PRIORITIES = {"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}
_MOST_ORDERS = 24
_TABLES = {"ipv4": "ip", "ipv6": "ip6"}
LATE = "rules for addresses look at a packet that was given a zone, but no connection"
# the xt extensions of which a rule surely brings defragmentation with it (nf_ct_netns_get, nf_defrag_ipv4_enable in their checkentry)
_TRACKING = frozenset((
    "conntrack", "state", "connbytes", "connlabel", "connlimit", "connmark", "helper", "cluster", "socket", "CT", "CONNMARK",
    "CONNSECMARK", "MASQUERADE", "DNAT", "SNAT", "REDIRECT", "NETMAP", "SYNPROXY", "TPROXY",
))  # fmt: skip

Placed = tuple[Table, Chain]
Lower = Callable[[Table, Chain], Code]


def effective_priority(chain: Chain, nat: int) -> int:
    """The priority at which a base chain runs: its own, or that of NAT (`nat`) if it is a NAT chain."""
    if chain.hook is None:
        raise AssertionError(chain.name)
    return nat if chain.hook.kind == "nat" else chain.hook.priority


def reassembles(world: World, family: str) -> bool:
    """Whether fragments are surely put together before prerouting: some rule of the family needs connection tracking.

    Of an extension or an expression that is not known it can't be told.
    """
    key = ("reassembles", family)
    if key not in world.shared:
        kinds, translates = _used(world, family)
        needed = bool(kinds & {Connlimit, Ct, CtSet, Redirect, Masquerade}) or translates
        world.shared[key] = needed or (
            Xt in kinds and any(isinstance(e, Xt) and e.name in _TRACKING for e in _expressions(world, family))
        )
    return bool(world.shared[key])


def _expressions(world: World, family: str) -> Iterator[Expr]:
    """Every expression of the tables of a family."""
    tables = (t for t in world.ruleset.tables if t.family in ("inet", _TABLES[family]))
    return one_after_another.from_iterable(r.exprs for t in tables for c in t.chains for r in c.rules)


def _used(world: World, family: str) -> tuple[set[type], bool]:
    """The kinds of expressions in the tables of a family, and whether one of them translates addresses of it."""
    key = ("used", family)
    if key not in world.shared:
        kinds = set(map(type, _expressions(world, family)))
        families = ("inet", _TABLES[family])
        translates = Nat in kinds and any(
            isinstance(e, Nat) and e.family in families for e in _expressions(world, family)
        )
        world.shared[key] = (kinds, translates)
    found: tuple[set[type], bool] = world.shared[key]
    return found


def apart(chain: Chain, family: str, *, whole: bool) -> bool:
    """Whether a base chain may see packets in fragments; `whole`: they are put together at the priority of defragmentation.

    If not, that is done for IPv4 before input (ip_local_deliver), for IPv6 behind it (ip6_input).
    """
    if chain.hook is None or chain.hook.hook in ("ingress", "egress"):
        return chain.hook is not None
    if whole:
        return chain.hook.hook == "prerouting" and chain.hook.priority <= DEFRAGMENTATION
    return chain.hook.hook != "input" or family == "ipv6"


@dataclass(slots=True)
class Hooks:
    """Base chains by hook. `order` picks, for chains of one hook and priority, another order than that of their listing."""

    world: World
    family: str
    lower: Lower
    order: dict[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)
    _kept: dict[tuple[str, str | None], list[Placed]] = field(default_factory=dict)
    _tracks: bool | None = None

    def at(self, hook: str, device: str | None = None) -> list[Placed]:
        """The base chains of a hook in order. NAT chains run together at a priority of the kernel's own (nf_nat_inet_fn)."""
        key = (hook, device)
        if key not in self._kept:
            chains = self.world.base_chains(hook, self.family, device)
            if hook in NAT_PRIORITIES:
                # and only where connections are tracked
                chains = [(t, c) for t, c in chains if self.tracks or c.hook is None or c.hook.kind != "nat"]
                chains.sort(key=lambda pair: effective_priority(pair[1], NAT_PRIORITIES[hook]))
            self._kept[key] = chains
        chains = self._kept[key]
        if not any(where == hook for where, _ in self.order):
            return chains
        out: list[Placed] = []
        for priority, group in self._groups(hook, device):
            chosen = self.order.get((hook, priority))
            out += group if chosen is None else [group[n] for n in chosen]
        return out

    def _groups(self, hook: str, device: str | None = None) -> list[tuple[int, list[Placed]]]:
        """Runs of chains whose order among each other is that of their registration, with their priority."""
        self.at(hook, device) if (hook, device) not in self._kept else None
        nat = NAT_PRIORITIES.get(hook, 0)

        def place(pair: Placed) -> tuple[int, int]:
            own = pair[1].hook
            return effective_priority(pair[1], nat), own.priority if own else 0

        return [(key[1], list(group)) for key, group in groupby(self._kept[hook, device], key=place)]

    @property
    def tracks(self) -> bool:
        """Whether connections of this family are tracked: only if some rule needs it (nf_ct_netns_get), reached or not."""
        if self._tracks is None:
            self._tracks = self._tracking()
        return self._tracks

    def _tracking(self) -> bool:
        kinds, translates = _used(self.world, self.family)
        return bool(kinds & {Connlimit, Ct, CtSet, Redirect, Masquerade, Xt, Unknown}) or translates

    def unordered(self) -> tuple[str, ...]:
        """Chains at the very priority of connection tracking or NAT: which of the two runs first can't be seen."""
        out = []
        if self.tracks:
            chains = self.at("prerouting")
            own = {CONNTRACK_PRIORITY}
            if any(c.hook and c.hook.kind == "nat" for _, c in chains):
                own.add(NAT_PRIORITIES["prerouting"])
            for table, chain in chains:
                if chain.hook and chain.hook.kind != "nat" and chain.hook.priority in own:
                    out.append(
                        f"{table.family} {table.name} {chain.name} has the priority of connection tracking or NAT itself"
                    )
        return tuple(out)

    def orders(self, hooks: tuple[str, ...]) -> tuple[list[dict[tuple[str, int], tuple[int, ...]]], tuple[str, ...]]:
        """Every order of chains of equal priority that may make a difference, and the names of those chains.

        Which was registered first can't be seen. Chains that only accept and drop commute; one that changes the packet, its
        mark or its tracking may not.
        """
        open_groups: list[tuple[tuple[str, int], list[Placed]]] = []
        for hook in hooks:
            for priority, group in self._groups(hook):
                if len(group) > 1 and any(self._changes(t, c) for t, c in group):
                    open_groups.append(((hook, priority), group))
        if not open_groups:
            return [{}], ()
        names = tuple(
            " and ".join(f"{t.family} {t.name} {c.name}" for t, c in group) + f" ({hook}, priority {priority})"
            for (hook, priority), group in open_groups
        )
        ways = []
        for chosen in product(*(permutations(range(len(group))) for _, group in open_groups)):
            ways.append({key: order for (key, _), order in zip(open_groups, chosen, strict=True)})
            if len(ways) > _MOST_ORDERS:
                break
        return ways, names

    def _changes(self, table: Table, chain: Chain) -> bool:
        """Whether a rule of a base chain may change what another chain sees."""
        return any(
            isinstance(op, Assign | Untrack | Translate | Rewritten)
            or (isinstance(op, Maybe) and op.reason.startswith("adding to set"))
            for op in operations(cone([(table, chain)], self.lower))
        )


def cone(start: list[Placed], code: Lower) -> list[Code]:
    """Every chain that a packet can come through from these base chains."""
    seen: dict[tuple[str, str, str], None] = {}
    todo = list(start)
    out = []
    while todo:
        table, chain = todo.pop()
        if (key := (table.family, table.name, chain.name)) in seen:
            continue
        seen[key] = None
        out.append(code(table, chain))
        names = {name for shape in out[-1].distinct for name in shape.targets()}
        todo += [(table, c) for c in table.chains if c.name in names]
    return out


def operations(codes: list[Code]) -> list[Op | Sourced]:
    """Every operation of these chains, once."""
    return list(dict.fromkeys(op for code in codes for shape in code.distinct for op in shape.ops))


def reads(codes: list[Code], maps: Mapping[str, Entries]) -> Iterator[tuple[str, IntervalSet]]:
    """Every field that a rule of these chains tests, with the values it tests for; beside the rules' own intervals of sources."""
    for op in operations(codes):
        yield from read_by(op)
    for entries in maps.values():
        for condition, _ in entries.entries:
            yield from condition.sets.items()
