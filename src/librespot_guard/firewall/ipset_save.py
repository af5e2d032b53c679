"""What `ipset save` printed: the sets for `-m set`, as sets of the neutral model.

Sources: ipset(8), net/netfilter/ipset/ip_set_core.c, ip_set_list_set.c. What a set may lose or gain while packets pass holds perhaps:
an entry that expires, one that lacks the address of the link until the first packet, one of ICMP.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from librespot_guard.errors import InputError
from librespot_guard.firewall.ipset_boxes import Box, elements
from librespot_guard.firewall.ipset_kinds import KINDS, LIST, PORTED, Kind, guard
from librespot_guard.firewall.model import (
    SET_ANONYMOUS,
    SET_CONCAT,
    SET_CONSTANT,
    SET_INTERVAL,
    SET_TIMEOUT,
    Cmp,
    Element,
    Expr,
    Lookup,
    Meta,
    Set,
)
from librespot_guard.firewall.nft_json_types import Unsupported

KEY = "ipset "
"""What the names of ipsets begin with in the model, where every table that looks one up has a copy.

A set of sets has one for each sequence of directions: `ipset NAME DIRECTIONS`.
"""

_WORD = re.compile(r'"([^"]*)"|(\S+)')


@dataclass(slots=True)
class IpSet:
    """One set: its type, its family ("inet" or "inet6") and its entries as (line, words)."""

    name: str
    kind: str
    family: str
    options: tuple[str, ...]
    entries: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    @property
    def type(self) -> Kind:
        """What its entries mean. Raises Unsupported for a type that is not known."""
        if self.kind not in KINDS:
            raise Unsupported(f"the ipset `{self.name}` of type {self.kind}")
        return Kind(self.kind, self.family, self.options)


class IpSets:
    """The sets of a listing. `numbers` are their names by the kernel's numbers, where the listing holds `# number N NAME`."""

    def __init__(self, text: str, *, source: str) -> None:
        """Read a listing. Raises InputError, with its line, for what is none."""
        self.source = source
        self.sets: dict[str, IpSet] = {}
        self.numbers: dict[int, str] = {}
        self._held: dict[str, list[Element]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = [quoted or word for quoted, word in _WORD.findall(line)] if '"' in line else line.split()
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

    def members(self, name: str) -> tuple[str, ...]:
        """The sets in a set of sets, in their order; () for any other."""
        found = self.sets.get(name)
        return () if found is None or found.kind != LIST else tuple(words[0] for _, words in found.entries)

    def lookup(
        self, family: str, name: str, directions: Sequence[str], sets: dict[str, Set], *, inverted: bool
    ) -> list[Expr]:
        """Instructions that go on for packets in the set (`family` is "ip" or "ip6"). Raises Unsupported.

        A set of the other family, or of more dimensions than there are directions, holds no packet (ip_set_test).
        """
        found = self.sets.get(name)
        if found is None:
            raise Unsupported(f"the ipset `{name}`, which is not in the listing")
        asked = [m for m in self._asked(found) if _fits(m.type, family, directions)]
        if not asked:
            return [] if inverted else _never()
        if found.kind != LIST:
            return self._in(asked[0], family, directions, sets, inverted=inverted)
        expiring = [(line, words) for line, words in found.entries if len(words) > 1 and words[1:] != ("timeout", "0")]
        if expiring:
            raise Unsupported(f"the ipset `{name}` with members that expire")
        if inverted:
            # in none of them
            return [e for m in asked for e in self._in(m, family, directions, sets, inverted=True)]
        if len(asked) == 1:
            return self._in(asked[0], family, directions, sets, inverted=False)
        return self._any(found, asked, family, directions, sets)

    def _asked(self, found: IpSet) -> list[IpSet]:
        """The set, or the members of a set of sets in their order."""
        if found.kind != LIST:
            return [found]
        missing = [m for m in self.members(found.name) if m not in self.sets]
        if missing:
            raise Unsupported(f"the ipset `{missing[0]}` in `{found.name}`, which is not in the listing")
        return [self.sets[m] for m in self.members(found.name)]

    def _any(
        self, found: IpSet, asked: Sequence[IpSet], family: str, directions: Sequence[str], sets: dict[str, Set]
    ) -> list[Expr]:
        """In any of several sets: one set of all their entries, if all of them look up the same key."""
        kinds = [m.type for m in asked]
        loads = kinds[0].loads(family, directions)
        if any(k.loads(family, directions) != loads for k in kinds):
            raise Unsupported(f"the ipset `{found.name}`, whose members ask for different things")
        key = f"{KEY}{found.name} {','.join(directions)}"
        if key not in sets:
            # what one member takes out with `nomatch` another may hold: each is made by itself
            made = [self._elements(m) for m in asked]
            if len(kinds[0].sizes) == 1:
                joined: Iterable[Element] = elements(
                    [b for m in made for b in _boxes_of(m, kinds[0].sizes[0])], kinds[0].sizes
                )
            else:
                # where boxes overlap the first decides: those that are sure come first
                joined = sorted((e for m in made for e in m), key=lambda e: e.conditional)
            sets[key] = _made(key, kinds[0], joined, timeout=any("timeout" in m.options for m in asked))
        return self._found(kinds[0], key, loads, sets, inverted=False)

    def _in(
        self, found: IpSet, family: str, directions: Sequence[str], sets: dict[str, Set], *, inverted: bool
    ) -> list[Expr]:
        kind, key = found.type, KEY + found.name
        if inverted and guard(kind):
            # a packet without an address of the link is in no such set: no instruction asks for that
            raise Unsupported(f"`!` with the ipset `{found.name}` of type {found.kind}")
        loads = kind.loads(family, directions)
        if key not in sets:
            sets[key] = _made(key, kind, self._elements(found), timeout="timeout" in found.options)
        return self._found(kind, key, loads, sets, inverted=inverted)

    @staticmethod
    def _found(kind: Kind, key: str, loads: list[Expr], sets: dict[str, Set], *, inverted: bool) -> list[Expr]:
        before = guard(kind)
        if kind.name == "bitmap:port" and not inverted:
            # packets of other protocols are in no set of ports
            protocols = f"{KEY}protocols with ports"
            numbers = tuple(Element(bytes([number])) for number in PORTED)
            sets.setdefault(protocols, Set(protocols, SET_ANONYMOUS | SET_CONSTANT, 1, numbers))
            before = [Meta("l4proto", 0), Lookup(protocols, 0)]
        return [*before, *loads, Lookup(key, 0, None, inverted)]

    def _elements(self, found: IpSet) -> list[Element]:
        """What a set holds, made once for all tables."""
        if found.name not in self._held:
            kind = found.type
            boxes = [b for line, words in found.entries for b in kind.boxes(words, where=f"{self.source}:{line}")]
            self._held[found.name] = elements(boxes, kind.sizes, blocking=kind.blocking)
        return self._held[found.name]


_HINT = "the input has to be what `ipset save` prints"


def _fits(kind: Kind, family: str, directions: Sequence[str]) -> bool:
    same = kind.any_family or (kind.family == "inet6") == (family == "ip6")
    return same and len(directions) >= len(kind.dimensions)


def _never() -> list[Expr]:
    """No packet has this family."""
    return [Meta("nfproto", 0), Cmp("eq", 0, b"\xff")]


def _made(key: str, kind: Kind, held: Iterable[Element], *, timeout: bool) -> Set:
    flags, sizes = SET_INTERVAL | (SET_TIMEOUT if timeout else 0), kind.sizes
    if len(sizes) == 1:
        return Set(key, flags, sizes[0], tuple(held))
    return Set(key, flags | SET_CONCAT, sum((s + 3) // 4 * 4 for s in sizes), tuple(held), tuple(sizes))


def _boxes_of(held: Sequence[Element], size: int) -> Iterable[Box]:
    """Intervals of one field as boxes again, to be joined with others."""
    top = (1 << 8 * size) - 1
    for element, following in zip(held, [*held[1:], None], strict=True):
        if element.interval_end:
            continue
        first = int.from_bytes(element.key, "big")
        last = int.from_bytes(following.key, "big") - 1 if following is not None and following.interval_end else top
        yield Box(((first, last),), (), nomatch=False, expires=element.expires, doubtful=element.conditional)
