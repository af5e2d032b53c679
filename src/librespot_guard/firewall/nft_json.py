"""What `nft -j list ruleset` printed, to the model: `read_nft_json`.

The listing is the weaker reader (docs/decisions/0001): it leaves out what decides. Guards that nft always adds are put back for each
family; what a version is known to lose becomes a doubt. Sources: libnftables-json(5), src/json.c of nftables 1.0.6 to 1.1.6.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from librespot_guard.errors import InputError
from librespot_guard.firewall import dangling
from librespot_guard.firewall import nft_json_sets as sets
from librespot_guard.firewall.data import ALL_SLOTS
from librespot_guard.firewall.model import Chain, Element, Expr, Hook, Rule, Ruleset, Set, Table, Unknown
from librespot_guard.firewall.nft_json_code import only, shown
from librespot_guard.firewall.nft_json_place import Place
from librespot_guard.firewall.nft_json_rules import rule
from librespot_guard.firewall.nft_json_text import rule_words
from librespot_guard.firewall.nft_json_types import Type, Unsupported
from librespot_guard.firewall.sets import UNREADABLE

FAMILIES = ("inet", "ip", "ip6", "netdev", "bridge", "arp")
_TABLE_FLAGS = {"dormant": 1, "owner": 2, "persist": 4}
_HOOKS = ("ingress", "egress", "prerouting", "input", "forward", "output", "postrouting")
_SET_KEYS = (
    "handle", "type", "map", "flags", "elem", "timeout", "gc-interval", "size", "policy", "auto-merge", "comment", "stmt",
)  # fmt: skip
# objects that are only used where a rule names them
_OBJECTS = (
    "counter", "quota", "ct helper", "ct timeout", "ct expectation", "limit", "secmark", "synproxy", "tunnel", "flowtable",
)  # fmt: skip
_ANYTHING = Unknown("nft -j: the listing does not tell", b"", terminal=True, writes=ALL_SLOTS)


class Extensions(Protocol):
    """Another listing of the same rules, which shows the parameters of iptables extensions."""

    def chain(self, family: str, table: str, chain: str, rules: Sequence[Mapping[str, Any]]) -> str | None:
        """Compare a chain; what differs so that no parameter can be taken from it, or None."""

    def find(
        self, at: tuple[str, str, str, int], position: int, kind: str, name: str, sets: dict[str, Set]
    ) -> Sequence[Expr] | None:
        """The instructions of one extension: `at` is (family, table, chain, number of the rule)."""


@dataclass(slots=True)
class _Draft:
    flags: int = 0
    handle: int = 0
    uncertain: str = ""
    chains: dict[str, Chain] = field(default_factory=dict)
    rules: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)
    kinds: dict[str, list[Type]] = field(default_factory=dict)
    flowtables: list[str] = field(default_factory=list)
    helpers: list[tuple[str, str]] = field(default_factory=list)


def parse_nft_json(text: str, *, source: str) -> list[Any]:
    """The objects of a listing. Raises InputError with line and column for what is no listing."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise InputError(f"{source}: nested too deeply to be a listing of nft") from None
    except ValueError as error:
        position = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(
            f"{source}{position}: not a whole JSON document ({error})",
            hint="nft before 1.1.0 cuts its listing where a table is dormant, and exits with 0; wake the table up or use a newer nft",
        ) from None
    items = document.get("nftables") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise InputError(
            f"{source}: no listing of nft: the key `nftables` with a list is missing",
            hint="write it with `nft -j list ruleset`",
        )
    return items


def read_nft_json(
    text: str,
    *,
    source: str = "nft -j",
    interfaces: Mapping[str, int] | None = None,
    xt: Extensions | None = None,
) -> Ruleset:
    """The ruleset of a listing, as a machine of little endian byte order would hold it.

    Args:
        text: what `nft -j list ruleset` or `nft -jn …` printed.
        source: what to call it in messages.
        interfaces: index of each interface by name, for rules that say `iif`.
        xt: shows the iptables extensions of rules, of which `nft -j` prints only the names.

    Raises:
        InputError: it is no whole JSON document, or no listing.
    """
    items = parse_nft_json(text, source=source)
    return _Reader(source, interfaces or {}, xt).read(items)


class _Reader:
    def __init__(self, source: str, interfaces: Mapping[str, int], xt: Extensions | None) -> None:
        self.source, self.interfaces, self.xt = source, interfaces, xt
        self.incomplete: list[str] = []
        self.drafts: dict[tuple[str, str], _Draft] = {}
        # what is not known to be a newer one is taken for the lossiest
        self.version: tuple[int, ...] = ()

    def read(self, items: Sequence[Any]) -> Ruleset:
        for number, item in enumerate(items):
            where = f"{self.source}: entry {number + 1}"
            try:
                self._item(*only(item))
            except Unsupported as error:
                self.incomplete.append(f"{where}: {error} is not understood")
        tables = tuple(self._table(key, draft) for key, draft in self.drafts.items())
        dangling.check(tables, self.source)
        return Ruleset(tables, "little", tuple(dict.fromkeys(self.incomplete)))

    def _item(self, kind: str, body: Any) -> None:
        if kind == "metainfo":
            self.version = _version(body)
            return
        if not isinstance(body, dict):
            raise Unsupported(f"the {kind} {shown(body)}")
        family = body.get("family")
        if family not in FAMILIES:
            raise Unsupported(f"the family {shown(family)}")
        if kind == "table":
            self._take_table(family, body)
            return
        table = body.get("table")
        if not isinstance(table, str):
            raise Unsupported(f"the {kind} {shown(body)}")
        draft = self.drafts.setdefault((family, table), _Draft())
        where = f"{family} {table}"
        if kind == "chain":
            self._take_chain(where, draft, body)
        elif kind == "rule":
            chain = body.get("chain")
            if not isinstance(chain, str):
                raise Unsupported(f"a rule of {where} without a chain")
            draft.rules.setdefault(chain, []).append(body)
        elif kind in ("set", "map", "meter"):
            self._take_set(family, where, draft, body)
        elif kind == "element":
            raise Unsupported("an element outside of its set")
        elif kind == "flowtable":
            draft.flowtables.append(str(body.get("name")))
        elif kind == "ct helper":
            draft.helpers.append((str(body.get("name")), str(body.get("type"))))
        elif kind not in _OBJECTS:
            raise Unsupported(f"`{kind}`")

    def _take_table(self, family: str, body: dict[str, Any]) -> None:
        name = body.get("name")
        if not isinstance(name, str):
            raise Unsupported("a table without a name")
        draft = self.drafts.setdefault((family, name), _Draft())
        draft.handle = _integer(body.get("handle", 0))
        self._loud(f"table {family} {name}", body, ("family", "name", "handle", "flags", "comment"))
        flags = body.get("flags", [])
        for flag in flags if isinstance(flags, list) else [flags]:
            if flag in _TABLE_FLAGS:
                draft.flags |= _TABLE_FLAGS[flag]
            else:
                # nft before 1.1.0 prints a word out of freed memory
                draft.uncertain = (
                    f"table {family} {name}: the flag {flag!r} is not understood: it may be dormant, or not"
                )
                self.incomplete.append(draft.uncertain)

    def _loud(self, where: str, body: dict[str, Any], known: tuple[str, ...]) -> None:
        self.incomplete += [f"{where}: the key `{name}` is not understood" for name in body if name not in known]

    def _take_chain(self, where: str, draft: _Draft, body: dict[str, Any]) -> None:
        name = body.get("name")
        if not isinstance(name, str):
            raise Unsupported(f"a chain of {where} without a name")
        where = f"chain {where} {name}"
        known = ("family", "table", "name", "handle", "type", "hook", "prio", "policy", "dev", "comment", "devices")
        self._loud(where, body, known)
        hook = None
        if "hook" in body:
            priority, policy, kind = body.get("prio", 0), body.get("policy", "accept"), body.get("type", "filter")
            devices = body.get("dev", body.get("devices", []))
            devices = tuple(devices) if isinstance(devices, list) else (devices,)
            understood = body["hook"] in _HOOKS and policy in ("accept", "drop") and kind in ("filter", "nat", "route")
            if not understood or not isinstance(priority, int) or not all(isinstance(d, str) for d in devices):
                raise Unsupported(f"the hook of {where}")
            if body["hook"] in ("ingress", "egress") and not devices:
                self.incomplete.append(
                    f"{where}: nft before 1.1.0 does not print its devices: it may filter any of them"
                )
                draft.rules.setdefault(name, []).append({"expr": None})
                devices = ("*",)
            hook = Hook(body["hook"], priority, policy, kind, devices)
        draft.chains[name] = Chain(name, _integer(body.get("handle", 0)), (), hook)

    def _take_set(self, family: str, where: str, draft: _Draft, body: dict[str, Any]) -> None:
        name = body.get("name")
        if not isinstance(name, str):
            raise Unsupported(f"a set of {where} without a name")
        where = f"set {where} {name}"
        self._loud(where, body, ("family", "name", "table", *_SET_KEYS))
        flags = 0
        given = body.get("flags", [])
        for flag in given if isinstance(given, list) else [given]:
            if flag not in sets.FLAGS:
                self.incomplete.append(f"{where}: the flag {flag!r} is not understood")
            flags |= sets.FLAGS.get(flag, 0)
        try:
            kinds = sets.types(body.get("type"), family, self.interfaces)
            draft.kinds[name] = kinds
        except Unsupported as error:
            # rules that use it are not understood either, and say so
            self.incomplete.append(f"{where}: {error} is not understood")
            draft.sets[name] = Set(name, flags, 4, (UNREADABLE,))
            return
        data = self._data_kinds(family, where, draft, name, body.get("map"))
        flags |= sets.MAP if "map" in body and body["map"] not in sets.OBJECTS else 0
        elements = self._elements(where, kinds, flags, body, data)
        size = sum((k.length + 3) // 4 * 4 for k in data) if len(data) > 1 else data[0].length if data else 16
        draft.sets[name] = sets.build(name, kinds, elements, flags=flags, data_length=size)

    def _data_kinds(self, family: str, where: str, draft: _Draft, name: str, value: Any) -> list[Type]:
        if value is None or value == "verdict" or (isinstance(value, str) and value in sets.OBJECTS):
            return []
        try:
            draft.kinds[f"{name} data"] = found = sets.types(value, family, self.interfaces)
        except Unsupported as error:
            self.incomplete.append(f"{where}: {error} is not understood")
            return []
        return found

    def _elements(
        self, where: str, kinds: list[Type], flags: int, body: dict[str, Any], data: list[Type]
    ) -> list[Element]:
        reader = sets.Elements(kinds, self.interfaces, interval=bool(flags & sets.FLAGS["interval"]))
        out: list[Element] = []
        items = body.get("elem", [])
        for item in items if isinstance(items, list) else [items]:
            try:
                if flags & sets.MAP:
                    key, value = _pair(item)
                    out += reader.read(key, _map_data(value, data, self.interfaces))
                elif "map" in body:
                    out += reader.read(item[0] if isinstance(item, list) and item else item)
                else:
                    out += reader.read(item)
            except Unsupported as error:
                self.incomplete.append(f"{where}: {error} is not understood")
                out.append(UNREADABLE)
        return out

    def _table(self, key: tuple[str, str], draft: _Draft) -> Table:
        family, name = key
        where = f"table {family} {name}"
        old = self.version < (1, 1, 2)
        place = Place(family, draft.sets, draft.kinds, self.interfaces, old)
        for stray in draft.rules.keys() - draft.chains.keys():
            self.incomplete.append(f"{where}: chain {stray} has rules but is not listed")
        chains = []
        for chain in draft.chains.values():
            rules = [Rule(0, (_ANYTHING,), draft.uncertain)] if draft.uncertain and chain.hook else []
            listed = draft.rules.get(chain.name, [])
            if self.xt and (difference := self.xt.chain(family, name, chain.name, listed)):
                self.incomplete.append(difference)
            for number, body in enumerate(listed):
                rules += self._rule(place, family, name, chain.name, number, body)
            chains.append(replace(chain, rules=tuple(rules)))
        return Table(
            family,
            name,
            tuple(chains),
            tuple(place.sets.values()),
            draft.flags,
            draft.handle,
            tuple(draft.flowtables),
            tuple(draft.helpers),
        )

    def _rule(self, place: Place, family: str, table: str, chain: str, number: int, body: dict[str, Any]) -> list[Rule]:
        expr = body.get("expr")
        if expr is None:
            return [Rule(0, (_ANYTHING,), "(devices are not printed)")]
        handle, comment = _integer(body.get("handle", 0)), body.get("comment")
        text = rule_words(expr)
        unknown = body.keys() - {"family", "table", "chain", "handle", "index", "expr", "comment", "position"}
        if unknown:
            self.incomplete.append(
                f"rule {handle} of {family} {table} {chain}: the key `{min(unknown)}` is not understood"
            )
            return [Rule(handle, (_ANYTHING,), text)]

        def xt(position: int, kind: str, extension: str) -> Sequence[Expr] | None:
            if self.xt is None:
                return None
            return self.xt.find((family, table, chain, number), position, kind, extension, place.sets)

        found = rule(place, expr, xt)
        return [Rule(handle, e, text, comment if isinstance(comment, str) else None) for e in found]


def _pair(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, list) or len(item) != 2:
        raise Unsupported(f"the element {shown(item)}")
    return item[0], item[1]


def _map_data(value: Any, data: list[Type], interfaces: Mapping[str, int]) -> Any:
    if data:
        return sets.data_bytes(data, value, interfaces)
    found = sets.verdict(value)
    if found is None:
        raise Unsupported(f"the data {shown(value)}")
    return found


def _integer(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _version(body: Any) -> tuple[int, ...]:
    text = body.get("version") if isinstance(body, dict) else None
    parts = text.split(".") if isinstance(text, str) else []
    return tuple(int(p) for p in parts if p.isdecimal())
