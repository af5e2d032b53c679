"""From the kernel's own messages to the model: `decode`.

The messages are those of a dump over nfnetlink (include/uapi/linux/netfilter/nf_tables.h, struct nlmsghdr, struct nfgenmsg).
Only a stream that is cut is an error. Whatever is strange inside a message is kept as an `Unknown` expression, an element that
may or may not match, or a sentence in `Ruleset.incomplete`, so that no answer rests on what was not understood.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Protocol

from librespot_guard.errors import InputError
from librespot_guard.firewall import dangling
from librespot_guard.firewall.attributes import Attributes, Malformed, walk
from librespot_guard.firewall.data import ALL_SLOTS
from librespot_guard.firewall.expressions import Context, expression
from librespot_guard.firewall.model import SET_CONCAT, Chain, Expr, Hook, Rule, Ruleset, Set, Table, Unknown
from librespot_guard.firewall.packed import Gathered, PackedElements
from librespot_guard.firewall.sets import UNREADABLE, declaration, elements

_HEADER = {"little": Struct("<IHHII"), "big": Struct(">IHHII")}
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEWTABLE, _NEWCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM, _NEWGEN, _NEWOBJ, _NEWFLOWTABLE = 0, 3, 6, 9, 12, 15, 18, 22
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_IP_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_HOOKS = {
    "inet": _IP_HOOKS,
    "ip": _IP_HOOKS,
    "ip6": _IP_HOOKS,
    "bridge": _IP_HOOKS[:5],
    "arp": ("input", "output", "forward"),
    "netdev": ("ingress", "egress"),
}
_RULE_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT
_CT_HELPER = 3  # NFT_OBJECT_CT_HELPER

Key = tuple[str, str]
# by family, table and chain: the text of each rule by its handle
Texts = dict[tuple[str, str, str], dict[int, str]]


class Text(Protocol):
    """How a tool prints one rule (`snapshot.RuleText`)."""

    @property
    def family(self) -> str:
        """Family of the table."""

    @property
    def table(self) -> str:
        """Name of the table."""

    @property
    def chain(self) -> str:
        """Name of the chain."""

    @property
    def handle(self) -> int:
        """Handle of the rule."""

    @property
    def text(self) -> str:
        """The rule as text."""


class Dump(Protocol):
    """What a reader of the machine recorded (`snapshot.NftDump`, which stands above this package)."""

    @property
    def data(self) -> bytes:
        """Whole netlink messages, one behind the other."""

    @property
    def text(self) -> Sequence[Text]:
        """Rules as text, for people."""


@dataclass(slots=True)
class _Draft:
    """A table while its messages arrive."""

    flags: int = 0
    handle: int = 0
    chains: dict[str, Chain] = field(default_factory=dict)
    rules: dict[str, list[Attributes]] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)
    elements: dict[str, Gathered] = field(default_factory=dict)
    flowtables: list[str] = field(default_factory=list)
    helpers: list[tuple[str, str]] = field(default_factory=list)


def decode(dump: Dump, *, byteorder: str) -> Ruleset:
    """The ruleset in a dump that a machine of this byte order ("little" or "big") made.

    Raises:
        InputError: the stream of messages is cut, or lacks a chain.
    """
    reader = _Reader(byteorder)
    for kind, family, payload in _messages(dump.data, byteorder, reader.incomplete):
        reader.take(kind, family, payload)
    texts: Texts = {}
    for text in dump.text:
        texts.setdefault((text.family, text.table, text.chain), {})[text.handle] = text.text
    tables = tuple(reader.table(key, draft, texts) for key, draft in reader.drafts.items())
    dangling.check(tables, "packet filter dump")
    return Ruleset(tables, byteorder, tuple(dict.fromkeys(reader.incomplete)))


def _messages(data: bytes, byteorder: str, incomplete: list[str]) -> list[tuple[int, int, bytes]]:
    """Each nf_tables message as (type, family number, attributes)."""
    out = []
    position = 0
    while position < len(data):
        left = len(data) - position
        length = _HEADER[byteorder].unpack_from(data, position)[0] if left >= 16 else 0
        if left < 16 or length < 16 or length > left:
            raise InputError(
                f"packet filter dump: the message at byte {position} is cut ({left} bytes are left)",
                hint="the snapshot may be truncated; write it again with `librespot-guard snapshot -o FILE`",
            )
        kind = _HEADER[byteorder].unpack_from(data, position)[1]
        if kind >> 8 == _SUBSYSTEM and length >= 20:
            out.append((kind & 0xFF, data[position + 16], data[position + 20 : position + length]))
        elif kind >= 16:
            incomplete.append(f"packet filter dump: a message of type {kind} with {length} bytes is not understood")
        position += (length + 3) & ~3
    return out


class _Reader:
    """Collects the messages of a dump, table by table."""

    def __init__(self, byteorder: str) -> None:
        self.byteorder = byteorder
        self.incomplete: list[str] = []
        self.drafts: dict[Key, _Draft] = {}
        self._takers = {
            _NEWTABLE: self._take_table,
            _NEWCHAIN: self._take_chain,
            _NEWRULE: self._take_rule,
            _NEWSET: self._take_set,
            _NEWSETELEM: self._take_elements,
            _NEWFLOWTABLE: self._take_flowtable,
            _NEWOBJ: self._take_object,
        }

    def take(self, kind: int, number: int, payload: bytes) -> None:
        """Take one message; what is wrong with it is noted."""
        if kind == _NEWGEN:
            return
        family = _FAMILIES.get(number)
        if kind not in self._takers or family is None:
            self.incomplete.append(
                f"packet filter dump: a message of kind {kind} for family {number} is not understood"
            )
            return
        try:
            self._takers[kind](family, Attributes(payload, self.byteorder))
        except Malformed as error:
            self.incomplete.append(
                f"packet filter dump: a message of kind {kind} of an {family} table is malformed ({error})"
            )

    def _draft(self, family: str, name: str) -> _Draft:
        return self.drafts.setdefault((family, name), _Draft())

    def _take_table(self, family: str, a: Attributes) -> None:
        draft = self._draft(family, a.text(1))
        # unreadable flags are taken for none: a table that filters is the worse surprise
        draft.flags, draft.handle = a.number(2, default=0), a.number(4, 8, default=0)

    def _take_chain(self, family: str, a: Attributes) -> None:
        table, name = a.text(1), a.text(3)
        hook = None
        if 4 in a:
            try:
                hook = self._hook(family, a)
            except Malformed as error:
                self.incomplete.append(f"chain {family} {table} {name}: its hook is not understood ({error})")
        self._draft(family, table).chains[name] = Chain(name, a.number(2, 8, default=0), (), hook)

    def _hook(self, family: str, a: Attributes) -> Hook:
        nested = a.nested(4)
        number, priority = nested.number(1), nested.number(2)
        if number >= len(_HOOKS[family]):
            raise Malformed(f"hook {number}")
        devices = [nested.text(3)] if 3 in nested else []
        for kind, name in nested.items(4):
            # NFTA_DEVICE_PREFIX (2) names all devices that begin so
            text = name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace") + ("*" if kind == 2 else "")
            devices += [] if text in devices else [text]
        policy = a.number(5, default=1)
        if policy not in (0, 1):
            raise Malformed(f"policy {policy}")
        signed = priority - (1 << 32) if priority >> 31 else priority
        return Hook(
            _HOOKS[family][number], signed, "accept" if policy else "drop", a.text(7, default="filter"), tuple(devices)
        )

    def _take_rule(self, family: str, a: Attributes) -> None:
        self._draft(family, a.text(1)).rules.setdefault(a.text(2), []).append(a)

    def _take_set(self, family: str, a: Attributes) -> None:
        found = declaration(a)
        if found.flags & SET_CONCAT and not found.field_lengths:
            self.incomplete.append(f"set {family} {a.text(1)} {found.name}: the lengths of its fields are missing")
        self._draft(family, a.text(1)).sets[found.name] = found

    def _take_elements(self, family: str, a: Attributes) -> None:
        table, name = a.text(1), a.text(2)
        into = self._draft(family, table).elements.setdefault(name, Gathered())
        fault = elements(a.data(3) if 3 in a else b"", self.byteorder, into)
        if fault:
            self.incomplete.append(f"set {family} {table} {name}: an element is not understood ({fault})")

    def _take_flowtable(self, family: str, a: Attributes) -> None:
        self._draft(family, a.text(1)).flowtables.append(a.text(2))

    def _take_object(self, family: str, a: Attributes) -> None:
        # other objects are read where a rule refers to them
        if a.number(3) == _CT_HELPER:
            self._draft(family, a.text(1)).helpers.append((a.text(2), a.nested(4).text(1)))

    def table(self, key: Key, draft: _Draft, texts: Texts) -> Table:
        """The finished table, with rules in their chains and elements in their sets."""
        family, name = key
        where = f"table {family} {name}"
        for stray in draft.rules.keys() - draft.chains.keys():
            self.incomplete.append(f"{where}: chain {stray} has rules but was not listed")
        for stray in draft.elements.keys() - draft.sets.keys():
            self.incomplete.append(f"{where}: set {stray} has elements but was not listed")
        context = Context({s.name: s.object_type for s in draft.sets.values()})
        chains = []
        for chain in draft.chains.values():
            named = texts.get((family, name, chain.name), {})
            rules = tuple(self._rule(where, chain.name, a, context, named) for a in draft.rules.get(chain.name, ()))
            chains.append(replace(chain, rules=rules))
        filled = ((s, draft.elements.get(s.name)) for s in draft.sets.values())
        sets = tuple(
            self._checked(where, s if found is None else replace(s, elements=found.finished())) for s, found in filled
        )
        return Table(
            family, name, tuple(chains), sets, draft.flags, draft.handle, tuple(draft.flowtables), tuple(draft.helpers)
        )

    def _checked(self, where: str, found: Set) -> Set:
        """The set, with every element whose key has the wrong length replaced by one that may match anything."""
        if isinstance(found.elements, PackedElements) and found.elements.length == found.key_length:
            return found
        good = [
            e
            if e.catchall or {len(e.key), len(e.key if e.key_end is None else e.key_end)} == {found.key_length}
            else UNREADABLE
            for e in found.elements
        ]
        if good == list(found.elements):
            return found
        self.incomplete.append(f"{where}: set {found.name} has elements that are no keys of it")
        return replace(found, elements=tuple(good))

    def _rule(self, where: str, chain: str, a: Attributes, context: Context, texts: dict[int, str]) -> Rule:
        handle = 0
        expressions: tuple[Expr, ...]
        try:
            handle = a.number(3, 8)
            expressions = tuple(
                context.known.get(data) or expression(data, self.byteorder, context)
                for _, data in (walk(a.data(4), self.byteorder) if 4 in a else ())
            )
        except Malformed as error:
            self.incomplete.append(f"{where}: a rule of chain {chain} (handle {handle}) is malformed ({error})")
            expressions = (Unknown("rule", a.raw, terminal=True, writes=ALL_SLOTS),)
        return Rule(handle, expressions, texts.get(handle), comment=_comment(a.data(7)) if 7 in a else None)


def _comment(userdata: bytes) -> str | None:
    """The comment in a rule's user data: entries of type (1 byte), length (1 byte) and value, as libnftnl writes them."""
    position = 0
    while position + 2 <= len(userdata):
        kind, length = userdata[position], userdata[position + 1]
        if kind == _RULE_COMMENT:
            return userdata[position + 2 : position + 2 + length].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        position += 2 + length
    return None
