"""What `ipset save` printed: sets of addresses, networks and ports for `-m set`, as sets of the neutral model.

Sources: ipset(8), net/netfilter/ipset/ip_set_hash_*.c. Types whose membership is no question of addresses and ports alone are named,
not modelled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from librespot_guard.errors import InputError
from librespot_guard.firewall.model import (
    SET_ANONYMOUS,
    SET_CONCAT,
    SET_CONSTANT,
    SET_INTERVAL,
    SET_TIMEOUT,
    Element,
    Expr,
    Lookup,
    Meta,
    Payload,
    Set,
)
from librespot_guard.firewall.nft_json_types import PROTOCOLS, Unsupported

KEY = "ipset "
"""What the names of ipsets begin with in the model, where every table that looks one up has a copy."""

_PORTED = (6, 17)  # TCP and UDP, of which ip_set_get_ip_port reads ports
_PREFIXED = ("hash:ip", "bitmap:ip")
_MODELLED = ("hash:ip", "hash:net", "bitmap:ip", "bitmap:port", "hash:ip,port")


@dataclass(slots=True)
class IpSet:
    """One set: its type, its family ("inet" or "inet6") and its entries as (line, words)."""

    name: str
    kind: str
    family: str
    options: tuple[str, ...]
    entries: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


class IpSets:
    """The sets of a listing. `numbers` are their names by the kernel's numbers, where the listing holds `# number N NAME`."""

    def __init__(self, text: str, *, source: str) -> None:
        """Read a listing. Raises InputError, with its line, for what is none."""
        self.source = source
        self.sets: dict[str, IpSet] = {}
        self.numbers: dict[int, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if words[:2] == ["#", "number"] and len(words) == 4 and words[2].isdecimal():
                self.numbers[int(words[2])] = words[3]
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "create" and len(words) >= 3:
                options = tuple(words[3:])
                family = options[options.index("family") + 1] if "family" in options[:-1] else "inet"
                self.sets[words[1]] = IpSet(words[1], words[2], family, options)
            elif words[0] == "add" and len(words) >= 3:
                if words[1] not in self.sets:
                    raise InputError(f"{source}:{number}:5: the set `{words[1]}` was not created", hint=_HINT)
                self.sets[words[1]].entries.append((number, tuple(words[2:])))
            elif words[0] not in ("COMMIT", "flush"):
                raise InputError(
                    f"{source}:{number}:1: expected `create` or `add`, found {words[0][:40]!r}", hint=_HINT
                )

    def lookup(
        self, family: str, name: str, directions: Sequence[str], sets: dict[str, Set], *, inverted: bool
    ) -> list[Expr]:
        """Instructions that go on for packets in the set (`family` is "ip" or "ip6"). Raises Unsupported."""
        found = self.sets.get(name)
        if found is None:
            raise Unsupported(f"the ipset `{name}`, which is not in the listing")
        if found.kind == "list:set":
            raise Unsupported(f"the ipset `{name}` of type {found.kind}")
        if found.kind not in _MODELLED:
            raise Unsupported(f"the ipset `{name}` of type {found.kind}")
        if (found.family == "inet6") != (family == "ip6") and found.kind != "bitmap:port":
            raise Unsupported(f"the ipset `{name}` of the other family")
        if "bitmask" in found.options or ("netmask" in found.options and found.kind not in _PREFIXED):
            raise Unsupported(f"the ipset `{name}` with a mask")
        key = KEY + name
        if key not in sets:
            sets[key] = self._set(key, found)
        loads = self._loads(family, found.kind, directions)
        if found.kind == "bitmap:port" and not inverted:
            # packets of other protocols are in no set of ports
            protocols = f"{KEY}protocols with ports"
            elements = tuple(Element(bytes([number])) for number in _PORTED)
            sets.setdefault(protocols, Set(protocols, SET_ANONYMOUS | SET_CONSTANT, 1, elements))
            loads = [Meta("l4proto", 0), Lookup(protocols, 0), *loads]
        return [*loads, Lookup(key, 0, None, inverted)]

    @staticmethod
    def _loads(family: str, kind: str, directions: Sequence[str]) -> list[Expr]:
        wanted = kind.partition(":")[2].split(",")
        if len(directions) < len(wanted) or any(d not in ("src", "dst") for d in directions):
            raise Unsupported(f"the directions {','.join(directions)} of an ipset of type {kind}")
        out: list[Expr] = []
        slot = 0
        for what, direction in zip(wanted, directions, strict=False):
            if what == "port":
                if len(wanted) > 1:
                    out.append(Meta("l4proto", slot))
                    slot += 1
                out.append(Payload("transport", 0 if direction == "src" else 2, 2, slot))
                slot += 1
            else:
                size = 4 if family == "ip" else 16
                offset = {("ip", "src"): 12, ("ip", "dst"): 16, ("ip6", "src"): 8, ("ip6", "dst"): 24}[
                    family, direction
                ]
                out.append(Payload("network", offset, size, slot))
                slot += size // 4
        return out

    def _set(self, key: str, found: IpSet) -> Set:
        size = 2 if found.kind == "bitmap:port" else 16 if found.family == "inet6" else 4
        flags = SET_INTERVAL | (SET_TIMEOUT if "timeout" in found.options else 0)
        if found.kind == "hash:ip,port":
            elements = [self._with_port(line, words, size) for line, words in found.entries]
            return Set(key, flags | SET_CONCAT, size + 8, tuple(elements), (size, 1, 2))
        entries = [self._entry(line, words, size, found.kind) for line, words in found.entries]
        if "netmask" in found.options:
            entries = [self._widened(found, entry, size) for entry in entries]
        return Set(key, flags, size, tuple(_painted(entries, size)))

    def _entry(self, line: int, words: tuple[str, ...], size: int, kind: str) -> "Entry":
        nomatch, expires = self._rest(line, words)
        try:
            if kind == "bitmap:port":
                low, _, high = words[0].partition("-")
                first, last = int(low), int(high or low)
            else:
                first, last = _network(words[0])
        except ValueError:
            raise Unsupported(f"{self.source}:{line}: the entry {words[0]!r}") from None
        if not 0 <= first <= last < 1 << 8 * size:
            raise Unsupported(f"{self.source}:{line}: the entry {words[0]!r}")
        return Entry(first, last, nomatch, expires)

    def _widened(self, found: IpSet, entry: "Entry", size: int) -> "Entry":
        """An address of a set with a netmask: it stands for its network."""
        text = "".join(found.options[found.options.index("netmask") + 1 :][:1])
        if not text.isdecimal() or int(text) > 8 * size:
            raise Unsupported(f"{self.source}: the netmask {text!r} of the ipset `{found.name}`")
        rest = (1 << 8 * size - int(text)) - 1
        return Entry(entry.first & ~rest, entry.last | rest, entry.nomatch, entry.expires)

    def _with_port(self, line: int, words: tuple[str, ...], size: int) -> Element:
        nomatch, expires = self._rest(line, words)
        host, _, port = words[0].partition(",")
        protocol, _, number = port.partition(":")
        try:
            first, last = _network(host)
            value = int(number)
            if nomatch or first != last or not 0 <= value < 65536 or first >= 1 << 8 * size:
                raise ValueError(words)  # noqa: TRY301 - one message for every way to get it wrong
            proto = PROTOCOLS[protocol] if not protocol.isdecimal() else int(protocol)
            middle = proto.to_bytes(1, "big") + bytes(3)
        except (ValueError, KeyError, OverflowError):
            raise Unsupported(f"{self.source}:{line}: the entry {words[0]!r}") from None
        data = first.to_bytes(size, "big") + middle + value.to_bytes(2, "big") + bytes(2)
        return Element(data, data, timeout=expires, expires=expires)

    def _rest(self, line: int, words: tuple[str, ...]) -> tuple[bool, int | None]:
        """`nomatch`, and in how many milliseconds the entry goes away."""
        nomatch, expires = False, None
        rest = list(words[1:])
        while rest:
            word = rest.pop(0)
            if word == "nomatch":
                nomatch = True
            elif word in ("timeout", "packets", "bytes", "comment", "skbmark", "skbprio", "skbqueue") and rest:
                value = rest.pop(0)
                if word == "comment":
                    break
                if word == "timeout":
                    expires = int(value) * 1000 if value.isdecimal() and value != "0" else None
            else:
                raise Unsupported(f"{self.source}:{line}: {word!r}")
        return nomatch, expires


_HINT = "the input has to be what `ipset save` prints"


@dataclass(frozen=True, slots=True)
class Entry:
    """Addresses from `first` to `last`; `nomatch` takes them out of a wider entry; `expires` in milliseconds, or None."""

    first: int
    last: int
    nomatch: bool
    expires: int | None


def _network(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    if dash:
        return int(ip_address(low)), int(ip_address(high))
    found: IPv4Network | IPv6Network = ip_network(text, strict=False)
    return int(found.network_address), int(found.broadcast_address)


def _painted(entries: Iterable[Entry], size: int) -> list[Element]:
    """Disjoint intervals: of entries that hold an address, the narrowest decides (hash:net looks up the longest prefix first)."""
    ordered = sorted(entries, key=lambda e: (e.first, -e.last))
    out: list[tuple[int, int, Entry]] = []
    stack: list[Entry] = []
    at = 0

    def emit(upto: int) -> None:
        nonlocal at
        while stack and at <= upto:
            top = stack[-1]
            end = min(top.last, upto)
            if end >= at:
                out.append((at, end, top))
            at = max(at, end + 1)
            if top.last <= upto:
                stack.pop()
            else:
                break

    for entry in ordered:
        emit(entry.first - 1)
        at = max(at, entry.first)
        stack.append(entry)
    emit(1 << 8 * size)
    elements: list[Element] = []
    for first, last, entry in out:
        if entry.nomatch:
            continue
        elements.append(Element(first.to_bytes(size, "big"), timeout=entry.expires, expires=entry.expires))
        if last + 1 < 1 << 8 * size:
            elements.append(Element((last + 1).to_bytes(size, "big"), interval_end=True))
    return elements
