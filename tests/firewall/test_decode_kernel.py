"""The decoder against the kernel and against nft itself: the same rules, read by two programs that share nothing."""

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest

from interpreter_corpus import CASES
from librespot_guard import collect
from librespot_guard.errors import InputError
from librespot_guard.firewall import (
    SET_CONCAT,
    SET_EVAL,
    SET_INTERVAL,
    SET_MAP,
    SET_TIMEOUT,
    TABLE_DORMANT,
    Bitwise,
    Cmp,
    Ct,
    Element,
    Expr,
    Hook,
    Meta,
    Nat,
    Pass,
    Payload,
    Ruleset,
    Unknown,
    Verdict,
    Xt,
    decode,
    expression_text,
)
from librespot_guard.lab.sandbox import Sandbox
from librespot_guard.snapshot import NftDump

pytestmark = pytest.mark.kernel

VARIETY = """
table inet t {
	flags dormant
	set s {
		type ipv4_addr . inet_service
		flags interval
		elements = { 192.168.10.0/25 . 3678-3680 }
	}
	set names {
		type ifname
		elements = { "eth0", "lo" }
	}
	set d {
		type ipv4_addr
		flags dynamic,timeout
		size 10
		timeout 1m
	}
	set nets {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 255.0.0.0/8 }
	}
	map m {
		type ipv4_addr : verdict
		flags timeout
		elements = { 1.2.3.4 timeout 1h : drop, 1.2.3.5 : goto x, * : continue }
	}
	set limited {
		type ipv4_addr
		limit rate 1/second
		elements = { 1.2.3.4 }
	}
	set counted {
		type ipv4_addr
		counter
		elements = { 1.2.3.5 }
	}
	map objects {
		type ipv4_addr : counter
		elements = { 1.2.3.4 : "seen" }
	}
	quota q {
		over 10 mbytes
	}
	counter seen {
	}
	ct helper ftp {
		type "ftp" protocol tcp
	}
	chain x {
		accept
	}
	chain input {
		type filter hook input priority -10; policy drop;
		ip saddr . tcp dport @s accept comment "for the phones"
		ip saddr vmap @m
		quota name "q" drop
		counter name "seen"
		counter name ip saddr map @objects
		limit rate over 5/second burst 7 packets accept
		ct count over 5 drop
		numgen random mod 2 0 drop
		jhash ip saddr mod 2 0 drop
		tcp option maxseg size 1-500 drop
		rt classid 1 drop
		socket transparent 1 accept
		exthdr frag exists drop
		osf name "Linux" accept
		meta mark set meta mark << 2
		tcp dport 21 ct helper set "ftp"
		add @d { ip saddr limit rate 1/second }
		quota 5 bytes drop
		tcp flags syn reject with tcp reset
		ip saddr & 0.0.0.3 < 2 accept
		log prefix "a" group 2
		synproxy mss 1400 wscale 7
		ct label set 1
		meta random 1 accept
		fib saddr . iif oif missing drop
		iifname @names ip saddr @nets counter
		meta hour "08:00"-"09:00" accept
	}
	chain nat {
		type nat hook prerouting priority dstnat; policy accept;
		meta l4proto tcp dnat ip to 1.2.3.4-1.2.3.9:80-90 random
		tcp dport 8080 redirect to :80
	}
	chain proxied {
		type filter hook prerouting priority mangle
		tcp dport 80 tproxy ip to 127.0.0.1:3128 accept
	}
	chain untracked {
		type filter hook prerouting priority raw
		notrack
	}
}
table netdev n {
	chain i {
		type filter hook ingress devices = { lo, eth9 } priority -500; policy drop;
		fwd to "lo"
	}
	chain e {
		type filter hook egress device "eth9" priority 7
		dup to "lo"
	}
}
"""


@dataclass
class Reading:
    """One ruleset: the dump, and what `nft --debug=netlink` prints of it."""

    name: str
    dump: NftDump
    debug: str

    @property
    def ruleset(self) -> Ruleset:
        """The decoded dump."""
        return decode(self.dump, byteorder=sys.byteorder)


def _read(name: str, rules: str) -> Reading:
    done = subprocess.run(
        ["nft", "-f", "-"], input=f"flush ruleset\n{rules}", text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    debug = subprocess.run(
        ["nft", "--debug=netlink", "list", "ruleset"], text=True, capture_output=True, check=True
    ).stdout
    return Reading(name, collect.read_nft(), debug)


@pytest.fixture(scope="module")
def readings() -> Iterator[dict[str, Reading]]:
    """Every ruleset of the corpus and the one of great variety, loaded and read back."""
    with Sandbox() as box:
        host = box.host("host")
        host.ip("link add eth0 type veth peer name eth9", "link add eth1 type veth peer name eth8")
        wanted = {case.name: case.rules for case in CASES} | {"variety": VARIETY}
        yield {r.name: r for r in host.call(lambda: [_read(name, rules) for name, rules in wanted.items()])}


def _slot(number: int) -> int:
    return 4 * (number - 1) if 1 <= number <= 4 else number - 8


def _debug_rules(text: str) -> Iterator[list[str]]:
    """The expressions of each rule as nft prints its bytecode."""
    current: list[str] = []
    for line in text.splitlines():
        if re.match(r"^\S+ \S+ \S+ \d+( \d+)?\s*$", line):
            if current:
                yield current
            current = []
        elif found := re.match(r"^  \[ (.*) \]\s*$", line):
            current.append(found[1].strip())
    if current:
        yield current


def _ours(expr: Expr) -> str:
    """An expression in the form to which `_theirs` brings nft's."""
    match expr:
        case Payload() | Meta() | Ct():
            return expression_text(expr)
        case Cmp(op, sreg, data):
            padded = data + bytes(-len(data) % 4)
            words = " ".join(
                f"{int.from_bytes(padded[i : i + 4], sys.byteorder):#010x}" for i in range(0, len(padded), 4)
            )
            return f"cmp {op} reg {sreg} {words}"
        case Bitwise("mask-xor"):
            return f"bitwise reg {expr.dreg} reg {expr.sreg}"
        case Unknown(name):
            return name.split()[0]
        case Xt():
            return expr.kind
        case Nat(kind):
            return f"nat {kind}"
        case Pass(name):
            return name
    return type(expr).__name__.lower()


_NAMES = {
    "redir": "redirect",
    "masq": "masquerade",
    "objref type 1": "counter",
    "payload write": "payloadset",
    "meta set": "metaset",
    "ct set": "ctset",
    "exthdr write": "exthdrset",
    "exthdr reset": "exthdrset",
    "rt load": "route",
}
# what libnftnl calls otherwise than the kernel
_KEYS = {
    "ct load label": "ct load labels",
    "meta load hour": "meta load time_hour",
    "meta load random": "meta load prandom",
}


def _theirs(text: str) -> str:
    text = re.sub(r"\breg (\d+)", lambda found: f"reg {_slot(int(found[1]))}", text)
    for begin, name in _NAMES.items():
        if text.startswith(begin):
            return name
    word = text.split()[0]
    if word in ("payload", "meta", "ct"):
        for begin, key in _KEYS.items():
            if text.startswith(begin + " "):
                text = text.replace(begin, key, 1)
        return text.replace(" , dir", ", dir")
    if word == "cmp":
        return text.strip()
    if word == "bitwise" and "&" in text:
        registers = re.findall(r"reg (\d+)", text)
        return f"bitwise reg {registers[0]} reg {registers[1]}"
    return f"nat {text.split()[1]}" if word == "nat" else word


def test_every_rule_is_read_as_nft_reads_it(readings: dict[str, Reading]) -> None:
    """For every rule, nft's own decoding of the bytecode has the same expressions, loads, registers and constants."""
    compared = 0
    for reading in readings.values():
        rules = [r for t in reading.ruleset.tables for c in t.chains for r in c.rules]
        theirs = list(_debug_rules(reading.debug))
        ours = [[_ours(e) for e in r.exprs] for r in rules if r.exprs]
        assert sorted(ours) == sorted([_theirs(e) for e in rule] for rule in theirs), reading.name
        compared += sum(map(len, ours))
    assert compared > 1000


def test_nothing_is_missing(readings: dict[str, Reading]) -> None:
    """Real dumps decode without a gap, every rule has its text, and only the variety has expressions not understood."""
    for reading in readings.values():
        ruleset = reading.ruleset
        rules = [r for t in ruleset.tables for c in t.chains for r in c.rules]
        assert ruleset.incomplete == (), reading.name
        assert all(r.text for r in rules), reading.name
        if reading.name != "variety":
            assert not any(isinstance(e, Unknown) for r in rules for e in r.exprs), reading.name


def test_sets_of_every_kind(readings: dict[str, Reading]) -> None:
    """Intervals, concatenations, time-outs, verdicts, catch-alls and conditions are what was written."""
    table = readings["variety"].ruleset.tables[0]

    s = table.set("s")
    assert (s.flags & (SET_INTERVAL | SET_CONCAT), s.field_lengths) == (SET_INTERVAL | SET_CONCAT, (4, 2))
    assert s.elements == (Element(b"\xc0\xa8\x0a\x00\x0e\x5e\0\0", b"\xc0\xa8\x0a\x7f\x0e\x60\0\0"),)
    assert {e.key for e in table.set("names").elements} == {b"eth0".ljust(16, b"\0"), b"lo".ljust(16, b"\0")}
    assert table.set("d").flags & (SET_EVAL | SET_TIMEOUT) == SET_EVAL | SET_TIMEOUT
    nets = {(e.key, e.interval_end) for e in table.set("nets").elements}
    assert {(b"\x0a\0\0\0", False), (b"\x0b\0\0\0", True), (b"\xff\0\0\0", False)} <= nets
    m = table.set("m")
    assert m.flags & SET_MAP
    by_key = {e.key: e for e in m.elements}
    timed = by_key[b"\1\2\3\4"]
    assert (timed.data, timed.timeout) == (Verdict("drop"), 3_600_000)
    assert timed.expires is not None
    assert 3_500_000 < timed.expires <= 3_600_000
    assert by_key[b"\1\2\3\5"].data == Verdict("goto", "x")
    assert [e.data for e in m.elements if e.catchall] == [Verdict("continue")]
    assert [e.conditional for e in table.set("limited").elements] == [True]
    assert [e.conditional for e in table.set("counted").elements] == [False]


def test_chains_and_tables(readings: dict[str, Reading]) -> None:
    """Hooks, priorities, policies, types, devices and table flags are what was written."""
    inet, netdev = readings["variety"].ruleset.tables

    assert inet.flags & TABLE_DORMANT
    assert inet.chain("input").hook == Hook("input", -10, "drop")
    assert inet.chain("nat").hook == Hook("prerouting", -100, "accept", "nat")
    assert inet.chain("x").hook is None
    ingress, egress = netdev.chain("i").hook, netdev.chain("e").hook
    assert ingress is not None
    assert (ingress.hook, ingress.priority, ingress.policy, set(ingress.devices)) == (
        "ingress",
        -500,
        "drop",
        {"lo", "eth9"},
    )
    assert egress == Hook("egress", 7, "accept", "filter", ("eth9",))
    assert inet.chain("input").rules[0].comment == "for the phones"


def test_mutations_of_real_dumps_never_break_the_decoder(readings: dict[str, Reading]) -> None:
    """Four thousand damaged copies of real dumps give a ruleset, or the error that the stream is cut."""
    random = Random(20261124)
    sources = [
        r.dump.data for r in readings.values() if r.name in ("variety", "gate", "concatenated intervals", "netmap")
    ]
    cut = 0
    for _ in range(1000):
        for source in sources:
            data = bytearray(source)
            for _ in range(random.randint(1, 6)):
                position = random.randrange(len(data))
                data[position] = random.choice(
                    (0, 1, 0xFF, data[position] ^ 1 << random.randrange(8), random.randrange(256))
                )
            if random.random() < 0.1:
                del data[random.randrange(len(data)) :]
            try:
                decode(NftDump(1, bytes(data)), byteorder=sys.byteorder)
            except InputError:
                cut += 1
    assert 0 < cut < 2000


def test_a_damaged_length_allocates_nothing(readings: dict[str, Reading]) -> None:
    """A load of four billion bytes from a header that does not exist is an unknown expression, not a list of its registers."""
    data = readings["variety"].dump.data
    # NFTA_PAYLOAD_BASE, _OFFSET and _LEN stand side by side
    load = re.compile(
        rb"\x08\x00\x02\x00\x00\x00\x00[\x01\x02](\x08\x00\x03\x00\x00\x00\x00.)\x08\x00\x04\x00\x00\x00\x00.",
        re.DOTALL,
    )
    damaged, count = load.subn(lambda m: b"\x08\0\x02\0\0\0\0\x77" + m[1] + b"\x08\0\x04\0\x10\0\0\0", data)
    assert count
    tracemalloc.start()
    decode(NftDump(1, damaged), byteorder=sys.byteorder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
