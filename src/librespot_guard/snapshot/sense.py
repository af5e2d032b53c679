"""Whether the values of a snapshot can be what they are said to be: addresses, networks, ports, names of protocols.

The codec has seen to their kinds. A snapshot may come from anywhere, and whoever works on one may take for granted what is looked at here:
`verify` builds a twin of what it says, with names of interfaces and sysctls that become lines for `ip` and paths below /proc/sys.
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
    Namespace,
    Relay,
    Route,
    RoutingRule,
    Service,
    Snapshot,
)

# the largest number of the kernel's that a snapshot holds
LARGEST = (1 << 64) - 1
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2})*", re.IGNORECASE)
_BITS = {"ipv4": 32, "ipv6": 128}
_PROTOCOLS = ("tcp", "udp")
_ROUTES = ("unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw")
# what the kernel takes for a name (dev_valid_name of net/core/dev.c); one that is no UTF-8 is a little longer as text
_NAME = re.compile(r"(?!\.{1,2}\Z)[^\s/\x00-\x1f\x7f]{1,64}")
_SYSCTL = re.compile(r"net\.[^\s/\x00-\x1f\x7f]+")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_WORD = re.compile(r"[a-z0-9_-]+")

# the name of a field and what was expected there
Fault = tuple[str, str]


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


def _name(value: Any, *names: str) -> Iterator[Fault]:
    for name in names:
        text = getattr(value, name)
        if text is not None and not _NAME.fullmatch(text):
            yield name, "the name of an interface"


def _link(value: Link) -> Iterator[Fault]:
    yield from _name(value, "name", "master")
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
    if value.broadcast is not None and not _address(value.broadcast, value.family):
        yield "broadcast", f"an address ({value.family})"
    yield from _name(value, "dev")


def _route(value: Route) -> Iterator[Fault]:
    yield from _family(value)
    if not _network(value.dst, value.family):
        yield "dst", f"a network ({value.family})"
    for name in ("gateway", "src"):
        text = getattr(value, name)
        if text is not None and not _address(text):
            yield name, "an address"
    if value.kind not in _ROUTES:
        yield "kind", "a kind of route"
    if not all(map(_NAME.fullmatch, value.devs)):
        yield "devs", "names of interfaces"


def _rule(value: RoutingRule) -> Iterator[Fault]:
    yield from _family(value)
    yield from _name(value, "iif", "oif")
    if not _WORD.fullmatch(value.action):
        yield "action", "a word"
    for name in ("src", "dst"):
        text = getattr(value, name)
        if text is not None and not _network(text, value.family):
            yield name, f"a network ({value.family})"


def _group(value: Group) -> Iterator[Fault]:
    yield from _family(value)
    if not _address(value.address, value.family):
        yield "address", f"an address ({value.family})"
    yield from _name(value, "dev")


def _listener(value: Listener) -> Iterator[Fault]:
    yield from _family(value)
    yield from _name(value, "device")
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


def _namespace(value: Namespace) -> Iterator[Fault]:
    if not all(map(_SYSCTL.fullmatch, value.sysctls)):
        yield "sysctls", "names of sysctls below net"
    if not all(map(_VALUE.fullmatch, value.sysctls.values())):
        yield "sysctls", "values of one line"


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
    Namespace: _namespace,
    Service: _service,
    Snapshot: _snapshot,
}
