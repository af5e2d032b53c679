"""Interfaces that do not exist now, by the names that rules ask for: a VPN, a bridge of containers, a tethered phone that comes later.

What rules tell apart about names are single names and beginnings of names. One interface for each of them that is not there, and one
of a name that no rule knows, stand for every interface that could be created.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from librespot_guard.reach._hooks import cone
from librespot_guard.reach._shapes import read_by
from librespot_guard.reach.engine import Engine
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Address, Link, Route

_BITS = 128  # IFNAMSIZ bytes (linux/if.h), the last of them zero
_LONGEST = 15
MOST = 8
"""So many names are supposed at once: each costs questions of its own."""
# names that people know; the first that no rule asks for is taken
_ANY = ("usb0", "tun0", "wlan7", "new0", "later0")


@dataclass(frozen=True, slots=True)
class Supposed:
    """An interface that could be created: its `name`, and `asked`, what rules ask for: that name, "wg*", or None for any other."""

    name: str
    asked: str | None


def names_asked(world: World, family: str, proto: str, iface: str) -> dict[str, set[str]]:
    """The names ("eth0") and beginnings ("wg*") of ingress interfaces that rules on the way in ask for, with the tables that do."""
    engine = Engine(world, iface, family, proto)
    found: dict[str, set[str]] = {}
    for code in cone(engine.starts(engine.hooks(world)), engine.shapes(world).code):
        for op in dict.fromkeys(op for shape in code.distinct for op in shape.ops):
            for field, values in read_by(op):
                for name in _names(field, values):
                    found.setdefault(name, set()).add(code.table.name)
    return found


def _names(field: str, values: IntervalSet) -> Iterator[str]:
    """The names and beginnings of names in the values that a condition asks for in `iifname`, or in its first bytes."""
    name, _, part = field.partition("@")
    if name != "iifname":
        return
    low, size = (int(n) for n in part.split(":")) if part else (0, _BITS)
    if low + size != _BITS or size % 8:
        return
    for first, last in values.pairs:
        start, end = first << low, (last << low) | (1 << low) - 1
        fixed = (start ^ end).bit_length()
        if start & (1 << fixed) - 1 or fixed % 8:  # no beginning of names
            continue
        text = (start >> fixed).to_bytes((_BITS - fixed) // 8, "big").rstrip(b"\0")
        if text and text.isascii() and text.decode().isprintable():
            yield text.decode() + "*" * (fixed > 0)


def supposed(names: Iterable[str], existing: Iterable[str]) -> list[Supposed]:
    """One interface for each name and beginning that none is there for, and one of another name, beginnings first."""
    names, existing = sorted(set(names)), set(existing)
    beginnings = [n[:-1] for n in names if n.endswith("*")]
    taken = existing | {n for n in names if not n.endswith("*")}
    found = []
    for begin in beginnings:
        same = {b for b in beginnings if begin.startswith(b)}
        tried = (f"{begin}{n}" for n in range(100))
        fits = (n for n in tried if n not in taken and {b for b in beginnings if n.startswith(b)} == same)
        if len(name := next(fits, "")) in range(1, _LONGEST + 1):
            found.append(Supposed(name, f"{begin}*"))
    other = next((n for n in _ANY if n not in taken and not n.startswith(tuple(beginnings))), None)
    if other is not None and names:
        found.append(Supposed(other, None))
    return found + [Supposed(n, n) for n in names if not n.endswith("*") and n not in existing]


def with_interfaces(world: World, names: Iterable[str]) -> World:
    """The world as if these interfaces were there, up, each with a network of its own, and with a way back over each to everybody.

    That is what a VPN or a tethered phone brings along when it takes the default route. The networks are those of RFC 2544 and
    of RFC 4193, which no rule is likely to name.
    """
    space = world.namespace
    families = {a.family for a in space.addresses if a.dev != "lo"}
    links, addresses, routes, sysctls = [], [], [], dict(space.sysctls)
    for number, name in enumerate(names):
        links.append(Link(max((n.index for n in space.links), default=0) + 1 + number, name, up=True))
        for text in (f"198.18.{number}.1/24", f"fd7a:{number:x}::1/64"):
            own = ip_interface(text)
            family = f"ipv{own.version}"
            if family not in families:
                continue
            addresses.append(Address(family, str(own.ip), own.network.prefixlen, name))
            routes.append(Route(family, 255, f"{own.ip}/{own.max_prefixlen}", "local", (name,)))
            routes.append(Route(family, 254, str(own.network), "unicast", (name,)))
        for key, value in space.sysctls.items():  # what the kernel gives a new interface (devinet_copy_dflt_conf)
            before, middle, after = key.partition(".conf.default.")
            if middle:
                sysctls[f"{before}.conf.{name}.{after}"] = value
    sysctls |= dict.fromkeys((k for k in sysctls if k.endswith(".rp_filter")), "0")
    later = World(
        replace(
            space,
            links=(*space.links, *links),
            addresses=(*space.addresses, *addresses),
            routes=(*space.routes, *routes),
            sysctls=sysctls,
        ),
        world.ruleset,
        world.doubts,
        world.filters,
        around=world.around,
    )
    # rules are lowered without regard to interfaces
    later.shared.update({key: value for key, value in world.shared.items() if key[0] == "shapes"})
    return later


__all__ = ["MOST", "Supposed", "names_asked", "supposed", "with_interfaces"]
