"""Ipsets out of `ipset save`: each type as the kernel looks packets up in it, also those that the kernel at hand may lack."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.firewall import Bitwise, Expr, Lookup, Meta, Payload, Set, Table, Unknown, read_listings
from librespot_guard.firewall.ipset_kinds import KINDS
from librespot_guard.firewall.ipset_save import IpSets
from librespot_guard.reach._concrete_sets import Index
from librespot_guard.snapshot import FilterText

ENTRIES = {
    "hash:ip": "192.0.2.1",
    "hash:mac": "02:00:00:00:00:01",
    "hash:ip,mac": "192.0.2.1,02:00:00:00:00:01",
    "hash:net": "192.0.2.0/24",
    "hash:net,net": "192.0.2.0/24,198.51.100.0/25",
    "hash:ip,port": "192.0.2.1,tcp:3678",
    "hash:net,port": "192.0.2.0/24,udp:5353",
    "hash:ip,port,ip": "192.0.2.1,tcp:3678,198.51.100.1",
    "hash:ip,port,net": "192.0.2.1,tcp:3678,198.51.100.0/24",
    "hash:net,port,net": "192.0.2.0/24,tcp:3678,198.51.100.0/24",
    "hash:net,iface": "192.0.2.0/24,eth0",
    "hash:ip,mark": "192.0.2.1,0x00000102",
    "bitmap:ip": "192.0.2.1",
    "bitmap:ip,mac": "192.0.2.1,02:00:00:00:00:01",
    "bitmap:port": "3678",
}


def table(rule: str, listing: str, *, six: bool = False) -> Table:
    """The table of a rule in INPUT, with what `ipset save` printed."""
    text = f"*filter\n:INPUT DROP [0:0]\n-A INPUT {rule} -j ACCEPT\nCOMMIT\n"
    texts = [
        FilterText("ip6tables-save" if six else "iptables-save", "x", text),
        FilterText("ipset-save", "sets", listing),
    ]
    return read_listings(texts, interfaces={}).tables[0]


def exprs(found: Table) -> tuple[Expr, ...]:
    """The instructions of its one rule."""
    return found.chains[0].rules[0].exprs


def unknown(found: Table) -> list[str]:
    """What of its one rule is not understood."""
    return [e.name for e in exprs(found) if isinstance(e, Unknown)]


def asked(found: Set, *values: bytes) -> str:
    """Whether a key with these fields is in the set: "in", "out", or "perhaps"."""
    padded = len(values) > 1
    key = b"".join(v + bytes(-len(v) % 4 if padded else 0) for v in values)
    (hit,) = Index(found).find((key, b"\xff" * len(key)))
    return "out" if hit.element is None else "in" if hit.certain else "perhaps"


def ip(text: str) -> bytes:
    """An IPv4 address."""
    return IPv4Network(text).network_address.packed


MAC = bytes.fromhex("020000000001")
TCP, UDP = b"\x06", b"\x11"


def test_every_type_is_listed() -> None:
    """There is an entry here for every type of the kernel that looks up packets."""
    assert set(ENTRIES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_type(kind: str) -> None:
    """A rule on a set of any type is understood, for as many directions as it has; with fewer it never holds."""
    dimensions = kind.count(",") + 1
    listing = f"create s {kind} range 0-65535\nadd s {ENTRIES[kind]}\n"
    found = table(f"-m set --match-set s {','.join(['src'] * dimensions)}", listing)
    assert not unknown(found)
    assert isinstance(exprs(found)[-2], Lookup)
    if dimensions > 1:
        short = table(f"-m set --match-set s {','.join(['src'] * (dimensions - 1))}", listing)
        assert not unknown(short)
        assert not short.sets


def test_ipset_of_networks() -> None:
    """hash:net: the longest prefix decides, so `nomatch` cuts a hole, and an entry within it fills a part again, as long as it lasts."""
    text = (
        "create s hash:net family inet hashsize 1024 maxelem 65536\nadd s 10.0.0.0/8\nadd s 10.1.0.0/16 nomatch\n"
        'add s 10.1.2.0/24 timeout 30 comment "a nomatch"\n'
    )
    found = table("-m set ! --match-set s src", text)
    (one,) = found.sets
    assert Lookup("ipset s", 0, None, inverted=True) in exprs(found)
    answers = [
        asked(one, ip(a))
        for a in ("9.255.255.255", "10.0.255.255", "10.1.0.0", "10.1.2.9", "10.1.3.0", "10.2.0.0", "11.0.0.0")
    ]
    assert answers == ["out", "in", "out", "perhaps", "out", "in", "out"]
    assert [e.expires for e in one.elements if e.conditional] == [30000]


def test_a_hole_that_goes_away() -> None:
    """An entry with `nomatch` and a timeout may be gone: then what it took out is in the set again."""
    (one,) = table(
        "-m set --match-set s src", "create s hash:net\nadd s 10.0.0.0/8\nadd s 10.1.0.0/16 nomatch timeout 9\n"
    ).sets
    assert [asked(one, ip(a)) for a in ("10.0.0.1", "10.1.0.1", "10.2.0.1")] == ["in", "perhaps", "in"]


def test_ipset_with_ports() -> None:
    """hash:ip,port asks for the protocol too; protocols without ports have the port zero, which stands for all."""
    found = table(
        "-m set --match-set s src,dst",
        "create s hash:ip,port family inet6\nadd s fd00:10::9,udp:5353\nadd s fd00:10::9,47:0\n",
        six=True,
    )
    (one,) = found.sets
    assert one.field_lengths == (16, 1, 2)
    address = one.elements[0].key[:16]
    assert asked(one, address, UDP, b"\x14\xe9") == "in"
    assert asked(one, address, TCP, b"\x14\xe9") == "out"
    assert asked(one, address, b"\x2f", b"\x12\x34") == "in"


def test_types_and_codes_of_icmp_are_a_bound() -> None:
    """The kernel reads type and code, where a rule would load two other bytes: an entry of ICMP holds perhaps."""
    (one,) = table("-m set --match-set s src,dst", "create s hash:ip,port\nadd s 192.0.2.1,icmp:echo-request\n").sets
    assert asked(one, ip("192.0.2.1"), b"\x01", b"\x12\x34") == "perhaps"
    assert asked(one, ip("192.0.2.1"), TCP, b"\x12\x34") == "out"


def test_link_addresses() -> None:
    """hash:mac and hash:ip,mac: of Ethernet alone; the direction says whether sender or receiver; without an address none is in."""
    found = table("-m set --match-set s src,dst", f"create s hash:ip,mac\nadd s {ENTRIES['hash:ip,mac']}\n")
    assert exprs(found)[0] == Meta("iiftype", 0)
    assert Payload("link", 0, 6, 1) in exprs(found)
    assert asked(found.sets[0], ip("192.0.2.1"), MAC) == "in"
    assert asked(found.sets[0], ip("192.0.2.2"), MAC) == "out"
    found = table("-m set --match-set s src", f"create s hash:mac\nadd s {ENTRIES['hash:mac']}\n")
    assert Payload("link", 6, 6, 0) in exprs(found)
    assert (asked(found.sets[0], MAC), asked(found.sets[0], b"\x02" + bytes(5))) == ("in", "out")
    assert "hash:mac" in unknown(table("-m set ! --match-set s src", "create s hash:mac\n"))[0]


def test_an_entry_without_its_link_address() -> None:
    """bitmap:ip,mac: the first packet fills it in, so it holds perhaps for all."""
    (one,) = table("-m set --match-set s src,src", "create s bitmap:ip,mac range 192.0.2.0/24\nadd s 192.0.2.1\n").sets
    assert asked(one, ip("192.0.2.1"), MAC) == "perhaps"


def test_marks() -> None:
    """hash:ip,mark: the mark in the byte order of the host, behind its mask."""
    found = table(
        "-m set --match-set s src,src", "create s hash:ip,mark markmask 0x0000ffff\nadd s 192.0.2.1,0x00000102\n"
    )
    assert Bitwise("mask-xor", 1, 1, 4, b"\xff\xff\0\0", bytes(4)) in exprs(found)
    assert asked(found.sets[0], ip("192.0.2.1"), b"\x02\x01\0\0") == "in"
    assert asked(found.sets[0], ip("192.0.2.1"), b"\x01\x02\0\0") == "out"


def test_interfaces() -> None:
    """hash:net,iface: a name or all that begin so; the longest network decides alone, whatever its interface."""
    listing = "create s hash:net,iface\nadd s 10.0.0.0/8,eth wildcard\nadd s 10.1.0.0/16,wg0\nadd s 0.0.0.0/0,lo\n"
    (one,) = table("-m set --match-set s src,src", listing).sets
    cases = {
        ("10.2.0.1", b"eth7"): "in",
        ("10.2.0.1", b"et"): "out",
        ("10.1.0.1", b"eth7"): "out",
        ("10.1.0.1", b"wg0"): "in",
        ("10.2.0.1", b"lo"): "out",
    }
    for (address, name), wanted in cases.items():
        assert asked(one, ip(address), name.ljust(16, b"\0")) == wanted, (address, name)
    assert Meta("oifname", 1) in exprs(table("-m set --match-set s src,dst", listing))
    assert (
        "physdev:eth0"
        in unknown(table("-m set --match-set s src,src", "create s hash:net,iface\nadd s 10.0.0.0/8,physdev:eth0\n"))[0]
    )


def test_masks() -> None:
    """`netmask` and `bitmask` make an address stand for others."""
    (one,) = table("-m set --match-set s src,dst", "create s hash:ip,port netmask 24\nadd s 192.0.2.0,tcp:80\n").sets
    assert asked(one, ip("192.0.2.99"), TCP, b"\0\x50") == "in"
    found = table(
        "-m set --match-set s src,src", "create s hash:net,net bitmask 255.0.0.255\nadd s 10.0.0.0/8,11.0.0.1/32\n"
    )
    assert (
        sum(
            e == Bitwise("mask-xor", slot, slot, 4, b"\xff\0\0\xff", bytes(4))
            for slot, e in zip((0, 0, 1, 1), exprs(found), strict=False)
        )
        == 2
    )


LISTS = (
    "create a hash:ip\nadd a 192.0.2.1\ncreate n hash:net\nadd n 10.0.0.0/8\nadd n 192.0.2.1/32 nomatch\n"
    "create six hash:ip family inet6\ncreate p bitmap:port range 1-9\nadd p 5\n"
)


def test_sets_of_sets() -> None:
    """In any member: one set of what all hold, where what one takes out another may hold; members of the other family hold nothing."""
    found = table("-m set --match-set l src", LISTS + "create l list:set\nadd l n\nadd l six\nadd l a\n")
    assert [asked(found.sets[0], ip(a)) for a in ("192.0.2.1", "10.2.0.1", "192.0.2.2")] == ["in", "in", "out"]
    inverted = table("-m set ! --match-set l src", LISTS + "create l list:set\nadd l n\nadd l six\nadd l p\n")
    assert [e.set_name for e in exprs(inverted) if isinstance(e, Lookup)] == ["ipset n", "ipset p"]
    assert not unknown(inverted)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ("add l a\nadd l p\n", "different things"),
        ("add l a timeout 9\n", "expire"),
        ("add l gone\n", "not in the listing"),
    ],
)
def test_sets_of_sets_that_are_a_bound(members: str, reason: str) -> None:
    """What no look-up can say is unknown, and named."""
    assert reason in unknown(table("-m set --match-set l src", LISTS + "create l list:set\n" + members))[0]


@pytest.mark.parametrize("kind", ["no:such", "hash:ip,port,ip,port"])
def test_types_that_are_not_known(kind: str) -> None:
    """Membership in a set of a type that no kernel has yet is unknown, and named."""
    assert kind in unknown(table("-m set --match-set s src", f"create s {kind}\n"))[0]


@pytest.mark.parametrize("text", ["create", "add s 1.2.3.4", "create s hash:ip\nadd\n", "what"])
def test_malformed_ipsets(text: str) -> None:
    """A listing that ipset did not write is refused, with its line."""
    with pytest.raises(InputError, match=r"x:\d+:\d+: "):
        IpSets(text, source="x")


@pytest.mark.parametrize(
    "entry",
    [
        "x",
        "1.2.3.4,",
        "1.2.3.4,tcp",
        "1.2.3.4,tcp:99999",
        "1.2.3.4,nope:1",
        "1.2.3.4,300:1",
        "::1,tcp:1",
        "1.2.3.4,tcp:1,2",
    ],
)
def test_malformed_entries(entry: str) -> None:
    """An entry that ipset would not print makes the set unknown, with its line."""
    assert "sets:2" in unknown(table("-m set --match-set s src,dst", f"create s hash:ip,port\nadd s {entry}\n"))[0]


NETWORKS = st.integers(0, 4).flatmap(
    lambda bits: st.integers(0, 15).map(lambda n: (n >> 4 - bits << 4 - bits, 28 + bits))
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.tuples(NETWORKS, NETWORKS), st.booleans(), min_size=1, max_size=8))
def test_the_search_of_two_networks(held: dict[tuple[tuple[int, int], tuple[int, int]], bool]) -> None:
    """hash:net,net answers as mtype_test_cidrs does: by the prefix of the first network, then of the second, longest first."""
    base = int.from_bytes(ip("192.0.2.0"), "big")
    lines = "".join(
        f"add s 192.0.2.{a}/{p},192.0.2.{b}/{q}{' nomatch' if nomatch else ''}\n"
        for ((a, p), (b, q)), nomatch in held.items()
    )
    (one,) = table("-m set --match-set s src,dst", "create s hash:net,net\n" + lines).sets
    for first in range(16):
        for second in range(16):
            wanted = "out"
            for p, q in sorted({(a[1], b[1]) for a, b in held}, reverse=True):
                key = ((first >> 32 - p << 32 - p, p), (second >> 32 - q << 32 - q, q))
                if key in held:
                    wanted = "out" if held[key] else "in"
                    break
            keys = [(base + n).to_bytes(4, "big") for n in (first, second)]
            assert asked(one, *keys) == wanted, (first, second)
