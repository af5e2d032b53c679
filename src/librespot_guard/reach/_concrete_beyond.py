"""Options, sockets, routes, chance and counts for one concrete packet (net/netfilter/nft_exthdr.c, nft_rt.c, nft_osf.c and others).

The packet has the extension headers that the question says, and no options.
"""

from collections.abc import Callable

from librespot_guard import firewall as fw
from librespot_guard.reach._concrete_flow import Flow
from librespot_guard.reach._concrete_loads import BREAK, MAYBE, Miss
from librespot_guard.reach._concrete_rules import Result, Runner
from librespot_guard.reach._concrete_values import Value, host, is_sure, sure, unsure
from librespot_guard.reach.packet import PROTOCOLS

_SYN = 0x02
# drivers of interfaces whose packets may bear the metadata of a tunnel, or a route that adds one
_TUNNELS = {"vxlan", "geneve", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan", "ipip", "ip6tnl", "sit", "bareudp", "xfrm"}  # fmt: skip
_INITIAL = 0xDEADBEEF  # JHASH_INITVAL
_WORD = 0xFFFFFFFF


def _exthdr(run: Runner, expr: fw.Exthdr) -> Value | Miss:
    flow = run.flow
    if expr.op == "ipv6":
        return BREAK if flow.family == "ipv4" else _extension(flow, expr)
    if expr.op == "ip" and flow.family == "ipv6":
        return BREAK
    return sure(b"\0") if expr.present else BREAK


def _extension(flow: Flow, expr: fw.Exthdr) -> Value | Miss:
    """ipv6_find_hdr; it finds the transport header itself, too."""
    at = flow.header_at(expr.kind)
    if expr.kind == PROTOCOLS[flow.packet.proto]:
        at = len(flow.network.data)
    if expr.present:
        return sure(bytes([at is not None]))
    if at is None:
        return BREAK
    header, offset = (flow.network, at) if at < len(flow.network.data) else (flow.transport, 0)
    return header.read(offset + expr.offset, expr.length) or MAYBE


def _between(run: Runner, offset: int, modulus: int) -> Value:
    """A host integer from `offset` to offset + modulus - 1, as far as its bits are the same for all of them."""
    last = offset + max(modulus, 1) - 1
    if last >> 32:
        return unsure(4)
    order = run.library.world.ruleset.byteorder
    known = _WORD ^ (1 << (offset ^ last).bit_length()) - 1
    return host(offset & known, 4, order)[0], host(known, 4, order)[0]


def _numgen(run: Runner, expr: fw.Numgen) -> Value | Miss:
    return _between(run, expr.offset, expr.modulus)


def _hash(run: Runner, expr: fw.Hash) -> Value | Miss:
    if expr.seed is not None and expr.sreg is not None:
        data = run.registers.read(expr.sreg, expr.length)
        if is_sure(data):
            order = run.library.world.ruleset.byteorder
            scaled = jhash(data[0], expr.seed, order) * expr.modulus >> 32  # reciprocal_scale
            return host((scaled + expr.offset) & _WORD, 4, order)
    return _between(run, expr.offset, expr.modulus)


def jhash(data: bytes, seed: int, order: str) -> int:
    """Bob Jenkins' hash as the kernel computes it (include/linux/jhash.h)."""
    a = b = c = (_INITIAL + len(data) + seed) & _WORD

    def word(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little" if order == "little" else "big")

    at = 0
    while len(data) - at > 12:
        a, b, c = (a + word(at)) & _WORD, (b + word(at + 4)) & _WORD, (c + word(at + 8)) & _WORD
        for left, turn in ((0, 4), (1, 6), (2, 8), (0, 16), (1, 19), (2, 4)):
            if left == 0:
                a = (a - c & _WORD) ^ _turned(c, turn)
                c = (c + b) & _WORD
            elif left == 1:
                b = (b - a & _WORD) ^ _turned(a, turn)
                a = (a + c) & _WORD
            else:
                c = (c - b & _WORD) ^ _turned(b, turn)
                b = (b + a) & _WORD
        at += 12
    tail = data[at:].ljust(12, b"\0")
    if len(data) == at:
        return c
    a = (a + int.from_bytes(tail[:4], "little")) & _WORD
    b = (b + int.from_bytes(tail[4:8], "little")) & _WORD
    c = (c + int.from_bytes(tail[8:], "little")) & _WORD
    c = (c ^ b) - _turned(b, 14) & _WORD
    a = (a ^ c) - _turned(c, 11) & _WORD
    b = (b ^ a) - _turned(a, 25) & _WORD
    c = (c ^ b) - _turned(b, 16) & _WORD
    a = (a ^ c) - _turned(c, 4) & _WORD
    b = (b ^ a) - _turned(a, 14) & _WORD
    return (c ^ b) - _turned(b, 24) & _WORD


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _WORD


def _osf(run: Runner, _expr: fw.Osf) -> Value | Miss:
    packet = run.flow.packet
    if packet.proto != "tcp" or not packet.flags & _SYN:
        return BREAK
    return unsure(16) if run.flow.family == "ipv4" else MAYBE


def _socket(_run: Runner, _expr: fw.Socket) -> Value | Miss:
    return MAYBE


def _route(run: Runner, expr: fw.Route) -> Value | Miss:
    flow, hook = run.flow, run.place.hook
    if expr.key.startswith("nexthop") and (expr.key == "nexthop6") != (flow.family == "ipv6"):
        return BREAK
    if hook in ("ingress", "prerouting"):
        # what comes in by loopback brings its route along
        return MAYBE if flow.iif.loopback else BREAK
    if hook == "input" and expr.key.startswith("nexthop"):
        # a local route has no gateway (rt_nexthop of net/route.h, rt6_nexthop of net/ip6_route.h)
        return flow.dst
    if hook == "input" and expr.key == "xfrm":
        return sure(b"\0")
    return unsure({"classid": 4, "tcpmss": 2, "xfrm": 1, "nexthop4": 4}.get(expr.key, 16))


def _xfrm(run: Runner, expr: fw.Xfrm) -> Value | Miss:
    # the packet of a question comes in the clear
    return BREAK if expr.direction == "in" and not run.flow.sent else MAYBE


def _tunnel(run: Runner, expr: fw.Tunnel) -> Value | Miss:
    if run.place.hook not in ("ingress", "prerouting") or run.flow.iif.kind in _TUNNELS:
        return MAYBE
    return sure(b"\0") if expr.key == "path" else BREAK


_LOADS: dict[type, Callable[..., Value | Miss]] = {
    fw.Exthdr: _exthdr,
    fw.Numgen: _numgen,
    fw.Hash: _hash,
    fw.Osf: _osf,
    fw.Socket: _socket,
    fw.Route: _route,
    fw.Xfrm: _xfrm,
    fw.Tunnel: _tunnel,
}


def _load(run: Runner, expr: fw.Exthdr) -> Result:
    value = _LOADS[type(expr)](run, expr)
    if value is MAYBE or (isinstance(value, tuple) and not is_sure(value)):
        run.asked = fw.depends(expr)
    return run.load(expr.dreg, value, run.asked)


def _either(run: Runner, expr: fw.Quota) -> Result:
    return run.either(fw.depends(expr))


def _exthdr_set(run: Runner, expr: fw.ExthdrSet) -> Result:
    # an option that is not there is not missed, a packet of another protocol is
    return None if run.flow.packet.proto == expr.op else BREAK


EXECUTE: dict[type, Callable[..., Result]] = {
    **dict.fromkeys(_LOADS, _load),
    **dict.fromkeys((fw.Quota, fw.Connlimit), _either),
    fw.ExthdrSet: _exthdr_set,
}
