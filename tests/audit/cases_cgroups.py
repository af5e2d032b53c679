"""Hosts with rules on the cgroup of a socket, which is there or gone."""

from dataclasses import replace

from audit.case import Case, clean, has
from audit.hosts import ACCEPT, DROP, filters, host, librespot, table
from librespot_guard.firewall.model import Cmp, Element, Expr, Lookup, Ruleset, Set
from librespot_guard.firewall.model_beyond import Socket
from librespot_guard.snapshot import Snapshot

# `socket cgroupv2 level 2`
_SOCKET = Socket("cgroupv2", 0, 2)
_UNIT = "/system.slice/librespot.service"


def _host(*numbers: int) -> Snapshot:
    """A host whose tree has the root and these cgroups, the last that of the service."""
    tree = {"1": "/"} | {str(n): f"/other-{n}" for n in numbers[:-1]} | {str(n): _UNIT for n in numbers[-1:]}
    return replace(host(librespot(cgroup=_UNIT)), cgroups=tree)


def _rules(*exprs: Expr, sets: tuple[Set, ...] = ()) -> dict[str, Ruleset]:
    return filters(replace(table((_SOCKET, *exprs)), sets=sets))


def _is(number: int) -> Cmp:
    return Cmp("eq", 0, number.to_bytes(8, "little"))


_SET = Set("speakers", 0, 8, (Element((2248).to_bytes(8, "little")), Element((3001).to_bytes(8, "little"))))
CASES: tuple[Case, ...] = (
    has("LG407", "a dead deny", "high", "number 2248", "is in cgroup 3001 now (/system.slice/librespot.service)", of=_host(3001), rules=_rules(_is(2248), DROP)),
    has("LG407", "a dead accept", "medium", "number 2248", of=_host(3001), rules=_rules(_is(2248), ACCEPT)),
    has("LG407", "one of a set", "medium", "number 2248", of=_host(3001), rules=_rules(Lookup("speakers", 0), DROP, sets=(_SET,))),
    clean("LG407", "alive", of=_host(3001), rules=_rules(_is(3001), DROP)),
    clean("LG407", "a set of living ones", of=_host(2248, 3001), rules=_rules(Lookup("speakers", 0), DROP, sets=(_SET,))),
    clean("LG407", "no such rule", of=_host(3001)),
)  # fmt: skip
