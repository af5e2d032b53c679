"""The expressions of `model_beyond` from their netlink attributes (include/uapi/linux/netfilter/nf_tables.h)."""

from collections.abc import Callable

from librespot_guard.firewall.attributes import Attributes, Malformed
from librespot_guard.firewall.data import length, register
from librespot_guard.firewall.model_beyond import (
    EXTHDR_OPS,
    RT_KEYS,
    SOCKET_KEYS,
    TUNNEL_KEYS,
    XFRM_KEYS,
    Beyond,
    Connlimit,
    Exthdr,
    ExthdrSet,
    Hash,
    Numgen,
    Osf,
    Quota,
    Route,
    Socket,
    Tunnel,
    Xfrm,
)

_PRESENT = 1  # NFT_EXTHDR_F_PRESENT
_INVERTED = 1  # NFT_QUOTA_F_INV, NFT_CONNLIMIT_F_INV


def _key(names: dict[str, int] | tuple[str, ...], number: int, what: str) -> str:
    found = tuple(names)
    if number >= len(found):
        raise Malformed(f"there is no {what} {number}")
    return found[number]


def _exthdr(a: Attributes) -> Beyond:
    op = _key(EXTHDR_OPS, a.number(6, default=0), "kind of header")
    kind = a.number(2, 1)
    if 1 in a:
        present = bool(a.number(5, default=0) & _PRESENT)
        return Exthdr(op, kind, a.number(3), length(a, 4), register(a.number(1)), present)
    if 7 in a:
        return ExthdrSet(op, kind, a.number(3), length(a, 4), register(a.number(7)))
    return ExthdrSet(op, kind)


def _hash(a: Attributes) -> Beyond:
    mode = _key(("jhash", "symhash"), a.number(7, default=0), "hash")
    numbers = a.number(4), a.number(6, default=0), register(a.number(2))
    if mode == "symhash":
        return Hash(mode, *numbers)
    return Hash(mode, *numbers, register(a.number(1)), length(a, 3), a.number(5) if 5 in a else None)


def _numgen(a: Attributes) -> Beyond:
    return Numgen(
        _key(("inc", "random"), a.number(3), "generator"), a.number(2), a.number(4, default=0), register(a.number(1))
    )


def _socket(a: Attributes) -> Beyond:
    return Socket(_key(SOCKET_KEYS, a.number(1), "socket key"), register(a.number(2)), a.number(3) if 3 in a else None)


def _osf(a: Attributes) -> Beyond:
    return Osf(register(a.number(1)), a.number(2, 1, default=0), bool(a.number(3, default=0) & 1))


def _xfrm(a: Attributes) -> Beyond:
    direction = _key(("in", "out"), a.number(3, 1), "direction")
    return Xfrm(_key(XFRM_KEYS, a.number(2), "xfrm key"), direction, a.number(4, default=0), register(a.number(1)))


def _tunnel(a: Attributes) -> Beyond:
    return Tunnel(_key(TUNNEL_KEYS, a.number(1), "tunnel key"), register(a.number(2)), a.number(3, default=0))


def _route(a: Attributes) -> Beyond:
    return Route(_key(RT_KEYS, a.number(2), "route key"), register(a.number(1)))


DECODERS: dict[str, Callable[[Attributes], Beyond]] = {
    "exthdr": _exthdr,
    "socket": _socket,
    "rt": _route,
    "numgen": _numgen,
    "hash": _hash,
    "osf": _osf,
    "quota": lambda a: Quota(a.number(1, 8), bool(a.number(2, default=0) & _INVERTED)),
    "connlimit": lambda a: Connlimit(a.number(1), bool(a.number(2, default=0) & _INVERTED)),
    "tunnel": _tunnel,
    "xfrm": _xfrm,
}
