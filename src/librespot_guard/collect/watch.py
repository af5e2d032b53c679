"""Sockets and flows of the services over time: what they listen on, across restarts, who comes, and where they connect to.

Sockets are looked at again and again (sock_diag). What came and went between two looks is told by the kernel itself: it sends a message for
each socket that it destroys (include/uapi/linux/sock_diag.h, SKNLGRP_INET_*_DESTROY). Sockets do not show with whom UDP is spoken: that is
taken from the flows that the kernel tracks, where it tracks any. Nothing is sent to anybody.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from librespot_guard import catalog
from librespot_guard.collect import conntrack
from librespot_guard.collect.flows import Holders, Part
from librespot_guard.collect.host import snapshot
from librespot_guard.collect.namespaces import in_namespace
from librespot_guard.collect.netlink import NETLINK_SOCK_DIAG
from librespot_guard.collect.sockets import Sock, decode_destroyed, read_all
from librespot_guard.collect.watched import MAX_KEPT, Span, Watched, keep_newest
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Gap, Service, Snapshot

_GROUPS = (1, 2, 3, 4)  # SKNLGRP_INET_TCP_DESTROY, _UDP_, INET6_TCP_, INET6_UDP_
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1  # linux/socket.h, linux/netlink.h
_HEADER = 16
_RESCAN = 10.0
# for so long after a question of our own, a visit from this host itself is taken for it
_OWN = 2.0
# a process that is new may need so long to become what it will be
_STARTING = 3.0
_MAX_SERVICES = _MAX_SPACES = _MAX_GAPS = 200


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look into a namespace."""

    socks: tuple[Sock, ...]
    owners: Mapping[int, Service]
    holders: Holders
    table: conntrack.Table


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
        self._young: frozenset[str] = frozenset()
        self._eager = 0.0
        self._asked = -_OWN
        self._events: dict[str, socket.socket] = {}
        self._tracked: dict[str, frozenset[int]] = {}
        self.services: dict[str, Watched] = {}
        # what conntrack said in each namespace: "" if flows were seen, else why none were
        self.tracking: dict[str, str] = {}
        self.gaps: dict[Gap, None] = {}
        self._known = catalog.load()
        self._programs = {"java", *(name for flavour in self._known.flavours for name in flavour.executables)}

    @property
    def seconds(self) -> float:
        """How long it has watched."""
        return self._clock() - self._began

    def look(self) -> None:
        """Look once."""
        if self._must_scan():
            self._scan()
        for netns, members in self._by_namespace().items():
            seen = self._read(netns, members)
            if seen is None:
                continue
            self._note(members, seen.socks, seen.owners)
            for sock in self._destroyed(netns):
                self._note_socket(sock, self._owner_by_port(sock, members), after=True)
            self._note_tracked(netns, seen)

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
        """Whether the services are to be looked for again.

        Some time passed, one ended, or a process is new: any where one is missing, else one that is called like a family member.
        """
        if self.seconds - self._scanned >= _RESCAN or any(not _runs(s) for s in self._alive.values()):
            return True
        before, self._pids = self._pids, _pids()
        new = self._pids - before
        # right after its fork a process still has the program of its parent: it gets a second look
        young, self._young = self._young | new, new
        missing = not self.services.keys() <= self._alive.keys()
        if (new and missing) or any(_program(pid) in self._programs for pid in young):
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
        for gap in facts.incomplete:
            self._gap(gap)
        before, self._alive = self._alive, {}
        for service in facts.services:
            name = names.get(service.pid, service.name)
            old = before.get(name)
            if old is not None and old.pid == service.pid and _ports(old) == _ports(service):
                self._alive[name] = old  # as it was told when it was asked
            else:
                self._alive[name] = replace(service, name=name)
                self._note_start(self._alive[name])
        self._forget({s.netns for s in facts.services} | {facts.home.id})

    def _forget(self, spaces: set[str]) -> None:
        """Let go of namespaces in which no service is left: a socket in one keeps it alive."""
        for netns in self._events.keys() - spaces:
            self._events.pop(netns).close()
            self._tracked.pop(netns, None)
        keep_newest(self.tracking, _MAX_SPACES, spaces)
        keep_newest(self.services, _MAX_SERVICES, self._alive)

    def _note_start(self, service: Service) -> None:
        watched = self.services.get(service.name)
        if watched is None:
            watched = self.services[service.name] = Watched(service.name, service.flavour, service.version)
            self._tell(f"{service.name}: {service.flavour} runs as pid {service.pid}")
        elif service.pid not in watched.starts:
            self._tell(f"{service.name}: started again as pid {service.pid}")
        watched.seen(watched.starts, service.pid, self.seconds)

    def _by_namespace(self) -> dict[str, list[Service]]:
        found: dict[str, list[Service]] = {}
        for service in self._alive.values():
            found.setdefault(service.netns, []).append(service)
        return found

    def _read(self, netns: str, members: list[Service]) -> _Seen | None:
        """All sockets and flows of a namespace; from the first look on, those that the kernel destroys in it are heard of too."""
        facts = self._facts

        def work() -> _Seen:
            if netns not in self._events:
                self._events[netns] = _listen()
            socks = read_all()
            owners = {inode: s for s in members for inode in _inodes(s.pid)}
            holders = Holders.of(members, socks, owners, self._addresses(netns))
            return _Seen(socks, owners, holders, conntrack.read(holders.ports))

        try:
            return work() if facts and netns == facts.home.id else in_namespace(members[0].pid, work)
        except (MachineError, OSError) as error:
            if _runs(members[0]):
                self._gap(Gap(f"the sockets of {members[0].name}", str(error)))
            return None

    def _addresses(self, netns: str) -> list[str]:
        return [a.address for a in self._facts.namespace(netns).addresses] if self._facts else []

    def _local(self, part: Part) -> bool:
        return ip_address(part.peer).is_loopback or part.peer in self._addresses(part.service.netns)

    def _gap(self, gap: Gap) -> None:
        if len(self.gaps) < _MAX_GAPS:
            self.gaps[gap] = None

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
                self._note_socket(sock, service)

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
        span, new = watched.seen(watched.listeners, key, self.seconds)
        span.count += 1
        if new:
            self._tell(f"{service.name}: listens on {sock.proto} {sock.local} port {sock.local_port} ({surface})")

    def _note_socket(self, sock: Sock, service: Service | None, *, after: bool = False) -> None:
        """A connection counts once: when it is seen, or when it ends (`after`) and was not seen before."""
        if service is None or not sock.peer_port or ip_address(sock.peer).is_unspecified:
            return
        peer = str(getattr(ip_address(sock.peer), "ipv4_mapped", None) or sock.peer)
        ports = {o.listener.port for o in service.listeners if o.listener.proto == sock.proto}
        inbound = sock.local_port in ports
        part = Part(service, inbound, peer, sock.local_port if inbound else sock.peer_port)
        span, new = self._note_part(part, sock.proto)
        if span is not None:
            known = span.open or (span.by != "sockets" and not new)
            span.count += not known
            span.open, span.by = not after, "sockets"

    def _note_tracked(self, netns: str, seen: _Seen) -> None:
        """What conntrack shows and the sockets did not; a flow counts once, by its id.

        What had ended before the first look is of no interest: the kernel remembers it for minutes.
        """
        table, before = seen.table, self._tracked.get(netns)
        self.tracking[netns] = table.why or (
            "" if table.entries or self.tracking.get(netns) == "" else "nothing is tracked there"
        )
        if not table.whole:
            self._gap(Gap("the flows that the kernel tracks", f"there are too many: {table.entries} were read"))
        self._tracked[netns] = frozenset(f.id for f in table.flows)
        for flow in table.flows:
            new_flow = flow.id not in (before or ())
            if new_flow and before is None and flow.ended:
                continue
            for part in seen.holders.parts(flow):
                if not new_flow and self._span(part, flow.proto) is None:
                    continue  # it was ignored when it was new
                span, _ = self._note_part(part, flow.proto, by="conntrack")
                if span is not None and span.by == "conntrack" and new_flow:
                    span.count += 1

    def _span(self, part: Part, proto: str) -> Span | None:
        watched = self.services[part.service.name]
        if part.inbound:
            return watched.inbound.get((proto, part.peer))
        return watched.outbound.get((proto, part.peer, part.port))

    def _note_part(self, part: Part, proto: str, by: str = "sockets") -> tuple[Span | None, bool]:
        """The span of a peer or an endpoint, and whether it is new; None if it was our own question."""
        watched, name = self.services[part.service.name], part.service.name
        spoken = "sends to" if proto == "udp" else "is connected to"
        if part.inbound:
            if self.seconds - self._asked < _OWN and self._local(part):
                return None, False
            full = len(watched.inbound) >= MAX_KEPT
            span, new = watched.seen(watched.inbound, (proto, part.peer), self.seconds, by)
            line = f"{name}: {part.peer} {spoken} {proto} port {part.port}"
        else:
            full = len(watched.outbound) >= MAX_KEPT
            span, new = watched.seen(watched.outbound, (proto, part.peer, part.port), self.seconds, by)
            line = f"{name}: {'sends' if proto == 'udp' else 'connects'} to {part.peer} {proto} port {part.port}"
        if new and not full:
            self._tell(line)
        return span, new

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


def _program(pid: str) -> str:
    """The file name of the program that a process runs, "" if that may not be seen."""
    try:
        return os.readlink(f"/proc/{pid}/exe").rpartition("/")[2]  # noqa: PTH115 - at each look
    except OSError:
        return ""


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
