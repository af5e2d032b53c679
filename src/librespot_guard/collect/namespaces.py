"""Running code in another network namespace, and telling namespaces apart.

A thread of its own enters the namespace (setns(2)) and ends there, so that the caller never leaves its own. Python 3.11
has no os.setns, hence ctypes.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from librespot_guard.errors import MachineError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
# where iproute2 keeps the namespaces that have a name
NAMED = Path("/run/netns")


def in_namespace(path_or_pid: str | int, function: Callable[[], T]) -> T:
    """Run `function` in a thread that is in another network namespace, and return what it returns or raise what it raises.

    Args:
        path_or_pid: the path of a namespace ("/run/netns/x", "/proc/1/ns/net") or the process that is in it.
        function: must look at the network through sockets, /proc/thread-self/net and /proc/sys/net: /proc/net is
            that of the main thread.

    Raises:
        MachineError: the namespace is gone or may not be entered.
    """
    path = f"/proc/{path_or_pid}/ns/net" if isinstance(path_or_pid, int) else path_or_pid
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(f"network namespace {path}: {error.strerror}", hint=_hint(error.errno)) from None
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _enter(descriptor, path)
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            errors.append(error)

    try:
        thread = threading.Thread(target=run, name=f"netns {path}", daemon=True)
        thread.start()
        thread.join()
    finally:
        os.close(descriptor)
    if errors:
        raise errors[0]
    return results[0]


def _enter(descriptor: int, path: str) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise MachineError(f"can't enter the network namespace {path}: {os.strerror(number)}", hint=_hint(number))


def _hint(number: int | None) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return "run it with `sudo` to look into the network namespaces of other users"
    return ""


def current_id() -> str:
    """The id (inode number) of the network namespace of the calling thread."""
    return str(Path("/proc/thread-self/ns/net").stat().st_ino)


def id_of(path: str | Path) -> str:
    """The id of the namespace at a path; OSError if it is gone or may not be looked at."""
    return str(Path(path).stat().st_ino)


def names() -> dict[str, str]:
    """The names under /run/netns by namespace id. What vanishes or is broken is left out."""
    found: dict[str, str] = {}
    try:
        entries = sorted(NAMED.iterdir())
    except OSError:
        return found
    for entry in entries:
        try:
            found.setdefault(id_of(entry), entry.name)
        except OSError:
            continue
    return found
