"""Sockets and flows of the services over time: what they listen on, across restarts, who comes, and where they connect to.

Sockets are looked at again and again (sock_diag). What came and went between two looks is told by the kernel itself: it sends a message for
each socket that it destroys (include/uapi/linux/sock_diag.h, SKNLGRP_INET_*_DESTROY). Nothing is sent to anybody.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from librespot_guard import catalog
from librespot_guard.collect.host import snapshot
from librespot_guard.collect.namespaces import in_namespace
from librespot_guard.collect.netlink import NETLINK_SOCK_DIAG
from librespot_guard.collect.sockets import Sock, decode_destroyed, read_all
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Gap, Service, Snapshot

K = TypeVar("K")
_GROUPS = (1, 2, 3, 4)  # SKNLGRP_INET_TCP_DESTROY, _UDP_, INET6_TCP_, INET6_UDP_
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1  # linux/socket.h, linux/netlink.h
_HEADER = 16
_RESCAN = 10.0
# for so long after a question of our own, a visit from this host itself is taken for it
_OWN = 2.0
# a process that is new may need so long to become what it will be
_STARTING = 3.0
_MAX_PEERS = 2000


@dataclass(slots=True)
class Span:
    """How often and when something was seen; times are seconds since the watch began."""

    first: float
    last: float
    count: int = 0


@dataclass(slots=True)
class Watched:
    """What was seen of one service. Keys: listeners (proto, address, port, surface), peers (proto, address), outbound (proto, address, port)."""

    name: str
    flavour: str
    version: str | None
    starts: dict[int, float] = field(default_factory=dict)
    listeners: dict[tuple[str, str, int, str], Span] = field(default_factory=dict)
    inbound: dict[tuple[str, str], Span] = field(default_factory=dict)
    outbound: dict[tuple[str, str, int], Span] = field(default_factory=dict)

    def ports(self) -> dict[str, tuple[int, ...]]:
        """The TCP ports seen of each surface."""
        found: dict[str, set[int]] = {}
        for proto, _, port, surface in self.listeners:
            if proto == "tcp":
                found.setdefault(surface, set()).add(port)
        return {surface: tuple(sorted(ports)) for surface, ports in found.items()}


class Watcher:
    """Looks at the services of this host again and again.

    Args:
        tell: told each thing that is new, in one line.
        clock: seconds; only differences count.
    """

    def __init__(
        self, tell: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell, self._clock = tell, clock
        self._began = clock()
        self._scanned = -_RESCAN
        self._facts: Snapshot | None = None
        self._alive: dict[str, Service] = {}
        self._pids: frozenset[str] = frozenset()
        self._eager = 0.0
        self._asked = -_OWN
        self._events: dict[str, socket.socket] = {}
        self.services: dict[str, Watched] = {}
        self.gaps: dict[Gap, None] = {}
        self._known = catalog.load()

    @property
    def seconds(self) -> float:
        """How long it has watched."""
        return self._clock() - self._began

    def look(self) -> None:
        """Look once."""
        if self._must_scan():
            self._scan()
        for netns, members in self._by_namespace().items():
            socks = self._sockets(netns, members)
            self._note(members, socks, {inode: s for s in members for inode in _inodes(s.pid)})
            for sock in self._destroyed(netns):
                self._note_flow(sock, self._owner_by_port(sock, members), after=True)

    def close(self) -> None:
        """Stop listening to the kernel."""
        for one in self._events.values():
            one.close()
        self._events.clear()

    def purposes(self, flavour: str, proto: str, port: int) -> tuple[str, ...]:
        """What the catalogue says a flavour connects to by this protocol and port: "purpose (hosts)"."""
        entry = next((f for f in self._known.flavours if f.name == flavour), None)
        return tuple(
            f"{o.purpose} ({', '.join(o.hosts)})"
            for o in (entry.outbound if entry else ())
            if o.proto == proto and port in o.ports
        )

    def _must_scan(self) -> bool:
        """Whether the services are to be looked for again: some time passed, one ended, or one is missing and a process is new."""
        if self.seconds - self._scanned >= _RESCAN or any(not _runs(s) for s in self._alive.values()):
            return True
        if self.services.keys() <= self._alive.keys():
            return False
        before, self._pids = self._pids, _pids()
        if self._pids - before:
            self._eager = self.seconds + _STARTING
        return self.seconds < self._eager

    def _scan(self) -> None:
        """Find the services. They are asked who they are only when one is new: a service that lives keeps its name."""
        self._pids = _pids()  # before it: what starts meanwhile is new at the next look
        names = {pid: s.name for s in self.services.values() for pid in s.starts}
        facts = snapshot(ask=False) if names else snapshot()
        asked = not names
        if any(s.pid not in names for s in facts.services) and names:
            facts, asked = snapshot(), True
        if asked:
            self._asked = self.seconds
        self._facts, self._scanned = facts, self.seconds
        self.gaps.update(dict.fromkeys(facts.incomplete))
        before, self._alive = self._alive, {}
        for service in facts.services:
            name = names.get(service.pid, service.name)
            old = before.get(name)
            if old is not None and old.pid == service.pid and _ports(old) == _ports(service):
                self._alive[name] = old  # as it was told when it was asked
            else:
                self._alive[name] = replace(service, name=name)
                self._note_start(self._alive[name])

    def _note_start(self, service: Service) -> None:
        watched = self.services.get(service.name)
        if watched is None:
            watched = self.services[service.name] = Watched(service.name, service.flavour, service.version)
            self._tell(f"{service.name}: {service.flavour} runs as pid {service.pid}")
        elif service.pid not in watched.starts:
            self._tell(f"{service.name}: started again as pid {service.pid}")
        watched.starts.setdefault(service.pid, self.seconds)

    def _by_namespace(self) -> dict[str, list[Service]]:
        found: dict[str, list[Service]] = {}
        for service in self._alive.values():
            found.setdefault(service.netns, []).append(service)
        return found

    def _sockets(self, netns: str, members: list[Service]) -> tuple[Sock, ...]:
        """All sockets of a namespace; from the first look on, those that the kernel destroys in it are heard of too."""

        def work() -> tuple[Sock, ...]:
            if netns not in self._events:
                self._events[netns] = _listen()
            return read_all()

        try:
            return work() if self._facts and netns == self._facts.home.id else in_namespace(members[0].pid, work)
        except (MachineError, OSError) as error:
            if _runs(members[0]):
                self.gaps[Gap(f"the sockets of {members[0].name}", str(error))] = None
            return ()

    def _note(self, members: Iterable[Service], socks: tuple[Sock, ...], owners: Mapping[int, Service]) -> None:
        for sock in socks:
            service = owners.get(sock.inode)
            if service is None:
                service = self._owner_by_port(sock, members) if not sock.waits else None
            if service is None:
                continue
            if sock.waits:
                self._note_listener(sock, service)
            else:
                self._note_flow(sock, service)

    def _note_listener(self, sock: Sock, service: Service) -> None:
        watched = self.services[service.name]
        surface = next(
            (
                o.surface
                for o in service.listeners
                if (o.listener.proto, o.listener.port) == (sock.proto, sock.local_port)
            ),
            "",
        )
        if not surface:  # it opened since the last scan
            self._scanned = -_RESCAN
            return
        key = (sock.proto, sock.local, sock.local_port, surface)
        if key not in watched.listeners:
            self._tell(f"{service.name}: listens on {sock.proto} {sock.local} port {sock.local_port} ({surface})")
        _seen(watched.listeners, key, self.seconds)

    def _note_flow(self, sock: Sock, service: Service | None, *, after: bool = False) -> None:
        if service is None or not sock.peer_port or ip_address(sock.peer).is_unspecified:
            return
        watched = self.services[service.name]
        peer = str(getattr(ip_address(sock.peer), "ipv4_mapped", None) or sock.peer)
        ports = {o.listener.port for o in service.listeners if o.listener.proto == sock.proto}
        if sock.local_port in ports:
            if ip_address(peer).is_loopback and self.seconds - self._asked < _OWN:
                return
            if (sock.proto, peer) not in watched.inbound and len(watched.inbound) < _MAX_PEERS:
                self._tell(f"{service.name}: {peer} is connected to {sock.proto} port {sock.local_port}")
            self._count(watched.inbound, (sock.proto, peer), after=after)
        else:
            key = (sock.proto, peer, sock.peer_port)
            if key not in watched.outbound and len(watched.outbound) < _MAX_PEERS:
                self._tell(f"{service.name}: connects to {peer} {sock.proto} port {sock.peer_port}")
            self._count(watched.outbound, key, after=after)

    def _count(self, table: dict[K, Span], key: K, *, after: bool) -> None:
        """A connection counts when it ends, or as one that is there."""
        if key in table or len(table) < _MAX_PEERS:
            new = key not in table
            span = table.setdefault(key, Span(self.seconds, self.seconds))
            span.last = self.seconds
            span.count += 1 if after or new else 0

    def _owner_by_port(self, sock: Sock, members: Iterable[Service]) -> Service | None:
        """Whose a socket is that has no process (any more): it talks through the port of a listener."""
        for service in members:
            if any((o.listener.proto, o.listener.port) == (sock.proto, sock.local_port) for o in service.listeners):
                return service if sock.local_port != 5353 else None
        return None

    def _destroyed(self, netns: str) -> Iterator[Sock]:
        events = self._events.get(netns)
        while events is not None:
            try:
                message = events.recv(65536)
            except BlockingIOError:
                return
            except OSError:  # messages were lost: the next look sees what is there
                continue
            place = 0
            while place + _HEADER <= len(message):
                length = int.from_bytes(message[place : place + 4], sys.byteorder)
                if length < _HEADER:
                    break
                sock = decode_destroyed(message[place + _HEADER : place + length])
                if sock is not None:
                    yield sock
                place += (length + 3) & ~3


def _seen(table: dict[tuple[str, str, int, str], Span], key: tuple[str, str, int, str], now: float) -> None:
    span = table.setdefault(key, Span(now, now))
    span.last = now
    span.count += 1


def _listen() -> socket.socket:
    events = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_SOCK_DIAG
    )
    events.bind((0, 0))
    for group in _GROUPS:
        with contextlib.suppress(OSError):  # a kernel without the group: looking again and again is left
            events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return events


def _ports(service: Service) -> frozenset[tuple[str, int]]:
    return frozenset((o.listener.proto, o.listener.port) for o in service.listeners)


def _pids() -> frozenset[str]:
    return frozenset(name for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - at each look


def _runs(service: Service) -> bool:
    return Path(f"/proc/{service.pid}").exists()


def _inodes(pid: int) -> Iterator[int]:
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)  # noqa: PTH115 - many of them, again and again
                if target.startswith("socket:["):
                    yield int(target[8:-1])
    except OSError:
        return
