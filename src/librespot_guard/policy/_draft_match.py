"""Which `match` finds a service again after a restart, and no other service beside it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from librespot_guard.policy import values
from librespot_guard.policy.model import FLAVOURS, Match
from librespot_guard.policy.resolve import matches
from librespot_guard.snapshot import Service

# from what stays the same longest to what stays the same least; a hex id of a container ends with the container
_ORDERS: tuple[tuple[str, ...], ...] = (
    ("unit",),
    ("container",),
    ("name",),
    ("unit", "name"),
    ("container", "name"),
    ("port",),
    ("name", "port"),
    ("unit", "port"),
    ("id",),
    (),
)
_MDNS = 5353


@dataclass(frozen=True, slots=True)
class Group:
    """Services that one match finds: one, or several that nothing lasting tells apart."""

    match: Match
    services: tuple[Service, ...]


def groups(services: Sequence[Service]) -> tuple[Group, ...]:
    """The services with a match for each, such that every service is found by exactly one."""
    parts = [frozenset([i]) for i in range(len(services))]
    keys = [_keys(service, services) for service in services]
    while True:
        found: list[Group] = []
        for part in parts:
            tried = [(match, _found(match, services)) for match in _candidates([keys[i] for i in part])]
            exact = next((match for match, who in tried if who == part), None)
            if exact is None:
                break
            found.append(Group(exact, tuple(services[i] for i in sorted(part))))
        else:
            return tuple(found)
        # nothing tells this one apart from others: they become one entry
        wider = min((who for _, who in tried), key=len, default=None)
        if wider is None:
            parts.remove(part)
            continue
        together = part.union(*(other for other in parts if other & wider))
        parts = sorted([other for other in parts if not other & together] + [together], key=min)


def _found(match: Match, services: Sequence[Service]) -> frozenset[int]:
    return frozenset(i for i, service in enumerate(services) if matches(match, service))


def _candidates(keys: Sequence[dict[str, str | int]]) -> Iterator[Match]:
    """Matches by what these services have in common."""
    first = keys[0]
    common = {k: v for k, v in first.items() if all(other.get(k) == v for other in keys)}
    for order in _ORDERS:
        if all(key in common for key in order):
            given = {("container" if key == "id" else key): common[key] for key in order}
            if "flavour" in common or given:
                yield Match(flavour=str(common["flavour"]) if "flavour" in common else None, **given)  # type: ignore[arg-type]


def _keys(service: Service, services: Sequence[Service]) -> dict[str, str | int]:
    """What can be said of a service that will still be true after a restart."""
    keys: dict[str, str | int] = {}
    if service.flavour in FLAVOURS:
        keys["flavour"] = service.flavour
    if service.unit and _same(values.unit, service.unit) and not service.unit.startswith("user@"):
        keys["unit"] = service.unit
    if service.container and _same(values.word, service.container):
        keys["id" if re.fullmatch(r"[0-9a-f]{12,64}", service.container) else "container"] = service.container
    if _lasting_name(service, services):
        keys["name"] = service.name
    pinned = [item.listener.port for item in service.listeners if item.pinned and item.listener.port != _MDNS]
    if pinned:
        keys["port"] = min(pinned)
    return keys


def _same(parse: object, text: str) -> bool:
    """Whether the loader would take the text as it is."""
    try:
        return bool(callable(parse) and parse(text) == text and text.isprintable())
    except ValueError:
        return False


def _lasting_name(service: Service, services: Sequence[Service]) -> bool:
    """Whether the name is the service's own: not that of its flavour for want of a better one, not numbered by the order of starts."""
    own = service.name != service.flavour or bool(service.info and service.info.remote_name)
    base = re.sub(r"-[0-9]+$", "", service.name)
    alike = [other for other in services if other is not service and re.sub(r"-[0-9]+$", "", other.name) == base]
    numbered = any(base in (service.name, other.name) for other in alike)
    return own and not numbered and _same(values.word, service.name)
