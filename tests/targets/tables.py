"""Random tables of ours for the property tests: every match, set and name that the language has."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from librespot_guard.firewall.model import Verdict
from librespot_guard.reach.intervals import WIDTH, IntervalSet
from librespot_guard.targets.names import comment
from librespot_guard.targets.syntax import (
    FromNetwork,
    FromSet,
    GuardChain,
    GuardRule,
    GuardSet,
    GuardTable,
    Iface,
    Known,
    Match,
    NfProto,
    Part,
    Port,
    To,
)

SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@+=,;{}()$#&'<>|~^%!?[]`:"
INTERFACES = st.one_of(
    st.sampled_from(["lo", "eth0", "wlan0", "inet", "br-0a1b2c3d4e5f", "vlan.10", "counter", "drop"]),
    st.text(SAFE.replace(":", ""), min_size=1, max_size=15).filter(lambda name: name not in (".", "..")),
)
FAMILIES = st.sampled_from(["ipv4", "ipv6"])
V4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(lambda pair: IPv4Network(pair, strict=False))
V6 = st.tuples(st.integers(0, 2**128 - 1), st.integers(1, 128)).map(lambda pair: IPv6Network(pair, strict=False))
COMMENTS = st.one_of(st.none(), st.text(max_size=140).map(comment))


@st.composite
def interval_sets(draw: st.DrawFn, family: str) -> IntervalSet:
    """A set of addresses that is neither empty nor everything; its ends may be those of the family."""
    top = (1 << WIDTH[family]) - 1
    edges = st.one_of(st.integers(0, top), st.sampled_from([0, 1, top - 1, top]))
    pairs = draw(st.lists(st.tuples(edges, edges).map(sorted), min_size=1, max_size=6))
    found = IntervalSet.of((low, high) for low, high in pairs)
    return found if found != IntervalSet.full(WIDTH[family]) else IntervalSet.single(top)


@st.composite
def parts(draw: st.DrawFn, part_id: str) -> Part:
    """The chains and sets of one policy."""
    sets = []
    for number in range(draw(st.integers(0, 3))):
        family = draw(FAMILIES)
        sets.append(GuardSet(f"source{number}_{part_id}", family, draw(interval_sets(family))))
    from_sets = [st.just(FromSet(s.family, s.name)) for s in sets]
    sources = st.one_of(V4.map(FromNetwork), V6.map(FromNetwork), FAMILIES.map(NfProto), *from_sets)
    chains = []
    for number in range(draw(st.integers(1, 3))):
        rules = [draw(_accepts(sources)) for _ in range(draw(st.integers(0, 4)))]
        rules.append(GuardRule((), Verdict("drop"), counter=True, comment=draw(COMMENTS)))
        chains.append(GuardChain(f"api_x{number}_{part_id}", tuple(rules)))
    entry = [GuardRule((Iface("lo"),), Verdict("accept"))]
    for _ in range(draw(st.integers(0, 4))):
        port = Port(draw(st.sampled_from(["tcp", "udp"])), draw(st.integers(1, 65535)))
        address = draw(
            st.one_of(
                st.none(), st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
            )
        )
        matches: tuple[Match, ...] = (port,) if address is None else (To(address), port)
        entry.append(GuardRule(matches, Verdict("goto", draw(st.sampled_from(chains)).name)))
    if draw(st.booleans()):
        entry += [GuardRule((Known(),), Verdict("accept")), GuardRule((), Verdict("drop"), counter=True)]
    return Part(part_id, (GuardChain(f"policy_{part_id}", tuple(entry)), *chains), tuple(sets))


@st.composite
def _accepts(draw: st.DrawFn, sources: st.SearchStrategy[Match]) -> GuardRule:
    ingress = draw(st.one_of(st.just(()), INTERFACES.map(lambda name: (Iface(name),))))
    source = draw(st.one_of(st.just(()), sources.map(lambda match: (match,))))
    return GuardRule((*ingress, *source), Verdict("accept"), comment=draw(COMMENTS))


@st.composite
def tables(draw: st.DrawFn) -> GuardTable:
    """A table with a policy in force, one behind the gate, or both."""
    confirmed = draw(st.one_of(st.none(), parts("0a1b2c3d")))
    gated = draw(parts("ffee0099")) if confirmed is None else draw(st.one_of(st.none(), parts("ffee0099")))
    return GuardTable(confirmed, gated)
