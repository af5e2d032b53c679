"""Rules in words: the tool's text where there is one, else the bytecode."""

import pytest

from librespot_guard.firewall import (
    VERDICT,
    Bitwise,
    Cmp,
    Expr,
    Fib,
    Immediate,
    Lookup,
    Meta,
    Nat,
    Rule,
    Unknown,
    Verdict,
    expression_text,
    rule_text,
)


def test_text_of_the_tool_comes_first() -> None:
    """A rule that nft printed is shown as nft printed it."""
    assert rule_text(Rule(1, (Meta("mark", 0),), text="meta mark 1 accept")) == "meta mark 1 accept"


def test_bytecode_otherwise() -> None:
    """A rule without text is one line of its expressions, with its comment."""
    rule = Rule(1, (Meta("l4proto", 0), Cmp("eq", 0, b"\6"), Immediate(VERDICT, Verdict("goto", "x"))), comment="why")

    assert rule_text(rule) == '[ meta load l4proto => reg 0 ] [ cmp eq reg 0 0x06 ] [ verdict goto x ] comment "why"'


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        (Lookup("s", 1, VERDICT), "lookup reg 1 set s => verdict"),
        (Lookup("s", 1, inverted=True), "lookup reg 1 set s (inverted)"),
        (Bitwise("mask-xor", 0, 0, 1, b"\x0f", b"\0"), "bitwise reg 0 = ( reg 0 & 0x0f ) ^ 0x00"),
        (Bitwise("rshift", 0, 1, 4, shift=3), "bitwise reg 1 = ( reg 0 >> 3 )"),
        (Bitwise("xor", 0, 1, 4, sreg2=2), "bitwise reg 1 = ( reg 0 xor reg 2 )"),
        (Fib(1 | 8 | 32, "oif", 0), "fib saddr . iif . present oif => reg 0"),
        (Nat("dnat", "ip", 0, 0, 4, 4), "nat dnat ip addr reg 0 port reg 4"),
        (Unknown("osf", b""), "osf (not understood)"),
    ],
)
def test_expressions(expr: Expr, words: str) -> None:
    """Each kind of expression reads as what it does."""
    assert expression_text(expr) == words
