"""The interpreter where no kernel is needed: what it leaves open, what it refuses to guess, whom a packet reaches."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.firewall import (
    SET_EVAL,
    SET_MAP,
    VERDICT,
    Bitwise,
    Chain,
    Cmp,
    Dynset,
    Element,
    Expr,
    Hook,
    Immediate,
    Limit,
    Lookup,
    Meta,
    MetaSet,
    Notrack,
    Pass,
    Payload,
    Rule,
    Ruleset,
    Set,
    Table,
    Unknown,
    Verdict,
    Xt,
)
from librespot_guard.reach import Packet, World
from librespot_guard.reach._concrete_sets import Index
from librespot_guard.reach._concrete_values import Registers, between, equal, masked, sure, unsure
from librespot_guard.reach.interpreter import trace
from librespot_guard.snapshot import Listener
from reach.hosts import ACCEPT, DROP, input_world, namespace

PACKET = Packet("eth0", "192.168.10.9", "192.168.10.2", "tcp", dport=3678)
PORT = (Payload("transport", 2, 2, 0), Cmp("eq", 0, (3678).to_bytes(2, "big")))
LIMIT = Limit(1, 1, 5, inverted=False)


def verdict(*rules: tuple[Expr, ...], policy: str = "drop") -> str:
    """What becomes of the packet with these rules on input."""
    return trace(input_world(*rules, policy=policy), PACKET).verdict


def test_a_limit_that_decides_is_undecided() -> None:
    """If only a rate limit lets a packet in, the answer is undecided and names the rule; the trail ends where the ways part."""
    answer = trace(input_world((Pass("counter"),), (*PORT, LIMIT, ACCEPT)), PACKET)

    assert answer.verdict == "undecided"
    assert answer.because == ("inet filter input handle 3: a rate limit depends on earlier packets",)
    assert [s.handle for s in answer.trail] == [2]


def test_a_limit_that_does_not_decide() -> None:
    """If every way ends the same, the rate limit is no reason for doubt."""
    assert verdict((LIMIT, DROP), (DROP,)) == "dropped"
    assert verdict((LIMIT, ACCEPT), (ACCEPT,)) == "delivered"


def test_forty_limited_logs_cost_nothing() -> None:
    """A rule that only counts or logs needs no choice, however many there are."""
    assert verdict(*[(LIMIT, Pass("log"))] * 40, (ACCEPT,)) == "delivered"


def test_too_many_ways() -> None:
    """Twenty rate limits that each mark the packet are more ways than are followed: undecided, never a hang."""
    answer = trace(input_world(*[(LIMIT, Immediate(0, bytes(4)), MetaSet("mark", 0))] * 20, (ACCEPT,)), PACKET)

    assert answer.verdict == "undecided"
    assert "more than 500 ways" in answer.because[0]


@pytest.mark.parametrize(
    "expr",
    [
        Unknown("numgen", b"", writes=(0,)),
        Unknown("quota", b""),
        Unknown("fwd", b"", terminal=True),
        Unknown("invented", b"", terminal=True, writes=tuple(range(16))),
        Xt("match", "recent", 0, b""),
        Xt("target", "DNPT", 0, b""),
        Immediate(VERDICT, Verdict("queue")),
        Meta("time_hour", 0),
    ],
)
def test_what_is_not_known_decides_nothing(expr: Expr) -> None:
    """Whatever one packet cannot tell leads to "undecided" where it matters, with the rule in the reason."""
    answer = trace(input_world((expr, Cmp("eq", 0, bytes(4)), ACCEPT)), PACKET)

    assert answer.verdict == "undecided"
    assert "inet filter input handle 2" in answer.because[0]


def test_a_target_that_is_not_analysed_may_change_anything() -> None:
    """Behind an unknown iptables target even a drop for every packet of this port is not certain."""
    assert verdict((Xt("target", "DNPT", 0, b""),), (*PORT, DROP), policy="accept") == "undecided"


def test_unknown_bits_are_masked_away() -> None:
    """A mask over bits that a sender chooses (IP identification) makes them certain again."""
    load = Payload("network", 4, 4, 0)
    everything, fragment = b"\xff\xff\xff\xff", b"\x00\x00\x1f\xff"

    assert (
        verdict((load, Bitwise("mask-xor", 0, 0, 4, fragment, bytes(4)), Cmp("eq", 0, bytes(4)), ACCEPT)) == "delivered"
    )
    assert (
        verdict((load, Bitwise("mask-xor", 0, 0, 4, everything, bytes(4)), Cmp("eq", 0, bytes(4)), ACCEPT))
        == "undecided"
    )


def test_hardware_addresses_are_open() -> None:
    """A rule on the sender's hardware address can't be decided, one on its own address can."""
    own, far = Payload("link", 0, 1, 0), Payload("link", 6, 6, 0)

    assert verdict((far, Cmp("eq", 0, bytes(6)), ACCEPT)) == "undecided"
    assert (
        verdict((own, Cmp("eq", 0, b"\x01"), ACCEPT)) == "undecided"
    )  # the interface of this host has no known address


def test_a_set_that_the_packet_changes() -> None:
    """A look-up in a set to which an earlier rule added something for this packet is open."""
    chain = Chain(
        "input",
        1,
        (
            Rule(2, (Payload("network", 12, 4, 0), Dynset("s", "add", 0))),
            Rule(3, (Payload("network", 12, 4, 0), Lookup("s", 0), ACCEPT)),
        ),
        Hook("input", 0, "drop"),
    )
    table = Table("inet", "t", (chain,), (Set("s", SET_EVAL, 4),))

    assert trace(World(namespace(), Ruleset((table,))), PACKET).verdict == "undecided"


def test_an_element_with_a_condition() -> None:
    """An element that holds a rate limit may let its look-up miss; one that drops anyway changes nothing."""

    def ask(data: Verdict, policy: str) -> str:
        chain = Chain(
            "input", 1, (Rule(2, (Payload("network", 12, 4, 0), Lookup("m", 0, VERDICT))),), Hook("input", 0, policy)
        )
        element = Element(bytes([192, 168, 10, 9]), data=data, conditional=True)
        table = Table("inet", "t", (chain,), (Set("m", SET_MAP, 4, (element,)),))
        return trace(World(namespace(), Ruleset((table,))), PACKET).verdict

    assert ask(Verdict("accept"), "drop") == "undecided"
    assert ask(Verdict("drop"), "drop") == "dropped"


def test_circles_and_missing_chains() -> None:
    """A jump in circles, to a chain that is not there, or a look-up in a missing set is undecided, not an endless run."""

    def ask(*exprs: Expr) -> str:
        loop = Chain("a", 2, (Rule(3, (Immediate(VERDICT, Verdict("goto", "a")),)),))
        base = Chain("input", 1, (Rule(2, exprs),), Hook("input", 0, "drop"))
        return trace(World(namespace(), Ruleset((Table("inet", "t", (base, loop)),))), PACKET).verdict

    assert ask(Immediate(VERDICT, Verdict("goto", "a"))) == "undecided"
    assert ask(Immediate(VERDICT, Verdict("jump", "nowhere"))) == "undecided"
    assert ask(Lookup("nothing", 0), ACCEPT) == "undecided"


def test_doubts_of_the_world() -> None:
    """A filter that is not analysed makes a pass undecided; a drop stays a drop."""
    doubtful = dataclasses.replace(input_world((*PORT, ACCEPT)), doubts=("XDP eth0: not analysed",))

    assert trace(doubtful, PACKET).verdict == "undecided"
    assert trace(doubtful, PACKET).because == ("XDP eth0: not analysed",)
    assert trace(doubtful, dataclasses.replace(PACKET, dport=80)).verdict == "dropped"


def test_routing_speaks_in_the_reason() -> None:
    """A packet that no filter stops but routing does is dropped, with routing's reason."""
    answer = trace(input_world((ACCEPT,)), dataclasses.replace(PACKET, dst="198.51.100.1"))

    assert answer.verdict == "dropped"
    assert answer.because


def test_no_such_interface() -> None:
    """A packet on an interface that does not exist is an input error that names those which do."""
    with pytest.raises(InputError, match="`eth7`") as caught:
        trace(input_world(), dataclasses.replace(PACKET, iface="eth7"))
    assert "`eth0`" in caught.value.hint


@pytest.mark.parametrize(
    ("packet", "port"),
    [
        (PACKET, "exact"),
        (dataclasses.replace(PACKET, dst="192.168.30.2"), "wildcard"),
        (Packet("eth0", "fd00:10::9", "fd00:10::2", "tcp", dport=3678), "dual"),
        (dataclasses.replace(PACKET, dport=4000), "dual only"),
        (Packet("eth0", "fd00:10::9", "fd00:10::2", "tcp", dport=4001), None),
        (dataclasses.replace(PACKET, dport=4001), "four"),
        (dataclasses.replace(PACKET, proto="udp"), None),
        (dataclasses.replace(PACKET, state="established", flags=0x10), None),
        (dataclasses.replace(PACKET, dport=4002), "v6only is blind"),
        (dataclasses.replace(PACKET, dst="255.255.255.255"), "TCP takes what is for one host alone"),
    ],
)
def test_listeners(packet: Packet, port: str | None) -> None:
    """An exact address goes before a wildcard, IPv4 before dual-stack; v6only and other protocols don't count."""
    listeners = {
        "exact": Listener("tcp", "ipv4", "192.168.10.2", 3678, inode=1),
        "wildcard": Listener("tcp", "ipv4", "0.0.0.0", 3678, inode=2),
        "dual": Listener("tcp", "ipv6", "::", 3678, v6only=False, inode=3),
        "dual only": Listener("tcp", "ipv6", "::", 4000, v6only=False, inode=4),
        "four": Listener("tcp", "ipv4", "0.0.0.0", 4001, inode=5),
        "v6only": Listener("tcp", "ipv6", "::", 4002, v6only=True, inode=6),
    }
    world = input_world((ACCEPT,))
    world = dataclasses.replace(
        world, namespace=dataclasses.replace(world.namespace, listeners=tuple(listeners.values())), _links={}
    )
    answer = trace(world, packet)

    assert answer.verdict == "delivered"
    assert answer.listener == listeners.get(port or "")


def test_a_bound_device_counts() -> None:
    """A socket bound to another interface does not receive the packet; one bound to this one goes before others."""
    other = Listener("tcp", "ipv4", "0.0.0.0", 3678, device="eth1", inode=1)
    here = Listener("tcp", "ipv4", "0.0.0.0", 3678, device="eth0", inode=2)
    anywhere = Listener("tcp", "ipv4", "0.0.0.0", 3678, inode=3)

    def ask(*listeners: Listener) -> Listener | None:
        world = input_world((ACCEPT,))
        return trace(
            dataclasses.replace(world, namespace=dataclasses.replace(world.namespace, listeners=listeners), _links={}),
            PACKET,
        ).listener

    assert ask(other) is None
    assert ask(other, anywhere, here) == here


def test_notrack_after_tracking_changes_nothing() -> None:
    """On input the packet is tracked already."""
    assert verdict((Notrack(),), (ACCEPT,)) == "delivered"


@given(
    data=st.binary(min_size=4, max_size=4),
    known=st.binary(min_size=4, max_size=4),
    other=st.binary(min_size=4, max_size=4),
    top=st.binary(min_size=4, max_size=4),
)
def test_comparisons_with_unknown_bits_are_sound(data: bytes, known: bytes, other: bytes, top: bytes) -> None:
    """A yes or no about a value with unknown bits holds for every value that it can be."""
    free = bytes(~k & 0xFF for k in known)
    low, high = min(other, top), max(other, top)
    for fill in (bytes(4), b"\xff" * 4, other, top):
        possible = bytes((d & k) | (f & n) for d, k, f, n in zip(data, known, fill, free, strict=True))
        same, inside = equal((data, known), other), between((data, known), low, high)
        assert same in (None, possible == other)
        assert inside in (None, low <= possible <= high)
        masking = masked((data, known), other, top)
        shown = bytes((p & o) ^ t for p, o, t in zip(possible, other, top, strict=True))
        assert all((s ^ m) & k == 0 for s, m, k in zip(shown, *masking, strict=True))


def test_registers_fill_up_their_last_slot() -> None:
    """A short load clears the rest of its slot, a partial write does not, and what was never written is unknown."""
    registers = Registers()
    registers.write(0, sure(b"\xff" * 8))
    registers.write(0, sure(b"\x01"))

    assert registers.read(0, 8) == sure(b"\x01\0\0\0\xff\xff\xff\xff")
    registers.write(1, sure(b"\x02"), pad=False)
    assert registers.read(1, 4) == sure(b"\x02\xff\xff\xff")
    assert registers.read(2, 2) == unsure(2)
    assert registers.read(15, 200)[1] == bytes(200)


@given(
    keys=st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True),
    data=st.integers(0, 63),
    known=st.integers(0, 63),
)
def test_lookups_of_unknown_keys_miss_nothing(keys: list[int], data: int, known: int) -> None:
    """The outcomes of a look-up with unknown bits contain the outcome of every key that it can be."""
    bounds = sorted(keys)
    elements = tuple(Element(bytes([k]), interval_end=bool(n % 2)) for n, k in enumerate(bounds))
    for flags, chosen in ((4, elements), (0, tuple(Element(bytes([k])) for k in bounds))):
        index = Index(Set("s", flags, 1, chosen))
        found = {
            None if h.element is None else h.element.key for h in index.find((bytes([data]), bytes([known | 0xC0])))
        }
        for possible in range(64):
            if (possible ^ data) & known == 0:
                (hit,) = index.find(sure(bytes([possible])))
                assert (None if hit.element is None else hit.element.key) in found
