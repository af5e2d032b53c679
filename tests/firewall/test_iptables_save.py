"""The readers of `iptables-save` and `ipset save`: what each line means, where it is wrong, and that hostile text is only refused."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.firewall import (
    Cmp,
    Immediate,
    Meta,
    Notrack,
    Range,
    Rule,
    Ruleset,
    Unknown,
    Verdict,
    read_listings,
)
from librespot_guard.snapshot import FilterText


def read(rules: str, *, ipset: str = "", kind: str = "iptables-save") -> Ruleset:
    """The ruleset of the INPUT chain with these rules."""
    text = f"# made up\n*filter\n:INPUT DROP [1:2]\n:user - [0:0]\n{rules}\nCOMMIT\n"
    texts = [FilterText(kind, "rules.v4", text)] + ([FilterText("ipset-save", "sets", ipset)] if ipset else [])
    return read_listings(texts, interfaces={})


def rule(text: str, *, ipset: str = "", kind: str = "iptables-save") -> Rule:
    """The one rule."""
    return read(text, ipset=ipset, kind=kind).tables[0].chains[0].rules[0]


def test_chains() -> None:
    """Policies, hooks and priorities are those of the table; user chains have none; legacy tables stand apart by name."""
    table = read("-A INPUT -j user").tables[0]
    hook = table.chains[0].hook
    assert hook is not None
    assert (hook.hook, hook.priority, hook.policy) == ("input", 0, "drop")
    assert table.chains[1].hook is None
    assert table.chains[0].rules[0].exprs == (Immediate(-1, Verdict("jump", "user")),)
    assert read("-A INPUT -g user", kind="ip6tables-legacy-save").tables[0].name == "filter (legacy)"


def test_a_line_in_full() -> None:
    """Addresses, interfaces, protocol, ports and comment of one rule, with its text as it stands."""
    text = (
        '-A INPUT -s 192.168.10.0/25 ! -i eth+ -p tcp -m tcp --dport 3678 -m comment --comment "a \\"b\\" c" -j ACCEPT'
    )
    found = rule(f"[7:8] {text}")
    assert found.text == text
    assert found.handle == 5
    assert Range("eq", 0, bytes([192, 168, 10, 0]), bytes([192, 168, 10, 127])) in found.exprs
    assert Cmp("neq", 0, b"eth") in found.exprs
    assert Cmp("eq", 0, (3678).to_bytes(2, "big")) in found.exprs
    assert found.exprs[-1] == Immediate(-1, Verdict("accept"))
    assert not [e for e in found.exprs if isinstance(e, Unknown)]


@pytest.mark.parametrize(
    ("text", "terminal"),
    [
        ("-A INPUT -m recent --name x --rcheck -j ACCEPT", False),
        ("-A INPUT -m string --string '-j' --algo bm -j ACCEPT", False),
        ("-A INPUT -m tcp --no-such-option 1 -j ACCEPT", False),
        ("-A INPUT -m set --match-set x src -j ACCEPT", False),
        ("-A INPUT -s nonsense -j ACCEPT", False),
        ("-A INPUT -p tcp -j TPROXY --on-port 1", True),
        ("-A INPUT -j DNAT --to-destination nonsense", True),
        ("-A INPUT -g gone", True),
    ],
)
def test_what_is_not_understood_is_loud(text: str, *, terminal: bool) -> None:
    """An unknown condition may hold or not, an unknown target may do anything; neither is skipped."""
    found = [e for e in rule(text).exprs if isinstance(e, Unknown)]
    assert found
    assert any(e.terminal for e in found) is terminal


def test_targets() -> None:
    """NOTRACK, and marks with masks, become what nf_tables has for them."""
    assert Notrack() in rule("-A INPUT -j CT --notrack").exprs
    found = rule("-A INPUT -j MARK --set-xmark 0x1/0xff").exprs
    assert found[0] == Meta("mark", 0)
    assert found[1].mask == bytes.fromhex("00ffffff")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-A INPUT", "rules.v4:1:1"),
        ("*filter\n:INPUT\nCOMMIT", "rules.v4:2:1"),
        ("*filter\n*nat\nCOMMIT", "rules.v4:2:1"),
        ('*filter\n-A INPUT -m comment --comment "open\nCOMMIT', "rules.v4:2:31"),
        ("*filter\n-A INPUT stray\nCOMMIT", "rules.v4:2:10"),
        ("*filter\n-A INPUT -s\nCOMMIT", "rules.v4:2:10"),
        ("*filter\n-A INPUT -j\nCOMMIT", "rules.v4:2:10"),
        ("*filter\n-I INPUT -j ACCEPT\nCOMMIT", "rules.v4:2:1"),
        ("*filter\n-A INPUT -j ACCEPT", "within table `filter`"),
        ("{}", "rules.v4:1:1"),
    ],
)
def test_faults_have_a_place(text: str, place: str) -> None:
    """Malformed text is refused with line and column."""
    with pytest.raises(InputError, match=re.escape(place)):
        read_listings([FilterText("iptables-save", "rules.v4", text)], interfaces={})


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("# Table `filter' is incompatible, use 'nft' tool.", "incompatible"),
        ("# Warning: iptables-legacy tables present, use iptables-legacy-save to see them", "legacy"),
    ],
)
def test_what_the_tool_could_not_print(line: str, word: str) -> None:
    """The remarks with which iptables-save exits with 0 are doubts."""
    ruleset = read_listings([FilterText("iptables-save", "x", line + "\n")], interfaces={})
    assert word in ruleset.incomplete[0]


_WORDS = st.lists(
    st.sampled_from(
        [
            "-A",
            "INPUT",
            "!",
            "-s",
            "-d",
            "-i",
            "-o",
            "-p",
            "tcp",
            "udp",
            "all",
            "-m",
            "-j",
            "-g",
            "--dport",
            "--sports",
            "1:2",
            "99999",
            "0x1/0x2",
            "10.0.0.0/8",
            "::1",
            "eth0",
            "+",
            "conntrack",
            "--ctstate",
            "NEW",
            "multiport",
            "--ports",
            "set",
            "--match-set",
            "s",
            "src",
            "mark",
            "--mark",
            "limit",
            "--limit",
            "5/min",
            "icmp",
            "--icmp-type",
            "ACCEPT",
            "DNAT",
            "--to-destination",
            "REJECT",
            "REDIRECT",
            "--to-ports",
            "CONNMARK",
            "--save-mark",
            '"',
            '"a',
            'b"',
            "-",
        ]
    ),
    max_size=14,
)


@settings(max_examples=400, deadline=None)
@given(_WORDS)
def test_no_rule_makes_it_fall_over(words: list[str]) -> None:
    """Any words in a rule are read, or refused with a place."""
    said = ""
    try:
        read("-A INPUT " + " ".join(words), ipset="create s hash:ip\nadd s 1.2.3.4\n")
    except InputError as error:
        said = str(error)
    assert not said or re.search(r"rules\.v4:\d+(:\d+)?: ", said)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.sampled_from(["iptables-save", "ipset-save", "nft-json"]))
def test_no_text_makes_it_fall_over(text: str, kind: str) -> None:
    """Any text is read, or refused."""
    try:
        read_listings([FilterText(kind, "x", text)], interfaces={})
    except InputError:
        return


def test_a_hostile_line() -> None:
    """A rule of a million words is refused."""
    with pytest.raises(InputError, match="more than"):
        read("-A INPUT " + "-m x " * 100_000)
