"""The connections through which somebody manages this host, so that no change may cut them.

SSH_CONNECTION is set by sshd(8) for the session; `sudo` takes it away, so the ancestors are looked at too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, ip_address

from librespot_guard.collect.netlink import NETLINK_ROUTE, Netlink
from librespot_guard.collect.processes import Process, ancestors, environment_of
from librespot_guard.collect.routes import device_towards
from librespot_guard.collect.sockets import Sock
from librespot_guard.snapshot import Connection, Namespace

_DAEMONS = ("sshd", "sshd-session", "dropbear", "cockpit-tls", "cockpit-ws", "cockpit-session")
_SSH_PORT = 22


def read_admin(
    namespace: Namespace,
    established: Sequence[Sock],
    processes: Mapping[int, Process],
    owners: Mapping[int, tuple[int, ...]],
    pid: int,
) -> tuple[Connection, ...]:
    """The connections of `namespace` through which somebody manages this host.

    Args:
        namespace: that of the calling thread.
        established: its TCP connections.
        processes: by process id.
        owners: process ids by socket inode.
        pid: the process whose session counts.
    """
    names = {one.index: one.name for one in namespace.links}
    found: dict[tuple[str, int, str, int], Connection] = {}
    with Netlink(NETLINK_ROUTE) as link:
        for connection in (*_of_session(processes, pid), *_of_daemons(namespace, established, processes, owners)):
            key = (connection.local, connection.local_port, connection.peer, connection.peer_port)
            if key not in found:
                device = (
                    connection.dev
                    or device_towards(link, names, connection.peer)
                    or _device_of(namespace, connection.local)
                )
                found[key] = replace(connection, dev=device)
    return tuple(found.values())


def _of_session(processes: Mapping[int, Process], pid: int) -> Iterator[Connection]:
    for ancestor in ancestors(processes, pid):
        words = (environment_of(ancestor) or {}).get("SSH_CONNECTION", "").split()
        if len(words) != 4 or not (words[1].isdecimal() and words[3].isdecimal()):
            continue
        peer, _, zone = words[0].partition("%")
        local = words[2].partition("%")[0]
        try:
            family, local, peer = _plain(local, peer)
        except ValueError:
            continue
        if not (len(words[1]) < 6 and len(words[3]) < 6 and int(words[1]) < 65536 and int(words[3]) < 65536):
            continue  # a variable holds what somebody wrote into it
        yield Connection(
            family, local, int(words[3]), peer, int(words[1]), zone or None, f"SSH_CONNECTION of process {ancestor}"
        )


def _of_daemons(
    namespace: Namespace,
    established: Sequence[Sock],
    processes: Mapping[int, Process],
    owners: Mapping[int, tuple[int, ...]],
) -> Iterator[Connection]:
    names = {one.index: one.name for one in namespace.links}
    listening = {s.port for s in namespace.listeners if s.proto == "tcp"}
    managed: dict[int, str] = {}
    for listener in namespace.listeners:
        if listener.proto != "tcp":
            continue
        daemon = _daemon(listener.pids, processes)
        if daemon:
            managed[listener.port] = f"{daemon} listens on port {listener.port}"
        elif listener.port == _SSH_PORT and not listener.pids:
            managed.setdefault(_SSH_PORT, "port 22 is that of SSH; its owner could not be seen")
    for sock in established:
        why = managed.get(sock.local_port)
        if why is None and sock.local_port in listening:  # started by systemd for each connection
            daemon = _daemon(owners.get(sock.inode, ()), processes)
            why = f"{daemon} holds this connection" if daemon else None
        if why is not None:
            family, local, peer = _plain(sock.local, sock.peer)
            yield Connection(family, local, sock.local_port, peer, sock.peer_port, names.get(sock.device), why)


def _daemon(pids: Sequence[int], processes: Mapping[int, Process]) -> str | None:
    for pid in pids:
        process = processes.get(pid)
        if process is not None and (process.command in _DAEMONS or process.program in _DAEMONS):
            return process.program if process.program in _DAEMONS else process.command
    return None


def _plain(local: str, peer: str) -> tuple[str, str, str]:
    """Family and both addresses; an IPv4 connection on an IPv6 socket is what it is. ValueError if they are none."""
    both = []
    for text in (local, peer):
        address = ip_address(text)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        both.append(str(mapped or address))
    return ("ipv6" if ":" in both[0] else "ipv4", both[0], both[1])


def _device_of(namespace: Namespace, local: str) -> str | None:
    return next((a.dev for a in namespace.addresses if a.address == local), None)
