"""Which cgroups rules ask for: ids that `socket cgroupv2` is compared with (net/netfilter/nft_socket.c), and paths of the xt match.

A rule of nft holds the number of a cgroup, the inode of its folder, whatever path was written. `-m cgroup --path` shows the path, but
the kernel looks it up once, when the rule is added, and keeps that cgroup (cgroup_mt_check_v2 of net/netfilter/xt_cgroup.c).
"""

from collections.abc import Iterator
from typing import Literal

from librespot_guard.firewall.model import Cmp, Lookup, Rule, Table, Xt
from librespot_guard.firewall.model_beyond import Socket


def cgroups_of(table: Table, rule: Rule, byteorder: str) -> tuple[int, ...]:
    """The ids that a rule compares the cgroup of a socket with, each once."""
    return tuple(dict.fromkeys(_ids(table, rule, byteorder)))


# where the path begins, and how long it can be, in struct xt_cgroup_info_v1 and _v2
_PATHS = {1: (4, 4096), 2: (4, 512)}


def cgroup_paths_of(rule: Rule) -> tuple[str, ...]:
    """The paths, with a leading slash, that `-m cgroup --path` of a rule was given, each once."""
    found: dict[str, None] = {}
    for expr in rule.exprs:
        if isinstance(expr, Xt) and (expr.kind, expr.name) == ("match", "cgroup") and expr.revision in _PATHS:
            start, size = _PATHS[expr.revision]
            if expr.info[:1] != b"\0":  # has_path; else it is about a net_cls class
                text = expr.info[start : start + size].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
                found["/" + text.strip("/")] = None
    return tuple(found)


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
