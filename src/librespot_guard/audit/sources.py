"""Sets of source addresses in words, and the sets that the checks compare with."""

from collections.abc import Iterable
from functools import cache
from ipaddress import ip_network

from librespot_guard.reach import IntervalSet, cidrs, parse_cidrs
from librespot_guard.reach.intervals import WIDTH
from librespot_guard.snapshot import Namespace

_NEVER = {
    # RFC 6890: "this network", loopback, multicast, reserved
    "ipv4": ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"),
    # unspecified, loopback, IPv4-mapped, multicast
    "ipv6": ("::/127", "::ffff:0:0/96", "ff00::/8"),
}
_SHOWN = 6
FAMILY_NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}


@cache
def never_sources(family: str) -> IntervalSet:
    """Addresses that no honest packet on a wire has as its source."""
    return parse_cidrs(family, _NEVER[family])


def own_networks(namespace: Namespace, ifaces: Iterable[str], family: str) -> IntervalSet:
    """The addresses that are on the links of interfaces: their connected networks, and IPv6 link-local."""
    names = frozenset(ifaces)
    found = [
        ip_network(f"{a.address}/{a.prefixlen}", strict=False)
        for a in namespace.addresses
        if a.dev in names and a.family == family and a.prefixlen > 0
    ]
    if family == "ipv6":
        found.append(ip_network("fe80::/10"))
    return IntervalSet.networks(found)


def in_words(family: str, addresses: IntervalSet) -> str:
    """A set of sources for people: networks, or "any IPv4 address", or that with exceptions; long lists are cut."""
    name = FAMILY_NAMES[family]
    possible = never_sources(family).complement(WIDTH[family])
    seen, missing = addresses & possible, possible - addresses
    if not seen:
        return "nobody"
    if not missing:
        return f"any {name} address"
    included, excluded = cidrs(family, seen), cidrs(family, missing)
    if len(excluded) < len(included):
        return f"any {name} address except {_some(excluded)}"
    return _some(included)


def _some(texts: list[str]) -> str:
    shown = ", ".join(texts[:_SHOWN])
    left = len(texts) - _SHOWN
    return shown if left <= 0 else f"{shown} and {left} more networks"


def listed(texts: Iterable[str]) -> str:
    """Texts as an enumeration without repetitions: "a, b and c"."""
    items = list(dict.fromkeys(texts))
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"
