"""What a unit surely starts after: `After=` and `Before=` of all units (systemd.unit(5)), and what systemd adds (systemd.service(5), systemd.target(5))."""

from collections.abc import Iterator

from librespot_guard.snapshot import Boot, UnitFacts

NETWORK_PRE = "network-pre.target"
# these do nothing and order nothing unless a unit that starts wants them (systemd.special(7))
_PASSIVE = frozenset({NETWORK_PRE, "network.target", "network-online.target", "time-sync.target", "time-set.target"})


def started_before(boot: Boot, name: str, *, wanting: str = "") -> frozenset[str]:
    """The names of all units that have started, if they start at all, when this one does; none for a target that nothing wants.

    `wanting` is a target that is taken for wanted, whatever the units say.
    """
    system = [unit for unit in boot.units if not unit.user]
    units = {unit.name: unit for unit in system}
    wanted = {one for unit in system if unit.wanted_by for one in unit.names("Wants", "Requires")} | {wanting}
    edges: dict[str, set[str]] = {}
    for unit in system:
        for later, earlier in _edges(unit, units):
            edges.setdefault(later, set()).add(earlier)
    found: set[str] = set()
    waiting = [name] if name not in _PASSIVE or name in wanted else []
    while waiting:
        for one in edges.get(waiting.pop(), ()):
            if one not in found and (one not in _PASSIVE or one in wanted):
                found.add(one)
                waiting.append(one)
    return frozenset(found - {name})


def in_a_circle(boot: Boot, earlier: str, later: str) -> bool:
    """Whether `Before=` or `After=` that put one unit before another would close a circle, of which systemd starts only a part."""
    return later in started_before(boot, earlier, wanting=later)


def _edges(unit: UnitFacts, units: dict[str, UnitFacts]) -> Iterator[tuple[str, str]]:
    """Pairs of (later, earlier)."""
    for name in _after(unit):
        yield unit.name, name
    for name in unit.names("Before"):
        yield name, unit.name
    if _default(unit) and unit.name.endswith(".target"):
        members = unit.names("Wants", "Requires") | {u.name for u in units.values() if unit.name in u.wanted_by}
        # a target is after what it wants, unless that says it comes later
        for name in members:
            if name in units and _default(units[name]) and unit.name not in _after(units[name]):
                yield unit.name, name


def _after(unit: UnitFacts) -> frozenset[str]:
    """What a unit names as earlier than itself, and what a service has by default."""
    service = unit.name.endswith(".service") and _default(unit)
    return unit.names("After") | (frozenset({"sysinit.target", "basic.target"}) if service else frozenset())


def _default(unit: UnitFacts) -> bool:
    values = [line.value.lower() for line in unit.all("DefaultDependencies")]
    return not values or values[-1] not in ("no", "false", "0", "off")
