"""One concrete packet, and what a packet filter and the routing did with it.

The JSON form is fixed by design section 5 (`trace --packets`): unknown fields are errors.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from librespot_guard.errors import InputError
from librespot_guard.snapshot import Listener

STATES = ("new", "established", "related", "invalid", "untracked")
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
FLAGS = {"fin": 0x01, "syn": 0x02, "rst": 0x04, "psh": 0x08, "ack": 0x10, "urg": 0x20, "ece": 0x40, "cwr": 0x80}
# extension headers of IPv6 by the number that announces them (RFC 8200)
EXTENSIONS = {"hop-by-hop": 0, "routing": 43, "fragment": 44, "destination": 60}
_FIELDS = {"iface", "src", "dst", "proto", "sport", "dport", "flags", "state", "icmp_type", "icmp_code", "extensions"}


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it arrives on `iface`. `flags` are TCP flag bits; ICMP uses `icmp_type`/`icmp_code` and no ports.

    `extensions` are the extension headers of an IPv6 packet in their order: names of `EXTENSIONS`, none twice.
    """

    iface: str
    src: str
    dst: str
    proto: str
    sport: int = 40000
    dport: int = 0
    flags: int = 0x02
    state: str = "new"
    icmp_type: int = 0
    icmp_code: int = 0
    extensions: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The family of the packet, "ipv4" or "ipv6"."""
        return "ipv6" if ":" in self.dst else "ipv4"

    def to_json(self) -> dict[str, Any]:
        """The packet as `trace --packets` reads it."""
        out: dict[str, Any] = {"iface": self.iface, "src": self.src, "dst": self.dst, "proto": self.proto}
        if self.proto in ("tcp", "udp"):
            out |= {"sport": self.sport, "dport": self.dport}
        if self.proto == "tcp":
            out["flags"] = ",".join(name for name, bit in FLAGS.items() if self.flags & bit)
        if self.proto.startswith("icmp"):
            out |= {"icmp_type": self.icmp_type, "icmp_code": self.icmp_code}
        if self.extensions:
            out["extensions"] = list(self.extensions)
        return out | {"state": self.state}


@dataclass(frozen=True, slots=True)
class Step:
    """One rule, or the policy of a base chain (handle None), that the packet met and that applied to it."""

    table: str
    chain: str
    handle: int | None
    rule: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened to a packet: `verdict` is delivered, forwarded, dropped, rejected or undecided (with `because`).

    `trail` names, in order, every rule that matched (rules that did not match are not named). `listener` is the socket
    that would receive a delivered packet, if any waits. `into` is what happens to a forwarded packet in the namespace behind
    the cable, if that is one of the snapshot.
    """

    verdict: str
    trail: tuple[Step, ...] = ()
    because: tuple[str, ...] = ()
    listener: Listener | None = None
    into: "Into | None" = None

    @property
    def end(self) -> "Trace":
        """The last part of the way: in the namespace where the packet ends."""
        return self if self.into is None else self.into.trace.end

    @property
    def steps(self) -> tuple[Step, ...]:
        """The whole trail, over all namespaces."""
        return self.trail if self.into is None else (*self.trail, *self.into.trace.steps)

    def to_json(self) -> dict[str, Any]:
        """The answer of `trace`, one line of design section 5."""
        out: dict[str, Any] = {
            "verdict": self.verdict,
            "trail": [{"table": s.table, "chain": s.chain, "handle": s.handle, "rule": s.rule} for s in self.trail],
        }
        if self.because:
            out["because"] = list(self.because)
        if self.listener is None:
            out["listener"] = None
        else:
            out["listener"] = {
                "proto": self.listener.proto,
                "address": self.listener.address,
                "port": self.listener.port,
                "pids": list(self.listener.pids),
            }
        if self.into is not None:
            into = self.into
            where = {"namespace": into.namespace, "name": into.name, "interface": into.iface}
            out["into"] = {**where, "destination": into.destination, "port": into.port, **into.trace.to_json()}
        return out


@dataclass(frozen=True, slots=True)
class Into:
    """A packet that was forwarded into another namespace: its id and name, the interface there, and how it went on.

    `destination` and `port` are what the packet is addressed to there, after address translation; `port` None if it has none.
    """

    namespace: str
    name: str | None
    iface: str
    destination: str
    port: int | None
    trace: Trace


@dataclass(slots=True)
class _Reader:
    """Collects every fault of one packet, so that all are reported at once."""

    where: str
    faults: list[str] = field(default_factory=list)

    def number(self, raw: dict[str, Any], key: str, default: int, top: int) -> int:
        value = raw.get(key, default)
        if type(value) is not int or not 0 <= value <= top:
            self.faults.append(f"`{key}` must be a whole number from 0 to {top}, found {value!r}")
            return default
        return value


def packet_from_json(raw: Any, *, where: str) -> Packet:
    """Read one packet of `trace --packets`. Raises InputError naming `where` (file:line) and every fault."""
    if not isinstance(raw, dict):
        raise InputError(f"{where}: expected an object with iface, src, dst, proto")
    reader = _Reader(where)
    reader.faults += [f"unknown field `{key}`" for key in sorted(set(raw) - _FIELDS)]
    reader.faults += [f"`{key}` is missing" for key in ("iface", "src", "dst", "proto") if key not in raw]
    addresses = {}
    for key in ("src", "dst"):
        try:
            addresses[key] = ip_address(str(raw.get(key, "")))
        except ValueError:
            if key in raw:
                reader.faults.append(f"`{key}` is not an IP address: {raw[key]!r}")
    if len(addresses) == 2 and addresses["src"].version != addresses["dst"].version:
        reader.faults.append("`src` and `dst` are of different families")
    proto = raw.get("proto", "tcp")
    if not isinstance(proto, str) or proto not in PROTOCOLS:
        reader.faults.append(f"`proto` must be one of {', '.join(PROTOCOLS)}, found {proto!r}")
    elif len(addresses) == 2 and proto == ("icmpv6" if addresses["dst"].version == 4 else "icmp"):
        reader.faults.append(f"`proto` {proto} does not go with these addresses")
    state = raw.get("state", "new")
    if state not in STATES:
        reader.faults.append(f"`state` must be one of {', '.join(STATES)}, found {state!r}")
    flags = 0
    for name in str(raw.get("flags", "syn")).replace("|", ",").split(","):
        if name.strip():
            flags |= FLAGS.get(name.strip(), 0)
            if name.strip() not in FLAGS:
                reader.faults.append(f"`flags` has no flag {name.strip()!r}")
    if proto in ("tcp", "udp") and "dport" not in raw:
        reader.faults.append("`dport` is missing")
    numbers = {
        "sport": reader.number(raw, "sport", 40000, 65535),
        "dport": reader.number(raw, "dport", 0, 65535),
        "icmp_type": reader.number(raw, "icmp_type", 128 if proto == "icmpv6" else 8, 255),
        "icmp_code": reader.number(raw, "icmp_code", 0, 255),
    }
    extensions = raw.get("extensions", [])
    if not isinstance(extensions, list) or not all(isinstance(e, str) and e in EXTENSIONS for e in extensions):
        reader.faults.append(f"`extensions` must be a list of {', '.join(EXTENSIONS)}, found {extensions!r}")
        extensions = []
    if len(set(extensions)) < len(extensions) or "hop-by-hop" in extensions[1:]:
        reader.faults.append("`extensions` are named once each, and hop-by-hop comes first")
    if extensions and len(addresses) == 2 and addresses["dst"].version == 4:
        reader.faults.append("`extensions` are headers of IPv6")
    if reader.faults:
        raise InputError(f"{where}: {'; '.join(reader.faults)}")
    return Packet(
        str(raw["iface"]),
        str(addresses["src"]),
        str(addresses["dst"]),
        proto,
        flags=flags,
        state=state,
        extensions=tuple(extensions),
        **numbers,
    )


def chosen_extensions(choice: int | None) -> tuple[str, ...]:
    """The extension headers that the field "exthdrs" of an answer's `choices` stands for; none if no rule asks for them."""
    if choice is None:
        return ()
    first, bits = choice & 0xFF, {"hop-by-hop": 11, "routing": 10, "fragment": 9, "destination": 8}
    there = [name for name, bit in bits.items() if choice >> bit & 1]
    return tuple(sorted(there, key=lambda name: EXTENSIONS[name] != first))
