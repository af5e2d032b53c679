"""What one key says about another: names that must exist, sources that say who, and what deserves a second look.

Works on the plain values, not on the models, so that it speaks up also where something else is wrong in the file.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from librespot_guard.policy.document import Document, Path
from librespot_guard.policy.faults import Fault, quote, suggest
from librespot_guard.policy.model import Where

_WHO = ("hosts", "networks", "interface")
# beyond that, to look for what was meant takes too long
_MAX_SUGGESTED = 50
_ADVICE = {
    "title": "what it guards",
    "owner": "whom to ask",
    "review": "when it is looked at again, such as `every 3 months`",
}
UNENFORCED = ("bind", "egress", "limits")
UNENFORCED_ALLOW = ("accounts", "takeover", "through")


class CrossCheck:
    """Looks at one document. `faults` are wrong, `warnings` may be meant."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.sources = _mapping(document.value, "sources")
        self.services = _mapping(document.value, "services")

    def key(self, *path: str | int) -> Where:
        """The place of a key (or of an item)."""
        return self.document.places[path].key

    def allows(self) -> Iterator[tuple[Path, str]]:
        """Every mention of a source with its path."""
        for service, entry in self.services.items():
            for surface, given in _mapping(entry, "allow").items():
                path: Path = ("services", service, "allow", surface)
                named = given
                if isinstance(given, dict):
                    path, named = (*path, "from"), given.get("from")
                for index, name in enumerate(named if isinstance(named, list) else ()):
                    if isinstance(name, str):
                        yield (*path, index), name

    def unenforced(self) -> Iterator[tuple[str, str, Where]]:
        """(service, key, place) of every key that no target of this version can hold, in a document without faults."""
        for service, entry in self.services.items():
            for surface, given in _mapping(entry, "allow").items():
                for key in UNENFORCED_ALLOW:
                    if isinstance(given, dict) and key in given:
                        yield service, key, self.key("services", service, "allow", surface, key)
            for key in UNENFORCED:
                if key in entry:
                    yield service, key, self.key("services", service, key)

    def faults(self) -> Iterator[Fault]:
        """What can't be meant."""
        for name, source in self.sources.items():
            if isinstance(source, dict) and not any(key in source for key in (*_WHO, "names")):
                yield Fault(
                    self.key("sources", name),
                    f"source {quote(name)} says nobody (give at least one of `hosts`, `networks`, `interface`)",
                )
        yield from self._matches()
        if not isinstance(_get(self.document.value, "sources", {}), dict):
            return
        names, unknown = list(self.sources), 0
        for path, name in self.allows():
            if name not in self.sources:
                unknown += 1
                advice = " (name it under `sources`, with its why)"
                if names and unknown <= _MAX_SUGGESTED:
                    advice = suggest(name, names, what="there are")
                yield Fault(self.key(*path), f"there is no source {quote(name)}{advice}")

    def _matches(self) -> Iterator[Fault]:
        seen: dict[tuple[tuple[str, str], ...], str] = {}
        for name, entry in self.services.items():
            match = _get(entry, "match", None)
            if not isinstance(match, dict):
                continue
            if not match:
                yield Fault(
                    self.key("services", name, "match"),
                    "`match` is empty (say which service, such as `match: {flavour: librespot}`)",
                )
                continue
            same = tuple(sorted((str(k), repr(v)) for k, v in match.items()))
            first = seen.setdefault(same, name)
            if first != name:
                at = self.key("services", first, "match")
                yield Fault(
                    self.key("services", name, "match"),
                    f"the same match as in {quote(first)} at line {at.line}, column {at.column} (a service belongs to one entry)",
                )

    def warnings(self) -> Iterator[Fault]:
        """What works, and is probably not what somebody wants, in a document without faults."""
        top = self.document.places[()].value
        for key, advice in _ADVICE.items():
            if key not in self.document.value:
                yield Fault(top, f"no {quote(key)} (say {advice})")
        if not self.services:
            yield Fault(self.key("services"), "names no service, so nothing is guarded")
        used = {name for _, name in self.allows()}
        for name, source in self.sources.items():
            if name not in used:
                yield Fault(self.key("sources", name), f"source {quote(name)} is not used by any service")
            yield from self._wide(name, source)
        yield from self._twice()

    def _wide(self, name: str, source: dict[str, Any]) -> Iterator[Fault]:
        for index, text in enumerate(source.get("networks", ())):
            if text.endswith("/0"):
                family = "IPv6" if ":" in text else "IPv4"
                yield Fault(
                    self.key("sources", name, "networks", index), f"{quote(text)} is every {family} address there is"
                )
        for index, text in enumerate(source.get("hosts", ())):
            if ip_address(text).is_loopback:
                where = self.key("sources", name, "hosts", index)
                yield Fault(where, f"{quote(text)} is the host itself, which is always allowed")
        if source.get("interface") == "lo":
            yield Fault(self.key("sources", name, "interface"), "`lo` is the host itself, which is always allowed")

    def _twice(self) -> Iterator[Fault]:
        seen: set[tuple[Path, str]] = set()
        for path, name in self.allows():
            if (path[:-1], name) in seen:
                yield Fault(self.key(*path), f"{quote(name)} is named twice")
            seen.add((path[:-1], name))


def _get(value: Any, key: str, default: Any) -> Any:
    return value.get(key, default) if isinstance(value, dict) else default


def _mapping(value: Any, key: str) -> dict[str, Any]:
    found = _get(value, key, None)
    return found if isinstance(found, dict) else {}
