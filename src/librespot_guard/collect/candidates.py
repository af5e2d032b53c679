"""Which processes may be family members. A candidate is not yet a service: `services` asks it and decides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.collect.imported import loaded_from, makes_a_speaker
from librespot_guard.collect.processes import Process, environment_of, inside, working_folder
from librespot_guard.collect.programs import Programs, Resolver, interpreter, is_java, loaded
from librespot_guard.collect.pythons import holds_package, is_python, package_folder, script_of, search_path
from librespot_guard.collect.surfaces import MDNS, loopback, wildcard
from librespot_guard.snapshot import Listener


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process that may be a family member.

    Attributes:
        flavour: what the catalogue takes it for, None if only its sockets speak for it.
        certain: it is listed even if nothing answers.
        listeners: its own sockets.
        environment: None if it may not be looked at.
        package: the folder of the Python package, for a library.
        version: what its program says that it is, None if that can't be told.
    """

    process: Process
    flavour: Flavour | None
    certain: bool
    listeners: tuple[Listener, ...]
    environment: dict[str, str] | None
    package: Path | None = None
    version: str | None = None


def find(
    processes: Iterable[Process], listeners: Mapping[int, Sequence[Listener]], catalog: Catalog
) -> list[Candidate]:
    """The candidates among the processes. `listeners` are the sockets by process id."""
    programs = Programs(catalog)
    found = []
    for process in processes:
        candidate = _judge(process, tuple(listeners.get(process.pid, ())), programs)
        if candidate is not None:
            found.append(candidate)
    by_pid = {c.process.pid: c for c in found}
    return [c for c in found if not _worker(c, by_pid.get(c.process.parent))]


def _worker(candidate: Candidate, parent: Candidate | None) -> bool:
    """Whether it is a worker of another candidate: a child that holds no socket but those it inherited."""
    return parent is not None and bool(candidate.listeners) and set(candidate.listeners) <= set(parent.listeners)


def _judge(process: Process, listeners: tuple[Listener, ...], programs: Programs) -> Candidate | None:
    served = any(s.proto == "tcp" and not loopback(s.address) for s in listeners)
    everywhere = any(s.proto == "tcp" and wildcard(s.address) for s in listeners)
    discovery = any(s.proto == "udp" and s.port == MDNS for s in listeners)
    flavour, certain = _by_program(process, served or discovery, programs)
    if flavour is not None and flavour.python_package:
        # frozen: it holds the library, and is a speaker for sure if it has loaded what the library loads and is open to all
        certain = everywhere and bool(loaded_from(process.pid))
    if flavour is not None and (certain or served):
        version = programs.version_of(_image(process)) or programs.version_of(process.executable)
        return Candidate(process, flavour, certain, listeners, environment_of(process.pid), version=version)
    if not served:
        return None
    library = _library(process, listeners, programs, everywhere=everywhere, likely=everywhere and discovery)
    if library is not None:
        return library
    if everywhere and discovery:
        return Candidate(process, None, certain=False, listeners=listeners, environment=environment_of(process.pid))
    return None


def _by_program(process: Process, listens: bool, programs: Programs) -> tuple[Flavour | None, bool]:
    """The flavour that its program is, and whether that is sure without an answer.

    What an executable holds decides. Only of one that may not be read, and of one whose content says nothing, the name is believed:
    of the first for sure, of the second only if it answers.
    """
    if is_java(process.executable, process.argv[0]):
        root = f"/proc/{process.pid}/root"
        return programs.of_java(process.argv, Resolver(root, working_folder(process.pid)))
    program = process.executable.rpartition("/")[2]
    named = _by_name(process, programs.catalog)
    if named is None and not listens:
        return None, False
    # of the program of another user only the first argument is seen: that of a script is its interpreter
    if interpreter(program or process.argv[0].rpartition("/")[2]):
        return named, False
    # /proc/PID/exe is the very file, even if it was replaced since or is in another root; it needs the right to look at the process
    held, readable = programs.of_executable(_image(process))
    if not readable and process.executable:
        held, readable = programs.of_executable(process.executable)
    if held is None:
        return named, named is not None and not readable
    if named is not None and (named is held or held.name in (named.based_on, named.name)):
        return named, True
    return _packaged(held, process.unit, programs.catalog), True


def _image(process: Process) -> str:
    """Where the very program that a process runs can be read; behind a loader, by the path that this was given."""
    program = loaded(process.executable, process.argv)
    if program is None:
        return f"/proc/{process.pid}/exe"
    return Resolver(f"/proc/{process.pid}/root", working_folder(process.pid))(program)


def _by_name(process: Process, catalog: Catalog) -> Flavour | None:
    """The flavour that the name of its program, of its first argument or of the process stands for."""
    flavour = (
        catalog.by_executable(process.executable.rpartition("/")[2])
        or catalog.by_executable(process.argv[0].rpartition("/")[2])
        or catalog.by_executable(process.command)
    )
    return _packaged(flavour, process.unit, catalog) if flavour is not None else None


def _packaged(flavour: Flavour, unit: str | None, catalog: Catalog) -> Flavour:
    """The package of a flavour that a unit stands for: raspotify is a librespot whose unit is raspotify.service."""
    packaged = catalog.by_unit(unit) if unit else None
    if (
        packaged is not None
        and packaged.based_on == flavour.name
        and set(packaged.executables) & set(flavour.executables)
    ):
        return packaged
    return flavour


def _library(
    process: Process, listeners: tuple[Listener, ...], programs: Programs, *, everywhere: bool, likely: bool
) -> Candidate | None:
    """A Python process that has the library.

    It is a speaker for sure if it is open to all (`everywhere`), has loaded what the library loads, and its own text makes one. Of a program
    whose text can't be had, what it has loaded decides, if it speaks mDNS as well (`likely`).
    """
    if not is_python(process):
        return None
    environment = environment_of(process.pid)
    if environment is None:
        return None
    place = _place(process, environment)
    loaded = loaded_from(process.pid) if likely else ()
    for library in programs.catalog.flavours:
        package = library.python_package
        if package is None:
            continue
        key = (package, *place)
        if key not in programs.packages:  # many programs of one interpreter look in the same folders
            programs.packages[key] = package_folder(process, environment, package)
        folder = programs.packages[key] or _beside(process, loaded, package)
        if folder is not None:
            certain = False
            if everywhere and (loaded or loaded_from(process.pid)):
                made = makes_a_speaker(process, package, [*search_path(process, environment), folder])
                # one whose responder could not start has no socket on 5353
                certain = made or (made is None and likely)
            return Candidate(process, library, certain, listeners, environment, package=folder)
    return None


def _beside(process: Process, loaded: Iterable[str], package: str) -> Path | None:
    """The folder of a package that is where the process has loaded others from: its program may look in more places than can be told."""
    folders = (inside(process.pid, place) for place in loaded)
    return next((f for f in folders if f is not None and holds_package(f, package)), None)


def _place(process: Process, environment: Mapping[str, str]) -> tuple[str, ...]:
    """All that decides where an interpreter looks for packages: root folder, program, script, working folder, variables."""
    try:
        root = Path(f"/proc/{process.pid}/root").stat()
    except OSError:
        return (str(process.pid),)
    script = script_of(process.argv) or ""
    variables = (environment.get(name, "") for name in ("PYTHONPATH", "VIRTUAL_ENV", "HOME", "PATH"))
    return (
        f"{root.st_dev} {root.st_ino}",
        process.executable,
        process.argv[0],
        script and str(Path(script).parent),
        working_folder(process.pid),
        *variables,
    )
