"""Which extension headers and options of a packet rules can see, and what can't be told because other rules ask for its length.

A packet with an option is longer than one without. The fields of a question are chosen independently of each other, so where rules ask
for both, nothing is said about the options.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from librespot_guard.firewall.model import Chain, Expr, Meta, Payload
from librespot_guard.firewall.model_beyond import Exthdr, ExthdrSet
from librespot_guard.reach import _fields as fields
from librespot_guard.reach._hooks import cone, reads
from librespot_guard.reach.intervals import IntervalSet

if TYPE_CHECKING:
    from librespot_guard.reach.engine import Engine

DEFRAGMENTATION = -400  # NF_IP_PRI_CONNTRACK_DEFRAG, NF_IP6_PRI_CONNTRACK_DEFRAG
CUT = (
    "a fragment may be too short for what rules ask of the TCP header: they run before fragments are put together, "
    "and connections are not tracked"
)
# as long as the shortest headers with all options that a packet can carry
_LONGEST = 160
_LENGTHS = ("ip_length", "length")
_SIZES = {"tcp": ("tcp_doff",), "ip": ("ihl",)}


def early(chains: Iterable[Chain], *, tracks: bool) -> Iterator[Chain]:
    """Those of the base chains of ingress and prerouting that see fragments: all of them, unless connections are tracked."""
    return (
        c for c in chains if c.hook and (not tracks or c.hook.hook == "ingress" or c.hook.priority <= DEFRAGMENTATION)
    )


def seen(engine: "Engine", tested: Mapping[str, list[IntervalSet]]) -> tuple[dict[str, IntervalSet], frozenset[str]]:
    """Free fields of `tested` of which rules see fewer values, with these, and those about which nothing is said."""
    narrower: dict[str, IntervalSet] = {}
    unclear: set[str] = set()
    sized = any(low <= _LONGEST for name in _LENGTHS for values in tested.get(name, ()) for low, _ in values)
    for op, names in _SIZES.items():
        options = [name for name in fields.OPTIONS if name in tested and name.startswith(op)]
        if options and (sized or any(name in tested for name in names) or rewritten(engine)):
            unclear.update(options)
    if "exthdrs" in tested and engine.family == "ipv6":
        tracks = engine.hooks(engine.world).tracks
        if tracks:
            narrower["exthdrs"] = fields.unfragmented(engine.family, engine.proto)
        others = any(engine.hooks(w).tracks for w, _ in engine.worlds_on_the_way)
        if sized or (_asked(engine, "exthdrs", behind=False) if tracks else others):
            unclear.add("exthdrs")
    if "tcp_cut" in tested:
        if not _asked(engine, "tcp_cut", behind=False):
            narrower["tcp_cut"] = IntervalSet.single(0)
        elif engine.forwards or _asked(engine, "tcp_cut", behind=True):
            # it depends on the hook whether a fragment is seen
            unclear.add("tcp_cut")
    return narrower, frozenset(unclear)


def _asked(engine: "Engine", name: str, *, behind: bool) -> bool:
    """Whether a rule asks for a field before packets are put together, or behind that, on the way to a socket of the first namespace."""
    hooks, shapes = engine.hooks(engine.world), engine.shapes(engine.world)
    starts = [*hooks.at("ingress", engine.iface), *hooks.at("prerouting")]
    before = set(map(id, early((c for _, c in starts), tracks=hooks.tracks)))
    chosen = [pair for pair in starts if (id(pair[1]) in before) is not behind]
    chosen += hooks.at("input") if behind else []
    return any(found == name for found, _ in reads(cone(chosen, shapes.code), shapes.maps))


def rewritten(engine: "Engine") -> bool:
    """Whether some rule on the way writes or takes away options."""
    return any(
        isinstance(e, ExthdrSet)
        for world, _ in engine.worlds_on_the_way
        for t in world.ruleset.tables
        for c in t.chains
        for r in c.rules
        for e in r.exprs
    )


def hidden(exprs: Iterable[Expr], before: Iterable[Expr], family: str, *, tracks: bool) -> frozenset[str]:
    """The same for the second engine: the free fields about which nothing is said; `before` are rules before defragmentation."""
    exprs = list(exprs)
    offsets = (2, 4) if family == "ipv4" else (4, 6)
    length = any((isinstance(e, Meta) and e.key == "len") or _touches(e, "network", *offsets) for e in exprs)
    changed = any(isinstance(e, ExthdrSet) for e in exprs)
    out: set[str] = set()
    if length or changed or any(_touches(e, "transport", 12, 13) for e in exprs):
        out.update(name for name in fields.OPTIONS if name.startswith("tcp"))
    if length or changed or any(_touches(e, "network", 0, 1) for e in exprs):
        out.update(fields.IP_OPTIONS.values())
    if length or (tracks and any(_reads_headers(e) for e in before)):
        out.add("exthdrs")
    return frozenset(out)


def _touches(expr: Expr, base: str, first: int, end: int) -> bool:
    return isinstance(expr, Payload) and expr.base == base and expr.offset < end and first < expr.offset + expr.length


def _reads_headers(expr: Expr) -> bool:
    return (isinstance(expr, Exthdr) and expr.op == "ipv6") or _touches(expr, "network", 6, 7)
