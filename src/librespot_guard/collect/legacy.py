"""Tables of legacy iptables, as the kernel holds them: IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES (linux/netfilter_ipv4/ip_tables.h).

Only tables that exist are asked for: asking for another would make the kernel create it.
"""

import errno
import socket
import struct
from pathlib import Path

from librespot_guard.collect.netlink import ATTEMPTS
from librespot_guard.collect.sockopt import ask
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import LegacyTable

_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = 84  # struct ipt_getinfo
_SIZE_AT = 80
_KINDS = (
    ("ipv4", "ip_tables_names", socket.AF_INET, socket.IPPROTO_IP),
    ("ipv6", "ip6_tables_names", socket.AF_INET6, socket.IPPROTO_IPV6),
)


def read_legacy() -> tuple[LegacyTable, ...]:
    """Every legacy table of the calling thread's network namespace.

    Raises:
        MachineError: there are some and they may not be read (CAP_NET_ADMIN), or one never stood still.
    """
    out = []
    for family, file, domain, level in _KINDS:
        for name in _names(file):
            try:
                with socket.socket(domain, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as sock:
                    out.append(_table(sock, level, family, name))
            except OSError as error:
                hint = "run it with `sudo`" if error.errno in (errno.EPERM, errno.EACCES) else ""
                raise MachineError(f"legacy iptables, table {name} ({family}): {error.strerror}", hint=hint) from None
    return tuple(out)


def _names(file: str) -> list[str]:
    """The tables that exist; none where this kernel, or this namespace, has no legacy iptables."""
    try:
        return Path(f"/proc/thread-self/net/{file}").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MachineError(
            f"the list of legacy tables can't be read: {error.strerror}", hint="run it with `sudo`"
        ) from None


def _table(sock: socket.socket, level: int, family: str, name: str) -> LegacyTable:
    head = name.encode("ascii").ljust(32, b"\0")
    for _ in range(ATTEMPTS):
        info = ask(sock, level, _GET_INFO, head.ljust(_INFO, b"\0"))
        (size,) = struct.unpack_from("=I", info, _SIZE_AT)
        # struct ipt_get_entries: name, size, and entries from the next multiple of 8
        request = (head + struct.pack("=I", size)).ljust(40, b"\0") + bytes(size)
        try:
            entries = ask(sock, level, _GET_ENTRIES, request)[40:]
        except OSError as error:
            if error.errno == errno.EAGAIN:  # the table has another size by now
                continue
            raise
        if ask(sock, level, _GET_INFO, head.ljust(_INFO, b"\0")) == info:
            return LegacyTable(family, name, info, entries)
    raise MachineError(f"legacy iptables, table {name} ({family}): it changes all the time", hint="try again later")
