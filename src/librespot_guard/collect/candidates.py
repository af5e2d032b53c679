"""Which processes may be family members. A candidate is not yet a service: `services` asks it and decides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.collect.processes import Process, environment_of
from librespot_guard.collect.pythons import is_python, package_folder
from librespot_guard.collect.surfaces import MDNS, loopback, wildcard
from librespot_guard.snapshot import Listener

# a script or a wrapper of the same name is no daemon: the daemon is its child
_WRAPPERS = {
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "fish",
    "busybox",
    "env",
    "sudo",
    "su",
    "doas",
    "timeout",
    "nice",
    "nohup",
    "strace",
    "gdb",
    "perl",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process that may be a family member.

    Attributes:
        flavour: what the catalogue takes it for, None if only its sockets speak for it.
        certain: it is listed even if nothing answers.
        listeners: its own sockets.
        environment: None if it may not be looked at.
        package: the folder of the Python package, for a library.
    """

    process: Process
    flavour: Flavour | None
    certain: bool
    listeners: tuple[Listener, ...]
    environment: dict[str, str] | None
    package: Path | None = None


def find(
    processes: Iterable[Process], listeners: Mapping[int, Sequence[Listener]], catalog: Catalog
) -> list[Candidate]:
    """The candidates among the processes. `listeners` are the sockets by process id."""
    found = []
    for process in processes:
        candidate = _judge(process, tuple(listeners.get(process.pid, ())), catalog)
        if candidate is not None:
            found.append(candidate)
    by_pid = {c.process.pid: c for c in found}
    return [c for c in found if not _worker(c, by_pid.get(c.process.parent))]


def _worker(candidate: Candidate, parent: Candidate | None) -> bool:
    """Whether it is a worker of another candidate: a child that holds no socket but those it inherited."""
    return parent is not None and bool(candidate.listeners) and set(candidate.listeners) <= set(parent.listeners)


def _judge(process: Process, listeners: tuple[Listener, ...], catalog: Catalog) -> Candidate | None:
    flavour = _by_name(process, bool(listeners), catalog)
    if flavour is not None:
        return Candidate(process, flavour, certain=True, listeners=listeners, environment=environment_of(process.pid))
    served = [s for s in listeners if s.proto == "tcp" and not loopback(s.address)]
    discovery = any(s.proto == "udp" and s.port == MDNS for s in listeners)
    if not served:
        return None
    open_to_all = any(wildcard(s.address) for s in served)
    environment = environment_of(process.pid)
    if is_python(process) and environment is not None:
        for library in (f for f in catalog.flavours if f.python_package):
            folder = package_folder(process, environment, library.python_package or "")
            if folder is not None:
                return Candidate(
                    process,
                    library,
                    certain=open_to_all and discovery,
                    listeners=listeners,
                    environment=environment,
                    package=folder,
                )
    if open_to_all and discovery:
        return Candidate(process, None, certain=False, listeners=listeners, environment=environment)
    return None


def _by_name(process: Process, listens: bool, catalog: Catalog) -> Flavour | None:
    """The flavour that the name of its program, of its first argument or of the process stands for."""
    program = Path(process.executable).name
    flavour = catalog.by_executable(program)
    if flavour is None and (listens or not (program in _WRAPPERS or is_python(process))):
        flavour = catalog.by_executable(Path(process.argv[0]).name) or catalog.by_executable(process.command)
    if flavour is None or process.unit is None:
        return flavour
    packaged = catalog.by_unit(process.unit)
    return (
        packaged
        if packaged is not None
        and packaged.based_on == flavour.name
        and set(packaged.executables) & set(flavour.executables)
        else flavour
    )
