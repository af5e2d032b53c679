"""The grammar of the judge leaves out no expression of the model that an nft of Debian can write."""

import dataclasses
from collections.abc import Iterator
from random import Random
from typing import get_args

import pytest

from kernel_judge import Stage, stage
from librespot_guard import firewall as fw
from librespot_guard.firewall import model
from reach.bench import bench
from reach.grammar import Grammar

pytestmark = pytest.mark.kernel

ROUNDS = 160
# iptables writes these; rulesets of real firewalls cover them (test_real_firewalls)
BY_IPTABLES = {model.Xt}
# no nft of Debian writes these
BY_OTHERS = {fw.Tunnel}
# options of an expression: its field, and the values that must occur
OPTIONS: dict[type, dict[str, set[object]]] = {
    fw.Payload: {"base": {"link", "network", "transport"}},
    fw.PayloadSet: {"base": {"network", "transport"}},
    fw.Cmp: {"op": {"eq", "neq", "lt", "lte", "gt", "gte"}},
    fw.Bitwise: {"op": {"mask-xor", "lshift", "rshift"}},  # "and", "or", "xor" of two registers: nft 1.1.2 and later (test_bdd)
    fw.Byteorder: {"op": {"hton"}},
    fw.Range: {"op": {"neq"}},  # nft writes what lies inside as two comparisons
    fw.Lookup: {"inverted": {True, False}},
    fw.Meta: {
        "key": {
            "iif", "iifname", "iiftype", "iifgroup", "l4proto", "nfproto", "protocol", "mark", "pkttype", "len", "skuid", "skgid",
            "cgroup", "priority", "secpath", "cpu", "prandom", "oif", "oifname", "iifkind", "sdif",
        }
    },
    fw.MetaSet: {"key": {"mark", "priority", "pkttype"}},
    fw.Ct: {"key": {"state", "mark", "status", "direction", "zone", "l3protocol", "protocol"}, "direction": {None, 0, 1}},
    fw.CtSet: {"key": {"mark", "zone", "labels"}},
    fw.Fib: {"result": {"oif", "oifname", "addrtype"}},
    fw.Limit: {"inverted": {True, False}, "kind": {"packets", "bytes"}},
    fw.Reject: {"kind": {"icmp", "tcp-reset", "icmpx"}},
    fw.Nat: {"kind": {"dnat", "snat"}, "family": {"ip", "ip6"}},
    fw.Dynset: {"op": {"add", "update", "delete"}, "conditional": {True, False}},
    fw.Exthdr: {"op": {"ipv6", "tcp", "ip", "sctp"}, "present": {True, False}, "kind": {0, 2, 43, 44, 60, 135}},
    fw.ExthdrSet: {"op": {"tcp"}},
    fw.Socket: {"key": {"transparent", "wildcard", "mark", "cgroupv2"}},
    fw.Route: {"key": {"classid", "nexthop4", "nexthop6", "xfrm"}},
    fw.Numgen: {"mode": {"inc", "random"}, "offset": {0, 3}},
    fw.Hash: {"mode": {"jhash", "symhash"}, "seed": {None, 7}},
    fw.Osf: {"ttl": {0, 1}},
    fw.Quota: {"over": {True, False}},
    fw.Connlimit: {"over": {True, False}},
    fw.Xfrm: {"direction": {"in"}},
    fw.Unknown: {"terminal": {False}},
}  # fmt: skip
VERDICTS = {"accept", "drop", "return", "jump", "goto", "continue"}
HOOKS = {"ingress", "prerouting", "input", "forward", "postrouting"}


@pytest.fixture(scope="module")
def rulesets() -> list[fw.Ruleset]:
    """Generated rulesets as the kernel holds them."""

    def inside(place: Stage) -> list[fw.Ruleset]:
        with bench(place) as built:
            out = [built.load(Grammar(Random(f"grammar/{n}")).text())[0].ruleset for n in range(ROUNDS)]
            assert built.refused < 0.2 * built.lines, f"nft refuses {built.refused} of {built.lines} lines"
        return out

    with stage() as place:
        return place.box.call(lambda: inside(place))


def expressions(rulesets: list[fw.Ruleset]) -> Iterator[fw.Expr]:
    """Every expression of every rule."""
    return (e for s in rulesets for t in s.tables for c in t.chains for r in c.rules for e in r.exprs)


def test_every_expression_occurs(rulesets: list[fw.Ruleset]) -> None:
    """Each class of the model, but those that only iptables makes, is in some ruleset."""
    seen = {type(e) for e in expressions(rulesets)}
    assert set(get_args(model.Expr)) - BY_IPTABLES - BY_OTHERS <= seen


def test_every_option_occurs(rulesets: list[fw.Ruleset]) -> None:
    """Each option of an expression is in some ruleset."""
    seen: dict[type, dict[str, set[object]]] = {}
    for expr in expressions(rulesets):
        for field in dataclasses.fields(expr):
            value = getattr(expr, field.name)
            if isinstance(value, str | bool | int | None) and not isinstance(value, bytes):
                seen.setdefault(type(expr), {}).setdefault(field.name, set()).add(value)
    for kind, options in OPTIONS.items():
        for name, wanted in options.items():
            assert wanted <= seen.get(kind, {}).get(name, set()), f"{kind.__name__}.{name}"


def test_every_verdict_hook_and_kind_of_set_occurs(rulesets: list[fw.Ruleset]) -> None:
    """Jumps, verdict maps, data maps, concatenations, intervals, timeouts, catch-alls; every hook and family of tables."""
    verdicts = {
        e.data.kind for e in expressions(rulesets) if isinstance(e, fw.Immediate) and isinstance(e.data, fw.Verdict)
    }
    sets = [s for r in rulesets for t in r.tables for s in t.sets]
    elements = [e for s in sets for e in s.elements]
    verdicts_of_maps = {e.data.kind for e in elements if isinstance(e.data, fw.Verdict)}
    hooks = [c.hook for r in rulesets for t in r.tables for c in t.chains if c.hook]

    assert verdicts >= VERDICTS - {"continue"}
    assert verdicts_of_maps >= VERDICTS
    assert {h.hook for h in hooks} == HOOKS
    assert {h.kind for h in hooks} == {"filter", "nat"}
    assert {h.policy for h in hooks} == {"accept", "drop"}
    assert {t.family for r in rulesets for t in r.tables} == {"inet", "ip", "ip6", "netdev"}
    flags = {bit for s in sets for bit in (1 << i for i in range(8)) if s.flags & bit}
    assert flags >= {
        model.SET_ANONYMOUS, model.SET_CONSTANT, model.SET_INTERVAL, model.SET_MAP, model.SET_TIMEOUT, model.SET_EVAL,
    }  # fmt: skip
    assert any(s.field_lengths for s in sets)
    assert any(e.catchall for e in elements)
    assert any(e.key_end for e in elements)
    assert any(isinstance(e.data, bytes) for e in elements)
