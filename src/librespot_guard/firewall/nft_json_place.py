"""What rules of a listing are read with, and look-ups in sets and maps: shared by conditions and statements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from librespot_guard.firewall import nft_json_sets as sets
from librespot_guard.firewall.model import (
    VERDICT,
    Expr,
    Lookup,
    Set,
    Verdict,
)
from librespot_guard.firewall.nft_json_code import Code, keys, ordered, shown
from librespot_guard.firewall.nft_json_load import fields, immediate, load
from librespot_guard.firewall.nft_json_types import (
    Type,
    Unsupported,
)


@dataclass(slots=True)
class Place:
    """What rules of one table are read with: its family, its sets, and how to add an anonymous one."""

    family: str
    sets: dict[str, Set]
    kinds: dict[str, list[Type]]
    interfaces: Mapping[str, int]
    old: bool
    anonymous: int = 0

    def add(self, made: Callable[[str], Set]) -> str:
        """Add an anonymous set; its name."""
        self.anonymous += 1
        name = f"__json{self.anonymous}"
        self.sets[name] = made(name)
        return name


@dataclass(slots=True)
class Reading:
    """One rule while it is read; `variants` are further readings that the listing leaves open, each a rule that may apply."""

    place: Place
    code: Code
    ended: bool = False
    variants: list[tuple[Expr, ...]] = field(default_factory=list)


def look_up_anonymous(reading: Reading, left: Any, values: list[Any], *, inverted: bool) -> None:
    """Instructions that look a key up in a set that stands in the rule."""
    code = reading.code
    loaded = fields(code, left)
    interval = sets.has_intervals(values)
    kinds = [f.kind for f in loaded]
    reader = sets.Elements(kinds, code.interfaces, interval=interval)
    elements = [e for v in values for e in reader.read(v)]
    if interval:
        for part in loaded:
            ordered(code, part)
    flags = sets.ANONYMOUS | (sets.FLAGS["interval"] if interval else 0)
    name = reading.place.add(lambda name: sets.build(name, kinds, elements, flags=flags))
    code.exprs.append(Lookup(name, loaded[0].slot, None, inverted))


def look_up(reading: Reading, left: Any, name: str, dreg: int | None, *, inverted: bool = False) -> None:
    """A named set or map."""
    code = reading.code
    found = reading.place.sets.get(name)
    if found is None:
        raise Unsupported(f"the set `{name}`, which is not in the listing")
    loaded = fields(code, left)
    kinds = reading.place.kinds.get(name)
    if kinds is None or [k.length for k in kinds] != [f.size for f in loaded]:
        raise Unsupported(f"the key of the set `{name}`")
    if found.flags & sets.FLAGS["interval"]:
        for part in loaded:
            ordered(code, part)
    code.exprs.append(Lookup(name, loaded[0].slot, dreg, inverted))


def look_up_map(reading: Reading, body: Any, slot: int, wanted: list[Type] | None) -> list[Type]:
    """Look a key up in a map, into registers from `slot`; the types of the data."""
    body = keys(body, ("key", "data"))
    data = body["data"]
    dreg = VERDICT if slot == VERDICT else slot
    if isinstance(data, str) and data.startswith("@"):
        kinds = reading.place.kinds.get(f"{data[1:]} data")
        if slot != VERDICT and kinds is None:
            raise Unsupported(f"the map `{data[1:]}`")
        look_up(reading, body["key"], data[1:], dreg)
        return kinds or []
    pairs = sets.set_body(data)
    if not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise Unsupported(f"the map {shown(data)}")
    code = reading.code
    loaded = fields(code, body["key"])
    interval = sets.has_intervals([p[0] for p in pairs])
    reader = sets.Elements([f.kind for f in loaded], code.interfaces, interval=interval)
    kinds = [] if slot == VERDICT else wanted or sets.address_kinds(pairs[0][1] if pairs else 0)
    elements = [e for key, value in pairs for e in reader.read(key, _data(value, kinds, code.interfaces))]
    if interval:
        for part in loaded:
            ordered(code, part)
    flags = sets.ANONYMOUS | sets.MAP | (sets.FLAGS["interval"] if interval else 0)
    size = sum((k.length + 3) // 4 * 4 for k in kinds) if len(kinds) > 1 else kinds[0].length if kinds else 16
    name = reading.place.add(
        lambda name: sets.build(name, [f.kind for f in loaded], elements, flags=flags, data_length=size)
    )
    code.exprs.append(Lookup(name, loaded[0].slot, dreg))
    return kinds


def _data(value: Any, kinds: list[Type], interfaces: Mapping[str, int]) -> bytes | Verdict:
    if kinds:
        return sets.data_bytes(kinds, value, interfaces)
    found = sets.verdict(value)
    if found is None:
        raise Unsupported(f"the verdict {shown(value)}")
    return found


def load_value(reading: Reading, value: Any, kind: Type, slot: int) -> None:
    """Load what is to be written: a constant, the data of a map, or a computed value of the same width."""
    code = reading.code
    if isinstance(value, dict) and len(value) == 1:
        name = next(iter(value))
        if name == "map":
            look_up_map(reading, value["map"], slot, [kind])
            return
        if name not in ("|", "&", "^", "<<") or any(isinstance(o, dict) for o in value[name]):
            loaded = load(code, value, slot)
            if loaded.kind.host != kind.host or loaded.size != kind.length:
                raise Unsupported(f"the value {shown(value)}")
            return
    immediate(code, kind, value, slot)
