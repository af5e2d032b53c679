"""All facts about this host at one moment."""

import os
import platform
import pwd
import re
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from librespot_guard import __version__, catalog
from librespot_guard.collect import (
    boot,
    candidates,
    contained,
    engines,
    hostnames,
    installed,
    namespaces,
    routers,
    services,
)
from librespot_guard.collect.admin import read_admin
from librespot_guard.collect.candidates import Candidate
from librespot_guard.collect.links import read_links
from librespot_guard.collect.netlink import NETLINK_ROUTE, Netlink
from librespot_guard.collect.network import read_namespace
from librespot_guard.collect.owners import Owners, read_cgroups, read_owners
from librespot_guard.collect.processes import Process, read_processes
from librespot_guard.collect.relays import find_relays
from librespot_guard.collect.settings import home_of
from librespot_guard.collect.sockets import read_connections, read_listeners
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Gap, Listener, Namespace, Service, Snapshot

_SUDO = "run it with `sudo`"


def snapshot(*, ask: bool = True, probe: bool = False, progress: Callable[[str], None] | None = None) -> Snapshot:
    """Read everything about this host, from the network namespace of the calling thread.

    Args:
        ask: ask the services that were found who they are, by one `getInfo` each over loopback.
        probe: send each HTTP interface of theirs (control, Spotify Connect) two requests, one of them under a name that is not its own, and ask
            the routers on the links for the ports that they forward (UPnP, only reads).
        progress: told, in a few words, what is being read.

    Raises:
        MachineError: this host can't be read at all (no /proc, no rtnetlink). Anything less is a `Gap`.
    """
    return _Reader(progress or (lambda _: None)).read(ask=ask, probe=probe)


@dataclass(slots=True)
class _Reader:
    """One reading of the host: what was found so far."""

    progress: Callable[[str], None]
    home: str = ""
    net: int = 0
    processes: dict[int, Process] = field(default_factory=dict)
    owners: Owners = field(default_factory=Owners)
    cgroups: dict[int, str] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def read(self, *, ask: bool, probe: bool) -> Snapshot:
        try:
            self.home = namespaces.current_id()
            self.net = Path("/proc/thread-self/net/unix").stat().st_ino
            self.progress("processes and their sockets")
            self.processes = read_processes()
            self.owners = read_owners()
            self.cgroups = read_cgroups()
        except OSError as error:
            raise MachineError(
                f"/proc can't be read: {error.strerror or error}", hint="mount it: `mount -t proc proc /proc`"
            ) from None
        self._privilege()
        known = catalog.load()
        found = self._candidates(known)
        self.progress("network namespaces, routes and packet filters")
        spaces = self._namespaces(found)
        answers: list[services.Answers] = [{} for _ in found]
        if ask:
            self.progress("asking what answers Spotify Connect who it is")
            answers, gaps = services.ask_all(found, spaces)
            self.gaps += gaps
        built = [services.build(c, a, known, self._space_of(c.process)) for c, a in zip(found, answers, strict=True)]
        self.progress("containers")
        boxes, gaps = engines.read_containers()
        self.gaps += gaps
        running = services.unique(contained.attach((s for s, _ in filter(None, built)), boxes, self.processes, known))
        running = tuple(replace(s, manager=_manager(s)) for s in running)
        self.gaps += [gap for _, gaps in filter(None, built) for gap in gaps]
        if probe:
            self.progress("asking HTTP interfaces under a name that is not theirs")
            running, gaps = hostnames.ask_all(running, spaces)
            self.gaps += gaps
            self.progress("asking the routers of these networks for port forwards")
            spaces, gaps = routers.ask_all(spaces, running)
            self.gaps += gaps
        self.progress("what is installed and does not run")
        stopped, gaps = installed.find(known, {(s.unit, s.manager) for s in running if s.unit}, self.home)
        self.gaps += gaps
        stopped = services.unique((*stopped, *contained.stopped(boxes, known, self.home)))
        self.progress("units that start with this host")
        both = (*running, *stopped)
        booted, gaps = boot.read_boot(
            (s.unit for s in both if s.manager is None),
            of_users=[(s.unit, s.manager, home_of(s.uid) or "/") for s in both if s.unit and s.manager],
        )
        self.gaps += gaps
        needed = {self.home, *(s.netns for s in running)}
        home = spaces[self.home]
        return Snapshot(
            taken=datetime.now(UTC).isoformat(timespec="seconds"),
            tool=f"librespot-guard {__version__}",
            hostname=socket.gethostname(),
            kernel=platform.release(),
            byteorder=sys.byteorder,
            namespaces=(home, *(n for i, n in spaces.items() if i in needed and i != self.home)),
            services=running,
            admin=read_admin(home, read_connections(), self.processes, self.owners.pids, os.getpid()),
            privileged=not self.owners.denied,
            stopped=stopped,
            boot=booted,
            cgroups={str(number): path for number, path in self.cgroups.items()},
            incomplete=tuple(dict.fromkeys((*self.gaps, *_unseen(running, found)))),
        )

    def _privilege(self) -> None:
        if self.owners.denied:
            count = self.owners.denied
            root = os.geteuid() == 0
            self.gaps.append(
                Gap(
                    f"the open sockets of {count} process{'es' * (count > 1)}{' of other users' * (not root)}",
                    "this root lacks capabilities that would let it look, as in a container or a user namespace"
                    if root
                    else "only root may see which process holds which socket",
                    f"{_SUDO}{' outside of it' * root} to see every service with its listeners",
                )
            )
        mounts = Path("/proc/thread-self/mountinfo").read_text()
        if (
            any(line.split()[4] == "/proc" and _hides(line.partition(" - ")[2]) for line in mounts.splitlines())
            and os.geteuid() != 0
        ):
            self.gaps.append(Gap("processes of other users", "/proc is mounted with hidepid, which hides them", _SUDO))

    def _space_of(self, process: Process) -> str:
        """The id of the namespace of a process; one that may not be seen is the reader's own, or stands for itself."""
        if process.netns is not None:
            return process.netns
        return self.home if process.net in (0, self.net) else f"unseen-{process.net}"

    def _candidates(self, known: catalog.Catalog) -> list[Candidate]:
        """The candidates in all namespaces: each is entered once for its sockets."""
        members: dict[str, list[int]] = {self.home: []}
        for process in self.processes.values():
            members.setdefault(self._space_of(process), []).append(process.pid)
        sockets: dict[int, list[Listener]] = {}
        for space, pids in members.items():
            for listener in self._listeners(space, pids):
                for owner in listener.pids:
                    sockets.setdefault(owner, []).append(listener)
        return candidates.find(self.processes.values(), sockets, known)

    def _listeners(self, space: str, pids: list[int]) -> tuple[Listener, ...]:
        """The sockets of a namespace, entered through the first of its processes that still lives."""
        work = partial(_read_listeners, self.owners.pids, self.cgroups)
        if space == self.home:
            return work()
        for pid in pids if not space.startswith("unseen-") else ():
            try:
                return namespaces.in_namespace(pid, work)
            except (MachineError, OSError) as error:
                if Path(f"/proc/{pid}").exists():
                    self._refused(error)
                    break
        return ()

    def _refused(self, error: Exception) -> None:
        what = "network namespaces of other users"
        if any(gap.what == what for gap in self.gaps):
            return  # one for the kind is enough
        hint = error.hint if isinstance(error, MachineError) else ""
        self.gaps.append(
            Gap(what, f"some could not be entered, so that services in them may be missing: {error}", hint)
        )

    def _namespaces(self, found: list[Candidate]) -> dict[str, Namespace]:
        """The reader's own namespace and every other that holds a candidate, by id."""
        with ExitStack() as stack:
            return self._enter_all(found, stack)

    def _enter_all(self, found: list[Candidate], stack: ExitStack) -> dict[str, Namespace]:
        spaces: dict[str, Namespace] = {}
        wanted = {self.home: 0, **{self._space_of(c.process): c.process.pid for c in found}}
        doors = _doors(wanted, stack)
        for space, pid in wanted.items():
            if space.startswith("unseen-"):
                spaces[space] = Namespace(id=space, home=False)
                self.gaps.append(Gap("a network namespace with a service in it", "it may not be looked into", _SUDO))
                continue
            work = partial(
                read_namespace, home=space == self.home, owners=self.owners.pids, cgroups=self.cgroups, others=doors
            )
            if space == self.home:
                spaces[space], gaps = work()
            else:
                try:
                    spaces[space], gaps = namespaces.in_namespace(pid, work)
                except MachineError as error:
                    spaces[space], gaps = Namespace(id=space, home=False), ()
                    self._refused(error)
            self.gaps += gaps
            relays = find_relays(p for p in self.processes.values() if self._space_of(p) == space)
            spaces[space] = replace(spaces[space], relays=relays)
        return spaces


def _read_listeners(owners: Mapping[int, tuple[int, ...]], cgroups: Mapping[int, str]) -> tuple[Listener, ...]:
    with Netlink(NETLINK_ROUTE) as link:
        names = {one.index: one.name for one in read_links(link)[0]}
    return read_listeners(names, owners, cgroups)[0]


def _doors(wanted: Mapping[str, int], stack: ExitStack) -> dict[str, int]:
    """An open descriptor of each namespace that may be looked into, by id, until the stack closes."""
    doors = {}
    for space, pid in wanted.items():
        try:
            handle = os.open(f"/proc/{pid or 'thread-self'}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # `in_namespace` says so
            continue
        stack.callback(os.close, handle)
        doors[space] = handle
    return doors


def _manager(service: Service) -> str | None:
    """The user whose manager a running service belongs to (user@.service(5)); its uid where it has no name."""
    found = re.search(r"/user@(\d+)\.service/", service.cgroup or "")
    if found is None or service.container:
        return None
    try:
        return pwd.getpwuid(int(found[1])).pw_name
    except KeyError:
        return found[1]


def _hides(options: str) -> bool:
    return any(
        o.startswith("hidepid=") and o not in ("hidepid=0", "hidepid=off") for o in options.replace(" ", ",").split(",")
    )


def _unseen(running: tuple[Service, ...], found: list[Candidate]) -> list[Gap]:
    """Gaps about services that were found but not seen whole."""
    blind = {c.process.pid for c in found if c.environment is None}
    names = [s.name for s in running if s.pid in blind]
    if not names:
        return []
    return [
        Gap(
            f"the environment of {', '.join(names)}",
            "only root may see it; settings and secrets in it are not known",
            _SUDO,
        )
    ]
