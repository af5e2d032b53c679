"""The ruleset over nfnetlink, against the real kernel and the real `nft`."""

import json
import os
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from librespot_guard.collect import netlink, nft
from librespot_guard.errors import MachineError
from librespot_guard.lab.sandbox import Host, Sandbox

EVERYTHING = """
table inet everything {
  counter seen { }
  set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.7 }; }
  set empty { type inet_service; }
  map gate { type nf_proto : verdict; flags timeout; elements = { ipv4 timeout 1h : accept }; }
  chain input {
    type filter hook input priority filter; policy drop;
    ip saddr @nets tcp dport { 22, 80-90 } accept comment "a # handle 99"
    counter name seen
    meta nfproto vmap @gate
  }
  chain other {
    udp dport 5353 drop
  }
}
table ip6 everything {
  chain input {
    type filter hook input priority 5;
    tcp dport 22 accept
  }
}
"""


@pytest.fixture
def host() -> Iterator[Host]:
    """A host of its own."""
    with Sandbox() as box:
        yield box.host("one")


def kinds(data: bytes) -> dict[int, int]:
    """How many messages of each nf_tables kind a dump holds."""
    found: dict[int, int] = {}
    for kind, *_ in netlink.split(data):
        found[kind & 0xFF] = found.get(kind & 0xFF, 0) + 1
    return found


def as_nobody(function: Callable[[], Any]) -> Any:
    """What a function returns or raises when an ordinary user runs it."""
    if os.geteuid() != 0:
        return _result(function)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            os.write(writing, pickle.dumps(_result(function)))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(answer)  # noqa: S301 - our own child wrote it


def _result(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except MachineError as error:
        return str(error), error.hint


@pytest.mark.kernel
def test_everything_is_in_the_dump(host: Host) -> None:
    """Tables, chains, sets, objects, elements and rules of all families are whole messages, in an order a reader can use."""
    host.run(["nft", "-f", "-"], input=EVERYTHING, check=True)
    dump = host.call(nft.read_nft)
    found = kinds(dump.data)

    # NEWTABLE, NEWCHAIN, NEWRULE, NEWSET (one anonymous), NEWOBJ
    assert (found[0], found[3], found[6], found[9], found[18]) == (2, 3, 5, 4, 1)
    assert found[12] >= 3  # NEWSETELEM of every set that has elements
    assert sum(len(raw) for *_, raw in netlink.split(dump.data)) == len(dump.data)
    order = [kind & 0xFF for kind, *_ in netlink.split(dump.data)]
    assert order.index(12) > order.index(9) > order.index(3) > order.index(0)
    assert dump.generation > 1


@pytest.mark.kernel
def test_texts_are_those_of_nft(host: Host) -> None:
    """Each rule that `nft -j` knows has a text with the same table, chain and handle, and the text is as nft prints it."""
    host.run(["nft", "-f", "-"], input=EVERYTHING, check=True)
    dump = host.call(nft.read_nft)
    listed = json.loads(host.run(["nft", "-j", "list", "ruleset"], check=True).stdout)["nftables"]
    rules = {(r["family"], r["table"], r["chain"], r["handle"]) for item in listed if (r := item.get("rule"))}

    assert {(t.family, t.table, t.chain, t.handle) for t in dump.text} == rules
    assert 'ip saddr @nets tcp dport { 22, 80-90 } accept comment "a # handle 99"' in {t.text for t in dump.text}
    assert host.call(lambda: nft.read_nft(texts=False)).text == ()


@pytest.mark.kernel
def test_no_rules_is_an_empty_dump(host: Host) -> None:
    """A namespace without rules gives an empty dump, not an error."""
    dump = host.call(nft.read_nft)

    assert (dump.data, dump.text) == (b"", ())


@pytest.mark.kernel
def test_a_dump_is_never_a_mixture(host: Host) -> None:
    """While rulesets of two kinds replace each other, every dump is wholly of one kind."""
    one = "flush ruleset\n" + "".join(f"table ip t{n} {{\n chain c {{\n drop\n }}\n}}\n" for n in range(30))
    two = one.replace("drop", "tcp dport 1 accept")
    script = "while :; do nft -f /run/one; nft -f /run/two; done"
    host.run(["sh", "-c", "cat > /run/one"], input=one, check=True)
    host.run(["sh", "-c", "cat > /run/two"], input=two, check=True)
    host.run(["nft", "-f", "/run/one"], check=True)
    process = host.popen(["sh", "-c", script])

    def read() -> list[set[int]]:
        """The lengths of the rules in each of many dumps, until both kinds were seen."""
        found: list[set[int]] = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (len(found) < 40 or len(set().union(*found)) < 2):
            data = nft.read_nft(texts=False).data
            found.append({len(raw) for kind, _, _, raw in netlink.split(data) if kind & 0xFF == 6})
        return found

    try:
        sizes = host.call(read)
    finally:
        process.stop()

    assert all(len(lengths) <= 1 for lengths in sizes)
    assert len(set().union(*sizes)) == 2


@pytest.mark.kernel
def test_nft_that_fails_is_no_error(host: Host) -> None:
    """Without a working `nft` there are no texts, and the rules are there all the same."""
    host.run(["nft", "-f", "-"], input=EVERYTHING, check=True)

    def read(path: str) -> Any:
        os.environ["PATH"] = path
        return nft.read_nft()

    host.run(
        ["sh", "-c", "mkdir -p /run/bad && printf '#!/bin/sh\\nexit 1\\n' > /run/bad/nft && chmod +x /run/bad/nft"],
        check=True,
    )
    dump = host.call(lambda: read("/run/bad"))

    assert dump.data
    assert dump.text == ()


def test_without_privilege_it_says_what_to_do() -> None:
    """An ordinary user is told that it needs root, and how."""
    message, hint = as_nobody(nft.read_nft)

    assert "CAP_NET_ADMIN" in message
    assert "sudo" in hint


def test_context_of_a_rule_is_its_own_table_and_chain() -> None:
    """Set elements over several lines, maps and comments between chains do not confuse the reader of texts."""
    listing = (
        "table inet a { # handle 1\n\tset s { # handle 2\n\t\ttype ipv4_addr\n\t\telements = { 1.2.3.4,\n\t\t\t     5.6.7.8 }\n\t}\n\n"
        "\tchain one { # handle 3\n\t\ttype filter hook input priority filter; policy accept;\n\t\tdrop # handle 4\n\t}\n}\n"
        "table ip b { # handle 2\n\tchain one { # handle 1\n\t\tjump two # handle 9\n\t}\n}\n"
    )

    assert [(t.family, t.table, t.chain, t.handle, t.text) for t in nft.parse_texts(listing)] == [
        ("inet", "a", "one", 4, "drop"),
        ("ip", "b", "one", 9, "jump two"),
    ]


@pytest.mark.kernel
def test_nothing_is_changed(host: Host) -> None:
    """Reading leaves the generation of the ruleset as it was."""
    host.run(["nft", "-f", "-"], input=EVERYTHING, check=True)
    generations = host.call(lambda: [nft.read_nft().generation for _ in range(3)])

    assert len(set(generations)) == 1
