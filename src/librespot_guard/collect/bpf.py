"""BPF programs on netfilter hooks, and on the cgroups of sockets: they filter packets, and no listing of nftables or iptables shows them.

The latter are what systemd makes of `IPAddressDeny=` (systemd.resource-control(5)).

Encodes bpf(2): BPF_LINK_GET_NEXT_ID, BPF_LINK_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_QUERY and struct bpf_link_info of
include/uapi/linux/bpf.h (the netfilter member since Linux 6.4). The kernel keeps links for the whole machine and does not say to which network namespace one belongs.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from librespot_guard.errors import MachineError
from librespot_guard.snapshot import OtherFilter

# __NR_bpf of arch/*/include/*/unistd.h; asm-generic's number for what is not named
_NUMBERS = {"x86_64": 321, "i386": 357, "i686": 357, "armv6l": 386, "armv7l": 386, "ppc64le": 361, "s390x": 351}
_GENERIC = {"aarch64", "riscv64", "loongarch64"}
_PROG_QUERY, _CGROUP_INET_INGRESS, _QUERY_EFFECTIVE = 16, 0, 1
_OBJ_GET_INFO_BY_FD, _LINK_GET_FD_BY_ID, _LINK_GET_NEXT_ID = 15, 30, 31
_LINK_TYPE_NETFILTER = 10
_FAMILIES = {2: "ipv4", 10: "ipv6"}  # NFPROTO_*
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")  # enum nf_inet_hooks
_INFO = 80  # more than struct bpf_link_info holds of what is read here
# links come and go: a list longer than this is not followed to its end
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class NetfilterLink:
    """A BPF program on a netfilter hook. `family` is "ipv4" or "ipv6", `program` the id that `bpftool prog` shows."""

    id: int
    program: int
    family: str
    hook: str
    priority: int


def system_call(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """Call the kernel: what bpf(2) returns.

    Raises OSError with its errno, ENOSYS where its number is not known for this processor.
    """
    machine = platform.machine()
    number = _NUMBERS.get(machine, 280 if machine in _GENERIC else None)
    # a 32-bit process on a 64-bit kernel has other numbers than its kernel says
    if number is None or (sys.maxsize < 1 << 32 and machine in ("x86_64", "aarch64")):
        raise OSError(errno.ENOSYS, f"the number of bpf(2) is not known on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    found: int = libc.syscall(
        ctypes.c_long(number), ctypes.c_int(command), attributes, ctypes.c_uint(ctypes.sizeof(attributes))
    )
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


def read_bpf_filters() -> tuple[OtherFilter, ...]:
    """The BPF programs that may filter packets on their way to a socket of the calling thread's network namespace.

    Raises:
        MachineError: links may not be listed (CAP_SYS_ADMIN of the machine, not of a container), or this kernel's bpf(2) is out of reach.
    """
    try:
        return named(netfilter_links())
    except OSError as error:
        if error.errno == errno.EINVAL:  # before Linux 5.8 there are no links of this kind
            return ()
        root = error.errno in (errno.EPERM, errno.EACCES)
        raise MachineError(
            "BPF programs on netfilter hooks can't be listed: "
            + ("only root of the machine itself may" if root else error.strerror or str(error)),
            hint="run it with `sudo`, outside of containers" if root else "",
        ) from None


def read_cgroup_filters(cgroups: Iterable[str | None], mount: Path | None) -> tuple[OtherFilter, ...]:
    """The cgroups of these in which a BPF program sees each packet to a socket, be it their own or one of a cgroup above.

    Args:
        cgroups: paths in the cgroup v2 tree; None is left out.
        mount: where that tree is.

    Raises:
        MachineError: this may not be asked (CAP_NET_ADMIN of the machine).
    """
    found = []
    for cgroup in sorted(set(filter(None, cgroups))) if mount is not None else ():
        try:
            count = ingress_programs(f"{mount}/{cgroup.strip('/')}")
        except (FileNotFoundError, NotADirectoryError):
            continue  # it ended meanwhile
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS):  # a kernel without such programs
                return ()
            raise MachineError(
                f"BPF programs of cgroups can't be listed: {error.strerror or error}", hint="run it with `sudo`"
            ) from None
        if count:
            detail = f"{count} BPF program{'s' * (count > 1)} on what its sockets receive: see `bpftool cgroup show {mount}{cgroup} effective`"
            found.append(OtherFilter("bpf-cgroup", cgroup, detail))
    return tuple(found)


def ingress_programs(folder: str) -> int:
    """How many BPF programs see what the sockets of a cgroup receive, those of the cgroups above among them. Raises OSError as bpf(2) does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # union bpf_attr: target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
        request = struct.pack("=IIIIQII", descriptor, _CGROUP_INET_INGRESS, _QUERY_EFFECTIVE, 0, 0, 0, 0)
        attributes = ctypes.create_string_buffer(request, len(request))
        system_call(_PROG_QUERY, attributes)
        count: int = struct.unpack_from("=I", attributes.raw, 24)[0]
        return count
    finally:
        os.close(descriptor)


def named(links: Iterable[NetfilterLink]) -> tuple[OtherFilter, ...]:
    """Those of the links that a packet meets before it is delivered; what leaves this host is not looked at."""
    return tuple(
        OtherFilter(
            "bpf-netfilter",
            f"{link.family} {link.hook}",
            f"program {link.program} at priority {link.priority}, in this or another network namespace: see `bpftool link show id {link.id}`",
        )
        for link in links
        if link.hook in ("prerouting", "input", "forward")
    )


def netfilter_links() -> tuple[NetfilterLink, ...]:
    """Every BPF program on a netfilter hook of this machine. Raises OSError as bpf(2) does."""
    return tuple(link for number in _ids() if (link := _netfilter(number)) is not None)


def _ids() -> Iterator[int]:
    number = 0
    for _ in range(_MOST):
        attributes = ctypes.create_string_buffer(struct.pack("=III", number, 0, 0), 12)
        try:
            system_call(_LINK_GET_NEXT_ID, attributes)
        except FileNotFoundError:
            return
        number = struct.unpack_from("=I", attributes.raw, 4)[0]
        yield number
    raise OSError(errno.E2BIG, f"there are more than {_MOST} BPF links")


def _netfilter(number: int) -> NetfilterLink | None:
    """The link of this number; None if it is of another kind, or is gone by now."""
    try:
        descriptor = system_call(_LINK_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=III", number, 0, 0), 12))
    except FileNotFoundError:
        return None
    try:
        info = ctypes.create_string_buffer(_INFO)
        request = struct.pack("=IIQ", descriptor, _INFO, ctypes.addressof(info))
        system_call(_OBJ_GET_INFO_BY_FD, ctypes.create_string_buffer(request, len(request)))
    finally:
        os.close(descriptor)
    kind, _, program = struct.unpack_from("=III", info.raw)
    if kind != _LINK_TYPE_NETFILTER:
        return None
    family, hook, priority = struct.unpack_from("=IIi", info.raw, 16)
    return NetfilterLink(
        number,
        program,
        _FAMILIES.get(family, f"family {family}"),
        _HOOKS[hook] if hook < len(_HOOKS) else f"hook {hook}",
        priority,
    )
