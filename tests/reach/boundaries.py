"""Packets on the borders of what rules can tell apart: both ends of every interval that a ruleset names, and one beside each."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

from librespot_guard import firewall as fw
from librespot_guard.reach.packet import EXTENSIONS, Packet
from librespot_guard.reach.routing import text

if TYPE_CHECKING:
    from random import Random

    from librespot_guard.firewall.model import Ruleset

ALWAYS = {
    "ipv4": ["192.168.10.9", "10.9.0.7", "203.0.113.7", "8.8.8.8", "192.168.10.2", "127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.5",
             "255.255.255.255", "192.168.10.255", "198.51.100.7"],
    "ipv6": ["fd00:10::9", "fd00:9::7", "2001:db8:1::5", "fe80::77", "8000::1", "fd00:10::2", "::1", "ff02::5", "::ffff:10.0.0.1", "::"],
}  # fmt: skip
OWN = {"ipv4": ["192.168.10.2", "192.168.10.3", "10.9.0.2"], "ipv6": ["fd00:10::2", "fd00:9::2"]}
OTHER = {
    "ipv4": ["192.168.10.255", "224.0.0.251", "255.255.255.255", "10.9.0.7", "192.168.10.9", "8.8.8.8", "198.51.100.7", "203.0.113.9", "127.0.0.1"],
    "ipv6": ["fd00:9::7", "fd00:10::9", "2001:db8::1", "ff02::fb", "fe80::2", "::1"],
}  # fmt: skip
_FIELDS = {
    ("network", 12): "saddr4", ("network", 16): "daddr4", ("network", 8): "saddr6", ("network", 24): "daddr6",
    ("transport", 0): "sport", ("transport", 2): "dport",
}  # fmt: skip
_FULL = {"saddr4": 4, "daddr4": 4, "saddr6": 16, "daddr6": 16, "sport": 2, "dport": 2}
_FLAGS = [0x02, 0x02, 0x02, 0x02, 0x02, 0x10, 0x12, 0x04, 0x01, 0x11, 0x14, 0x00, 0x29, 0xC2, 0x0A]


@dataclass(slots=True)
class Borders:
    """Values at the borders, by field."""

    values: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in _FULL})

    def note(self, name: str, low: bytes, high: bytes) -> None:
        """Both ends of an interval, and their neighbours; a shorter load is a prefix of the field."""
        full = _FULL[name]
        first = int.from_bytes(low[:full].ljust(full, b"\0"), "big")
        last = int.from_bytes(high[:full].ljust(full, b"\xff"), "big")
        top = (1 << 8 * full) - 1
        self.values[name] |= {v for v in (first - 1, first, first + 1, last - 1, last, last + 1) if 0 <= v <= top}


def borders(ruleset: Ruleset) -> Borders:
    """The borders of addresses and ports in a ruleset."""
    out = Borders()
    for table in ruleset.tables:
        sets = {s.name: s for s in table.sets}
        for chain in table.chains:
            for rule in chain.rules:
                loaded: dict[int, str] = {}
                for expr in rule.exprs:
                    match expr:
                        case fw.Payload(base, offset, _, dreg):
                            loaded[dreg] = _FIELDS.get((base, offset), "")
                        case fw.Cmp(_, sreg, data) if loaded.get(sreg):
                            out.note(loaded[sreg], data, data)
                        case fw.Range(_, sreg, low, high) if loaded.get(sreg):
                            out.note(loaded[sreg], low, high)
                        case fw.Lookup(name, sreg) if name in sets:
                            _elements(out, sets[name], sreg, loaded)
    return out


def _elements(out: Borders, table_set: fw.Set, sreg: int, loaded: dict[int, str]) -> None:
    lengths = table_set.field_lengths or (table_set.key_length,)
    for element in table_set.elements[:64]:
        at = 0
        for length in lengths:
            name = loaded.get(sreg + at // 4)
            if name and not element.catchall:
                last = element.key if element.key_end is None else element.key_end
                out.note(name, element.key[at : at + length], last[at : at + length])
            at += (length + 3) & ~3


class Packets:
    """A source of packets for one ruleset."""

    def __init__(
        self, ruleset: Ruleset, random: Random, *, targets: list[str] | None = None, ports: list[int] | None = None
    ) -> None:
        self.random = random
        extra = targets or []
        found = borders(ruleset).values
        self.sources = {f: self._addresses(f, found[f"saddr{f[-1]}"], ALWAYS[f]) for f in ("ipv4", "ipv6")}
        self.targets = {
            f: self._addresses(f, found[f"daddr{f[-1]}"], [*OTHER[f], *(t for t in extra if family_of(t) == f)])
            for f in ("ipv4", "ipv6")
        }
        self.sports = sorted(found["sport"] - {0}) or [443]
        self.dports = sorted((found["dport"] | {80, 3678, 5353, 8080} | set(ports or [])) - {0})

    @staticmethod
    def _addresses(family: str, values: set[int], always: list[str]) -> list[str]:
        return sorted({*always, *(text(family, v) for v in values)})

    def take(self, count: int) -> list[Packet]:
        """So many packets, each once."""
        out: dict[Packet, None] = {}
        for _ in range(4 * count):
            out[self.one()] = None
            if len(out) == count:
                break
        return list(out)

    def one(self) -> Packet:
        """One packet."""
        random = self.random
        family = random.choice(["ipv4", "ipv4", "ipv6"])
        src = random.choice(self.sources[family])
        dst = random.choice(OWN[family]) if random.random() < 0.8 else random.choice(self.targets[family])
        iface = random.choice(["eth0", "eth0", "eth1"])
        proto = random.choices(["tcp", "udp", "icmp"], [5, 3, 1])[0]
        extensions = self._extensions() if family == "ipv6" and random.random() < 0.3 else ()
        if proto == "icmp":
            kinds = [8, 8, 13, 0, 3, 11] if family == "ipv4" else [128, 128, 129, 1, 135, 3]
            return Packet(
                iface,
                src,
                dst,
                "icmp" if family == "ipv4" else "icmpv6",
                0,
                0,
                0,
                icmp_type=random.choice(kinds),
                extensions=extensions,
            )
        sport = random.choice(self.sports) if random.random() < 0.4 else random.randint(32768, 60999)
        flags = random.choice(_FLAGS) if proto == "tcp" else 0
        return Packet(iface, src, dst, proto, sport, random.choice(self.dports), flags, extensions=extensions)

    def _extensions(self) -> tuple[str, ...]:
        """Some extension headers; hop-by-hop comes first."""
        found = self.random.sample(list(EXTENSIONS), self.random.choice([1, 1, 2, 3]))
        return tuple(sorted(found, key=lambda name: name != "hop-by-hop"))


def family_of(address: str) -> str:
    """The family of an address."""
    return "ipv4" if ip_address(address).version == 4 else "ipv6"
