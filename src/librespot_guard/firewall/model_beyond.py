"""Expressions that ask for more than the fixed headers: options, sockets, routes, chance and counts.

What some of them answer follows from the packet, of others from what passed before or from the state of the host:
`words.depends` says on what.
"""

from dataclasses import dataclass

# the transport headers and options that `Exthdr` looks into, by NFT_EXTHDR_OP_*
EXTHDR_OPS = ("ipv6", "tcp", "ip", "sctp", "dccp")
# bytes that each key writes: enum nft_socket_keys, nft_rt_keys, nft_tunnel_keys, nft_xfrm_keys
SOCKET_KEYS = {"transparent": 1, "mark": 4, "wildcard": 1, "cgroupv2": 8}
RT_KEYS = {"classid": 4, "nexthop4": 4, "nexthop6": 16, "tcpmss": 2, "xfrm": 1}
TUNNEL_KEYS = {"path": 1, "id": 4}
XFRM_KEYS = {"unspec": 0, "daddr4": 4, "daddr6": 16, "saddr4": 4, "saddr6": 16, "reqid": 4, "spi": 4}


@dataclass(frozen=True, slots=True)
class Exthdr:
    """Load from an IPv6 extension header (`op` "ipv6"), a TCP or IPv4 option ("tcp", "ip"), an SCTP chunk or a DCCP option.

    `kind` is its number, `offset` and `length` are bytes from its start; with `present` one byte is loaded: 1 if it is there, else 0
    (net/netfilter/nft_exthdr.c).
    """

    op: str
    kind: int
    offset: int
    length: int
    dreg: int
    present: bool = False


@dataclass(frozen=True, slots=True)
class ExthdrSet:
    """Write a register into a TCP option that is there; without a register, overwrite the option with padding."""

    op: str
    kind: int
    offset: int = 0
    length: int = 0
    sreg: int | None = None


@dataclass(frozen=True, slots=True)
class Socket:
    """Load an attribute of the socket that the packet is for: "transparent", "mark", "wildcard", or the id of its cgroup at `level`.

    A packet for no socket ends the rule. `level` is None where a listing does not tell it.
    """

    key: str
    dreg: int
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Load an attribute of the packet's route: "classid", "nexthop4", "nexthop6", "tcpmss" or "xfrm"; a packet without ends the rule."""

    key: str
    dreg: int


@dataclass(frozen=True, slots=True)
class Numgen:
    """Load a number from `offset` to offset + modulus - 1: the next one ("inc") or any ("random")."""

    mode: str
    modulus: int
    offset: int
    dreg: int


@dataclass(frozen=True, slots=True)
class Hash:
    """Load a hash, from `offset` to offset + modulus - 1: of `length` bytes from `sreg` ("jhash"), or of the flow ("symhash").

    `seed` is None where the kernel drew it and keeps it to itself.
    """

    mode: str
    modulus: int
    offset: int
    dreg: int
    sreg: int | None = None
    length: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Osf:
    """Load the name of the operating system that a SYN looks like. `ttl` is 0 (as it is), 1 (loose) or 2 (skip); `version` adds it."""

    dreg: int
    ttl: int = 0
    version: bool = False


@dataclass(frozen=True, slots=True)
class Quota:
    """Go on until `size` bytes have passed here, or only after that (`over`)."""

    size: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class Connlimit:
    """Go on while there are at most `count` connections that came here, or only with more of them (`over`)."""

    count: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Load from a tunnel's metadata: whether there is any ("path"), or its id; `mode` is 0 (either), 1 (received) or 2 (to be sent)."""

    key: str
    dreg: int
    mode: int = 0


@dataclass(frozen=True, slots=True)
class Xfrm:
    """Load from the IPsec state number `index` that the packet came by ("in") or will leave by ("out"); without one the rule ends."""

    key: str
    direction: str
    index: int
    dreg: int


Beyond = Exthdr | ExthdrSet | Socket | Route | Numgen | Hash | Osf | Quota | Connlimit | Tunnel | Xfrm
