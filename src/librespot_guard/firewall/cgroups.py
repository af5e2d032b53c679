"""Which cgroups rules ask for: the ids that `socket cgroupv2` is compared with (net/netfilter/nft_socket.c).

A rule holds the number of a cgroup, the inode of its folder, whatever path was written.
"""

from collections.abc import Iterator
from typing import Literal

from librespot_guard.firewall.attributes import Attributes, Malformed
from librespot_guard.firewall.data import register
from librespot_guard.firewall.model import Cmp, Expr, Lookup, Rule, Table, Unknown

_KEY, _DREG = 1, 2  # NFTA_SOCKET_KEY, NFTA_SOCKET_DREG
_CGROUPV2 = 3  # NFT_SOCKET_CGROUPV2


def cgroups_of(table: Table, rule: Rule, byteorder: str) -> tuple[int, ...]:
    """The ids that a rule compares the cgroup of a socket with, each once."""
    return tuple(dict.fromkeys(_ids(table, rule, byteorder)))


def _ids(table: Table, rule: Rule, byteorder: str) -> Iterator[int]:
    order: Literal["little", "big"] = "little" if byteorder == "little" else "big"
    at = None
    for expr in rule.exprs:
        loaded = _loads(expr, byteorder)
        if loaded is not None:
            at = loaded
        elif isinstance(expr, Cmp) and expr.sreg == at:
            yield int.from_bytes(expr.data, order)
        elif isinstance(expr, Lookup) and expr.sreg == at:
            found = next((s for s in table.sets if s.name == expr.set_name), None)
            for element in found.elements if found else ():
                if not element.catchall and not element.interval_end:
                    yield int.from_bytes(element.key, order)


def _loads(expr: Expr, byteorder: str) -> int | None:
    """The register into which an expression loads the id of a cgroup."""
    if getattr(expr, "key", None) == "cgroupv2":
        return int(getattr(expr, "dreg"))  # noqa: B009 - not every expression has one
    if isinstance(expr, Unknown) and expr.name == "socket":
        try:
            attributes = Attributes(expr.raw, byteorder)
            return register(attributes.number(_DREG)) if attributes.number(_KEY) == _CGROUPV2 else None
        except Malformed:
            return None
    return None
