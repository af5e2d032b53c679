"""Options, sockets, routes, chance and counts: the kernel's messages and nft's listing of the same rule give the same expressions."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from librespot_guard import collect
from librespot_guard.firewall import (
    Connlimit,
    Expr,
    Exthdr,
    ExthdrSet,
    Hash,
    Numgen,
    Osf,
    Quota,
    Route,
    Rule,
    Socket,
    Tunnel,
    Unknown,
    Xfrm,
    decode,
    depends,
    expression_text,
)
from librespot_guard.firewall.agreement import differences, misleading
from librespot_guard.firewall.nft_json import read_nft_json
from librespot_guard.lab.sandbox import Sandbox

# what each is beside its registers, and how it reads
IN_INPUT: dict[str, tuple[Expr, str]] = {
    "exthdr hbh exists drop": (Exthdr("ipv6", 0, 0, 1, 0, present=True), "exthdr hbh exists => reg 0"),
    "exthdr frag missing drop": (Exthdr("ipv6", 44, 0, 1, 0, present=True), "exthdr frag exists => reg 0"),
    "frag id 5 drop": (Exthdr("ipv6", 44, 4, 4, 0), "exthdr frag load 4b @ 4 => reg 0"),
    "frag more-fragments 1 drop": (Exthdr("ipv6", 44, 3, 1, 0), "exthdr frag load 1b @ 3 => reg 0"),
    "frag frag-off 5 drop": (Exthdr("ipv6", 44, 2, 2, 0), "exthdr frag load 2b @ 2 => reg 0"),
    "hbh nexthdr tcp drop": (Exthdr("ipv6", 0, 0, 1, 0), "exthdr hbh load 1b @ 0 => reg 0"),
    "rt type 0 drop": (Exthdr("ipv6", 43, 2, 1, 0), "exthdr rt load 1b @ 2 => reg 0"),
    "rt seg-left 1-3 drop": (Exthdr("ipv6", 43, 3, 1, 0), "exthdr rt load 1b @ 3 => reg 0"),
    "srh sid[1] fd00::1 drop": (Exthdr("ipv6", 43, 8, 16, 0), "exthdr rt load 16b @ 8 => reg 0"),
    "srh tag 5 drop": (Exthdr("ipv6", 43, 6, 2, 0), "exthdr rt load 2b @ 6 => reg 0"),
    "dst hdrlength 2 drop": (Exthdr("ipv6", 60, 1, 1, 0), "exthdr dst load 1b @ 1 => reg 0"),
    "exthdr mh exists drop": (Exthdr("ipv6", 135, 0, 1, 0, present=True), "exthdr mh exists => reg 0"),
    "tcp option maxseg exists drop": (Exthdr("tcp", 2, 0, 1, 0, present=True), "tcp option maxseg exists => reg 0"),
    "tcp option maxseg size 1-500 drop": (Exthdr("tcp", 2, 2, 2, 0), "tcp option maxseg load 2b @ 2 => reg 0"),
    "tcp option timestamp tsval 7 drop": (Exthdr("tcp", 8, 2, 4, 0), "tcp option timestamp load 4b @ 2 => reg 0"),
    "tcp option sack-perm missing drop": (Exthdr("tcp", 4, 0, 1, 0, present=True), "tcp option sack-perm exists => reg 0"),
    "tcp option @255,8,8 4 drop": (Exthdr("tcp", 255, 1, 1, 0), "tcp option 255 load 1b @ 1 => reg 0"),
    "tcp option 254 exists drop": (Exthdr("tcp", 254, 0, 1, 0, present=True), "tcp option 254 exists => reg 0"),
    "ip option lsrr exists drop": (Exthdr("ip", 131, 0, 1, 0, present=True), "ip option lsrr exists => reg 0"),
    "ip option rr ptr 4 drop": (Exthdr("ip", 7, 2, 1, 0), "ip option rr load 1b @ 2 => reg 0"),
    "ip option ra value 0 drop": (Exthdr("ip", 148, 2, 2, 0), "ip option ra load 2b @ 2 => reg 0"),
    "sctp chunk data exists drop": (Exthdr("sctp", 0, 0, 1, 0, present=True), "sctp chunk 0 exists => reg 0"),
    "tcp option maxseg size set 1200": (ExthdrSet("tcp", 2, 2, 2, 0), "tcp option maxseg write reg 0 => 2b @ 2"),
    "reset tcp option maxseg": (ExthdrSet("tcp", 2), "reset tcp option maxseg"),
    "socket transparent 1 drop": (Socket("transparent", 0), "socket transparent => reg 0"),
    "socket wildcard 0 drop": (Socket("wildcard", 0), "socket wildcard => reg 0"),
    "socket mark 5 drop": (Socket("mark", 0), "socket mark => reg 0"),
    'socket cgroupv2 level 1 "/" drop': (Socket("cgroupv2", 0, 1), "socket cgroupv2 level 1 => reg 0"),
    "rt classid 1 drop": (Route("classid", 0), "rt classid => reg 0"),
    "rt ip nexthop 192.168.10.1 drop": (Route("nexthop4", 0), "rt nexthop4 => reg 0"),
    "rt ip6 nexthop fd00::1 drop": (Route("nexthop6", 0), "rt nexthop6 => reg 0"),
    "rt ipsec exists drop": (Route("xfrm", 0), "rt xfrm => reg 0"),
    "numgen random mod 4 0 drop": (Numgen("random", 4, 0, 0), "numgen random mod 4 => reg 0"),
    "numgen inc mod 10 offset 5 < 7 drop": (Numgen("inc", 10, 5, 0), "numgen inc mod 10 offset 5 => reg 0"),
    "numgen inc mod 2 vmap { 0 : drop, 1 : accept }": (Numgen("inc", 2, 0, 0), "numgen inc mod 2 => reg 0"),
    "jhash ip saddr mod 8 0 drop": (Hash("jhash", 8, 0, 0, 1, 4), "jhash reg 1 4b mod 8 => reg 0"),
    "jhash tcp dport mod 8 seed 0x7 0 drop": (Hash("jhash", 8, 0, 0, 1, 2, 7), "jhash reg 1 2b mod 8 seed 0x7 => reg 0"),
    "jhash ip saddr . tcp dport mod 8 seed 0xdeadbeef offset 3 4 drop": (
        Hash("jhash", 8, 3, 0, 1, 8, 0xDEADBEEF), "jhash reg 1 8b mod 8 offset 3 seed 0xdeadbeef => reg 0",
    ),
    "symhash mod 4 offset 1 2 drop": (Hash("symhash", 4, 1, 0), "symhash mod 4 offset 1 => reg 0"),
    'osf name "Linux" drop': (Osf(0), "osf name => reg 0"),
    'osf ttl skip version "Linux:4.0" drop': (Osf(0, 2, version=True), "osf ttl skip version => reg 0"),
    "quota over 5 mbytes drop": (Quota(5 << 20, over=True), "quota over 5242880 bytes"),
    "quota until 5 kbytes drop": (Quota(5 << 10), "quota until 5120 bytes"),
    "ct count over 5 drop": (Connlimit(5, over=True), "ct count over 5"),
    "ct count 5 drop": (Connlimit(5), "ct count 5"),
    "ipsec in reqid 1 drop": (Xfrm("reqid", "in", 0, 0), "ipsec in spnum 0 reqid => reg 0"),
    "ipsec in ip saddr 192.168.10.9 drop": (Xfrm("saddr4", "in", 0, 0), "ipsec in spnum 0 saddr4 => reg 0"),
    "ipsec in spnum 1 spi 7 drop": (Xfrm("spi", "in", 1, 0), "ipsec in spnum 1 spi => reg 0"),
    "meta mark set numgen inc mod 2": (Numgen("inc", 2, 0, 0), "numgen inc mod 2 => reg 0"),
    "meta mark set jhash ip saddr mod 4": (Hash("jhash", 4, 0, 0, 1, 4), "jhash reg 1 4b mod 4 => reg 0"),
}  # fmt: skip
IN_FORWARD: dict[str, tuple[Expr, str]] = {
    "rt mtu 1400 drop": (Route("tcpmss", 0), "rt tcpmss => reg 0"),
    "tcp option maxseg size set rt mtu": (ExthdrSet("tcp", 2, 2, 2, 0), "tcp option maxseg write reg 0 => 2b @ 2"),
    "ipsec out reqid 1 drop": (Xfrm("reqid", "out", 0, 0), "ipsec out spnum 0 reqid => reg 0"),
}
RULES = IN_INPUT | IN_FORWARD
_BEYOND = Exthdr | ExthdrSet | Socket | Route | Numgen | Hash | Osf | Quota | Connlimit | Xfrm


def ruleset() -> str:
    """All of the rules, one in a chain of its own, so that each is found by its number."""
    inside = "\n".join(
        f"chain c{n} {{\n{rule}\n}}\nchain b{n} {{ type filter hook {'input' if rule in IN_INPUT else 'forward'} priority 0\n"
        f"jump c{n}\n}}"
        for n, rule in enumerate(RULES)
    )
    return f"table inet t {{\n{inside}\n}}"


@pytest.fixture(scope="module")
def readings() -> Iterator[tuple[dict[str, Rule], dict[str, Rule], str, object]]:
    """Every rule, read from the kernel's messages and from `nft -j`, the listing, and the kernel's ruleset."""

    def inside() -> tuple[dict[str, Rule], dict[str, Rule], str, object]:
        done = subprocess.run(["nft", "-f", "-"], input=ruleset(), text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        listing = subprocess.run(["nft", "-j", "list", "ruleset"], text=True, capture_output=True, check=True).stdout
        kernel, listed = decode(collect.read_nft(), byteorder=sys.byteorder), read_nft_json(listing)
        assert not kernel.incomplete
        found = []
        for one in (kernel, listed):
            (table,) = one.tables
            found.append({text: table.chain(f"c{n}").rules[0] for n, text in enumerate(RULES)})
        return found[0], found[1], listing, kernel

    with Sandbox() as box:
        yield box.host("host").call(inside)


def shape(expr: Expr) -> Expr:
    """An expression with its registers taken for the first."""
    changed = {f.name: 0 for f in fields(expr) if f.name in ("dreg", "sreg") and getattr(expr, f.name) is not None}
    return replace(expr, **changed)  # type: ignore[arg-type]


@pytest.mark.kernel
@pytest.mark.parametrize("text", RULES)
def test_both_readers_say_the_same(readings: tuple[dict[str, Rule], dict[str, Rule], str, object], text: str) -> None:
    """A rule is the expected expression in the kernel's messages, and in the listing the same but for what nft does not print."""
    expected = RULES[text][0]
    kernel, listed = (r[text].exprs for r in readings[:2])
    for exprs in (kernel, listed):
        assert not any(isinstance(e, Unknown) for e in exprs)
    (ours,), (theirs,) = ([e for e in exprs if isinstance(e, type(expected))] for exprs in (kernel, listed))
    assert shape(ours) == shape(expected)
    if isinstance(ours, Socket):
        ours = replace(ours, level=None)  # printed by no version of nft
    assert shape(ours) == shape(theirs)
    # two comparisons or one range, in this order or that: but the same loads and effects
    kinds = [{type(e).__name__ for e in exprs} - {"Bitwise", "Cmp", "Range"} for exprs in (kernel, listed)]
    assert kinds[0] == kinds[1]


@pytest.mark.kernel
def test_the_listing_agrees(readings: tuple[dict[str, Rule], dict[str, Rule], str, object]) -> None:
    """None of these rules makes the listing and the kernel's messages differ, or the listing misleading."""
    *_, listing, kernel = readings
    assert differences(kernel, listing) == ()  # type: ignore[arg-type]
    assert misleading(kernel, listing) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("text", RULES)
def test_words(text: str) -> None:
    """Each reads in nft's words, and says on what it depends without the word "not understood"."""
    expr, words = RULES[text]
    assert expression_text(expr) == words
    assert re.search(r"`|quota", depends(expr))


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        (Quota(5), "a quota: how many bytes passed before"),
        (Connlimit(5), "how many connections there are: `ct count`"),
        (Numgen("random", 2, 0, 0), "chance: `numgen random`"),
        (Unknown("objref quota", b""), "a named quota: how many bytes passed before"),
        (Unknown("objref limit", b""), "a named rate limit: it depends on the packets before"),
        (Unknown("invented", b""), "the expression `invented` is not analysed"),
        (Tunnel("id", 0), "by which tunnel the packet came: `tunnel id`"),
    ],
)
def test_reasons(expr: Expr, words: str) -> None:
    """The reason of a doubt is one that an administrator understands."""
    assert depends(expr) == words
