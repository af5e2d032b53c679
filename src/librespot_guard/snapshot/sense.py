"""Whether the values of a snapshot can be what they are said to be: addresses, networks, ports, names of protocols.

The codec has seen to their kinds. A snapshot may come from anywhere, and whoever works on one may take for granted what is looked at here.
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from librespot_guard.snapshot.facts import (
    Address,
    Connection,
    Group,
    Link,
    Listener,
    Relay,
    Route,
    RoutingRule,
    Service,
    Snapshot,
)

# the largest number of the kernel's that a snapshot holds
LARGEST = (1 << 64) - 1
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2})*", re.IGNORECASE)
_BITS = {"ipv4": 32, "ipv6": 128}
_PROTOCOLS = ("tcp", "udp")

# the name of a field and what was expected there
Fault = tuple[str, str]


def text_is_whole(value: str) -> bool:
    """Whether a text is Unicode, without halves of characters."""
    return _SURROGATE.search(value) is None


def faults(value: object) -> Iterator[Fault]:
    """What can't be in a value of the snapshot, field by field."""
    check = _CHECKS.get(type(value))
    if check is not None:
        yield from check(value)


def _address(text: str, family: str | None = None) -> bool:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return family is None or parsed.version == (4 if family == "ipv4" else 6)


def _network(text: str, family: str) -> bool:
    try:
        parsed = ip_network(text)
    except ValueError:
        return False
    return parsed.version == (4 if family == "ipv4" else 6)


def _family(value: Any) -> Iterator[Fault]:
    if value.family not in _BITS:
        yield "family", "ipv4 or ipv6"


def _port(value: Any, *names: str) -> Iterator[Fault]:
    for name in names:
        if not 0 <= getattr(value, name) <= 65535:
            yield name, "a port"


def _link(value: Link) -> Iterator[Fault]:
    if value.mac and not _MAC.fullmatch(value.mac):
        yield "mac", "a hardware address"
    if not 0 <= value.index < 1 << 31:
        yield "index", "the number of an interface"


def _of_address(value: Address) -> Iterator[Fault]:
    yield from _family(value)
    if not _address(value.address, value.family):
        yield "address", f"an address ({value.family})"
    if not 0 <= value.prefixlen <= _BITS.get(value.family, 128):
        yield "prefixlen", "the length of a prefix"


def _route(value: Route) -> Iterator[Fault]:
    yield from _family(value)
    if not _network(value.dst, value.family):
        yield "dst", f"a network ({value.family})"
    for name in ("gateway", "src"):
        text = getattr(value, name)
        if text is not None and not _address(text):
            yield name, "an address"


def _rule(value: RoutingRule) -> Iterator[Fault]:
    yield from _family(value)
    for name in ("src", "dst"):
        text = getattr(value, name)
        if text is not None and not _network(text, value.family):
            yield name, f"a network ({value.family})"


def _group(value: Group) -> Iterator[Fault]:
    yield from _family(value)
    if not _address(value.address, value.family):
        yield "address", f"an address ({value.family})"


def _listener(value: Listener) -> Iterator[Fault]:
    yield from _family(value)
    if value.proto not in _PROTOCOLS:
        yield "proto", "tcp or udp"
    if not _address(value.address):
        yield "address", "an address"
    yield from _port(value, "port")


def _connection(value: Connection) -> Iterator[Fault]:
    yield from _family(value)
    for name in ("local", "peer"):
        if not _address(getattr(value, name)):
            yield name, "an address"
    yield from _port(value, "local_port", "peer_port")


def _relay(value: Relay) -> Iterator[Fault]:
    if value.proto not in _PROTOCOLS:
        yield "proto", "tcp or udp"
    for name in ("address", "to_address"):
        if not _address(getattr(value, name)):
            yield name, "an address"
    yield from _port(value, "port", "to_port")


def _service(value: Service) -> Iterator[Fault]:
    # port 0 is the random one of a service that does not run
    if value.status == "running" and any(item.listener.port == 0 for item in value.listeners):
        yield "listeners", "ports from 1 to 65535 where a service runs"


def _snapshot(value: Snapshot) -> Iterator[Fault]:
    if value.byteorder not in ("little", "big"):
        yield "byteorder", "little or big"


_CHECKS: dict[type, Callable[[Any], Iterator[Fault]]] = {
    Link: _link,
    Address: _of_address,
    Route: _route,
    RoutingRule: _rule,
    Group: _group,
    Listener: _listener,
    Connection: _connection,
    Relay: _relay,
    Service: _service,
    Snapshot: _snapshot,
}
