"""Our table in the form in which the kernel gives it back (expressions of linux/netfilter/nf_tables.h).

nft compiles each match to guards (`meta nfproto`, `meta l4proto`), a load and a comparison; a network whose length is a multiple of
eight loads only its own bytes. Interval sets hold the start of each interval and, as an end mark, the address after it.
"""

from ipaddress import IPv4Network, IPv6Network

from librespot_guard.firewall.model import (
    SET_INTERVAL,
    SET_MAP,
    SET_TIMEOUT,
    VERDICT,
    Bitwise,
    Chain,
    Cmp,
    Element,
    Expr,
    Hook,
    Immediate,
    Lookup,
    Meta,
    Pass,
    Payload,
    Rule,
    Set,
    Table,
    Verdict,
)
from librespot_guard.reach.intervals import WIDTH, IntervalSet
from librespot_guard.targets import nft_text
from librespot_guard.targets.syntax import (
    BASE,
    FAMILY,
    GATE,
    PRIORITY,
    TABLE,
    FromNetwork,
    FromSet,
    GuardRule,
    GuardSet,
    GuardTable,
    Iface,
    Known,
    Match,
    NfProto,
    Port,
    To,
)

# NFPROTO_IPV4, NFPROTO_IPV6; IPPROTO_*
NFPROTO = {"ipv4": b"\x02", "ipv6": b"\x0a"}
L4PROTO = {"tcp": b"\x06", "udp": b"\x11"}
# offset of the source and of the destination address in the network header, and the length of an address
SOURCE = {"ipv4": (12, 4), "ipv6": (8, 16)}
DESTINATION = {"ipv4": (16, 4), "ipv6": (24, 16)}
NO_PROTO = b"\xff"
DPORT = 2
IFNAMSIZ = 16
# numbers that nft gives to its data types (its src/datatype.c); the kernel only keeps them
KEY_TYPE = {"nf_proto": 2, "ipv4": 7, "ipv6": 8}
# the register that nft uses for everything we need: NFT_REG_1
REG = 0
_FAMILY = {4: "ipv4", 6: "ipv6"}
_ACCEPT_POLICY = Hook(BASE, PRIORITY, "accept", "filter")


def _guard(family: str) -> tuple[Expr, ...]:
    return (Meta("nfproto", REG), Cmp("eq", REG, NFPROTO[family]))


def _network(network: IPv4Network | IPv6Network) -> tuple[Expr, ...]:
    family = _FAMILY[network.version]
    offset, length = SOURCE[family]
    packed = network.network_address.packed
    if network.prefixlen % 8 == 0:
        short = network.prefixlen // 8
        return (*_guard(family), Payload("network", offset, short, REG), Cmp("eq", REG, packed[:short]))
    mask = Bitwise("mask-xor", REG, REG, length, network.netmask.packed, bytes(length))
    return (*_guard(family), Payload("network", offset, length, REG), mask, Cmp("eq", REG, packed))


def _match(value: Match) -> tuple[Expr, ...]:
    match value:
        case Iface(name):
            return (Meta("iifname", REG), Cmp("eq", REG, name.encode("ascii").ljust(IFNAMSIZ, b"\0")))
        case NfProto(family):
            return _guard(family)
        case FromNetwork(network):
            return _network(network)
        case FromSet(family, name):
            return (*_guard(family), Payload("network", *SOURCE[family], REG), Lookup(name, REG))
        case To(address):
            family = _FAMILY[address.version]
            return (*_guard(family), Payload("network", *DESTINATION[family], REG), Cmp("eq", REG, address.packed))
        case Known():
            return (Meta("l4proto", REG), Cmp("neq", REG, NO_PROTO))
        case Port(proto, port):
            load = (Meta("l4proto", REG), Cmp("eq", REG, L4PROTO[proto]), Payload("transport", DPORT, 2, REG))
            return (*load, Cmp("eq", REG, port.to_bytes(2, "big")))


def _rule(value: GuardRule) -> Rule:
    exprs = [expr for each in value.matches for expr in _match(each)]
    if value.counter:
        exprs.append(Pass("counter"))
    exprs.append(Immediate(VERDICT, value.verdict))
    return Rule(0, tuple(exprs), text=nft_text.rule(value), comment=value.comment)


def elements(family: str, addresses: IntervalSet) -> tuple[Element, ...]:
    """The elements of an interval set, in descending order, as the kernel's tree lists them."""
    size = WIDTH[family] // 8
    out = []
    if addresses.lowest() > 0:
        # nft marks the space before the first interval as not in the set
        out.append(Element(bytes(size), interval_end=True))
    for low, high in addresses:
        out.append(Element(low.to_bytes(size, "big")))
        if high + 1 < 1 << WIDTH[family]:
            out.append(Element((high + 1).to_bytes(size, "big"), interval_end=True))
    return tuple(reversed(out))


def _set(value: GuardSet) -> Set:
    size = WIDTH[value.family] // 8
    return Set(value.name, SET_INTERVAL, size, elements(value.family, value.addresses), key_type=KEY_TYPE[value.family])


def _gate(value: GuardTable) -> Set:
    inside: tuple[Element, ...] = ()
    if value.gated:
        verdict = Verdict("goto", value.gated.entry)
        inside = tuple(Element(key, data=verdict) for key in NFPROTO.values())
    return Set(GATE, SET_MAP | SET_TIMEOUT, 1, inside, data_length=16, key_type=KEY_TYPE["nf_proto"])


def table(value: GuardTable) -> Table:
    """The whole table as the kernel has it after loading `nft_text.table(value)`."""
    base = [Rule(0, (Meta("nfproto", REG), Lookup(GATE, REG, VERDICT)), text=f"meta nfproto vmap @{GATE}")]
    if value.confirmed:
        verdict = Verdict("goto", value.confirmed.entry)
        base.append(Rule(0, (Immediate(VERDICT, verdict),), text=f"goto {verdict.chain}"))
    chains = [Chain(BASE, 0, tuple(base), _ACCEPT_POLICY)]
    chains += [Chain(c.name, 0, tuple(map(_rule, c.rules))) for part in value.parts for c in part.chains]
    sets = [_gate(value)] + [_set(s) for part in value.parts for s in part.sets]
    return Table(FAMILY, TABLE, tuple(chains), tuple(sets))
