"""The second engine: masks, marks and registers as bits, and when it is asked."""

import itertools
from dataclasses import replace
from random import Random

import pytest

from librespot_guard.firewall.model import (
    Bitwise,
    Byteorder,
    Chain,
    Cmp,
    Expr,
    Hook,
    Immediate,
    Limit,
    Lookup,
    Meta,
    MetaSet,
    Payload,
    Rule,
    Ruleset,
    Set,
    Table,
)
from librespot_guard.reach import bdd, choose
from librespot_guard.reach.engine import Answer, Engine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.intervals import IntervalSet, parse_cidrs
from librespot_guard.reach.packet import Packet
from librespot_guard.reach.routing import number, text
from librespot_guard.reach.world import World
from reach.hosts import ACCEPT, DROP, from_lan, input_world, namespace, to_tcp, v4

pytest.importorskip("oxidd", reason="the extra [bdd] (oxidd) is not installed")
from librespot_guard.reach.bdd.engine import BddEngine

HOST = number("192.168.10.2")
# `ip saddr & 0.0.0.255 == 9`
LAST_BYTE = (
    *v4(),
    Payload("network", 12, 4, 0),
    Bitwise("mask-xor", 0, 0, 4, b"\0\0\0\xff", bytes(4)),
    Cmp("eq", 0, b"\0\0\0\x09"),
)


def ask(world: World, port: int = 3678) -> Answer:
    """What the second engine says about TCP over IPv4 on eth0."""
    return BddEngine(world, "eth0", "ipv4", "tcp").ask(HOST, port)


def test_a_mask_inside_a_network_is_exact() -> None:
    """Addresses that end in .9 within a network: one address for each last byte, and the first engine can't tell."""
    world = input_world((*from_lan(), *LAST_BYTE, *to_tcp(3678), ACCEPT))

    answer = ask(world)

    assert answer.exact
    assert answer.may == parse_cidrs("ipv4", ["192.168.10.9/32"])
    assert not Engine(world, "eth0", "ipv4", "tcp").ask(HOST, 3678).exact


def test_a_set_too_long_to_list_is_bounded_and_says_so() -> None:
    """All addresses that end in .9 are 16 million ranges: the answer gives bounds and the reason, and never "exact"."""
    answer = ask(input_world((*LAST_BYTE, ACCEPT)))

    assert isinstance(answer, type(ask(input_world())))
    assert not answer.exact
    assert any("more separate ranges" in reason for reason in answer.because)
    assert number("10.0.0.9") in answer.may
    assert answer.choices(number("10.0.0.9"))["dport"] == 3678
    with pytest.raises(KeyError):
        answer.choices(number("10.0.0.8"))


@pytest.mark.parametrize("op", ["and", "or", "xor"])
def test_two_registers_combine_bit_by_bit(op: str) -> None:
    """Source and destination address combined, compared with a constant: exactly the sources for which it holds."""
    both = {"and": int.__and__, "or": int.__or__, "xor": int.__xor__}[op]
    wanted = both(number("192.168.10.77"), HOST)
    rule = (
        *from_lan(), Payload("network", 12, 4, 1), Payload("network", 16, 4, 2), Bitwise(op, 1, 3, 4, sreg2=2),
        Cmp("eq", 3, wanted.to_bytes(4, "big")), ACCEPT,
    )  # fmt: skip
    lan = range(number("192.168.10.0"), number("192.168.10.0") + 256)

    answer = ask(input_world(rule))

    expected = IntervalSet.of((s, s) for s in lan if both(s, HOST) == wanted and s != HOST)
    assert answer.exact
    assert answer.may == expected


def test_marks_are_computed_exactly() -> None:
    """A mark from the address, shifted, masked and tested later: what the interpreter says for every source of the network."""
    rules: tuple[tuple[Expr, ...], ...] = (
        (*from_lan(), Payload("network", 15, 1, 0), Bitwise("lshift", 0, 0, 4, shift=2), MetaSet("mark", 0)),
        (
            Meta("mark", 0),
            Bitwise("mask-xor", 0, 0, 4, b"\xf0\0\0\0", b"\x10\0\0\0"),
            Cmp("eq", 0, b"\x50\0\0\0"),
            *to_tcp(3678),
            ACCEPT,
        ),
    )
    world = input_world(*rules)

    answer = ask(world)

    assert answer.exact
    for last in range(256):
        source = f"192.168.10.{last}"
        said = trace(world, Packet("eth0", source, "192.168.10.2", "tcp", 40000, 3678)).verdict
        assert (number(source) in answer.may) == (said == "delivered"), source


def test_random_bit_programs_agree_with_the_interpreter() -> None:
    """Masks, shifts and byte orders of the source address in random order: the interpreter agrees on sampled sources."""
    random = Random(7)
    for _ in range(40):
        steps: list[Expr] = [*from_lan(), Payload("network", 12, 4, 0)]
        choices: list[Expr] = [
            Bitwise("mask-xor", 0, 0, 4, random.randbytes(4), random.randbytes(4)),
            Bitwise("lshift", 0, 0, 4, shift=random.randrange(32)),
            Bitwise("rshift", 0, 0, 4, shift=random.randrange(32)),
            Byteorder("hton", 0, 0, 4, random.choice([2, 4])),
        ]
        steps += random.choices(choices, k=random.randint(1, 4))
        steps += [Cmp(random.choice(["lt", "gte", "eq", "neq"]), 0, random.randbytes(4)), ACCEPT]
        world = input_world(tuple(steps))
        answer = ask(world)
        for last in (0, 1, 3, 7, 9, 63, 64, 77, 128, 200, 254, 255):
            source = f"192.168.10.{last}"
            said = trace(world, Packet("eth0", source, "192.168.10.2", "tcp", 40000, 3678)).verdict
            assert (number(source) in answer.may) == (said == "delivered"), (source, steps)


def test_what_nobody_knows_is_may_and_not_must() -> None:
    """A rate limit: everybody of the network may get through, nobody must, and the rule is named."""
    answer = ask(input_world((*from_lan(), Limit(1, 1, 5, inverted=False), ACCEPT)))

    assert not answer.must
    assert answer.may == parse_cidrs("ipv4", ["192.168.10.0/24"]) - IntervalSet.single(HOST)
    assert any("rate limit" in reason for reason in answer.because)


def test_a_limit_that_changes_nothing_costs_nothing() -> None:
    """Both outcomes of a limit lead to accept: that is exact."""
    answer = ask(input_world((*from_lan(), Limit(1, 1, 5, inverted=False), ACCEPT), (*from_lan(), ACCEPT)))

    assert answer.exact
    assert not answer.because


def test_a_missing_set_may_hold_anything() -> None:
    """A look-up in a set that was not read may hit or miss."""
    chain = Chain(
        "input",
        1,
        (Rule(2, (*v4(), Payload("network", 12, 4, 0), Lookup("gone", 0), ACCEPT)),),
        Hook("input", 0, "drop"),
    )
    world = World(namespace(), Ruleset((Table("inet", "filter", (chain,), (Set("other", 0, 4),)),)))

    answer = ask(world)

    assert not answer.must
    assert answer.may.size() > 1 << 31


def test_the_second_engine_is_asked_only_where_it_helps() -> None:
    """A mask: the second engine answers, exactly. A network: the first. A rate limit: the first, nobody can know."""
    cases = {
        (*from_lan(), *LAST_BYTE, ACCEPT): "bdd",
        (*from_lan(), ACCEPT): "intervals",
        (*from_lan(), Limit(1, 1, 5, inverted=False), ACCEPT): "intervals",
    }
    for rule, engine in cases.items():
        answer, name = choose.ask(Engine(input_world(rule), "eth0", "ipv4", "tcp"), HOST, 3678)
        assert name == engine
        assert answer.exact == (engine == "bdd" or len(rule) == len(from_lan()) + 1)


def test_without_the_extra_the_reason_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second engine would help and is missing, the answer says what to install."""
    monkeypatch.setattr(bdd, "available", lambda: False)

    answer, name = choose.ask(Engine(input_world((*from_lan(), *LAST_BYTE, ACCEPT)), "eth0", "ipv4", "tcp"), HOST, 3678)

    assert name == "intervals"
    assert choose.MISSING in answer.because


def test_both_engines_agree_on_random_chains() -> None:
    """Random rules of networks and ports: the same exact answer, and a packet for every promise."""
    random = Random(11)
    pieces = [from_lan(), v4(), to_tcp(3678), to_tcp(80), (Payload("transport", 0, 2, 0), Cmp("lt", 0, b"\x04\x00"))]
    for _ in range(60):
        rules = []
        for _ in range(random.randint(1, 6)):
            parts = itertools.chain.from_iterable(random.sample(pieces, random.randint(0, 2)))
            rules.append((*parts, random.choice([ACCEPT, DROP])))
        world = input_world(*rules, policy=random.choice(["accept", "drop"]))
        first, second = Engine(world, "eth0", "ipv4", "tcp").ask(HOST, 3678), ask(world)
        assert (first.may, first.must, first.exact) == (second.may, second.must, second.exact)
        for source in {s for pair in second.must.pairs for s in pair}:
            choice = second.choices(source)
            packet = Packet("eth0", text("ipv4", source), "192.168.10.2", "tcp", choice.get("sport", 40000), 3678)
            assert trace(world, packet).verdict == "delivered"


def test_answers_are_values() -> None:
    """Two engines of the same world give equal answers, and an answer can be changed like any value."""
    world = input_world((*from_lan(), ACCEPT))

    assert ask(world) == ask(world)
    assert replace(ask(world), because=("why",)).because == ("why",)


def test_a_constant_verdict_needs_no_variables() -> None:
    """An empty chain with policy accept lets everybody through but those that routing refuses."""
    answer = ask(input_world((Immediate(0, b"\0"),), policy="accept"))

    assert answer.exact
    assert number("8.8.8.8") in answer.must
    assert HOST in answer.martian
    assert HOST not in answer.may
