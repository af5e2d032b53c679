"""Decoding kernel dumps: what is written is read, in either byte order, and what is strange is kept as a gap, never lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.messages import Writer, small
from librespot_guard.errors import InputError
from librespot_guard.firewall import (
    VERDICT,
    Bitwise,
    Chain,
    Cmp,
    Dynset,
    Element,
    Expr,
    Hook,
    Immediate,
    Meta,
    Pass,
    Payload,
    Quota,
    Rule,
    Ruleset,
    Unknown,
    Verdict,
    Xt,
    decode,
)
from librespot_guard.snapshot import NftDump, RuleText

W = Writer()


def read(data: bytes, byteorder: str = "little") -> Ruleset:
    """The ruleset in these messages."""
    return decode(NftDump(1, data), byteorder=byteorder)


def one(*expressions: bytes) -> tuple[tuple[Expr, ...], Ruleset]:
    """The expressions of the only rule, and the ruleset it is in."""
    found = read(W.table("inet", "t") + W.chain("inet", "t", "c") + W.rule("inet", "t", "c", 4, *expressions))
    return found.tables[0].chains[0].rules[0].exprs, found


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_both_byte_orders(byteorder: str) -> None:
    """A dump of a machine of either byte order gives the same model; only host integers keep the order of their host."""
    ruleset = read(small(byteorder), byteorder)
    (table,) = ruleset.tables
    mark = (7).to_bytes(4, "little" if byteorder == "little" else "big")

    assert ruleset.incomplete == ()
    assert table.chain("input") == Chain(
        "input",
        2,
        (
            Rule(5, (Meta("mark", 0), Cmp("eq", 0, mark), Immediate(VERDICT, Verdict("accept")))),
            Rule(6, (Immediate(VERDICT, Verdict("jump", "side")),)),
        ),
        Hook("input", -10, "drop"),
    )
    assert table.chain("side").hook is None
    assert table.set("s").elements == (Element(b"\x0a\x00\x00\x00"), Element(b"\x0b\x00\x00\x00", interval_end=True))


def test_rule_text_comes_from_the_tool() -> None:
    """The text of a rule is found by family, table, chain and handle, and a rule without one has none."""
    dump = NftDump(
        1,
        small("little"),
        (RuleText("inet", "t", "input", 5, "meta mark 7 accept"), RuleText("ip", "t", "input", 6, "x")),
    )
    rules = decode(dump, byteorder="little").tables[0].chain("input").rules

    assert [r.text for r in rules] == ["meta mark 7 accept", None]


@pytest.mark.parametrize("cut", [1, 15, 19, 40, 77])
def test_a_cut_stream_is_an_error(cut: int) -> None:
    """A dump whose last message is not whole is refused and says so."""
    with pytest.raises(InputError, match="is cut"):
        read(small("little")[:-cut])


def test_empty() -> None:
    """No messages: no tables, and nothing is missing."""
    assert read(b"") == Ruleset((), "little")


def test_registers_are_slots() -> None:
    """NFT_REG_2 is slot 4, NFT_REG32_03 is slot 3; a register that does not exist makes the expression unknown."""
    load = [W.expression("meta", W.attribute(2, 6), W.attribute(1, number)) for number in (2, 11, 30)]
    exprs, _ = one(*load)

    assert exprs[:2] == (Meta("iifname", 4), Meta("iifname", 3))
    assert isinstance(exprs[2], Unknown)
    assert exprs[2].terminal


def test_unknown_expressions_say_what_they_may_do() -> None:
    """What is not understood names the registers it writes and whether it may end the packet's way."""
    exprs, ruleset = one(
        W.expression("numgen", W.attribute(1, 9)),
        W.expression("exthdr", W.attribute(1, 1), W.attribute(4, 6)),
        W.expression("queue", W.attribute(1, 1, 2)),
        W.expression("quota", W.attribute(1, 1, 8)),
        W.expression("invented", W.attribute(1, 1)),
        W.expression("objref", W.attribute(1, 1), W.attribute(2, "c")),
        W.expression("objref", W.attribute(1, 2), W.attribute(2, "q")),
        W.expression("log"),
        W.expression("match", W.attribute(1, "owner"), W.attribute(2, 1), W.attribute(3, b"\1\2")),
    )
    numgen, exthdr, queue, quota, invented, counter, quota_object, log, match = exprs

    # without what they need, all that is sure is that they decide nothing
    for found in (numgen, exthdr):
        assert isinstance(found, Unknown)
        assert (len(found.writes), found.terminal) == (16, False)
    assert isinstance(queue, Unknown)
    assert (queue.writes, queue.terminal) == ((), True)
    assert quota == Quota(1)
    assert isinstance(invented, Unknown)
    assert (len(invented.writes), invented.terminal) == (16, True)
    assert counter == Pass("counter")
    assert isinstance(quota_object, Unknown)
    assert log == Pass("log")
    assert match == Xt("match", "owner", 1, b"\1\2")
    assert ruleset.incomplete == ()


def test_newer_bitwise_operations() -> None:
    """`and` with a register and `or` with a constant (Linux 6.13) keep their second operand."""
    common = (W.attribute(1, 1), W.attribute(2, 1), W.attribute(3, 4))
    exprs, _ = one(
        W.expression("bitwise", *common, W.attribute(6, 3), W.attribute(8, 2)),
        W.expression("bitwise", *common, W.attribute(6, 4), W.value(7, b"\0\0\0\1")),
    )

    assert exprs == (Bitwise("and", 0, 0, 4, sreg2=4), Bitwise("or", 0, 0, 4, mask=b"\0\0\0\1"))


def test_a_limit_in_a_dynset_decides() -> None:
    """A dynamic set statement with a rate limit is marked as conditional, one with a counter is not."""
    base = (W.attribute(1, "s"), W.attribute(3, 1), W.attribute(4, 1))
    limit = W.nested(7, W.attribute(1, "limit"), W.nested(2))
    counter = W.nested(10, W.nested(1, W.attribute(1, "counter"), W.nested(2)))
    exprs, _ = one(
        W.expression("dynset", *base, limit), W.expression("dynset", *base, counter), W.expression("dynset", *base)
    )

    assert exprs == (Dynset("s", "update", 0, conditional=True), Dynset("s", "update", 0), Dynset("s", "update", 0))


def test_devices_and_their_prefixes() -> None:
    """A chain at ingress lists every device, and a device prefix of newer kernels as a wildcard."""
    hook = W.hook(0, 5, W.attribute(1, "eth0"), W.attribute(1, "eth1"), W.attribute(2, b"wl"))
    ruleset = read(W.table("netdev", "n") + W.chain("netdev", "n", "i", hook))

    assert ruleset.tables[0].chain("i").hook == Hook("ingress", 5, devices=("eth0", "eth1", "wl*"))


def test_strange_messages_are_named() -> None:
    """An unknown family, an unknown kind, a hook that does not exist and orphans end up in `incomplete`."""
    ruleset = read(
        W.message(0, 99, W.attribute(1, "x"))
        + W.message(40, "inet")
        + W.message(3, "inet")
        + W.chain("inet", "t", "c", W.hook(17, 0))
        + W.rule("inet", "t", "elsewhere", 1, W.verdict(1))
        + W.message(12, "inet", W.attribute(1, "t"), W.attribute(2, "nowhere"))
    )

    assert len(ruleset.incomplete) == 6
    assert "chain inet t c: its hook is not understood (hook 17)" in ruleset.incomplete
    assert "table inet t: chain elsewhere has rules but was not listed" in ruleset.incomplete


def test_an_unreadable_rule_stays_in_its_place() -> None:
    """A rule whose expressions can't be read may do anything, and keeps its handle and position."""
    broken = W.message(
        6, "inet", W.attribute(1, "t"), W.attribute(2, "c"), W.attribute(3, 9, 8), W.attribute(4, b"\xff\xff\1\0")
    )
    rules = read(W.table("inet", "t") + W.chain("inet", "t", "c") + broken + W.rule("inet", "t", "c", 10, W.verdict(0)))
    first, second = rules.tables[0].chains[0].rules

    assert first.handle == 9
    assert isinstance(first.exprs[0], Unknown)
    assert first.exprs[0].terminal
    assert second.exprs == (Immediate(VERDICT, Verdict("drop")),)
    assert "handle 9" in rules.incomplete[0]


def test_an_unreadable_element_may_match_anything() -> None:
    """An element without a key, or with one of the wrong length, becomes a catch-all on a condition."""
    declare = W.message(9, "inet", W.attribute(1, "t"), W.attribute(2, "s"), W.attribute(5, 4))
    items = W.nested(
        3, W.nested(1, W.attribute(3, 0)), W.nested(1, W.value(1, b"\1\2")), W.nested(1, W.value(1, b"\1\2\3\4"))
    )
    ruleset = read(
        W.table("inet", "t") + declare + W.message(12, "inet", W.attribute(1, "t"), W.attribute(2, "s"), items)
    )
    unreadable = Element(b"", catchall=True, conditional=True)

    assert ruleset.tables[0].set("s").elements == (unreadable, unreadable, Element(b"\1\2\3\4"))
    assert len(ruleset.incomplete) == 2


def test_payload_of_a_newer_base_is_unknown() -> None:
    """A payload load from a header that this version does not know writes its register all the same."""
    load = (W.attribute(3, 0), W.attribute(4, 4), W.attribute(1, 1))
    exprs, _ = one(W.expression("payload", W.attribute(2, 4), *load), W.expression("payload", W.attribute(2, 2), *load))

    assert isinstance(exprs[0], Unknown)
    assert exprs[0].writes == (0,)
    assert exprs[1] == Payload("transport", 0, 4, 0)


_EXPRESSIONS = [
    "payload",
    "meta",
    "ct",
    "cmp",
    "range",
    "bitwise",
    "byteorder",
    "lookup",
    "immediate",
    "fib",
    "limit",
    "reject",
    "nat",
    "redir",
    "masq",
    "notrack",
    "counter",
    "log",
    "last",
    "dynset",
    "objref",
    "exthdr",
    "inner",
    "match",
    "target",
    "queue",
    "quota",
    "connlimit",
    "hash",
    "numgen",
    "rt",
    "socket",
    "osf",
    "tunnel",
    "xfrm",
    "tproxy",
    "synproxy",
    "dup",
    "fwd",
    "flow_offload",
]


@given(
    name=st.sampled_from(_EXPRESSIONS),
    parts=st.lists(st.tuples(st.integers(0, 12), st.binary(max_size=24)), max_size=8),
)
def test_no_attributes_of_an_expression_break_the_decoder(name: str, parts: list[tuple[int, bytes]]) -> None:
    """Whatever attributes an expression carries, the rule keeps exactly one expression in its place."""
    exprs, _ = one(W.expression(name, *(W.attribute(kind, data) for kind, data in parts)))

    assert len(exprs) == 1


@settings(max_examples=300)
@given(
    byteorder=st.sampled_from(["little", "big"]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_mutated_dumps_never_break_the_decoder(byteorder: str, changes: list[tuple[int, int]]) -> None:
    """Any change of any bytes gives a ruleset or says that the stream is cut."""
    data = bytearray(small(byteorder))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        ruleset = read(bytes(data), byteorder)
    except InputError:
        return
    assert isinstance(ruleset, Ruleset)
