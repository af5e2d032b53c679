"""The symbolic engine on handmade bytecode: exact where it can be, honest bounds where it cannot."""

from dataclasses import replace

import pytest

from librespot_guard.firewall.model import (
    SET_EVAL,
    VERDICT,
    Bitwise,
    Chain,
    Cmp,
    Ct,
    Element,
    Expr,
    Hook,
    Immediate,
    Limit,
    Lookup,
    Meta,
    MetaSet,
    Notrack,
    Payload,
    PayloadSet,
    Redirect,
    Rule,
    Ruleset,
    Set,
    Table,
    Unknown,
    Verdict,
)
from librespot_guard.reach.engine import Answer, reachable
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.intervals import cidrs
from librespot_guard.reach.packet import Packet
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Listener, OtherFilter
from reach.hosts import ACCEPT, DROP, from_lan, input_world, namespace, to_tcp, v4


def ask(world: World, port: int = 3678, *, family: str = "ipv4", proto: str = "tcp", iface: str = "eth0") -> Answer:
    """Who reaches a port at the host's LAN address."""
    dst = {"ipv4": "192.168.10.2", "ipv6": "fd00:10::2"}[family]
    return reachable(world, iface=iface, family=family, proto=proto, dst=dst, dport=port)


def test_a_network_is_reported_as_it_was_written() -> None:
    """One accepted network under a default drop is exactly that network."""
    answer = ask(input_world((*to_tcp(3678), *from_lan(), ACCEPT)))

    assert answer.exact
    assert cidrs("ipv4", answer.shown_may) == ["192.168.10.0/24"]


def test_the_hosts_own_address_reaches_nothing_from_outside() -> None:
    """Routing refuses the host's own address as a source: it is in no bound, and named as refused."""
    answer = ask(input_world((*to_tcp(3678), *from_lan(), ACCEPT)))
    own = (192 << 24) + (168 << 16) + (10 << 8) + 2

    assert own not in answer.may
    assert own in answer.martian


def test_ipv6_is_open_where_only_ipv4_is_guarded() -> None:
    """A drop that only speaks of IPv4 leaves IPv6 open."""
    world = input_world((*v4(), *to_tcp(3678), DROP), policy="accept")

    assert not ask(world).may
    assert cidrs("ipv6", ask(world, family="ipv6").shown_may) == ["::/0"]


def test_accept_is_final_for_its_own_base_chain_only() -> None:
    """A later base chain of the same hook still drops what an earlier one accepted."""
    first = Chain("a", 1, (Rule(1, (ACCEPT,)),), Hook("input", 0))
    second = Chain("b", 2, (Rule(2, (*to_tcp(3678), DROP)),), Hook("input", 10))
    world = World(namespace(), Ruleset((Table("inet", "one", (first,)), Table("inet", "two", (second,)))))

    assert not ask(world).may
    assert ask(world, 80).may


def test_a_source_port_that_is_accepted_opens_the_door_to_everybody() -> None:
    """`tcp sport 443 accept` lets anybody in who chooses that port, and the answer says which port."""
    world = input_world(
        (
            Meta("l4proto", 0),
            Cmp("eq", 0, b"\x06"),
            Payload("transport", 0, 2, 0),
            Cmp("eq", 0, (443).to_bytes(2, "big")),
            ACCEPT,
        )
    )
    answer = ask(world)

    assert answer.exact
    assert cidrs("ipv4", answer.shown_may) == ["0.0.0.0/0"]
    assert answer.choices(answer.may.lowest())["sport"] == 443


def test_established_says_nothing_about_new_flows() -> None:
    """`ct state established,related accept` lets no new flow in."""
    state = (Ct("state", 0), Bitwise("mask-xor", 0, 0, 4, b"\x06\0\0\0", bytes(4)), Cmp("neq", 0, bytes(4)), ACCEPT)

    assert not ask(input_world(state)).may


def test_untracked_packets_pass_by_a_rule_on_new() -> None:
    """After notrack, `ct state new … drop` never matches: the port is open."""
    raw = Chain("raw", 1, (Rule(1, (*to_tcp(3678), Notrack())),), Hook("prerouting", -300))
    new = (
        Ct("state", 0),
        Bitwise("mask-xor", 0, 0, 4, b"\x08\0\0\0", bytes(4)),
        Cmp("neq", 0, bytes(4)),
        *to_tcp(3678),
        DROP,
    )
    rules = Chain("input", 2, (Rule(2, new),), Hook("input", 0))

    assert not ask(World(namespace(), Ruleset((Table("inet", "t", (rules,)),)))).may
    assert ask(World(namespace(), Ruleset((Table("inet", "t", (raw, rules)),)))).may


def test_goto_returns_to_the_policy_and_jump_to_the_next_rule() -> None:
    """A chain left by return falls to the base policy after goto, to the next rule after jump."""
    called = Chain("called", 1, (Rule(1, (Immediate(VERDICT, Verdict("return")),)),))
    for kind, opened in (("jump", True), ("goto", False)):
        base = Chain(
            "input",
            2,
            (Rule(2, (Immediate(VERDICT, Verdict(kind, "called")),)), Rule(3, (ACCEPT,))),
            Hook("input", 0, "drop"),
        )
        answer = ask(World(namespace(), Ruleset((Table("inet", "t", (called, base)),))))

        assert opened == bool(answer.may), kind


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_failed_load_never_matches_even_when_negated(family: str) -> None:
    """`tcp dport != 22` does not match a UDP packet, so its drop does not protect a UDP port behind a guard."""
    rule: tuple[Expr, ...] = (Ct("status", 0), Cmp("neq", 0, b"\xff\xff\xff\xff"), DROP)
    raw = Chain("raw", 1, (Rule(1, rule),), Hook("prerouting", -300))
    world = World(namespace(), Ruleset((Table("inet", "t", (raw,)),)))

    assert ask(world, family=family).may


def test_a_rate_limit_gives_bounds_that_name_it() -> None:
    """Behind a limit the upper bound is everybody, the lower nobody, and the rule is named."""
    answer = ask(input_world((Limit(5, 60, 5, inverted=False), ACCEPT)))

    assert not answer.exact
    assert not answer.must
    assert cidrs("ipv4", answer.shown_may) == ["0.0.0.0/0"]
    assert any("limit" in reason and "handle 2" in reason for reason in answer.because)


def test_what_is_not_understood_widens_and_narrows() -> None:
    """An unknown match before accept widens may; before drop it narrows must."""
    strange = Unknown("osf", b"", writes=(0,))
    widened = ask(input_world((*from_lan(), ACCEPT), (strange, ACCEPT)))
    narrowed = ask(input_world((strange, DROP), (*from_lan(), ACCEPT)))

    assert cidrs("ipv4", widened.shown_must) == ["192.168.10.0/24"]
    assert cidrs("ipv4", widened.shown_may) == ["0.0.0.0/0"]
    assert not narrowed.must
    assert cidrs("ipv4", narrowed.shown_may) == ["192.168.10.0/24"]


def test_a_doubt_that_cannot_matter_does_not_cost_exactness() -> None:
    """An unknown match whose both outcomes drop leaves the answer exact."""
    assert ask(input_world((Unknown("osf", b""), DROP))).exact


def test_a_verdict_map_on_the_source() -> None:
    """Each key of a verdict map leads where it says; a miss goes on."""
    table_set = Set(
        "vm",
        0,
        4,
        (Element(bytes((10, 0, 0, 1)), data=Verdict("accept")), Element(bytes((10, 0, 0, 2)), data=Verdict("drop"))),
    )
    rule = Rule(5, (*v4(), Payload("network", 12, 4, 0), Lookup("vm", 0, VERDICT)))
    base = Chain("input", 1, (rule, Rule(6, (*from_lan(), ACCEPT))), Hook("input", 0, "drop"))
    answer = ask(World(namespace(), Ruleset((Table("inet", "t", (base,), (table_set,)),))))

    assert cidrs("ipv4", answer.shown_may) == ["10.0.0.1/32", "192.168.10.0/24"]


def test_a_set_that_rules_fill_is_no_constant() -> None:
    """A look-up in a dynamic set is a doubt, whatever is in it now."""
    table_set = Set("dyn", SET_EVAL, 4, (Element(bytes((10, 0, 0, 1))),))
    rule = Rule(5, (*v4(), Payload("network", 12, 4, 0), Lookup("dyn", 0), ACCEPT))
    base = Chain("input", 1, (rule,), Hook("input", 0, "drop"))
    answer = ask(World(namespace(), Ruleset((Table("inet", "t", (base,), (table_set,)),))))

    assert not answer.exact
    assert any("dyn" in reason for reason in answer.because)


def test_a_mark_set_early_decides_later() -> None:
    """A mark set at prerouting for one network is what a later chain sees."""
    mark = (*from_lan(), Immediate(0, b"\x01\0\0\0"), MetaSet("mark", 0))
    pre = Chain("pre", 1, (Rule(1, mark),), Hook("prerouting", -150))
    rule = (Meta("mark", 0), Cmp("eq", 0, b"\x01\0\0\0"), ACCEPT)
    base = Chain("input", 2, (Rule(2, rule),), Hook("input", 0, "drop"))
    answer = ask(World(namespace(), Ruleset((Table("inet", "t", (pre, base)),))))

    assert answer.exact
    assert cidrs("ipv4", answer.shown_may) == ["192.168.10.0/24"]


def test_a_redirect_is_a_second_way_in() -> None:
    """A port redirected to the listener reaches it, although a rule guards the listener's port before the redirect."""
    guard = Chain("raw", 1, (Rule(1, (*to_tcp(3678), DROP)),), Hook("prerouting", -300))
    nat = Chain(
        "nat",
        2,
        (Rule(2, (*to_tcp(8080), Immediate(0, (3678).to_bytes(2, "big")), Redirect(0))),),
        Hook("prerouting", -100, kind="nat"),
    )
    answer = ask(World(namespace(), Ruleset((Table("inet", "t", (guard, nat)),))))

    assert answer.may
    assert answer.choices(answer.may.lowest())["dport"] == 8080


def test_a_port_written_into_the_packet_behind_the_guard_is_a_way_in() -> None:
    """The socket is looked up behind the last input hook: a rule that writes the port there leads past a guard in an earlier one."""
    guard = Chain("guard", 1, (Rule(1, (*to_tcp(3678), DROP)),), Hook("input", -10))
    write = (Immediate(0, (3678).to_bytes(2, "big")), PayloadSet("transport", 2, 2, 0))
    late = Chain("late", 2, (Rule(2, (*to_tcp(80), *write)),), Hook("input", 10))
    world = World(namespace(), Ruleset((Table("inet", "t", (guard, late)),)))
    answer = ask(world)

    assert cidrs("ipv4", answer.shown_may) == ["0.0.0.0/0"]
    assert answer.must == answer.may or answer.because
    packet = Packet("eth0", "203.0.113.9", "192.168.10.2", "tcp", dport=80)
    assert trace(world, packet).verdict == "delivered"
    assert not ask(World(namespace(), Ruleset((Table("inet", "t", (guard,)),)))).may


def test_reverse_path_filter_narrows_the_sources() -> None:
    """With strict rp_filter only sources that would be answered over the interface get in."""
    answer = ask(input_world(policy="accept", sysctls={"net.ipv4.conf.all.rp_filter": "1"}))

    assert answer.exact
    low, high = (192 << 24) + (168 << 16) + (10 << 8), (192 << 24) + (168 << 16) + (10 << 8) + 255
    assert all(low <= a and b <= high for a, b in answer.may)


def test_a_filter_that_is_not_analysed_costs_the_lower_bound() -> None:
    """With a doubt about the whole namespace nothing is surely let in, and the doubt is named."""
    world = World(namespace(), Ruleset(), ("xdp eth0: not analysed",))
    answer = ask(world)

    assert answer.may
    assert not answer.must
    assert answer.because == ("xdp eth0: not analysed",)


def test_a_filter_of_another_kind_matters_only_where_it_is() -> None:
    """A bridge filter costs the answers over that bridge their exactness, and legacy IPv6 tables those of IPv6, no others."""
    bridge, legacy = OtherFilter("bridge-nf-call", "eth1"), OtherFilter("ip6tables-legacy", "filter")
    world = World(namespace(), Ruleset(), (), (bridge, legacy))

    assert ask(world).exact
    assert not ask(world, iface="eth1").exact
    assert not ask(world, family="ipv6").exact


def test_a_program_of_a_cgroup_matters_only_to_the_sockets_in_it() -> None:
    """What systemd makes of `IPAddressDeny=` costs the port of that unit its exactness, for engines and interpreter; no other port, nor other protocol."""
    listeners = tuple(
        Listener(proto, "ipv4", "0.0.0.0", port, cgroup=f"/system.slice/{unit}")
        for proto, port, unit in (
            ("tcp", 3678, "own.service"),
            ("tcp", 80, "other.service"),
            ("udp", 80, "own.service"),
        )
    )
    program = OtherFilter("bpf-cgroup", "/system.slice/own.service")
    world = World(replace(namespace(), listeners=listeners), Ruleset(), (), (program,))
    named = "bpf-cgroup /system.slice/own.service: this kind of packet filter is not analysed"

    assert ask(world).because == (named,)
    assert ask(world).may
    assert ask(world, 80).exact
    assert not ask(world, 80, proto="udp").must
    assert ask(world, 81).exact
    said = [trace(world, Packet("eth0", "192.168.10.9", "192.168.10.2", "tcp", dport=port)) for port in (3678, 80, 81)]
    assert [one.verdict for one in said] == ["undecided", "delivered", "delivered"]
    assert said[0].because == (named,)


def test_a_nest_of_jumps_is_refused_not_endured() -> None:
    """Chains that double at each level end in a bounded time with honest bounds."""
    depth = 15
    chains = []
    for level in range(depth):
        verdict = Verdict("jump", f"c{level + 1}")
        rules = tuple(
            Rule(n, (Payload("transport", 4, 4, 0), Cmp("lt", 0, bytes((n, level, 0, 1))), Immediate(VERDICT, verdict)))
            for n in range(1, 4)
        )
        hook = Hook("input", 0, "drop") if level == 0 else None
        chains.append(Chain(f"c{level}", level, rules, hook))
    chains.append(Chain(f"c{depth}", depth, ()))
    answer = ask(World(namespace(), Ruleset((Table("inet", "t", tuple(chains)),))))

    assert not answer.must
    assert answer.exact or any("too many steps" in reason for reason in answer.because)


def test_a_value_that_no_packet_has_matches_nothing() -> None:
    """`ip ttl 0 accept` lets nobody in, since no packet arrives with it, and `ip ttl != 0` is everybody."""
    zero: tuple[Expr, ...] = (*v4(), Payload("network", 8, 1, 0), Cmp("eq", 0, b"\0"), ACCEPT)
    other: tuple[Expr, ...] = (*v4(), Payload("network", 8, 1, 0), Cmp("neq", 0, b"\0"), ACCEPT)

    assert not ask(input_world(zero)).may
    assert cidrs("ipv4", ask(input_world(other)).shown_must) == ["0.0.0.0/0"]


def test_a_mark_stays_although_the_rest_of_the_rule_does_not_match() -> None:
    """`meta mark set 1 ip saddr LAN accept` marks everybody, as the kernel does, not only who is accepted."""
    mark = (Immediate(0, b"\x01\0\0\0"), MetaSet("mark", 0), *from_lan(), ACCEPT)
    marked = (Meta("mark", 0), Cmp("eq", 0, b"\x01\0\0\0"), ACCEPT)
    answer = ask(input_world(mark, marked))

    assert answer.exact
    assert cidrs("ipv4", answer.shown_may) == ["0.0.0.0/0"]
