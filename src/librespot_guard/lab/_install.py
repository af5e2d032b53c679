"""Getting real daemons into the cache, each in one step that either is complete or leaves nothing that counts.

The recipes themselves stand in `_daemon_rust`, `_daemon_java`, `_daemon_python` and `_daemon_debian`: name, pinned version, and what to run.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from librespot_guard.errors import MachineError

Progress = Callable[[str], None]

_LOG_LINES = 15
_DAY = 86400
# what the clients of the registries say when they can't reach them
_UNREACHABLE = re.compile(
    r"[Tt]emporary failure (in name resolution|resolving)|[Cc]ould not resolve|[Nn]ame or service not known|Unknown host|UnknownHost"
    r"|Connection refused|Network is unreachable|[Cc]onnection timed out|Failed to establish a new connection|spurious network error"
)
_FULL = re.compile(r"No space left on device|os error 28|ENOSPC")


class Unavailable(MachineError):  # noqa: N818 - it is an answer, not a fault
    """A daemon that can't be had on this machine; the text says why."""


def cache() -> Path:
    """Where daemons are kept: `librespot-guard` in $XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "librespot-guard"


def install(
    target: Path, files: Sequence[Path], fill: Callable[[Path], None], *, needs_mb: int, progress: Progress
) -> None:
    """Make `target` so that all of `files` (paths in it) are there, once, whoever else tries at the same time.

    `fill` gets an empty folder that takes the name of `target` when it returns. `needs_mb` is the disk space it needs meanwhile.
    Raises Unavailable.
    """
    if _complete(files):
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target, f"installs {target.name}", progress):
            if _complete(files):
                return
            if (
                target.exists()
            ):  # a part of it is gone: an interpreter after an upgrade of the system, a file somebody removed
                shutil.rmtree(target)
            _need_space(target.parent, needs_mb)
            with half_done(target) as folder:
                fill(folder)
                _need_files(target, folder, files)
    except OSError as error:
        raise refused(target.parent, error) from None


def _complete(files: Sequence[Path]) -> bool:
    return all(f.is_file() for f in files)


def _need_files(target: Path, folder: Path, files: Sequence[Path]) -> None:
    missing = [str(f.relative_to(target)) for f in files if not (folder / f.relative_to(target)).is_file()]
    if missing:
        raise Unavailable(f"{target.name} was installed without {', '.join(missing)}", hint="is it the right version?")


def refused(folder: Path, error: OSError) -> Unavailable:
    """What a file system said, with what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            f"{folder}: the disk is full", hint="make room there, or name another folder in XDG_CACHE_HOME"
        )
    return Unavailable(f"{folder}: {error.strerror}", hint="name a folder you can write to in XDG_CACHE_HOME")


def _need_space(folder: Path, megabytes: int) -> None:
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < megabytes:
        raise Unavailable(
            f"{folder}: the disk is full: {free} MB free, and installing needs {megabytes} MB",
            hint="make room there, or name another folder in XDG_CACHE_HOME",
        )


@contextlib.contextmanager
def locked(target: Path, does: str, progress: Progress) -> Iterator[None]:
    """One process at a time for `target`. The kernel drops the lock with the process that holds it; the file stays. Raises OSError."""
    with (target.parent / f".{target.name}.lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that {does}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def half_done(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its name only when the block succeeds. Raises OSError."""
    sweep(target.parent, f".{target.name}-*")
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path, pattern: str) -> None:
    """Remove what an install left that was killed more than a day ago."""
    for left in parent.glob(pattern):
        with contextlib.suppress(OSError):
            if left.is_dir() and left.stat().st_mtime < time.time() - _DAY:
                shutil.rmtree(left)


def quietly(argv: Sequence[str], fault: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command and return what it said; if it fails, raise Unavailable with the cause, if it is a known one, and the end of that."""
    try:
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
    except OSError as error:
        raise Unavailable(f"{fault}: `{argv[0]}`: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout
    said = "\n".join(done.stdout.strip().splitlines()[-_LOG_LINES:])
    if _FULL.search(done.stdout):
        raise Unavailable(
            f"{fault}: the disk is full (status {done.returncode}):\n{said}",
            hint="make room in the cache folder and in the one for temporary files, or name others in XDG_CACHE_HOME and TMPDIR",
        )
    if _UNREACHABLE.search(done.stdout):
        raise Unavailable(
            f"{fault}: no connection to the package registry (status {done.returncode}):\n{said}",
            hint="connect this machine to the network, or set the proxy that it needs, and try again",
        )
    raise Unavailable(f"{fault} (status {done.returncode}):\n{said}", hint="its messages above say why")


def python_free_environment() -> dict[str, str]:
    """This process's environment without what would lead another Python astray."""
    alien = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if k not in alien}
