"""The configuration files of a running service, whole, for editing: which the catalogue names, and where its process would find them."""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from librespot_guard.catalog import ConfigFile, Flavour
from librespot_guard.collect import units
from librespot_guard.collect.processes import environment_of, working_folder
from librespot_guard.collect.settings import Start, home_of, path_of
from librespot_guard.collect.textfile import identity
from librespot_guard.collect.units import Unit
from librespot_guard.snapshot import Service
from librespot_guard.snapshot.setting_file import SettingFile, UnitVariable

MAX_SIZE = 1 << 20
_OVERFLOW = 65534
_ELSEWHERE = "its process sees another file under this name (it is in a container, a chroot or another mount namespace): edit it there"
_PATTERN = "it is a pattern of names: which of its files holds can't be told; edit it by hand"


def setting_files(service: Service, flavour: Flavour) -> tuple[SettingFile, ...]:
    """The files that this service reads, those that win first; with the content of those that can be edited.

    Of several files that exclude each other, only those up to the first that is there are named. Variables come from the files that the
    unit names (systemd.exec(5): of two, the later one wins); what the package ships says nothing where a drop-in names others.
    """
    found: list[SettingFile] = []
    there: int | None = None
    unit = None if service.container else units.of_process(service.unit, service.uid, service.cgroup or "")
    if unit is not None and "environment" in flavour.arguments.precedence:
        found += _environment_files(unit)
    for known in flavour.files_of(service.version):
        if known.format == "env" and unit is not None:
            continue
        if there is not None and known.first > there:
            break
        path, alone = _path(service, flavour, known)
        if all(path != each.path for each in found):
            elsewhere = known.format != "env" and _elsewhere(path, service.pid)
            found.append(
                SettingFile(path, known.format, known.section, problem=_ELSEWHERE) if elsewhere else _read(path, known)
            )
        if found[-1].data is not None or found[-1].problem:
            there = known.first
        if alone:
            break
    if unit is not None and "environment" in flavour.arguments.precedence:
        found += _unit_files(unit)
    return tuple(found)


def _environment_files(unit: Unit) -> list[SettingFile]:
    """The files of variables that a unit names, those that win first."""
    found = []
    for line in reversed(unit.all("EnvironmentFile")):
        path = unit.expand(line.value.removeprefix("-"))
        known = ConfigFile(path, "env", line.origin)
        pattern = any(c in path for c in "*?[")
        found.append(SettingFile(path, "env", problem=_PATTERN) if pattern else _read(path, known))
    return found


def _unit_files(unit: Unit) -> list[SettingFile]:
    """The unit file and its drop-ins with what they do to the environment; the content of those that this program writes."""
    found = []
    for path in unit.files:
        lines = [line for line in unit.lines if line.section == "Service" and line.origin.rpartition(":")[0] == path]
        variables = tuple(v for line in lines for v in _variables(unit, line))
        own = PurePosixPath(path).name.removeprefix("zz-").removeprefix("50-").startswith("librespot-guard")
        read = _read(path, ConfigFile(path, "unit", path)) if own else SettingFile(path, "unit")
        found.append(replace(read, variables=variables))
    return found


def _variables(unit: Unit, line: units.Line) -> Iterator[UnitVariable]:
    if line.key not in ("Environment", "UnsetEnvironment"):
        return
    unset = line.key == "UnsetEnvironment"
    if not line.value and not unset:
        yield UnitVariable("*", None, line.origin)
    for word in units.words_of(unit, line) or ():
        name, equals, value = word.partition("=")
        if equals or unset:
            yield UnitVariable(name, value if equals else None, line.origin, unset)


def _path(service: Service, flavour: Flavour, known: ConfigFile) -> tuple[str, bool]:
    """Where a file is, and whether the command line names it, so that no other is read."""
    start = Start(
        argv=service.argv,
        environment=environment_of(service.pid) or {},
        working=working_folder(service.pid),
        home=home_of(service.uid),
    )
    path, named = path_of(known, flavour, start)
    # `--config_dir` names the folder, in which there may be several; the others the file itself
    alone = named and not known.options[0].endswith("_dir")
    return (os.path.normpath(path) if path else known.path), alone


def _elsewhere(path: str, pid: int) -> bool:
    """Whether a path leads a process to another file than ourselves, so that ours is not its own."""
    root = f"/proc/{pid}/root"
    # as an ordinary user one can't look into the process of another, and can't write either
    return os.access(root, os.X_OK) and identity(path) != identity(path, root=root)


def _read(path: str, known: ConfigFile) -> SettingFile:
    prefix = os.environ.get("LIBRESPOT_GUARD_ETC", "").rstrip("/")
    place = prefix + path if path.startswith("/etc/") else path
    if not path.startswith("/"):
        return SettingFile(path, known.format, known.section, problem="where it is could not be told")
    if not path.isprintable() or "\ufffd" in path:
        plain = path.encode("utf-8", "replace").decode()
        return SettingFile(
            plain, known.format, known.section, problem="its path is not plain UTF-8 text: edit it by hand"
        )
    try:
        with open(place, "rb", opener=_opener) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return SettingFile(path, known.format, known.section, problem="it is no plain file")
            if status.st_nlink > 1:
                return SettingFile(path, known.format, known.section, problem="it has several names (hard links)")
            if folder := _foreign(place):
                why = f"its folder {folder} may be changed by another user: root does not write there; edit it by hand"
                return SettingFile(path, known.format, known.section, problem=why)
            if unwritable := _unwritable(place):
                return SettingFile(path, known.format, known.section, problem=f"{unwritable}: edit it by hand")
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return SettingFile(path, known.format, known.section)
    except OSError as error:
        return SettingFile(path, known.format, known.section, problem=f"{error.strerror}")
    if len(data) > MAX_SIZE:
        return SettingFile(path, known.format, known.section, problem="it is larger than 1 MiB")
    return SettingFile(path, known.format, known.section, data)


def _unwritable(path: str) -> str | None:
    """Why root can't replace a file; None if it can, or if we are not root and can't tell."""
    target = Path(os.path.realpath(path))
    folder = target.parent
    if os.geteuid() != 0 or (os.access(folder, os.W_OK) and os.access(target, os.W_OK)):
        return None
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "it is on a read-only file system"
    return "it or its folder can't be written, not even by root (`lsattr -d`: immutable?)"


def _foreign(path: str) -> str | None:
    """The first folder above a file in which another user could put something in its place while we write; None if there is none.

    In a user namespace the folders of the real root belong to the overflow user (user_namespaces(7)), and we are nobody's root there.
    """
    confined = Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]
    ours = {0, os.geteuid(), *([_OVERFLOW] if confined else [])}
    for folder in Path(os.path.realpath(path)).parents:
        status = folder.stat()
        sticky = bool(status.st_mode & stat.S_ISVTX)
        if status.st_uid not in ours or (status.st_mode & 0o022 and not sticky):
            return str(folder)
    return None


def _opener(path: str, flags: int) -> int:
    """Open without waiting for the other end of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
