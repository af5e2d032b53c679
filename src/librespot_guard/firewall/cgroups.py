"""Which cgroups rules ask for: the ids that `socket cgroupv2` is compared with (net/netfilter/nft_socket.c).

A rule holds the number of a cgroup, the inode of its folder, whatever path was written.
"""

from collections.abc import Iterator
from typing import Literal

from librespot_guard.firewall.model import Cmp, Lookup, Rule, Table
from librespot_guard.firewall.model_beyond import Socket


def cgroups_of(table: Table, rule: Rule, byteorder: str) -> tuple[int, ...]:
    """The ids that a rule compares the cgroup of a socket with, each once."""
    return tuple(dict.fromkeys(_ids(table, rule, byteorder)))


def _ids(table: Table, rule: Rule, byteorder: str) -> Iterator[int]:
    order: Literal["little", "big"] = "little" if byteorder == "little" else "big"
    at = None
    for expr in rule.exprs:
        if isinstance(expr, Socket) and expr.key == "cgroupv2":
            at = expr.dreg
        elif isinstance(expr, Cmp) and expr.sreg == at:
            yield int.from_bytes(expr.data, order)
        elif isinstance(expr, Lookup) and expr.sreg == at:
            found = next((s for s in table.sets if s.name == expr.set_name), None)
            for element in found.elements if found else ():
                if not element.catchall and not element.interval_end:
                    yield int.from_bytes(element.key, order)
