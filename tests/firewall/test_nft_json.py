"""The reader of `nft -j`: what the listing leaves out becomes a doubt, what is not understood is loud, and nothing makes it fall over."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.firewall import (
    Cmp,
    Immediate,
    Lookup,
    Meta,
    Reject,
    Rule,
    Ruleset,
    Unknown,
    Verdict,
    read_listings,
)
from librespot_guard.firewall.model import SET_EVAL, TABLE_DORMANT
from librespot_guard.firewall.nft_json import read_nft_json
from librespot_guard.snapshot import FilterText

HOOK = {"type": "filter", "hook": "input", "prio": 0, "policy": "accept"}
ACCEPT: dict[str, Any] = {"accept": None}


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    """One condition."""
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    """One field of a header."""
    return {"payload": {"protocol": protocol, "field": field}}


def listing(
    *rules: Any, family: str = "inet", version: str = "1.0.6", table: Any = None, hook: Any = None, sets: Any = ()
) -> str:
    """A listing with one chain of these rules."""
    at = {"family": family, "table": "t"}
    return json.dumps(
        {
            "nftables": [
                {"metainfo": {"version": version, "json_schema_version": 1}},
                {"table": {"family": family, "name": "t", "handle": 1, **(table or {})}},
                {"chain": {**at, "name": "c", "handle": 1, **(HOOK if hook is None else hook)}},
                *({"set": {**at, **s}} for s in sets),
                *({"rule": {**at, "chain": "c", "handle": n, "expr": r}} for n, r in enumerate(rules, 2)),
            ]
        }
    )


def rules(text: str) -> tuple[Rule, ...]:
    """The rules of the one chain of a listing."""
    return read_nft_json(text).tables[0].chains[0].rules


def doubts(rule: Rule) -> list[str]:
    """The names of what is not understood in a rule."""
    return [e.name for e in rule.exprs if isinstance(e, Unknown)]


@pytest.mark.parametrize(
    ("family", "guard"),
    [("inet", Meta("nfproto", 15)), ("netdev", Meta("protocol", 15)), ("bridge", Meta("protocol", 15)), ("ip", None)],
)
def test_guards_are_put_back(family: str, guard: Meta | None) -> None:
    """`ip saddr` asks for IPv4 first where the table sees other packets too, and only there."""
    (rule,) = rules(listing([match(payload("ip", "saddr"), "192.168.10.9"), ACCEPT], family=family))
    assert (rule.exprs[0] == guard) is (guard is not None)
    assert rule.exprs[-2:] == (Cmp("eq", 0, bytes([192, 168, 10, 9])), Immediate(-1, Verdict("accept")))


def test_a_reject_of_one_family() -> None:
    """`reject with icmpv6` has a guard of IPv6 that is not printed; whether the kernel has it too is left open, not claimed."""
    sure, maybe = rules(listing([{"reject": {"type": "icmpv6", "expr": "no-route"}}]))
    assert sure.exprs == (Meta("nfproto", 15), Cmp("eq", 15, b"\x0a"), Reject("icmp", 0))
    assert doubts(maybe)
    assert maybe.exprs[-1] == Reject("icmp", 0)
    (only,) = rules(listing([{"reject": {"type": "icmpv6", "expr": "no-route"}}], family="ip6"))
    assert only.exprs == (Reject("icmp", 0),)


@pytest.mark.parametrize("version", ["1.0.6", "1.1.1", "1.1.2", "1.1.6"])
def test_guards_that_old_versions_lose(version: str) -> None:
    """`ct protocol` and `th` may have lost the condition before them, until nft 1.1.2."""
    old = version < "1.1.2"
    for left, right in (({"ct": {"key": "protocol"}}, "tcp"), (payload("th", "sport"), 0)):
        (rule,) = rules(listing([match(left, right), ACCEPT], version=version))
        assert bool(doubts(rule)) is old
    told = [match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}), match(payload("th", "dport"), 53), ACCEPT]
    assert not doubts(rules(listing(told, version=version))[0])


def test_an_unknown_version_is_an_old_one() -> None:
    """A listing that does not say its version is taken for the lossiest."""
    text = listing([match({"ct": {"key": "protocol"}}, "tcp"), ACCEPT]).replace('"version": "1.0.6", ', "")
    assert doubts(rules(text)[0])


@pytest.mark.parametrize(
    ("flags", "dormant"), [("dormant", True), (["dormant"], True), (["dormant", "owner"], True), (None, False)]
)
def test_dormant(flags: Any, *, dormant: bool) -> None:
    """A dormant table is one, in both spellings."""
    ruleset = read_nft_json(listing([ACCEPT], table={"flags": flags} if flags else {}))
    assert bool(ruleset.tables[0].flags & TABLE_DORMANT) is dormant
    assert not ruleset.incomplete


def test_a_flag_out_of_freed_memory() -> None:
    """What nft 1.0.6 prints for a dormant table may be any word: the table may be dormant, and no rule of it is sure."""
    ruleset = read_nft_json(listing([{"drop": None}], table={"flags": "dorm"}))
    assert "may be dormant" in ruleset.incomplete[0]
    assert doubts(ruleset.tables[0].chains[0].rules[0])


def test_a_listing_that_is_cut() -> None:
    """Where nft stops in the middle and exits with 0, the place and the likely cause are told."""
    text = listing([ACCEPT])
    with pytest.raises(InputError, match=r"nft -j:1:\d+: not a whole JSON document") as caught:
        read_nft_json(text[:179])
    assert "dormant" in caught.value.hint


def test_a_listing_that_lacks_a_chain() -> None:
    """A rule that goes to a chain which is not listed is wrong input, with the name of the chain, not a fault when somebody asks."""
    with pytest.raises(InputError, match="goes to the chain `nope`, which it does not hold"):
        read_nft_json(listing([{"jump": {"target": "nope"}}]))


@pytest.mark.parametrize("devices", [None, "eth0", ["eth0", "eth1"]])
def test_devices(devices: Any) -> None:
    """A netdev chain without devices may filter any of them, and is a doubt; with them it filters those."""
    hook = {"type": "filter", "hook": "ingress", "prio": 0, "policy": "drop", **({"dev": devices} if devices else {})}
    ruleset = read_nft_json(listing([ACCEPT], family="netdev", hook=hook))
    found = ruleset.tables[0].chains[0].hook
    assert found is not None
    if devices is None:
        assert found.devices == ("*",)
        assert "devices" in ruleset.incomplete[0]
        assert doubts(ruleset.tables[0].chains[0].rules[0])
    else:
        assert set(found.devices) == set(devices if isinstance(devices, list) else [devices])
        assert not ruleset.incomplete


def test_a_dynamic_set_without_the_word() -> None:
    """A set that a rule adds to is dynamic, though nft before 1.0.9 does not say so."""
    known = {"name": "s", "type": "ipv4_addr", "handle": 3, "flags": ["timeout"]}
    rule = [{"set": {"op": "add", "elem": payload("ip", "saddr"), "set": "@s"}}, ACCEPT]
    (found,) = read_nft_json(listing(rule, sets=[known])).tables[0].sets
    assert found.flags & SET_EVAL


def test_a_map_to_addresses_with_ports() -> None:
    """The type of such data is one text with a dot; `dnat ip addr . port to tcp dport map @m` is read whole."""
    known = {
        "name": "m",
        "type": "inet_service",
        "map": "ipv4_addr . inet_service",
        "handle": 3,
        "elem": [[53, {"concat": ["10.0.0.1", 22]}]],
    }
    rule = [{"dnat": {"family": "ip", "addr": {"map": {"key": payload("tcp", "dport"), "data": "@m"}}}}]
    hook = {"type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}
    document = json.loads(listing(rule, family="ip", hook=hook))
    document["nftables"].insert(2, {"map": {"family": "ip", "table": "t", **known}})
    ruleset = read_nft_json(json.dumps(document))
    assert not ruleset.incomplete
    (table,) = ruleset.tables
    (element,) = table.sets[0].elements
    assert element.data == bytes((10, 0, 0, 1, 0, 22, 0, 0))
    (found,) = table.chains[0].rules
    assert not any(isinstance(e, Unknown) for e in found.exprs)


@pytest.mark.parametrize("xt", [{"type": "match", "name": "conntrack"}, {"type": "target", "name": "DNAT"}, None])
def test_extensions_have_no_parameters(xt: Any) -> None:
    """An extension of iptables is a doubt with its name; a target may do anything."""
    (rule,) = rules(listing([{"xt": xt}, ACCEPT]))
    (found,) = [e for e in rule.exprs if isinstance(e, Unknown)]
    assert found.name.startswith("xt ")
    assert found.terminal is (xt is None or xt["type"] == "target")


def test_flags_and_sets_differ() -> None:
    """`tcp flags syn` (in) is a test of a bit, `tcp flags { syn }` (==) of the whole value; lists and bare words are the same."""
    bit, word, whole = rules(
        listing(
            [match(payload("tcp", "flags"), ["syn"], "in"), ACCEPT],
            [match(payload("tcp", "flags"), "syn", "in"), ACCEPT],
            [match(payload("tcp", "flags"), {"set": ["syn"]}), ACCEPT],
        )
    )
    assert bit.exprs == word.exprs
    assert bit.exprs != whole.exprs
    assert any(isinstance(e, Lookup) for e in whole.exprs)


@pytest.mark.parametrize(
    "left", [{"fib": {"result": "check", "flags": "daddr"}}, {"fib": {"result": "oif", "flags": ["daddr"]}}]
)
def test_both_spellings_of_fib(left: Any) -> None:
    """`fib … exists` is printed as a check or as an interface compared with true: one and the same."""
    (rule,) = rules(listing([match(left, right=True), ACCEPT]))
    assert not doubts(rule)
    assert rule.exprs[0].flags == 2 | 32  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("statement", "terminal"),
    [
        (match({"payload": {"protocol": "tcp", "field": "dport", "new": 1}}, 22), False),
        (match({"new": {}}, 22), False),
        (match(payload("tcp", "dport"), {"new": 1}), False),
        (match(payload("tcp", "dport"), 70000), False),
        ({"new": None}, True),
        ({"accept": {"new": 1}}, True),
        ({"dnat": {"addr": "192.168.10.2", "new": 1}}, True),
        ("accept", True),
        ([], True),
    ],
)
def test_what_is_not_understood_is_loud(statement: Any, *, terminal: bool) -> None:
    """A condition with an unknown key may hold or not, a statement may do anything; neither is skipped."""
    (rule,) = rules(listing([statement, ACCEPT]))
    (found,) = [e for e in rule.exprs if isinstance(e, Unknown)]
    assert found.terminal is terminal
    assert rule.exprs[-1] == Immediate(-1, Verdict("accept"))


@pytest.mark.parametrize("kind", ["table", "chain", "set", "rule"])
def test_unknown_keys(kind: str) -> None:
    """An unknown key of a table, chain, set or rule is named, so that no answer is called exact."""
    document = json.loads(listing([ACCEPT], sets=[{"name": "s", "type": "ipv4_addr", "handle": 3}]))
    for item in document["nftables"]:
        if kind in item:
            item[kind]["surprise"] = 1
    assert any("surprise" in text for text in read_nft_json(json.dumps(document)).incomplete)


@pytest.mark.parametrize("value", [8, 0x0800, "ip"])
def test_ether_types_as_numbers(value: Any) -> None:
    """`nft -jn` prints ether types in the byte order of its machine; both numbers of one mean the same."""
    (rule,) = rules(listing([match({"meta": {"key": "protocol"}}, value), ACCEPT]))
    assert Cmp("eq", 0, b"\x08\x00") in rule.exprs


def test_two_listings_that_cannot_be_laid_side_by_side() -> None:
    """Where a chain with extensions has another number of rules in iptables-save, no parameter is taken and both texts are shown."""
    text = (
        listing([{"xt": {"type": "match", "name": "conntrack"}}, ACCEPT], family="ip")
        .replace('"t"', '"filter"')
        .replace('"c"', '"INPUT"')
    )
    line = "-A INPUT -m conntrack --ctstate NEW -j ACCEPT"
    save = "*filter\n:INPUT ACCEPT [0:0]\n{}COMMIT\n"
    same = read([("nft-json", text), ("iptables-save", save.format(line + "\n"))])
    other = read([("nft-json", text), ("iptables-save", save.format(2 * (line + "\n")))])
    assert not same.incomplete
    assert not doubts(same.tables[0].chains[0].rules[0])
    assert "cannot certify" in other.incomplete[0]
    assert line in other.incomplete[0]
    assert "conntrack" in other.incomplete[0]
    assert doubts(other.tables[0].chains[0].rules[0])


def read(texts: list[tuple[str, str]]) -> Ruleset:
    """The ruleset of several listings."""
    return read_listings([FilterText(kind, kind, text) for kind, text in texts], interfaces={})


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 70000)
    | st.sampled_from(["", "ip", "@s", "eth*", "accept", "1.2.3.4", "tcp", "-1", "9" * 50]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "match",
                    "op",
                    "left",
                    "right",
                    "payload",
                    "protocol",
                    "field",
                    "meta",
                    "key",
                    "ct",
                    "set",
                    "map",
                    "data",
                    "elem",
                    "val",
                    "concat",
                    "prefix",
                    "addr",
                    "len",
                    "range",
                    "vmap",
                    "dnat",
                    "port",
                    "limit",
                    "rate",
                    "per",
                    "reject",
                    "type",
                    "expr",
                    "xt",
                    "name",
                    "mangle",
                    "value",
                    "fib",
                    "flags",
                    "result",
                    "jump",
                    "target",
                    "&",
                    "|",
                    "<<",
                    "log",
                    "counter",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(_JSON)
def test_no_rule_makes_it_fall_over(statement: Any) -> None:
    """Whatever stands in a rule, the ruleset is read, and what is no statement is not taken for one."""
    found = rules(listing([statement, ACCEPT]))
    assert found
    assert found[0].exprs[-1] == Immediate(-1, Verdict("accept"))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["table", "chain", "set", "map", "element", "flowtable", "counter", "metainfo", "new"]), _JSON)
def test_no_object_makes_it_fall_over(kind: str, body: Any) -> None:
    """Whatever stands in a listing, it is read or named."""
    text = json.dumps(
        {"nftables": [{kind: body}, {kind: {"family": "inet", "table": "t", "name": "t", "type": body, "elem": body}}]}
    )
    read_nft_json(text)


def test_depth_is_bounded() -> None:
    """A listing of a hundred thousand brackets is refused, not followed."""
    with pytest.raises(InputError, match="nested too deeply"):
        read_nft_json('{"nftables": ' + "[" * 100000 + "]" * 100000 + "}")
    deep: Any = payload("tcp", "dport")
    for _ in range(300):
        deep = {"&": [deep, 1]}
    assert rules(listing([match(deep, 1), ACCEPT]))
