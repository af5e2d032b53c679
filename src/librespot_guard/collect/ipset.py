"""The ipsets of a network namespace, over nfnetlink, in the words of `ipset save`; and their numbers, by which rules call them.

Encodes include/uapi/linux/netfilter/ipset/ip_set.h.
"""

import errno
import re
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from librespot_guard.collect.netlink import (
    ATTEMPTS,
    NETLINK_NETFILTER,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    iterate_attributes,
    text,
)
from librespot_guard.collect.sockopt import ask
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import FilterText

_LIST = 6 << 8 | 7  # NFNL_SUBSYS_IPSET, IPSET_CMD_LIST
_PROTOCOL, _SETNAME, _TYPENAME, _FAMILY, _DATA, _ADT = 1, 2, 3, 5, 7, 8
_IP, _IP_TO, _CIDR, _PORT, _PORT_TO, _TIMEOUT, _PROTO, _FLAGS = 1, 2, 3, 4, 5, 6, 7, 8
_MARK, _MARKMASK, _BITMASK, _ETHER, _NAME, _NETMASK, _IP2, _CIDR2, _IFACE = 10, 11, 12, 17, 18, 20, 20, 21, 23
_PHYSDEV, _NOMATCH, _WILDCARD = 2, 4, 128  # IPSET_FLAG_*
_SO_IP_SET, _BY_NAME = 83, 6
_VERSION = 6
_NESTED = 0x7FFF
_REMAINING = re.compile(r"( timeout) [1-9]\d*")
_FAMILIES = {2: "inet", 10: "inet6"}


def read_ipsets() -> FilterText | None:
    """Every ipset of the calling thread's network namespace; None if there is none, or this kernel has none.

    Before each set stands `# number N NAME`. Entries are as in `ipset save`, with protocols and ICMP types as numbers.

    Raises:
        MachineError: they may not be read (CAP_NET_ADMIN), or change all the time.
    """
    try:
        first = _read()
        for _ in range(ATTEMPTS):
            if _lasting(again := _read()) == _lasting(first):
                break
            first = again
        else:
            raise MachineError("ipsets: they change all the time", hint="try again later")
    except NetlinkError as error:
        if error.errno in (errno.EINVAL, errno.EPROTONOSUPPORT, errno.ENOENT, errno.EOPNOTSUPP):
            return None
        hint = "run it with `sudo`" if error.errno in (errno.EPERM, errno.EACCES) else ""
        raise MachineError(f"ipsets can't be read: {error}", hint=hint) from None
    except OSError as error:
        raise MachineError(f"ipsets can't be read: {error.strerror}", hint="run it with `sudo`") from None
    return FilterText("ipset-save", "the kernel's ipsets", first) if first else None


def _lasting(listing: str) -> str:
    """A listing without how long its entries still have, which is never the same twice."""
    return _REMAINING.sub(r"\1", listing)


def _read() -> str:
    header = struct.pack("!BBH", socket.AF_INET, 0, 0)
    with Netlink(NETLINK_NETFILTER) as link:
        messages = [body[4:] for _, body in link.dump(_LIST, header + attribute(_PROTOCOL, bytes([_VERSION])))]
    lines: list[str] = []
    created: set[str] = set()
    for body in messages:
        parts = attributes(body)
        name = text(parts.get(_SETNAME))
        kind = text(parts.get(_TYPENAME))
        if name not in created:
            created.add(name)
            family = _FAMILIES.get(parts.get(_FAMILY, b"\x02")[0], "inet")
            declared = attributes(parts.get(_DATA, b""))
            lasting = _TIMEOUT in declared
            lines.append(f"# number {_number(name)} {name}")
            lines.append(f"create {name} {kind} family {family}{' timeout 0' * lasting}{_mask(declared)}")
        lines += (f"add {name} {entry}" for entry in _entries(kind, parts.get(_ADT, b"")))
    return "\n".join(lines) + "\n" * bool(lines)


def _mask(declared: dict[int, bytes]) -> str:
    """What is masked before it is looked up."""
    out = f" netmask {declared[_NETMASK][0]}" if declared.get(_NETMASK) else ""
    if _BITMASK in declared:
        out += f" bitmask {_address(declared[_BITMASK])}"
    if _MARKMASK in declared:
        out += f" markmask {int.from_bytes(declared[_MARKMASK], 'big'):#010x}"
    return out


def _number(name: str) -> int:
    """The number of a set (struct ip_set_req_get_set)."""
    request = struct.pack("=II32s", _BY_NAME, _VERSION, name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as sock:
        answer = ask(sock, socket.IPPROTO_IP, _SO_IP_SET, request)
    number: int = struct.unpack_from("=H", answer, 8)[0]
    return number


def _entries(kind: str, data: bytes) -> Iterator[str]:
    for _, raw in iterate_attributes(data):
        parts = {number & _NESTED: value for number, value in iterate_attributes(raw)}
        flags = int.from_bytes(parts.get(_FLAGS, b""), "big")
        words = _words(kind, parts, physical=bool(flags & _PHYSDEV))
        yield words + _lifetime(parts) + " nomatch" * bool(flags & _NOMATCH) + " wildcard" * bool(flags & _WILDCARD)


def _lifetime(parts: dict[int, bytes]) -> str:
    return f" timeout {int.from_bytes(parts[_TIMEOUT], 'big')}" if _TIMEOUT in parts else ""


def _words(kind: str, parts: dict[int, bytes], *, physical: bool) -> str:
    """What stands for an entry."""
    if kind == "list:set":
        return text(parts.get(_NAME))
    if kind == "bitmap:port":
        low, high = (int.from_bytes(parts.get(n, b""), "big") for n in (_PORT, _PORT_TO))
        return f"{low}-{high}" if _PORT_TO in parts else str(low)
    out: list[str] = []
    addresses = iter(((_IP, _CIDR), (_IP2, _CIDR2)))
    for what in kind.partition(":")[2].split(","):
        if what in ("ip", "net"):
            out.append(_host(parts, *next(addresses)))
        elif what == "port":
            out.append(f"{parts.get(_PROTO, bytes(1))[0]}:{int.from_bytes(parts.get(_PORT, b''), 'big')}")
        elif what == "mac" and _ETHER in parts:
            out.append(parts[_ETHER].hex(":"))
        elif what == "iface":
            out.append("physdev:" * physical + text(parts.get(_IFACE)))
        elif what == "mark":
            out.append(f"{int.from_bytes(parts.get(_MARK, b''), 'big'):#010x}")
    return ",".join(out)


def _host(parts: dict[int, bytes], address: int, prefix: int) -> str:
    """An address, a range of them, or a network."""
    found = _address(parts.get(address, b""))
    if address == _IP and _IP_TO in parts:
        return f"{found}-{_address(parts[_IP_TO])}"
    return f"{found}/{parts[prefix][0]}" if prefix in parts else found


def _address(data: bytes) -> str:
    """IPSET_ATTR_IPADDR_IPV4 or _IPV6 in their nest."""
    for _, raw in iterate_attributes(data):
        return str(ip_address(raw))
    return "0.0.0.0"  # noqa: S104 - a set's entry, not a bind
