"""Files that are whole at every instant: write beside, sync, rename, sync the directory (rename(2), fsync(2))."""

import os


def write_file(path: str | os.PathLike[str], text: str, mode: int = 0o600) -> None:
    """Replace the file `path` by `text`, or leave it as it was; a power cut at any instant leaves one or the other.

    Args:
        path: where; its directory must exist.
        text: the whole content, written as UTF-8.
        mode: permission bits of the new file.

    Raises:
        OSError: it could not be written; the old file is untouched and nothing is left beside it.
    """
    write_bytes(path, text.encode(), mode)


def write_bytes(
    path: str | os.PathLike[str],
    data: bytes,
    mode: int = 0o600,
    *,
    owner: tuple[int, int] | None = None,
    attributes: dict[str, bytes] | None = None,
) -> None:
    """As `write_file`, of bytes; with an owner (uid, gid) and extended attributes, if given. Raises OSError."""
    target = os.fspath(path)
    beside = f"{target}.{os.getpid()}.new"
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write_all(handle, data)
            if owner is not None:
                os.fchown(handle, *owner)
            os.fchmod(handle, mode)
            for name, value in (attributes or {}).items():
                os.setxattr(handle, name, value)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(beside, target)  # noqa: PTH104 - pathlib costs the way back a third of its start
    except BaseException:
        _remove(beside)
        raise
    sync_directory(target)


def link_file(path: str | os.PathLike[str], target: str) -> None:
    """Make `path` a symbolic link to `target`, replacing what is there in one step. Raises OSError."""
    place = os.fspath(path)
    beside = f"{place}.{os.getpid()}.new"
    _remove(beside)
    try:
        os.symlink(target, beside)  # noqa: PTH211 - see write_file
        os.rename(beside, place)  # noqa: PTH104 - see write_file
    except BaseException:
        _remove(beside)
        raise
    sync_directory(place)


def remove_file(path: str | os.PathLike[str]) -> None:
    """Remove a file or link; nothing happens if it is not there. Raises OSError."""
    place = os.fspath(path)
    try:
        os.unlink(place)  # noqa: PTH108 - see write_file
    except FileNotFoundError:
        return
    sync_directory(place)


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append one line to a file that only grows, and sync it; a line torn by a power cut stays a line of its own. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        try:
            _write_all(handle, (("\n" if torn else "") + line + "\n").encode())
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
    if size == 0:
        sync_directory(os.fspath(path))


def sync_directory(path: str) -> None:
    """Sync the directory that holds `path`, so that a rename in it survives a power cut. Raises OSError."""
    handle = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120 - see write_file
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - see write_file
    except FileNotFoundError:
        return
