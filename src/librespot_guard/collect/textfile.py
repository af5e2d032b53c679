"""Reading a file that somebody else wrote: bounded, a regular file or nothing, and from inside the root folder of its reader.

A service in a container (or a chroot) may have made its configuration a link to anything: openat2(2) with RESOLVE_IN_ROOT
(linux/openat2.h) keeps the way to it inside that root. Opening never waits: a FIFO and a device are refused, not read.
"""

import ctypes
import errno
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from librespot_guard.snapshot import Gap

MAX_BYTES = 256 * 1024
_SYS_OPENAT2 = 437  # the same number on every architecture (since Linux 5.6)
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True, slots=True)
class Text:
    """What a file holds, or why it could not be read; both are empty if there is no such file."""

    path: str
    text: str | None = None
    gap: Gap | None = None


def read(path: str, *, root: str = "/", limit: int = MAX_BYTES) -> Text:
    """The text of a file, by a path as seen from the folder `root` (e.g. /proc/7/root). Never raises, never waits, never reads more than `limit`."""
    try:
        descriptor = _open(root, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
            return Text(path)
        return _failed(path, _reason(error))
    try:
        about = os.fstat(descriptor)
        mode = about.st_mode
        if stat.S_ISCHR(mode) and about.st_rdev == os.makedev(1, 3):
            return Text(path, "")  # /dev/null, the usual way to say "no configuration"
        if not stat.S_ISREG(mode):
            return _failed(path, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, which is not read")
        data = _all(descriptor, limit + 1)
    except OSError as error:
        return _failed(path, _reason(error))
    finally:
        os.close(descriptor)
    if len(data) > limit:
        return _failed(path, f"it is larger than {limit // 1024} KiB, which no configuration is")
    if b"\0" in data:
        return _failed(path, "it holds zero bytes: it is no text, or was written only in part")
    return Text(path, data.decode("utf-8", "replace"))


def identity(path: str, *, root: str = "/") -> tuple[int, int] | None:
    """Which file a path leads to, seen from the folder `root`, by device and inode; None if that can't be told or there is none."""
    try:
        descriptor = _open(root, path)
    except OSError:
        return None
    try:
        about = os.fstat(descriptor)
        return about.st_dev, about.st_ino
    finally:
        os.close(descriptor)


def _all(descriptor: int, limit: int) -> bytes:
    parts, left = [], limit
    while left > 0 and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _open(root: str, path: str) -> int:
    if root == "/":
        return os.open(path, _FLAGS)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("=QQQ", _FLAGS, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        found = ctypes.CDLL(None, use_errno=True).syscall(_SYS_OPENAT2, folder, os.fsencode(path), how, len(how))
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return int(found)
    finally:
        os.close(folder)


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its links lead round in a circle"
    return error.strerror or str(error)


def _failed(path: str, why: str) -> Text:
    hint = "run it with `sudo`" if why == os.strerror(errno.EACCES) else ""
    return Text(path, gap=Gap(f"the configuration file {path}", why, hint))


def exists(path: Path) -> bool:
    """Whether something is there, as far as one may see."""
    try:
        return path.exists()
    except OSError:
        return False
