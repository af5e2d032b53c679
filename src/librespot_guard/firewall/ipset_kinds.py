"""The types of ipsets: which fields of a packet each looks up, and what its entries say of them.

Sources: ipset(8), the `kadt` functions of net/netfilter/ipset/ip_set_*.c, ip_set_getport.c.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, summarize_address_range

from librespot_guard.firewall.ipset_boxes import Box
from librespot_guard.firewall.model import Bitwise, Cmp, Expr, Meta, Payload
from librespot_guard.firewall.nft_json_types import PROTOCOLS, Unsupported

KINDS = (
    "hash:ip", "hash:mac", "hash:ip,mac", "hash:net", "hash:net,net", "hash:ip,port", "hash:net,port", "hash:ip,port,ip",
    "hash:ip,port,net", "hash:net,port,net", "hash:net,iface", "hash:ip,mark", "bitmap:ip", "bitmap:ip,mac", "bitmap:port",
)  # fmt: skip
LIST = "list:set"

PORTED = (6, 17)  # TCP and UDP, of which ip_set_get_ip_port reads ports
_NUMBERED = (6, 17, 132, 136)  # of these get_port of ip_set_getport.c reads ports, besides the type and code of ICMP
_ICMP = (1, 58)
_ETHER = 1  # ARPHRD_ETHER
_SIDES = {"port": (0, 65535), "proto": (0, 255)}
_SIZES = {"port": 2, "proto": 1, "mac": 6, "mark": 4, "iface": 16}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type for one family ("inet" or "inet6"), with the options it was created with."""

    name: str
    family: str
    options: tuple[str, ...]

    @property
    def dimensions(self) -> list[str]:
        """What it looks up, one for each direction in a rule: ip, net, port, mac, mark, iface."""
        return self.name.partition(":")[2].split(",")

    @property
    def fields(self) -> list[str]:
        """The fields of its key: a port stands behind its protocol, but for bitmap:port."""
        if self.name == "bitmap:port":
            return ["port"]
        return [field for what in self.dimensions for field in (("proto", "port") if what == "port" else (what,))]

    @property
    def sizes(self) -> list[int]:
        """The bytes of each field."""
        return [_SIZES.get(field, self.address) for field in self.fields]

    @property
    def address(self) -> int:
        """The bytes of an address."""
        return 16 if self.family == "inet6" else 4

    @property
    def any_family(self) -> bool:
        """Whether packets of both families are looked up in it (NFPROTO_UNSPEC)."""
        return self.name in ("hash:mac", "bitmap:port")

    @property
    def blocking(self) -> bool:
        """Whether the longest network decides alone (IP_SET_HASH_WITH_MULTI)."""
        return self.name == "hash:net,iface"

    def option(self, name: str) -> str | None:
        """The value of an option."""
        return self.options[self.options.index(name) + 1] if name in self.options[:-1] else None

    def loads(self, family: str, directions: Sequence[str]) -> list[Expr]:
        """Instructions that load the key of a packet of "ip" or "ip6" from slot 0 on. Raises Unsupported."""
        out: list[Expr] = []
        slot = 0
        for what, direction in zip(self.dimensions, directions, strict=False):
            if direction not in ("src", "dst"):
                raise Unsupported(f"the direction {direction} of an ipset")
            for load, size in self._field(family, what, direction, slot):
                out += load
                slot += (size + 3) // 4
        return out

    def _field(self, family: str, what: str, direction: str, slot: int) -> Iterator[tuple[list[Expr], int]]:
        source = direction == "src"
        if what == "port":
            if self.name != "bitmap:port":
                yield [Meta("l4proto", slot)], 1
                slot += 1
            yield [Payload("transport", 0 if source else 2, 2, slot)], 2
        elif what == "mac":
            yield [Payload("link", 6 if source else 0, 6, slot)], 6
        elif what == "iface":
            yield [Meta("iifname" if source else "oifname", slot)], 16
        elif what == "mark":
            yield [Meta("mark", slot), *_masked(slot, self._markmask())], 4
        else:
            size, offset = (4, 12 if source else 16) if family == "ip" else (16, 8 if source else 24)
            text = self.option("bitmask")
            mask = [] if text is None else _masked(slot, _packed(text, self.address))
            yield [Payload("network", offset, size, slot), *mask], size

    def _markmask(self) -> bytes | None:
        text = self.option("markmask")
        return None if text is None else _number(text).to_bytes(4, "little")

    def boxes(self, words: tuple[str, ...], *, where: str) -> Iterator[Box]:
        """An entry as ipset prints it. Raises Unsupported for what is none."""
        nomatch, expires, wildcard = _rest(words, where)
        try:
            dimensions = self.dimensions
            parts = words[0].split(",", len(dimensions) - 1)
            doubtful = self.name == "bitmap:ip,mac" and len(parts) == 1
            if len(parts) != len(dimensions) and not doubtful:
                raise ValueError(words)  # noqa: TRY301 - one message for every way to get it wrong
            found: list[tuple[tuple[tuple[int, int], ...], tuple[int, ...]]] = [((), ())]
            for what, part in zip(dimensions, parts, strict=False):
                ways = list(self._sides(what, part, wildcard=wildcard))
                found = [((*a, *sides), (*r, *rank)) for a, r in found for sides, rank in ways]
                doubtful = doubtful or (what == "port" and len(ways[0][0]) > 1 and ways[0][0][0][0] in _ICMP)
        except (ValueError, KeyError, OverflowError):
            raise Unsupported(f"{where}: the entry {words[0]!r}") from None
        for sides, rank in found:
            # the first packet tells the kernel the address of the link that the entry lacks
            whole = (*sides, (0, (1 << 48) - 1)) if len(sides) < len(self.fields) else sides
            yield Box(whole, rank, nomatch, expires, doubtful)

    def _sides(
        self, what: str, text: str, *, wildcard: bool
    ) -> Iterator[tuple[tuple[tuple[int, int], ...], tuple[int, ...]]]:
        """The intervals that a part of an entry stands for, with the prefix length of a network. Raises ValueError, KeyError."""
        if what == "port":
            yield self._ports(text), ()
        elif what == "mac":
            raw = bytes.fromhex(text.replace(":", " "))
            yield (_same(raw, 6),), ()
        elif what == "mark":
            yield (_same(_number(text).to_bytes(4, "little"), 4),), ()
        elif what == "iface":
            if text.startswith("physdev:") or not 0 < len(text.encode()) < 16:
                raise ValueError(text)
            raw = text.encode()
            yield (
                ((_same(raw.ljust(16, b"\0"), 16)[0], int.from_bytes(raw.ljust(16, b"\xff" if wildcard else b"\0"))),),
                (),
            )
        elif what == "net":
            for first, last, length in self._networks(text):
                yield (self._widened(first, last),), (length,)
        else:
            ends = [end for first, last, _ in self._networks(text) for end in (first, last)]
            yield (self._widened(ends[0], ends[-1]),), ()

    def _ports(self, text: str) -> tuple[tuple[int, int], ...]:
        name, colon, ports = text.rpartition(":")
        if self.name == "bitmap:port":
            return (_span(text),)
        protocol = int(name) if name.isdecimal() else PROTOCOLS[name.lower()] if colon else PORTED[0]
        if not 0 <= protocol < 256:
            raise ValueError(text)
        if protocol in _NUMBERED:
            return (protocol, protocol), _span(ports)
        # other protocols have no ports: zero stands for all; type and code of ICMP are not where a rule would load a port
        return (protocol, protocol), _SIDES["port"]

    def _networks(self, text: str) -> Iterator[tuple[int, int, int]]:
        """The networks of a prefix or a range: first and last address, length of the prefix. Raises ValueError."""
        low, dash, high = text.partition("-")
        if dash:
            found: Iterable[IPv4Network | IPv6Network] = (
                summarize_address_range(IPv4Address(low), IPv4Address(high))
                if self.address == 4
                else summarize_address_range(IPv6Address(low), IPv6Address(high))
            )
            for part in found:
                yield int(part.network_address), int(part.broadcast_address), part.prefixlen
            return
        host, slash, prefix = text.partition("/")
        bits = 8 * self.address
        length = int(prefix) if slash else bits
        if not 0 <= length <= bits:
            raise ValueError(text)
        rest = (1 << bits - length) - 1
        address = int(IPv4Address(host) if bits == 32 else IPv6Address(host))
        yield address & ~rest, address | rest, length

    def _widened(self, first: int, last: int) -> tuple[int, int]:
        """With `netmask`, an address stands for its network."""
        bits = 8 * self.address
        text = self.option("netmask")
        if text is None:
            return first, last
        if not text.isdecimal() or int(text) > bits:
            raise ValueError(text)
        rest = (1 << bits - int(text)) - 1
        return first & ~rest, last | rest


def guard(kind: Kind) -> list[Expr]:
    """What has to hold before the key can be loaded: a packet without it is in no such set."""
    if "mac" in kind.dimensions:
        return [Meta("iiftype", 0), Cmp("eq", 0, _ETHER.to_bytes(2, "little"))]
    return []


def _masked(slot: int, mask: bytes | None) -> list[Expr]:
    return [] if mask is None else [Bitwise("mask-xor", slot, slot, len(mask), mask, bytes(len(mask)))]


def _packed(text: str, size: int) -> bytes:
    try:
        return (IPv4Address if size == 4 else IPv6Address)(text).packed
    except ValueError:
        raise Unsupported(f"the bitmask {text}") from None


def _number(text: str) -> int:
    found = int(text, 0)
    if not 0 <= found < 1 << 32:
        raise ValueError(text)
    return found


def _same(raw: bytes, size: int) -> tuple[int, int]:
    if len(raw) != size:
        raise ValueError(raw)
    return int.from_bytes(raw, "big"), int.from_bytes(raw, "big")


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    first, last = int(low), int(high or low)
    if not 0 <= first <= last < 65536:
        raise ValueError(text)
    return first, last


_VALUED = ("timeout", "packets", "bytes", "comment", "skbmark", "skbprio", "skbqueue")


def _rest(words: tuple[str, ...], where: str) -> tuple[bool, int | None, bool]:
    """`nomatch`; in how many milliseconds the entry goes away; `wildcard`."""
    nomatch, expires, wildcard = False, None, False
    rest = iter(words[1:])
    for word in rest:
        if word == "nomatch":
            nomatch = True
        elif word == "wildcard":
            wildcard = True
        elif word in _VALUED and (value := next(rest, None)) is not None:
            if word == "timeout":
                expires = int(value) * 1000 if value.isdecimal() and value != "0" else None
        else:
            raise Unsupported(f"{where}: {word!r}")
    return nomatch, expires, wildcard
