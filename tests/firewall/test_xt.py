"""Extensions of iptables out of their blobs, and whole legacy tables: what is damaged is refused or left open, and never a crash."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.firewall import Rule, Ruleset, Table, Xt, legacy_tables, native
from librespot_guard.firewall.model import Chain, Unknown
from librespot_guard.firewall.xt import _MATCHES
from librespot_guard.firewall.xt_targets import TARGETS
from librespot_guard.snapshot import LegacyTable

NAMES = st.sampled_from([*_MATCHES, *TARGETS, "set", "recent", "SET", "unheard-of"])


def _only(xt: Xt, family: str = "ip", order: str = "little") -> tuple[object, ...]:
    rule = Rule(1, (xt,))
    found = native(Ruleset((Table(family, "filter", (Chain("INPUT", 1, (rule,)),)),), order))
    return found.tables[0].chains[0].rules[0].exprs


@given(
    st.sampled_from(["match", "target"]),
    NAMES,
    st.integers(0, 5),
    st.binary(max_size=200),
    st.sampled_from(["ip", "ip6"]),
)
def test_any_block_is_read_or_left_as_it_is(kind: str, name: str, revision: int, info: bytes, family: str) -> None:
    """A block of any content and size becomes instructions, or stays an extension that nobody claims to understand."""
    assert isinstance(_only(Xt(kind, name, revision, info), family), tuple)


def test_a_block_that_is_too_short_stays() -> None:
    """Half of a struct is no struct."""
    short = Xt("match", "multiport", 1, bytes(47))
    assert _only(short) == (short,)


def test_a_big_endian_cpu_gets_bounds() -> None:
    """Constants are made for little-endian CPUs: elsewhere an extension stays one, and a legacy table is named."""
    tcp = Xt("match", "tcp", 0, struct.pack(">4H4B", 0, 65535, 22, 22, 0, 0, 0, 0))
    assert _only(tcp, order="big") == (tcp,)
    tables, incomplete = legacy_tables([LegacyTable("ipv4", "filter", bytes(84), b"")], order="big")
    assert not tables
    assert "big-endian" in incomplete[0]


def _entry(target: bytes, size: int = 112) -> bytes:
    """A struct ipt_entry without conditions."""
    return bytes(88) + struct.pack("<HHI", size, size + len(target), 0) + bytes(16) + target


def _verdict(number: int) -> bytes:
    return struct.pack("<H29sBi4x", 40, b"", 0, number)


ERROR = struct.pack("<H29sB30s2x", 64, b"ERROR", 0, b"ERROR")
HOOKED = _entry(_verdict(-1)) + _entry(_verdict(-2))
INFO = b"filter".ljust(32, b"\0") + struct.pack(
    "<I5I5III", 2, 0, 0, 0, 0, 0, 0, len(HOOKED) // 2, 0, 0, 0, 3, len(HOOKED) + 176
)
WHOLE = LegacyTable("ipv4", "filter", INFO, HOOKED + _entry(ERROR))


def test_a_whole_table() -> None:
    """One rule that drops, and a policy that accepts."""
    (table,), incomplete = legacy_tables([WHOLE], order="little")
    (chain,) = table.chains
    assert incomplete == []
    assert (chain.name, chain.hook and chain.hook.policy, [r.text for r in chain.rules]) == (
        "INPUT",
        "accept",
        ["-A INPUT -j DROP"],
    )


@given(st.integers(0, len(WHOLE.entries) - 1), st.binary(min_size=1, max_size=12), st.integers(0, 200))
def test_a_damaged_table_is_read_or_named(at: int, change: bytes, cut: int) -> None:
    """Bytes that are changed or cut out of a table give tables or a reason, never a crash."""
    entries = WHOLE.entries[:at] + change + WHOLE.entries[at + len(change) :]
    tables, incomplete = legacy_tables(
        [LegacyTable("ipv4", "filter", INFO, entries[: len(entries) - cut])], order="little"
    )
    assert tables or incomplete
    assert not any(
        isinstance(e, Unknown) and not e.name for t in tables for c in t.chains for r in c.rules for e in r.exprs
    )
