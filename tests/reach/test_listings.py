"""The listings of nft and iptables against the kernel's own messages: the same rules, loaded in a namespace, read in each way.

Where the listing leaves nothing out, both readings give the same answers; where it does, its answer is a bound around the truth.
"""

import json
import os
import re
from collections.abc import Iterator
from random import Random

import pytest

from interpreter_corpus import CASES, IPTABLES
from librespot_guard import collect
from librespot_guard.errors import InputError
from librespot_guard.firewall import Ruleset, Unknown, decode, native, read_listings
from librespot_guard.firewall.agreement import differences, misleading
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.reach.engine import Engine
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.routing import number
from librespot_guard.reach.world import World
from librespot_guard.snapshot import FilterText, Namespace
from reach.grammar import Grammar

pytestmark = pytest.mark.kernel
SEED = os.environ.get("LIBRESPOT_GUARD_SEED", "librespot-guard")
QUESTIONS = [
    (iface, family, proto, dst, port)
    for iface in ("eth0", "eth1")
    for family, dst in (("ipv4", "192.168.10.2"), ("ipv6", "fd00:10::2"), ("ipv4", "192.168.30.2"))
    for proto, port in (("tcp", 3678), ("udp", 5353))
]
# cases whose listing by nft 1.0.6 leaves out what decides: their answers are bounds
LOSSY = {
    "dormant",
    "ingress",
    "inet ingress",
    "two devices at ingress",
    "reject with guards",
    "port without protocol",
    "ct keys",
    "inner of nothing",
    "ct helper and zone",
    "netmap",
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with two interfaces."""
    with Sandbox() as box:
        host, lan, guest = box.host("speaker"), box.host("lan"), box.host("guest")
        box.link(host, "eth0", lan, "far")
        box.link(host, "eth1", guest, "far")
        host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        host.address("eth1", "192.168.30.2/24", "fd00:30::2/64")
        yield host


def load(host: Host, rules: str, *commands: str) -> Namespace | None:
    """Load rules and read them back as the kernel holds them, without the lines that nft refuses; None if it refuses all."""
    lines = rules.splitlines()
    for _ in range(20):
        done = host.run(["nft", "-f", "-"], input="flush ruleset\n" + "\n".join(lines))
        wrong = {int(n) - 2 for n in re.findall(r"/dev/stdin:(\d+):", done.stderr)} & set(range(len(lines)))
        if done.returncode == 0 or not wrong:
            break
        lines = [line for n, line in enumerate(lines) if n not in wrong]
    if done.returncode != 0:
        return None
    for command in commands:
        assert host.run(command.split()).returncode == 0, command
    namespace, gaps = host.call(lambda: collect.read_namespace(home=True))
    assert namespace.nft is not None, gaps
    return namespace


def bytecode(namespace: Namespace) -> World:
    """The namespace with its rules as the kernel holds them."""
    assert namespace.nft is not None
    return World(namespace, native(decode(namespace.nft, byteorder="little")))


def listed(namespace: Namespace, **texts: str) -> World:
    """The namespace with its rules as tools print them."""
    listings = [FilterText(kind.replace("_", "-"), kind, text) for kind, text in texts.items()]
    ruleset: Ruleset = read_listings(listings, interfaces={one.name: one.index for one in namespace.links})
    return World(namespace, ruleset, ruleset.incomplete)


def understood(world: World) -> bool:
    """Whether the listing tells everything."""
    exprs = (e for t in world.ruleset.tables for c in t.chains for r in c.rules for e in r.exprs)
    return not world.doubts and not any(isinstance(e, Unknown) for e in exprs)


def compare(kernel: World, listing: World, *, about: str, exact: bool) -> int:
    """Compare every question; the listing's bounds hold the kernel's, and are equal if `exact`. How many were compared."""
    for iface, family, proto, dst, port in QUESTIONS:
        truth = Engine(kernel, iface, family, proto).ask(number(dst), port)
        answer = Engine(listing, iface, family, proto).ask(number(dst), port)
        where = f"{about}: {iface} {family} {proto} {dst} {port}: {answer.because}"
        assert not truth.must - answer.may, where
        assert not answer.must - truth.may, where
        if exact:
            assert (truth.may, truth.must) == (answer.may, answer.must), where
    return len(QUESTIONS)


@pytest.mark.parametrize("chunk", range(2))
def test_random_rules(host: Host, chunk: int) -> None:
    """Random rulesets read from `nft -j` and `nft -jn` are answered as from the kernel's own messages."""
    compared = 0
    for attempt in range(12):
        seed = f"listing/{SEED}/{chunk}/{attempt}"
        rules = Grammar(Random(seed)).text()
        namespace = load(host, rules)
        if namespace is None:
            continue
        option = ("-j", "-jn")[attempt % 2]
        listing = listed(namespace, nft_json=host.run(["nft", option, "list", "ruleset"]).stdout)
        compared += compare(bytecode(namespace), listing, about=f"seed {seed}\n{rules}", exact=understood(listing))
    assert compared > 12 * len(QUESTIONS) // 2, "the grammar makes too few rulesets that nft loads"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_corpus(host: Host, case: object) -> None:
    """Every ruleset of the corpus: the listing, with names and with numbers, never contradicts the kernel, nor knows less without saying so."""
    namespace = load(host, case.rules)  # type: ignore[attr-defined]
    if namespace is None:
        pytest.fail(f"nft refuses {case.name}")  # type: ignore[attr-defined]
    kernel = bytecode(namespace)
    for option in ("-j", "-jn"):
        listing = listed(namespace, nft_json=host.run(["nft", option, "list", "ruleset"]).stdout)
        lossy = case.name in LOSSY  # type: ignore[attr-defined]
        for packet in case.packets:  # type: ignore[attr-defined]
            truth, verdict = trace(kernel, packet).verdict, trace(listing, packet).verdict
            assert verdict == truth or (lossy and verdict == "undecided"), f"{case.name} {option}: {packet}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", IPTABLES, ids=lambda c: c.name)
def test_iptables(host: Host, case: object) -> None:
    """Rules of iptables-nft, read from iptables-save alone and from it beside `nft -j`, decide as the kernel's blobs do."""
    namespace = load(host, case.rules, *case.iptables)  # type: ignore[attr-defined]
    assert namespace is not None
    kernel = bytecode(namespace)
    four, six = host.run(["iptables-nft-save"]).stdout, host.run(["ip6tables-nft-save"]).stdout
    json_text = host.run(["nft", "-j", "list", "ruleset"]).stdout
    alone = listed(namespace, iptables_save=four, ip6tables_save=six)
    beside = listed(namespace, nft_json=json_text, iptables_save=four, ip6tables_save=six)
    assert not beside.doubts
    for packet in case.packets:  # type: ignore[attr-defined]
        truth = trace(kernel, packet).verdict
        assert trace(alone, packet).verdict == truth, packet
        assert trace(beside, packet).verdict in (truth, "undecided"), packet


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("prefix", ""),
        ("jump and return", ""),
        ("reject", "IPv4 only"),
        ("reject with guards", "IPv6 only"),
        ("dormant", "dormant"),
        ("ingress", "eth0"),
    ],
)
def test_agreement_on_a_live_host(host: Host, name: str, said: str) -> None:
    """What nft prints here is held against the kernel's messages: the same rules, and where its words tell less, which."""
    (case,) = [c for c in CASES if c.name == name]
    namespace = load(host, case.rules)
    assert namespace is not None
    (listing,) = namespace.texts
    ruleset = bytecode(namespace).ruleset
    found = misleading(ruleset, listing.text)

    assert differences(ruleset, listing.text) == ()
    # newer versions of nft print these words themselves
    told = not said or f'"{said}"' in listing.text
    assert found == () if told else any(said in m.truth for m in found)


def test_a_rule_that_the_listing_lacks(host: Host) -> None:
    """A listing with one rule less makes every answer on that host a bound, and names both texts."""
    namespace = load(
        host, "table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; }; }"
    )
    assert namespace is not None
    (listing,) = namespace.texts
    document = json.loads(listing.text)
    document["nftables"] = [item for item in document["nftables"] if "rule" not in item]
    doubts = differences(bytecode(namespace).ruleset, json.dumps(document))
    assert len(doubts) == 1
    assert "cmp eq reg" in doubts[0]
    assert "`nothing` in `nft -j`" in doubts[0]


@pytest.mark.parametrize("kind", ["nft-json", "iptables-save"])
def test_mutations_of_real_listings(host: Host, kind: str) -> None:
    """Real listings with bytes changed, cut out and doubled are read, or refused with a sentence."""
    random = Random(f"mutations/{SEED}/{kind}")
    case = IPTABLES[0]
    namespace = load(
        host,
        Grammar(random).text() if kind == "nft-json" else case.rules,
        *(() if kind == "nft-json" else case.iptables),
    )
    assert namespace is not None
    command = ["nft", "-j", "list", "ruleset"] if kind == "nft-json" else ["iptables-nft-save"]
    text = host.run(command).stdout
    refused = 0
    for _ in range(600):
        low = random.randrange(len(text))
        high = min(len(text), low + random.randrange(12))
        middle = random.choice(
            ["", text[low:high] * 2, random.choice('{}[]",:!-0\\\n*'), str(random.randrange(-1, 1 << 33))]
        )
        try:
            read_listings([FilterText(kind, "mutated", text[:low] + middle + text[high:])], interfaces={})
        except InputError as error:
            refused += 1
            assert str(error).startswith("mutated")  # noqa: PT017 - the refusal is what is judged
    assert 0 < refused < 600
