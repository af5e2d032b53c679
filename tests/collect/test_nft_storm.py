"""Reading a ruleset that changes all the time: what comes out is one state of it, or a clear error after a bounded number of tries."""

import errno
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from librespot_guard import firewall
from librespot_guard.collect import netlink, nft
from librespot_guard.collect.netlink import ATTEMPTS, NETLINK_NETFILTER, Netlink, attribute
from librespot_guard.errors import MachineError
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import NftDump

pytestmark = pytest.mark.kernel

MANY, PIECE = 100_000, 4_000
# (table, its sets with their elements, its chains with their rules): what the states below differ in
State = tuple[tuple[object, ...], ...]
# how many elements there are, the numbers of the marked ones, those of the rules
Marks = tuple[int, list[int], list[int]]


@pytest.fixture
def host() -> Iterator[Host]:
    """A host of its own."""
    with Sandbox() as box:
        yield box.host("one")


def load(rules: str) -> None:
    """Load rules in the calling thread's namespace."""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def state(number: int) -> str:
    """One of some rulesets of different sets, rules and tables, wherever one looks at it."""
    elements = ", ".join(f"10.{number}.{n}.0/25" for n in range(60 + number))
    rules = "\n".join(f"tcp dport {1000 * number + n} accept" for n in range(40 + 7 * number))
    more = f"table ip6 only{number} {{\nchain c {{\ntcp dport {number} drop\n}}\n}}"
    return (
        f"flush ruleset\ntable inet t {{ set s {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}\n"
        f"map m {{ type inet_service : verdict; elements = {{ {number} : drop }}; }}\n"
        f"chain c {{\ntype filter hook input priority 0; ip saddr @s accept; tcp dport vmap @m; {rules}\n}}\n}}\n{more}\n"
    )


def read_or_none() -> bytes | None:
    """A dump, or None if the reader gave its clear error. Raises whatever else it said."""
    try:
        return nft.read_nft(texts=False).data
    except MachineError as error:
        if not re.search(f"changed during each of {ATTEMPTS} attempts", str(error)) or not error.hint:
            raise
        return None


def summary(data: bytes) -> State:
    """What of a dump must belong together."""
    ruleset = firewall.decode(NftDump(1, data), byteorder="little")
    assert not ruleset.incomplete
    return tuple(
        (
            t.name,
            tuple((s.name, tuple(sorted((e.key, e.interval_end, str(e.data)) for e in s.elements))) for s in t.sets),
            tuple((c.name, tuple(r.exprs for r in c.rules)) for c in t.chains),
        )
        for t in sorted(ruleset.tables, key=lambda t: t.name)
    )


def test_replaced_rules_and_sets_are_never_mixed(host: Host) -> None:
    """While another process replaces rules, sets, maps and tables, each result is one of the states that were loaded."""

    def quiet(number: int) -> State:
        load(state(number))
        return summary(nft.read_nft(texts=False).data)

    states = [host.call(lambda number=number: quiet(number)) for number in (1, 2, 3)]  # type: ignore[misc] # mypy and defaults
    assert len(set(states)) == 3
    for number in (1, 2, 3):
        host.run(["sh", "-c", f"cat > /run/{number}"], input=state(number), check=True)
    storm = host.popen(["sh", "-c", "while :; do nft -f /run/1; nft -f /run/2; nft -f /run/3; done"])

    def read() -> list[int]:
        """Which states were seen, in order."""
        found: list[int] = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (len(found) < 30 or len(set(found)) < 3):
            data = read_or_none()
            if data is not None:
                found.append(states.index(summary(data)))
        return found

    try:
        found = host.call(read)
    finally:
        storm.stop()
    assert len(set(found)) == 3, found


def big(elements: int) -> Iterator[str]:
    """A set of many elements in pieces, with a marked one that a rule names too."""
    yield "table inet big {\nset s { type ipv4_addr; }\nchain c { type filter hook input priority 0; }\n}"
    for first in range(0, elements, PIECE):
        some = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(first, min(first + PIECE, elements)))
        yield f"add element inet big s {{ {', '.join(some)} }}"
    yield marked(0)


def marked(number: int, before: int | None = None) -> str:
    """In one transaction, the rule and an element with the same number in place of those of the number before."""
    gone = "" if before is None else f"delete element inet big s {{ 203.0.113.{before} }}\n"
    return (
        f"{gone}flush chain inet big c\nadd element inet big s {{ 203.0.113.{number} }}\n"
        f"add rule inet big c tcp dport {1000 + number} drop\n"
    )


def marks(data: bytes) -> Marks:
    """How many elements there are, the numbers of the marked ones, and those of the rules."""
    (table,) = firewall.decode(NftDump(1, data), byteorder="little").tables
    keys = [e.key for e in table.sets[0].elements]
    ports = [
        e.data for r in table.chain("c").rules for e in r.exprs if isinstance(e, firewall.Cmp) and len(e.data) == 2
    ]
    special = [key[3] for key in keys if key[:3] == bytes((203, 0, 113))]
    return len(set(keys)), special, [int.from_bytes(p, "big") - 1000 for p in ports]


class Disturbed:
    """A socket that has something happen after the first datagram of each dump of a kind, while the kernel has more to say."""

    def __init__(self, real: socket.socket, happen: Callable[[], None], kind: int = nft.GETSETELEM) -> None:
        self.real, self.happen, self.kind, self.asked = real, happen, kind, False

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def send(self, data: bytes) -> int:
        """Note what is asked."""
        self.asked = int.from_bytes(data[4:6], "little") == self.kind
        return self.real.send(data)

    def recvmsg(self, size: int) -> tuple[bytes, list[Any], int, Any]:
        """Receive, and disturb what comes next."""
        found = self.real.recvmsg(size)
        if self.asked:
            self.asked = False
            self.happen()
        return found


def test_interrupted_dumps_of_a_large_set(host: Host) -> None:
    """What changed in the midst of a dump of 100,000 elements is read again; if it changes each time, that is said after so many tries."""

    def read(first: int, last: int) -> Marks:
        """Read, while the next dumps are disturbed: by the change to `first` and so on to `last`."""
        left = list(range(first, last + 1))

        def happen() -> None:
            if left:
                number = left.pop(0)
                load(marked(number, number - 1))

        with Netlink(NETLINK_NETFILTER) as link:
            link._socket = Disturbed(link._socket, happen)  # type: ignore[assignment]
            try:
                _, data = nft._read(link)
            finally:
                assert not left
        return marks(data)

    def fill() -> None:
        for piece in big(MANY):
            load(piece)

    host.call(fill)
    assert host.call(lambda: read(1, 0)) == (MANY + 1, [0], [0])
    assert host.call(lambda: read(1, 3)) == (MANY + 1, [3], [3])
    with pytest.raises(MachineError, match=f"changed during each of {ATTEMPTS} attempts") as caught:
        host.call(lambda: read(4, 3 + ATTEMPTS))
    assert "try again" in caught.value.hint


def test_a_hash_table_that_grows(host: Host) -> None:
    """Right after many elements came, the kernel still moves them: a dump that repeats some and lacks others is not believed."""

    def read() -> list[int]:
        found = []
        for _ in range(2):
            for piece in big(MANY):
                load(piece)
            found.append(marks(nft.read_nft(texts=False).data)[0])
            load("delete table inet big")
        return found

    assert host.call(read) == [MANY + 1] * 2


def test_what_a_growing_table_gives_is_told_apart() -> None:
    """A dump in which an element stands twice lacks another."""

    def message(*keys: bytes) -> netlink.Message:
        items = b"".join(attribute(1, attribute(1, attribute(1, key))) for key in keys)
        return 0, bytes(20) + attribute(3, items)

    assert nft._whole({}, [message(b"aaaa", b"bbbb"), message(b"cccc")])
    assert not nft._whole({}, [message(b"aaaa", b"bbbb"), message(b"aaaa")])
    assert nft._whole({3: b"\0\0\0\4"}, [message(b"aaaa"), message(b"aaaa")])


def test_a_large_set_in_a_storm(host: Host) -> None:
    """While one element of 100,000 and the rule that names it are replaced, no result has one without the other."""

    def fill() -> None:
        for piece in big(MANY):
            load(piece)

    host.call(fill)
    script = "\n".join(f"cat > /run/{n} <<E\n{marked(n, (n - 1) % 100)}E" for n in range(100))
    # a breath between the changes: long enough for some dumps, too short for others
    loop = "n=1; while :; do nft -f /run/$n; n=$(((n + 1) % 100)); sleep 0.$((n % 8)); done"
    host.run(["sh", "-ec", script], check=True)
    storm = host.popen(["sh", "-c", loop])

    def read() -> tuple[list[Marks], int]:
        found: list[Marks] = []
        tries = 0
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and len(found) < 4:
            data = read_or_none()
            tries += 1
            found += [] if data is None else [marks(data)]
        return found, tries

    try:
        found, tries = host.call(read)
    finally:
        storm.stop()
    assert tries
    for number, special, rules in found:
        assert (number, len(special), special) == (MANY + 1, 1, rules)


def test_a_dump_says_that_it_was_interrupted(host: Host) -> None:
    """One attempt that the kernel interrupts (NLM_F_DUMP_INTR) is an error with EINTR, so that the caller can begin anew."""

    def read() -> int:
        load("table inet big {\nchain c { }\n}")
        for _ in range(6):
            load("".join(f"add rule inet big c tcp dport {n + 1} drop\n" for n in range(300)))
        with Netlink(NETLINK_NETFILTER) as link:
            disturbed = Disturbed(link._socket, lambda: load("add rule inet big c drop"), nft.GETRULE)
            link._socket = disturbed  # type: ignore[assignment]
            with pytest.raises(netlink.NetlinkError) as caught:
                link.dump_raw(nft.GETRULE, nft._NFGENMSG.pack(0, 0, 0), attempts=1)
        return caught.value.errno

    assert host.call(read) == errno.EINTR
