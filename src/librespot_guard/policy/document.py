"""YAML to plain values, with the place of each: the part of YAML 1.2 that a policy needs, and nothing that surprises.

Scalars follow the core schema of YAML 1.2.2 (section 10.3.2): `no`, `on`, `12:30` and dates are text, 010 is ten. Duplicate keys, anchors,
aliases, merge keys, tags and further documents are faults. The file is read event by event, so that nesting costs no stack
and an alias is refused before anything is built from it. libyaml is used where PyYAML has it; without it (there is no wheel for
armv7l) the pure loader gives the same values, and the messages always are those of the pure one.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from librespot_guard.policy import yaml_words
from librespot_guard.policy.faults import Fault, quote
from librespot_guard.policy.model import Where
from librespot_guard.policy.scalars import scalar

Path = tuple[str | int, ...]
MAX_SIZE = 1 << 20
MAX_DEPTH = 50
# beyond this size the pure loader, asked only for a better message, would take seconds
_MAX_SECOND_READING = 1 << 16

# what libyaml takes and the pure loader does not: tabs and `?` in some places, a comment without a space behind `|`
_DISPUTED = re.compile(r"[\t?]|[|>][-+0-9]*#")

LOADERS: tuple[Any, ...] = (*((yaml.CSafeLoader,) if yaml.__with_libyaml__ else ()), yaml.SafeLoader)

# what YAML allows (chapter 5.1), less the line breaks that are none in YAML 1.2 and the byte order mark
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and where its key does (the same for items of a list)."""

    key: Where
    value: Where


@dataclass(frozen=True, slots=True)
class Document:
    """What was read. `places` has every value by its path; `broken` are paths whose values could not be kept.

    `whole` is false when reading stopped at a fault, so that what is missing says nothing.
    """

    value: Any
    places: dict[Path, Place]
    faults: tuple[Fault, ...] = ()
    broken: frozenset[Path] = frozenset()
    whole: bool = True


def parse(text: str, *, file: str, loader: Any = None) -> Document:
    """Read one YAML document.

    Args:
        text: the whole file.
        file: its name, for messages.
        loader: the PyYAML loader to use; the fastest there is by default.
    """
    start = Where(file, 1, 1)
    # a byte order mark is no text
    text = text.removeprefix("\ufeff")
    fault = _size(text, start) or _characters(text, file) or _directives(text, file)
    if fault is not None:
        return Document(None, {(): Place(start, start)}, (fault,), whole=False)
    small = len(text) <= _MAX_SECOND_READING
    if loader is None:
        loader = yaml.SafeLoader if small and _DISPUTED.search(text) else LOADERS[0]
        document = _build(text, file, loader)
        if document.whole or loader is yaml.SafeLoader or not small:
            return document
        # the pure loader says more exactly what is wrong, and so it is said in the same words on every machine
        loader = yaml.SafeLoader
    return _build(text, file, loader)


def _build(text: str, file: str, loader: Any) -> Document:
    builder = _Builder(file)
    whole = True
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        builder.faults.append(yaml_words.fault(error, text, file))
        whole = False
    except _StopError as stop:
        builder.faults.append(stop.fault)
        whole = False
    start = Where(file, 1, 1)
    builder.places.setdefault((), Place(start, start))
    return Document(builder.root, builder.places, tuple(builder.faults), frozenset(builder.broken), whole)


def _size(text: str, start: Where) -> Fault | None:
    return (
        Fault(start, f"larger than 1 MiB ({len(text)} characters): this is no policy") if len(text) > MAX_SIZE else None
    )


def _characters(text: str, file: str) -> Fault | None:
    found = _FORBIDDEN.search(text)
    if found is None:
        return None
    before = text[: found.start()].replace("\r\n", "\n").replace("\r", "\n")
    where = Where(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
    return Fault(
        where,
        f"the character U+{ord(found[0]):04X} can't stand here (take it out, or write it as an escape in double quotes)",
    )


def _directives(text: str, file: str) -> Fault | None:
    """Directives other than `%YAML 1.x`: the loaders disagree on them, and a policy needs none."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):
            if not re.fullmatch(r"%YAML 1\.[0-9]\s*(#.*)?", line):
                return Fault(Where(file, number, 1), "directives are not read here (take this line out)")
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return None


class _StopError(Exception):
    """A fault after which there is no reading on (for libyaml there is none, so that both loaders say the same)."""

    def __init__(self, where: Where, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(where, text)


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read; `key` is that of the mapping whose value comes next."""

    value: Any
    path: Path
    first: dict[str, Where]
    key: tuple[str | None, Where] | None = None
    skipped: int = 0
    flow: bool = False


class _Builder:
    """Builds values out of events, and collects the faults that do not stop the reading."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Any = None
        self.places: dict[Path, Place] = {}
        self.faults: list[Fault] = []
        self.broken: set[Path] = set()
        self.open: list[_Open] = []
        self.documents = 0

    @property
    def flow(self) -> bool:
        """Whether this is inside brackets."""
        return bool(self.open) and self.open[-1].flow

    def at(self, mark: Any) -> Where:
        return Where(self.file, mark.line + 1, mark.column + 1)

    def fault(self, where: Where, text: str) -> None:
        self.faults.append(Fault(where, text))

    def feed(self, event: Any) -> None:
        """Take the next event."""
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents == 2:
                self.fault(self.at(event.start_mark), "a second document starts here (one file holds one policy)")
        elif self.documents > 1:
            return
        elif isinstance(event, yaml.AliasEvent):
            where = self.at(event.start_mark)
            self.fault(where, f"aliases are not read here (write out what {quote(f'*{event.anchor}')} stands for)")
            self.add(None, where, broken=True)
        elif isinstance(event, yaml.ScalarEvent):
            self.scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self.collection(event)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self.open.pop()

    def properties(self, event: Any, where: Where) -> None:
        """Anchors and tags."""
        if event.anchor is not None:
            self.fault(where, f"anchors are not read here (take out {quote('&' + event.anchor)})")
        if event.tag is not None:
            self.fault(where, f"tags are not read here (take out {quote(event.tag)}; text goes in quotes)")

    def scalar(self, event: Any) -> None:
        where = self.at(event.start_mark)
        self.properties(event, where)
        value: Any = event.value
        # the C loader says "" for a plain scalar, the pure one None
        plain = not event.style
        try:
            value = scalar(event.value) if plain else event.value
        except ValueError as error:
            self.fault(where, f"{error} (put it in quotes if it is text)")
            self.add(None, where, broken=True)
            return
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise _StopError(where, yaml_words.NO_CHARACTER)
        if plain and self.flow and event.value.endswith(":"):
            raise _StopError(where, yaml_words.ENDS_IN_COLON)
        self.add(value, where, merge=plain and event.value == "<<")

    def collection(self, event: Any) -> None:
        where = self.at(event.start_mark)
        self.properties(event, where)
        if len(self.open) >= MAX_DEPTH:
            raise _StopError(where, f"more than {MAX_DEPTH} levels of nesting (a policy needs six)")
        value: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self.open.append(_Open(value, self.add(value, where), {}, flow=bool(event.flow_style)))

    def add(self, value: Any, where: Where, *, broken: bool = False, merge: bool = False) -> Path:
        """Put a value where it belongs: the root, an item, a key, or the value of the last key. Returns its path."""
        if not self.open:
            self.root = value
            where = where if value is not None else Where(self.file, 1, 1)
            return self.place((), where, where, broken=broken)
        parent = self.open[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
            return self.place((*parent.path, len(parent.value) - 1), where, where, broken=broken)
        if parent.key is None:
            parent.key = (self.key(value, where, broken=broken, merge=merge), where)
            return self.aside(parent)
        (name, key), parent.key = parent.key, None
        if name is None:
            return self.aside(parent)
        if name in parent.first:
            first = parent.first[name]
            self.fault(
                key, f"{quote(name)} stands here twice; first at line {first.line}, column {first.column} (keep one)"
            )
            return self.aside(parent)
        parent.first[name] = key
        parent.value[name] = value
        # nothing has no place of its own
        return self.place((*parent.path, name), key, key if value is None else where, broken=broken)

    def aside(self, parent: _Open) -> Path:
        """A path for what is read only for its faults, out of the way of every real one."""
        parent.skipped += 1
        return (*parent.path, f"\0{parent.skipped}")

    def place(self, path: Path, key: Where, value: Where, *, broken: bool) -> Path:
        self.places[path] = Place(key, value)
        if broken:
            self.broken.add(path)
        return path

    def key(self, value: Any, where: Where, *, broken: bool, merge: bool) -> str | None:
        """The name that a key is, or None if it can't be one."""
        if merge:
            self.fault(where, "merge keys are not read here (write the keys out)")
        elif isinstance(value, str):
            return value
        elif not broken:
            self.fault(
                where,
                "a key must be text (put it in quotes)"
                if not isinstance(value, list | dict)
                else "a list or mapping can't be a key (start with a name)",
            )
        return None
