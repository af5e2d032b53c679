"""Targets of iptables extensions that rules run through nft_compat: a table from name to function.

A target does what it does to the packet and answers "continue", "translated" (an address was), "drop" or "rejected"; None if it
can't be followed. The parameter blocks are those of include/uapi/linux/netfilter/xt_NAME.h and nf_nat.h. A target that is not in
the table may do anything to the packet, so nothing certain can be said behind it.
"""

from collections.abc import Callable
from dataclasses import replace

from librespot_guard.firewall.model import Xt
from librespot_guard.reach import _concrete_nat as nat
from librespot_guard.reach._concrete_flow import Flow
from librespot_guard.reach._concrete_values import host, masked, sure, unsure
from librespot_guard.reach._concrete_xt import word
from librespot_guard.reach.world import World

Target = Callable[[World, Flow, Xt], "str | None"]

_CT_NOTRACK = 1
_CT_ZONE_MARK = 16
_MAP_IPS, _PROTO_SPECIFIED = 1, 2  # NF_NAT_RANGE_*


def _go_on(_world: World, _flow: Flow, _xt: Xt) -> str | None:
    return "continue"


def _rejected(_world: World, _flow: Flow, _xt: Xt) -> str | None:
    return "rejected"


def _classify(_world: World, flow: Flow, _xt: Xt) -> str | None:
    flow.priority = unsure(4)
    return "continue"


def _mark(_world: World, flow: Flow, xt: Xt) -> str | None:
    """Struct xt_mark_tginfo2: mark = (mark & ~mask) ^ value."""
    if xt.revision != 2 or len(xt.info) < 8:
        return None
    value, mask = xt.info[:4], xt.info[4:8]
    flow.mark = masked(flow.mark, bytes(~m & 0xFF for m in mask), value)
    return "continue"


def _connmark(_world: World, flow: Flow, _xt: Xt) -> str | None:
    """Which of the three things CONNMARK can do is not analysed: both marks are unknown afterwards."""
    flow.mark = unsure(4)
    if flow.connection is not None:
        flow.connection.mark = unsure(4)
    return "continue"


def _ct(world: World, flow: Flow, xt: Xt) -> str | None:
    """Struct xt_ct_target_info: no tracking, or a template with a zone (xt_ct_target)."""
    if len(xt.info) < 4:
        return None
    flags, zone = word(world, xt.info, 0, 2), word(world, xt.info, 2, 2)
    if flow.connection is not None or flow.untracked or flow.template:
        return "continue"
    if flags & _CT_NOTRACK:
        flow.untracked = True
    else:
        flow.zone = unsure(2) if flags & _CT_ZONE_MARK else host(zone, 2, world.ruleset.byteorder)
    return "continue"


def _span(world: World, flow: Flow, xt: Xt) -> nat.Span | None:
    """The range in a NAT target's block: struct nf_nat_ipv4_multi_range_compat, nf_nat_range or nf_nat_range2."""
    old = flow.family == "ipv4" and xt.revision == 0
    start, size = (4, 4) if old else (0, 16)
    if len(xt.info) < start + 4 + 2 * size + 4:
        return None
    length = 4 if flow.family == "ipv4" else 16
    flags = word(world, xt.info, start, 4)
    at = start + 4
    low, high = (sure(xt.info[a : a + length]) for a in (at, at + size))
    first, last = (sure(xt.info[a : a + 2]) for a in (at + 2 * size, at + 2 * size + 2))
    found = nat.Span(flags=flags)
    if flags & _MAP_IPS:
        found = replace(found, low=low, high=high)
    return replace(found, port_low=first, port_high=last) if flags & _PROTO_SPECIFIED else found


def _translate(kind: str) -> Target:
    def target(world: World, flow: Flow, xt: Xt) -> str | None:
        span = _span(world, flow, xt)
        if span is None:
            return None
        nat.translate(flow, kind, span)
        return "translated"

    return target


def _redirect(world: World, flow: Flow, xt: Xt) -> str | None:
    span = _span(world, flow, xt)
    if span is None:
        return None
    return "translated" if nat.redirect(world, flow, span) else "drop"


def _masquerade(_world: World, flow: Flow, _xt: Xt) -> str | None:
    nat.masquerade(flow)
    return "translated"


# they change nothing that a later rule or the routing could see
_HARMLESS = (
    "AUDIT",
    "CHECKSUM",
    "IDLETIMER",
    "LED",
    "LOG",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "CONNSECMARK",
    "TCPMSS",
    "TEE",
    "TRACE",
    "ULOG",
)

TARGETS: dict[str, Target] = {
    **dict.fromkeys(_HARMLESS, _go_on),
    "CLASSIFY": _classify,
    "CONNMARK": _connmark,
    "CT": _ct,
    "DNAT": _translate("dnat"),
    "MARK": _mark,
    "MASQUERADE": _masquerade,
    "REDIRECT": _redirect,
    "REJECT": _rejected,
    "SNAT": _translate("snat"),
}
