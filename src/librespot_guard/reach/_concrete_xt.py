"""The iptables extensions that have no equivalent in nf_tables' instructions (`firewall.native` replaces the others).

These are `multiport --ports` (either port), and states of connections together with translation. A match answers True, False, or None if it cannot tell. What is not in the table may match or not: the interpreter then follows both ways.
"""

from collections.abc import Callable

from librespot_guard.firewall.model import Xt
from librespot_guard.reach._concrete_flow import INVALID, IPS_DST_NAT, IPS_SRC_NAT, Flow
from librespot_guard.reach._concrete_values import is_sure
from librespot_guard.reach.world import World

Match = Callable[[World, Flow, Xt], "bool | None"]


# linux/netfilter/xt_conntrack.h, with IP_CT_NUMBER = 5
_STATE, _STATE_ALIAS = 1, 1 << 13
_STATE_SNAT, _STATE_DNAT, _STATE_UNTRACKED = 1 << 6, 1 << 7, 1 << 8


def word(world: World, info: bytes, offset: int, size: int) -> int:
    """A host integer in a parameter block."""
    return int.from_bytes(info[offset : offset + size], "little" if world.ruleset.byteorder == "little" else "big")


def _multiport(world: World, flow: Flow, xt: Xt) -> bool | None:
    """Struct xt_multiport_v1 (source, destination or either port): which ports, a list of up to 15 in which pflags marks the low end of ranges, inversion."""
    if not flow.ported or xt.revision != 1 or len(xt.info) < 48:
        return None
    kind, count, invert = xt.info[0], xt.info[1], xt.info[47]
    found = []
    number = 0
    while number < min(count, 15):
        low = word(world, xt.info, 2 + 2 * number, 2)
        if xt.info[32 + number] and number + 1 < 15:
            number += 1
        found.append((low, word(world, xt.info, 2 + 2 * number, 2)))
        number += 1
    values = [flow.port(destination=d) for d in {0: (False,), 1: (True,), 2: (False, True)}.get(kind, ())]
    if not values or not all(is_sure(v) for v in values):
        return None
    inside = any(low <= int.from_bytes(v[0], "big") <= high for v in values for low, high in found)
    return inside != bool(invert)


def _conntrack(world: World, flow: Flow, xt: Xt) -> bool | None:
    """Struct xt_conntrack_mtinfo2/3 where it asks for the state alone (-m conntrack --ctstate, -m state)."""
    if xt.revision not in (2, 3) or len(xt.info) < 154:
        return None
    asked, inverted, wanted = (word(world, xt.info, offset, 2) for offset in (146, 148, 150))
    if asked & ~_STATE_ALIAS != _STATE:
        return None
    connection = flow.connection
    if connection is None:
        state = _STATE_UNTRACKED if flow.untracked else INVALID
    else:
        if not connection.fresh and wanted & (_STATE_SNAT | _STATE_DNAT):
            return None
        state = connection.state
        state |= (_STATE_SNAT if connection.status & IPS_SRC_NAT else 0) | (
            _STATE_DNAT if connection.status & IPS_DST_NAT else 0
        )
    return bool(state & wanted) != bool(inverted & _STATE)


MATCHES: dict[str, Match] = {"conntrack": _conntrack, "multiport": _multiport}
