"""Files of other programs, changed in place: only from the bytes that were planned on, and back to the very bytes.

The old bytes are kept in the state directory under their SHA-256. A file that somebody else changed in between is left alone, and said.
"""

import hashlib
import os
import stat
import sys

from librespot_guard.apply import files
from librespot_guard.apply.journal import state_dir
from librespot_guard.errors import MachineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def edit(path: str, step: "dict[str, Any]") -> None:
    """Perform an `EditFile` on `path`; one that says that the file was not there creates it. Raises OSError; MachineError if the step and the file do not belong together."""
    target = os.path.realpath(path)
    try:
        old = _read(target)
    except FileNotFoundError:
        old = None
    if old is None and not step["before"]:
        _create(target, step)
        return
    if old is None:
        note(f"{path} is gone, so it is NOT edited; apply again to plan on what is there now")
        return
    if _digest(old) == step["after"]:
        return
    if _digest(old) != step["before"]:
        note(
            f"{path} was changed since the plan was made, so it is NOT edited; apply again to plan on what it says now"
        )
        return
    new = old
    for at, cut, put in ((step["at"], step["cut"], step["put"]), *step.get("more", ())):
        new = new[:at] + put.encode("utf-8", "surrogateescape") + new[at + cut :]
    if _digest(new) != step["after"]:
        raise MachineError(f"{path}: the edit does not give what was planned; nothing was changed")
    kept = _kept(step["before"])
    os.makedirs(os.path.dirname(kept), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120 - pathlib is slow to import
    files.write_bytes(kept, old, 0o600)
    _replace(target, new)


def restore(path: str, step: "dict[str, Any]") -> None:
    """Perform a `RestoreFile` on `path`. Raises OSError; MachineError if the old bytes are lost."""
    target = os.path.realpath(path)
    kept = _kept(step["before"]) if step["before"] else "nothing: it was not there"
    try:
        now = _read(target)
    except FileNotFoundError:
        if not step["before"]:
            return
        note(f"{path} is gone, so it is not brought back; its old content is in {kept}")
        return
    if _digest(now) == step["before"]:
        return
    if _digest(now) == step["after"] and not step["before"]:
        files.remove_file(target)
        return
    if _digest(now) != step["after"]:
        note(f"{path} was changed by somebody else, so it is left as it is; its content from before is in {kept}")
        return
    old = _read(kept)
    if _digest(old) != step["before"]:
        raise MachineError(f"{kept}: damaged: {path} can't be brought back", hint="undo the setting by hand")
    _replace(target, old)


def _create(target: str, step: "dict[str, Any]") -> None:
    data = step["put"].encode()
    if _digest(data) != step["after"]:
        raise MachineError(f"{target}: the edit does not give what was planned; nothing was changed")
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)  # noqa: PTH103, PTH120 - pathlib is slow to import
    files.write_bytes(target, data, 0o644)


def _replace(target: str, data: bytes) -> None:
    """Other content, the same mode, owner and extended attributes."""
    status = os.stat(target)  # noqa: PTH116 - pathlib is slow to import
    if status.st_nlink > 1 or not stat.S_ISREG(status.st_mode):
        raise MachineError(f"{target}: it has several names or is no plain file: edit it by hand")
    attributes = {name: os.getxattr(target, name) for name in os.listxattr(target)}
    files.write_bytes(
        target, data, stat.S_IMODE(status.st_mode), owner=(status.st_uid, status.st_gid), attributes=attributes
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        return file.read()


def _kept(digest: str) -> str:
    return f"{state_dir()}/kept/{digest}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def note(text: str) -> None:
    """A remark for the person, its control characters shown and not obeyed: paths come from the command lines of others."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    sys.stderr.write(f"note: {plain}\n")
