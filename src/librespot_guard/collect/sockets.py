"""Listening sockets and established connections of the calling thread's network namespace.

From sock_diag (include/uapi/linux/inet_diag.h), which alone shows v6only, the bound device and the cgroup; from
/proc/net/{tcp,udp}{,6} where the kernel has no inet_diag.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from librespot_guard.collect.links import FAMILIES
from librespot_guard.collect.netlink import NETLINK_SOCK_DIAG, Netlink, NetlinkError, attributes, number
from librespot_guard.snapshot import Gap, Listener

_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = struct.Struct("=BBBBI")
_MESSAGE = struct.Struct("=BBBB 2s2s16s16sIII IIIII")
_SOCKET_ID = bytes(48)
_PROTOCOL, _SKV6ONLY, _CGROUP_ID = 10, 11, 21  # INET_DIAG_*
_ESTABLISHED, _CLOSE, _LISTEN = 1, 7, 10  # include/net/tcp_states.h; an unconnected UDP socket is "closed"
_PROTOCOLS = {"tcp": (socket.IPPROTO_TCP, _LISTEN), "udp": (socket.IPPROTO_UDP, _CLOSE)}


@dataclass(frozen=True, slots=True)
class Sock:
    """One socket as the kernel shows it. `v6only` is None for IPv4 and where it could not be told; `state` is TCP_* of tcp_states.h."""

    proto: str
    family: str
    local: str
    local_port: int
    peer: str
    peer_port: int
    device: int
    uid: int
    inode: int
    v6only: bool | None = None
    cgroup_id: int | None = None
    state: int = 0

    @property
    def waits(self) -> bool:
        """Whether it waits for packets from anybody, and belongs to no connection."""
        return self.state == _PROTOCOLS[self.proto][1]


def read_listeners(
    names: Mapping[int, str],
    owners: Mapping[int, tuple[int, ...]],
    cgroups: Mapping[int, str],
) -> tuple[tuple[Listener, ...], tuple[Gap, ...]]:
    """Every TCP socket that listens and every UDP socket without a peer.

    Args:
        names: interfaces by index.
        owners: process ids by socket inode.
        cgroups: cgroup v2 paths by id.
    """
    gaps: list[Gap] = []
    found: list[Listener] = []
    for proto in _PROTOCOLS:
        socks, complete = _read(proto, _PROTOCOLS[proto][1])
        if not complete:
            gaps.append(
                Gap(
                    f"{proto} sockets",
                    f"the kernel has no inet_diag for {proto}: /proc/net does not show v6only, the bound device and the cgroup",
                    f"load it with `modprobe {proto}_diag`; until then each IPv6 wildcard socket is taken to serve IPv4 too",
                )
            )
        found += [_listener(s, names, owners, cgroups) for s in socks if s.local_port]
    return tuple(sorted(found, key=lambda s: (s.proto, s.port, s.family, s.address, s.inode))), tuple(gaps)


def read_all() -> tuple[Sock, ...]:
    """Every TCP and UDP socket that has a port: those that wait, and those of a connection that is being made, is there, or ends."""
    return tuple(s for proto in _PROTOCOLS for s in _read(proto, *range(1, 12))[0] if s.local_port)


def decode_destroyed(body: bytes) -> Sock | None:
    """The socket of a message about one that was destroyed (groups SKNLGRP_INET_*_DESTROY); None for another protocol."""
    if len(body) < _MESSAGE.size or body[0] not in FAMILIES:
        return None
    protocol = attributes(body[_MESSAGE.size :]).get(_PROTOCOL)
    names = {number: name for name, (number, _) in _PROTOCOLS.items()}
    name = names.get(protocol[0]) if protocol else None
    return _decode(name, body) if name else None


def read_connections() -> tuple[Sock, ...]:
    """Every established TCP connection."""
    return tuple(_read("tcp", _ESTABLISHED)[0])


def _listener(
    sock: Sock, names: Mapping[int, str], owners: Mapping[int, tuple[int, ...]], cgroups: Mapping[int, str]
) -> Listener:
    family, address, v6only = sock.family, sock.local, sock.v6only
    if family == "ipv6":
        mapped = IPv6Address(address).ipv4_mapped
        if mapped is not None:  # bound to ::ffff:a.b.c.d: only IPv4 packets can reach it
            family, address, v6only = "ipv4", str(mapped), None
        elif v6only is None:
            v6only = False
    else:
        v6only = None
    return Listener(
        proto=sock.proto,
        family=family,
        address=address,
        port=sock.local_port,
        v6only=v6only,
        device=names.get(sock.device, f"index {sock.device}") if sock.device else None,
        uid=sock.uid,
        inode=sock.inode,
        cgroup=cgroups.get(sock.cgroup_id) if sock.cgroup_id else None,
        pids=owners.get(sock.inode, ()),
    )


def _read(proto: str, *states: int) -> tuple[list[Sock], bool]:
    """The sockets of a protocol in some states, and whether sock_diag could be asked."""
    found: list[Sock] = []
    try:
        with Netlink(NETLINK_SOCK_DIAG) as link:
            for family in FAMILIES:
                request = (
                    _REQUEST.pack(family, _PROTOCOLS[proto][0], 0, 0, sum(1 << state for state in states)) + _SOCKET_ID
                )
                found += [_decode(proto, body) for _, body in link.dump(_SOCK_DIAG_BY_FAMILY, request)]
    except NetlinkError as error:
        if error.errno not in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return [sock for state in states for sock in _from_proc(proto, state)], False
    return found, True


def _decode(proto: str, body: bytes) -> Sock:
    family, state, _, _, sport, dport, local, peer, device, _, _, _, _, _, uid, inode = _MESSAGE.unpack_from(body)
    fields = attributes(body[_MESSAGE.size :])
    length = 4 if family == socket.AF_INET else 16
    return Sock(
        proto=proto,
        family=FAMILIES[family],
        local=str(ip_address(local[:length])),
        local_port=int.from_bytes(sport, "big"),
        peer=str(ip_address(peer[:length])),
        peer_port=int.from_bytes(dport, "big"),
        device=device,
        uid=uid,
        inode=inode,
        v6only=bool(number(fields[_SKV6ONLY])) if _SKV6ONLY in fields else None,
        cgroup_id=number(fields[_CGROUP_ID]) if _CGROUP_ID in fields else None,
        state=state,
    )


def _from_proc(proto: str, state: int) -> Iterator[Sock]:
    for family, suffix in (("ipv4", ""), ("ipv6", "6")):
        try:
            listing = Path(f"/proc/thread-self/net/{proto}{suffix}").read_text()
        except FileNotFoundError:  # a kernel without IPv6
            continue
        yield from parse_proc(proto, family, listing, state)


def parse_proc(proto: str, family: str, listing: str, state: int) -> Iterator[Sock]:
    """The sockets in one state of /proc/net/tcp and its like: addresses are 32-bit words in host order."""
    for line in listing.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or int(words[3], 16) != state:
            continue
        (local, local_port), (peer, peer_port) = (_proc_address(w) for w in words[1:3])
        yield Sock(proto, family, local, local_port, peer, peer_port, 0, int(words[7]), int(words[9]), state=state)


def _proc_address(word: str) -> tuple[str, int]:
    digits, _, port = word.partition(":")
    packed = b"".join(struct.pack("=I", int(digits[i : i + 8], 16)) for i in range(0, len(digits), 8))
    return str(ip_address(packed)), int(port, 16)
