"""Tables of legacy iptables out of the kernel's own blobs: struct ipt_entry, ip6t_entry and their targets, as a `SavedTable`.

Layouts: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h, netfilter/x_tables.h, for CPUs that align
64-bit numbers to 8 bytes (all but 32-bit x86).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from librespot_guard.firewall.iptables_save import Module, SavedRule, SavedTable
from librespot_guard.firewall.iptables_values import Option
from librespot_guard.firewall.model import Xt
from librespot_guard.firewall.nft_json_types import Unsupported
from librespot_guard.firewall.xt import options

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
_MOST_ENTRIES = 1_000_000
_HEADER = 32  # struct xt_entry_match without its data: size, name, revision


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of an entry are: sizes of an address and of the whole head, offsets of its fields."""

    address: int
    protocol: int
    flags: int
    inversions: int
    offsets: int
    size: int
    goto: int


_LAYOUTS = {"ip": Layout(4, 80, 82, 83, 88, 112, 2), "ip6": Layout(16, 128, 131, 132, 140, 168, 4)}


class Malformed(ValueError):  # noqa: N818 - it never leaves the package
    """A blob that is no table."""


def saved_table(
    name: str, info: bytes, entries: bytes, *, family: str, order: str, ipsets: Mapping[int, str] | None = None
) -> SavedTable:
    """The table, as if iptables-legacy-save had printed it.

    Args:
        name: of the table.
        info: struct ipt_getinfo.
        entries: the entries of the table.
        family: "ip" or "ip6".
        order: byte order of the host.
        ipsets: names of ipsets by the kernel's number.

    Raises:
        Malformed: the blob does not hold together.
    """
    return _Reader(name, entries, family, order, ipsets or {}).read(info)


@dataclass(frozen=True, slots=True)
class _Entry:
    offset: int
    raw: bytes
    target_offset: int

    @property
    def target(self) -> tuple[str, int, bytes]:
        """Name, revision and data of its target."""
        return _extension(self.raw, self.target_offset)


def _extension(raw: bytes, at: int) -> tuple[str, int, bytes]:
    if at + _HEADER > len(raw):
        raise Malformed("an extension is cut off")
    (size,) = struct.unpack_from("=H", raw, at)
    if size < _HEADER or at + size > len(raw):
        raise Malformed("an extension reaches beyond its entry")
    name = raw[at + 2 : at + 31].split(b"\0")[0].decode("utf-8", "replace")
    return name, raw[at + 31], raw[at + _HEADER : at + size]


@dataclass(frozen=True, slots=True)
class _Reader:
    name: str
    entries: bytes
    family: str
    order: str
    ipsets: Mapping[int, str]

    @property
    def layout(self) -> Layout:
        return _LAYOUTS[self.family]

    def _number(self, data: bytes, offset: int, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(
            data[offset : offset + size], "little" if self.order == "little" else "big", signed=signed
        )

    def read(self, info: bytes) -> SavedTable:
        if len(info) < 84:
            raise Malformed("struct ipt_getinfo is cut off")
        valid = self._number(info, 32, 4)
        starts = {self._number(info, 36 + 4 * n, 4): HOOKS[n] for n in range(5) if valid >> n & 1}
        ends = {self._number(info, 56 + 4 * n, 4): HOOKS[n] for n in range(5) if valid >> n & 1}
        found = list(self._split())
        names = self._chains(found, starts)
        out = SavedTable(self.name)
        chain, line = "", 0
        for position, entry in enumerate(found):
            target = entry.target[0]
            if target == "ERROR":
                chain = names.get(entry.offset, "")
                if position + 1 < len(found):
                    out.policies[chain] = None
                    out.rules.setdefault(chain, [])
                continue
            if entry.offset in starts:
                chain = starts[entry.offset]
                out.rules.setdefault(chain, [])
            if entry.offset in ends:
                out.policies[chain] = self._verdict(entry) or "ACCEPT"
            elif position + 1 < len(found) and found[position + 1].target[0] == "ERROR" and chain not in HOOKS:
                continue  # the return at the end of a chain, which every chain has
            else:
                line += 1
                following = found[position + 1].offset if position + 1 < len(found) else -1
                out.rules.setdefault(chain, []).append(self._rule(entry, chain, names, line, following))
        return out

    def _split(self) -> Iterator[_Entry]:
        at, count = 0, 0
        while at < len(self.entries):
            if at + self.layout.size > len(self.entries):
                raise Malformed("an entry is cut off")
            target = self._number(self.entries, at + self.layout.offsets, 2)
            size = self._number(self.entries, at + self.layout.offsets + 2, 2)
            if not self.layout.size <= target < size or at + size > len(self.entries):
                raise Malformed("an entry reaches beyond its table")
            yield _Entry(at, self.entries[at : at + size], target)
            at, count = at + size, count + 1
            if count > _MOST_ENTRIES:
                raise Malformed(f"more than {_MOST_ENTRIES} entries")

    @staticmethod
    def _chains(found: list[_Entry], starts: Mapping[int, str]) -> dict[int, str]:
        """The names of chains by the offset of their first entry: of the head for chains of the user, too."""
        out = dict(starts)
        for position, entry in enumerate(found[:-1]):
            name, _, data = entry.target
            if name == "ERROR":
                text = data.split(b"\0")[0].decode("utf-8", "replace")
                out[entry.offset] = text
                out[found[position + 1].offset] = text
        return out

    def _verdict(self, entry: _Entry) -> str | None:
        name, _, data = entry.target
        return _VERDICTS.get(self._number(data, 0, 4, signed=True)) if name == "" else None

    def _rule(self, entry: _Entry, chain: str, names: Mapping[int, str], line: int, following: int) -> SavedRule:
        matches: list[Module] = []
        at = self.layout.size
        while at < entry.target_offset:
            name, revision, data = _extension(entry.raw, at)
            matches.append(self._module("match", name, revision, data))
            at += _HEADER + len(data)
        name, revision, data = entry.target
        goto = bool(entry.raw[self.layout.flags] & self.layout.goto)
        target: Module | None
        if name == "":
            verdict = self._number(data, 0, 4, signed=True)
            if verdict in _VERDICTS:
                target = Module(_VERDICTS[verdict])
            elif verdict == following:
                target = None
            elif verdict in names:
                target = Module(names[verdict])
            else:
                raise Malformed(f"a jump to offset {verdict}, where no chain begins")
        else:
            target = self._module("target", name, revision, data)
        head = tuple(self._head(entry.raw))
        return SavedRule(line, _text(chain, head, matches, target, goto=goto), head, tuple(matches), target, goto)

    def _module(self, kind: str, name: str, revision: int, data: bytes) -> Module:
        """An extension in options; one that can't be said in them gets one that nobody understands."""
        try:
            return options(Xt(kind, name, revision, data), family=self.family, order=self.order, ipsets=self.ipsets)
        except Unsupported as error:
            return Module(name, ((False, f"--revision-{revision}", (str(error),)),))

    def _head(self, raw: bytes) -> Iterator[Option]:
        """The conditions of struct ipt_ip or ip6t_ip6."""
        layout, size = self.layout, self.layout.address
        inverted = raw[layout.inversions]
        for number, (name, bit) in enumerate((("-s", 8), ("-d", 16))):
            value, mask = raw[number * size :][:size], raw[(number + 2) * size :][:size]
            if any(mask) or inverted & bit:
                yield bool(inverted & bit), name, (_network(value, mask),)
        for number, (name, bit) in enumerate((("-i", 1), ("-o", 2))):
            at = 4 * size + 16 * number
            text, ones = raw[at : at + 16].split(b"\0")[0].decode("utf-8", "replace"), raw[at + 32 : at + 48]
            if any(ones) or inverted & bit:
                # "eth+" is stored as it was written, with a mask that ends before its plus
                shown = ones.rstrip(b"\0").count(b"\xff")
                yield bool(inverted & bit), name, (text if shown > len(text) else text[:shown] + "+",)
        protocol = self._number(raw, layout.protocol, 2)
        if protocol:
            yield bool(inverted & 64), "-p", (_PROTOCOLS.get(protocol, str(protocol)),)
        if self.family == "ip" and raw[layout.flags] & 1:
            yield bool(inverted & 32), "-f", ()


def _network(value: bytes, mask: bytes) -> str:
    kind = IPv4Address if len(value) == 4 else IPv6Address
    bits, size = int.from_bytes(mask, "big"), 8 * len(mask)
    ones = bits.bit_count()
    prefix = bits == (1 << size) - (1 << size - ones)
    return f"{kind(value)}/{ones if prefix else kind(mask)}"


def _text(chain: str, head: tuple[Option, ...], matches: list[Module], target: Module | None, *, goto: bool) -> str:
    """The rule as iptables-save prints one."""
    words = ["-A", chain, *(word for option in head for word in _option(option))]
    for module in matches:
        words += ["-m", module.name, *(word for option in module.options for word in _option(option))]
    if target is not None:
        words += ["-g" if goto else "-j", target.name, *(word for option in target.options for word in _option(option))]
    return " ".join(words)


def _option(option: Option) -> Iterator[str]:
    inverted, name, values = option
    if inverted:
        yield "!"
    yield name
    yield from (f'"{value}"' if " " in value or not value else value for value in values)
