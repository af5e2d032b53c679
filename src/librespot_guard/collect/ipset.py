"""The ipsets of a network namespace, over nfnetlink, in the words of `ipset save`; and their numbers, by which rules call them.

Encodes include/uapi/linux/netfilter/ipset/ip_set.h.
"""

import errno
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
_NAME = 18
_NETMASK, _BITMASK = 20, 12
_NOMATCH = 4  # IPSET_FLAG_NOMATCH
_SO_IP_SET, _BY_NAME = 83, 6
_VERSION = 6
_NESTED = 0x7FFF
_FAMILIES = {2: "inet", 10: "inet6"}


def read_ipsets() -> FilterText | None:
    """Every ipset of the calling thread's network namespace; None if there is none, or this kernel has none.

    Before each set stands `# number N NAME`. A set of a type that is not analysed is listed without its entries.

    Raises:
        MachineError: they may not be read (CAP_NET_ADMIN), or change all the time.
    """
    try:
        first = _read()
        for _ in range(ATTEMPTS):
            if (again := _read()) == first:
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
    """What an address is masked with before it is looked up."""
    netmask = f" netmask {declared[_NETMASK][0]}" if declared.get(_NETMASK) else ""
    return netmask + (f" bitmask {_address(declared[_BITMASK])}" if _BITMASK in declared else "")


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
        words = _words(kind, parts)
        if words is None:
            continue
        flags = int.from_bytes(parts.get(_FLAGS, b""), "big")
        yield words + _lifetime(parts) + " nomatch" * bool(flags & _NOMATCH)


def _lifetime(parts: dict[int, bytes]) -> str:
    return f" timeout {int.from_bytes(parts[_TIMEOUT], 'big')}" if _TIMEOUT in parts else ""


def _words(kind: str, parts: dict[int, bytes]) -> str | None:
    """What stands for an entry, for the types that are analysed."""
    if kind == "list:set":
        return text(parts.get(_NAME))
    if kind == "bitmap:port":
        low, high = (int.from_bytes(parts.get(n, b""), "big") for n in (_PORT, _PORT_TO))
        return f"{low}-{high}" if _PORT_TO in parts else str(low)
    if kind not in ("hash:ip", "hash:net", "bitmap:ip", "hash:ip,port"):
        return None
    host = _address(parts.get(_IP, b""))
    if _IP_TO in parts:
        host += f"-{_address(parts[_IP_TO])}"
    elif _CIDR in parts:
        host += f"/{parts[_CIDR][0]}"
    if kind == "hash:ip,port":
        return f"{host},{parts.get(_PROTO, bytes(1))[0]}:{int.from_bytes(parts.get(_PORT, b''), 'big')}"
    return host


def _address(data: bytes) -> str:
    """IPSET_ATTR_IPADDR_IPV4 or _IPV6 in their nest."""
    for _, raw in iterate_attributes(data):
        return str(ip_address(raw))
    return "0.0.0.0"  # noqa: S104 - a set's entry, not a bind
