"""Which extension headers and options of a packet rules can see, and what can't be told because other rules ask for its length.

A packet with an option is longer than one without. The fields of a question are chosen independently of each other, so where rules ask
for both, nothing is said about the options.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from librespot_guard.firewall.model import Expr, Meta, Payload
from librespot_guard.firewall.model_beyond import Exthdr, ExthdrSet
from librespot_guard.reach import _fields as fields
from librespot_guard.reach._hooks import apart, cone, reads, reassembles
from librespot_guard.reach.intervals import IntervalSet

if TYPE_CHECKING:
    from librespot_guard.reach.engine import Engine

CUT = (
    "a fragment may be too short for what rules ask of the headers, or looks otherwise than the whole packet: they run before fragments "
    "are put together, and what they do with the later ones is not followed; any rule with `ct state` lets the kernel do that first"
)
# as long as the shortest headers with all options that a packet can carry
_LONGEST = 160
_LENGTHS = ("ip_length", "length")
_SIZES = {"tcp": ("tcp_doff",), "ip": ("ihl",)}


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
        tracks, whole = engine.hooks(engine.world).tracks, reassembles(engine.world, engine.family)
        if tracks:
            narrower["exthdrs"] = fields.unfragmented(engine.family, engine.proto)
        others = any(engine.hooks(w).tracks for w, _ in engine.worlds_on_the_way)
        if sized or tracks is not whole or (_asked(engine, "exthdrs", early=True) if tracks else others):
            unclear.add("exthdrs")
    for name in fields.FRAGMENTED:
        if name in tested and not _asked(engine, name, early=True):
            narrower[name] = IntervalSet.single(0)
    for name in fields.OF_ONE_PIECE:
        # a rule before and one behind see other values, and a first fragment may be shorter than a whole packet of TCP is
        short = engine.proto == "tcp" and sized and name != "ip_flags"
        if name in tested and _asked(engine, name, early=True) and (short or _asked(engine, name, early=False)):
            unclear.add(name)
    return narrower, frozenset(unclear)


def _asked(engine: "Engine", name: str, *, early: bool) -> bool:
    """Whether a rule that sees fragments (`early`), or one that sees whole packets, asks for a field."""
    key = (name, early)
    if key not in engine.asked:
        engine.asked[key] = False
        for world, _ in engine.worlds_on_the_way:
            hooks, shapes, whole = engine.hooks(world), engine.shapes(world), reassembles(world, engine.family)
            chosen = [pair for pair in engine.starts(hooks) if apart(pair[1], engine.family, whole=whole) is early]
            if chosen and any(found == name for found, _ in reads(cone(chosen, shapes.code), shapes.maps)):
                engine.asked[key] = True
    return engine.asked[key]


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


def hidden(
    early: Iterable[Expr], late: Iterable[Expr], family: str, proto: str, *, tracks: bool, whole: bool
) -> frozenset[str]:
    """The same for the second engine: the free fields about which nothing is said.

    `early` are the rules that may see fragments, `late` the others; `tracks`, `whole`: connections are perhaps, and surely, tracked.
    """
    early, late = list(early), list(late)
    exprs = [*early, *late]
    length = any(_sizes(e, family) for e in exprs)
    changed = any(isinstance(e, ExthdrSet) for e in exprs)
    out: set[str] = set()
    if length or changed or any(_touches(e, "transport", 12, 13) for e in exprs):
        out.update(name for name in fields.OPTIONS if name.startswith("tcp"))
    if length or changed or any(_touches(e, "network", 0, 1) for e in exprs):
        out.update(fields.IP_OPTIONS.values())
    if length or tracks is not whole or (tracks and any(_reads_headers(e) for e in early)):
        out.add("exthdrs")
    if any(_sizes(e, family) for e in early) and (proto == "tcp" or any(_sizes(e, family) for e in late)):
        out.add("ip_length")
    if family == "ipv4" and all(any(_touches(e, "network", 6, 7) for e in some) for some in (early, late)):
        out.add("ip_flags")
    return frozenset(out)


def _sizes(expr: Expr, family: str) -> bool:
    offsets = (2, 4) if family == "ipv4" else (4, 6)
    return (isinstance(expr, Meta) and expr.key == "len") or _touches(expr, "network", *offsets)


def _touches(expr: Expr, base: str, first: int, end: int) -> bool:
    return isinstance(expr, Payload) and expr.base == base and expr.offset < end and first < expr.offset + expr.length


def _reads_headers(expr: Expr) -> bool:
    return (isinstance(expr, Exthdr) and expr.op == "ipv6") or _touches(expr, "network", 6, 7)
