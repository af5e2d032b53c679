"""Loads of `nft -j` from extension headers and options, sockets, routes, counters, fingerprints and IPsec.

Encodes src/exthdr.c, src/tcpopt.c, src/ipopt.c, src/rt.c, src/socket.c, src/numgen.c, src/osf.c and src/xfrm.c of nftables, as
src/json.c prints them.
"""

from collections.abc import Callable
from typing import Any

from librespot_guard.firewall.model_beyond import Exthdr, Hash, Numgen, Osf, Route, Socket, Xfrm
from librespot_guard.firewall.nft_json_code import Code, Loaded, keys, loaded_bits, shown
from librespot_guard.firewall.nft_json_fields import Field
from librespot_guard.firewall.nft_json_types import TYPES, Type, Unsupported, integer

_T = TYPES
_Headers = dict[str, tuple[int, dict[str, Field]]]
_NEXT = {"nexthdr": Field(0, _T["inet_proto"]), "hdrlength": Field(8, integer(8))}
_ROUTING = {**_NEXT, "type": Field(16, integer(8)), "seg-left": Field(24, integer(8))}
_LENGTH = {"kind": Field(0, integer(8)), "length": Field(8, integer(8))}
_SACK = {**_LENGTH, "left": Field(16, integer(32)), "right": Field(48, integer(32))}
_IP_ROUTE = {
    "type": Field(0, integer(8)), "length": Field(8, integer(8)), "ptr": Field(16, integer(8)),
    "addr": Field(24, _T["ipv4_addr"]),
}  # fmt: skip
# by name: the number of the header or option, and its fields
_IPV6: _Headers = {
    "hbh": (0, _NEXT),
    "rt": (43, _ROUTING),
    "srh": (
        43,
        {
            "last-entry": Field(32, integer(8)), "flags": Field(40, integer(8)), "tag": Field(48, integer(16)),
            "sid[1]": Field(64, _T["ipv6_addr"]), "sid[2]": Field(192, _T["ipv6_addr"]),
        },
    ),
    "frag": (
        44,
        {
            "nexthdr": Field(0, _T["inet_proto"]), "reserved": Field(8, integer(8)), "frag-off": Field(16, integer(13)),
            "reserved2": Field(29, integer(2)), "more-fragments": Field(31, integer(1)), "id": Field(32, integer(32)),
        },
    ),
    "dst": (60, _NEXT),
    "mh": (135, {**_NEXT, "type": Field(16, integer(8)), "reserved": Field(24, integer(8)), "checksum": Field(32, integer(16))}),
}  # fmt: skip
_TCP: _Headers = {
    "eol": (0, {}), "nop": (1, {}), "maxseg": (2, {**_LENGTH, "size": Field(16, integer(16))}),
    "window": (3, {**_LENGTH, "count": Field(16, integer(8))}), "sack-perm": (4, _LENGTH), "sack": (5, _SACK),
    "timestamp": (8, {**_LENGTH, "tsval": Field(16, integer(32)), "tsecr": Field(48, integer(32))}), "md5sig": (19, _LENGTH),
    "mptcp": (30, {**_LENGTH, "subtype": Field(16, integer(4))}), "fastopen": (34, _LENGTH),
}  # fmt: skip
_IP: _Headers = {
    "rr": (7, _IP_ROUTE), "lsrr": (131, _IP_ROUTE), "ssrr": (137, _IP_ROUTE),
    "ra": (148, {"type": Field(0, integer(8)), "length": Field(8, integer(8)), "value": Field(16, integer(16))}),
}  # fmt: skip
_XFRM = {"reqid": ("reqid", _T["host_32"]), "spi": ("spi", integer(32))}


def _named(op: str, headers: _Headers, family: str = "") -> Callable[[Code, Any, int], Loaded]:
    def read(code: Code, body: Any, slot: int) -> Loaded:
        body = keys(body, ("name",), ("field",))
        if body["name"] not in headers:
            raise Unsupported(f"{op} {body['name']}")
        kind, fields = headers[body["name"]]
        if family:
            code.network(family)
        if "field" not in body:
            code.exprs.append(Exthdr(op, kind, 0, 1, slot, present=True))
            return Loaded(_T["boolean"], slot)
        if body["field"] not in fields:
            raise Unsupported(f"{body['name']} {body['field']}")
        found = fields[body["field"]]
        return loaded_bits(
            code, lambda first, size: Exthdr(op, kind, first, size, slot), found.offset, found.kind, slot
        )

    return read


def _tcp(code: Code, body: Any, slot: int) -> Loaded:
    if not isinstance(body, dict) or "base" not in body:
        return _named("tcp", _TCP)(code, body, slot)
    # an option by its number; `presence` makes of it what is only asked for
    body = keys(body, ("base", "offset", "len"))
    kind, offset, size = body["base"], body["offset"], body["len"]
    if not all(isinstance(n, int) and 0 <= n <= 255 for n in (kind, offset)) or not isinstance(size, int):
        raise Unsupported(f"the option {shown(body)}")
    if not 0 < size <= 128:
        raise Unsupported(f"the option {shown(body)}")
    return loaded_bits(code, lambda first, n: Exthdr("tcp", kind, first, n, slot), offset, integer(size), slot)


def _socket(code: Code, body: Any, slot: int) -> Loaded:
    # the level of a cgroup is printed by no version
    key = keys(body, ("key",))["key"]
    kinds = {"transparent": "boolean", "wildcard": "boolean", "mark": "mark", "cgroupv2": "cgroupsv2"}
    if key not in kinds:
        raise Unsupported(f"socket {key}")
    code.exprs.append(Socket(key, slot))
    return Loaded(_T[kinds[key]], slot)


def _route(code: Code, body: Any, slot: int) -> Loaded:
    body = keys(body, ("key",), ("family",))
    family = body.get("family") or (code.family if code.family in ("ip", "ip6") else None)
    name, kind = {
        ("classid", None): ("classid", _T["host_32"]),
        ("mtu", None): ("tcpmss", _T["host_16"]),
        ("ipsec", None): ("xfrm", _T["boolean"]),
        ("nexthop", "ip"): ("nexthop4", _T["ipv4_addr"]),
        ("nexthop", "ip6"): ("nexthop6", _T["ipv6_addr"]),
    }.get((body["key"], family if body["key"] == "nexthop" else None), ("", integer(8)))
    if not name:
        raise Unsupported(f"rt {body['key']}")
    code.exprs.append(Route(name, slot))
    return Loaded(kind, slot)


def _numbers(body: Any, *names: str) -> list[int]:
    found = [body.get(name, 0) for name in names]
    if not all(type(n) is int and 0 <= n < 1 << 32 for n in found):
        raise Unsupported(f"the numbers in {shown(body)}")
    return found


def _numgen(code: Code, body: Any, slot: int) -> Loaded:
    body = keys(body, ("mode", "mod"), ("offset",))
    if body["mode"] not in ("inc", "random"):
        raise Unsupported(f"numgen {body['mode']}")
    modulus, offset = _numbers(body, "mod", "offset")
    code.exprs.append(Numgen(body["mode"], modulus, offset, slot))
    return Loaded(_T["host_32"], slot)


def _symhash(code: Code, body: Any, slot: int) -> Loaded:
    modulus, offset = _numbers(keys(body, ("mod",), ("offset",)), "mod", "offset")
    code.exprs.append(Hash("symhash", modulus, offset, slot))
    return Loaded(_T["host_32"], slot)


def _osf(code: Code, body: Any, slot: int) -> Loaded:
    body = keys(body, ("key",), ("ttl",))
    ttl = {None: 0, "loose": 1, "skip": 2}.get(body.get("ttl"))
    if body["key"] not in ("name", "version") or ttl is None:
        raise Unsupported(f"osf {shown(body)}")
    code.exprs.append(Osf(slot, ttl, body["key"] == "version"))
    return Loaded(_T["string"], slot)


def _ipsec(code: Code, body: Any, slot: int) -> Loaded:
    body = keys(body, ("key", "dir"), ("spnum", "family"))
    key, family = body["key"], body.get("family") or code.family
    kind: Type
    if key in ("saddr", "daddr") and family in ("ip", "ip6"):
        name, kind = f"{key}{'4' if family == 'ip' else '6'}", _T["ipv4_addr" if family == "ip" else "ipv6_addr"]
    elif key in _XFRM:
        name, kind = _XFRM[key]
    else:
        raise Unsupported(f"ipsec {key}")
    if body["dir"] not in ("in", "out"):
        raise Unsupported(f"ipsec {body['dir']}")
    code.exprs.append(Xfrm(name, body["dir"], _numbers(body, "spnum")[0], slot))
    return Loaded(kind, slot)


LOADS: dict[str, Callable[[Code, Any, int], Loaded]] = {
    "exthdr": _named("ipv6", _IPV6, "ip6"),
    "tcp option": _tcp,
    "ip option": _named("ip", _IP, "ip"),
    "sctp chunk": _named("sctp", {"data": (0, {}), "init": (1, {}), "init-ack": (2, {}), "abort": (6, {})}),
    "socket": _socket,
    "rt": _route,
    "numgen": _numgen,
    "symhash": _symhash,
    "osf": _osf,
    "ipsec": _ipsec,
}
