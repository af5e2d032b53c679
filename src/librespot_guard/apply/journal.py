"""The state on disk: what is pending, what is confirmed, what happened; and the lock that lets one command change it at a time.

Every file is whole at every instant (`files`). `pending.json` is written before anything is changed and says, in its `phase`, what was
about to be done, so that the next command can finish or undo it (`machine.recover`).
"""

import fcntl
import json
import os
import time

from librespot_guard.apply import files, records, session
from librespot_guard.errors import MachineError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

EVENTS = ("armed", "confirmed", "cancelled", "expired", "reverted", "failed")
KEPT = 10  # confirmed changes that `rollback` can step back through


def state_dir() -> str:
    """Where the state lives: $LIBRESPOT_GUARD_STATE, else /var/lib/librespot-guard."""
    return os.environ.get("LIBRESPOT_GUARD_STATE") or "/var/lib/librespot-guard"


class State:
    """The state directory, opened and, inside `with`, locked.

    Entering raises Refused if another command holds the lock for longer than `patience` seconds, MachineError if the directory can't be used.
    """

    def __init__(self, folder: str | None = None, *, patience: float = 0.0) -> None:
        self.folder = folder or state_dir()
        self._patience = patience
        self._lock: int | None = None

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded here, as far as this user can see."""
        return os.path.isdir(self.folder)  # noqa: PTH112 - pathlib is slow to import

    @property
    def writable(self) -> bool:
        """Whether this user may record something here: not on a file system that is mounted read-only."""
        return os.access(self.folder, os.W_OK | os.X_OK)

    # the lock

    def __enter__(self) -> "Self":
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib is slow to import
            handle = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        until = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
                    os.close(handle)
                    raise Refused(
                        f"another librespot-guard (pid {holder}) is changing this host right now",
                        hint="wait until it is done and try again",
                    ) from None
                time.sleep(0.02)
        # children that change the kernel hold the lock with us: see nft.run
        os.set_inheritable(handle, True)
        self._lock = handle
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        except OSError:
            # a full disk: the pid is only a courtesy, the lock itself holds, and a rollback must go on
            return self
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", value: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # its files

    def pending(self) -> "dict[str, Any] | None":
        """The change that is pending or was being made when its command was killed; None if there is none."""
        return self._read("pending.json", records.check_pending)

    def write_pending(self, pending: "dict[str, Any]") -> None:
        """Record what is about to be done. Raises MachineError."""
        self._write("pending.json", pending)

    def clear_pending(self) -> None:
        """Nothing is pending any more. Raises MachineError."""
        try:
            files.remove_file(self._path("pending.json"))
        except OSError as error:
            raise self._unusable(error) from None

    def confirmed(self) -> "list[dict[str, Any]]":
        """The confirmed changes, oldest first; the last one is in force."""
        found = self._read("confirmed.json", lambda all_: records.check_changes(all_.get("changes", [])))
        changes: list[dict[str, Any]] = (found or {}).get("changes", [])
        return changes

    def write_confirmed(self, changes: "list[dict[str, Any]]") -> None:
        """Record the confirmed changes. Raises MachineError."""
        kept = list(changes)
        while len(kept) > KEPT:
            gone = kept.pop(0)
            kept[0] = _in_place_of(kept[0], gone)
        self._write("confirmed.json", {"changes": kept})

    def record(self, event: str, pending: "dict[str, Any]", reason: str = "") -> None:
        """Append one event to the history and sync it. Raises MachineError."""
        line = {
            "time": timestamp(),
            "id": pending["id"],
            "event": event,
            "who": session.who(),
            "title": pending.get("title", ""),
            "policy": pending.get("policy", ""),
            "policy_sha256": pending.get("policy_sha256", ""),
            "reason": reason,
        }
        try:
            files.append_line(self._path("journal.jsonl"), json.dumps(line))
        except OSError as error:
            raise self._unusable(error) from None

    def history(self) -> "list[dict[str, Any]]":
        """Every event, oldest first. A line that a power cut tore, or that is no event of this version, is left out."""
        try:
            with open(self._path("journal.jsonl"), encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib is slow
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from None
        found = []
        for line in lines:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if records.is_event(event):
                found.append(event)
        return found

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def _read(self, name: str, check: "Callable[[Any], None]") -> "dict[str, Any] | None":
        try:
            with open(self._path(name), encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
                found: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        except (ValueError, RecursionError) as error:
            raise MachineError(
                f"{self._path(name)}: damaged ({error})",
                hint="move the file away; `librespot-guard status` shows what is loaded",
            ) from None
        try:
            if not isinstance(found, dict):
                raise ValueError("it is not an object")  # noqa: TRY004, TRY301 - said together with the other faults
            check(found)
        except ValueError as error:
            raise MachineError(
                f"{self._path(name)}: not as this version writes it ({error})",
                hint="if a newer librespot-guard wrote it, use that one; else move the file away, and `librespot-guard status` shows what is loaded",
            ) from None
        return found

    def _write(self, name: str, value: "dict[str, Any]") -> None:
        try:
            files.write_file(self._path(name), json.dumps(value) + "\n", 0o600)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> MachineError:
        place = error.filename if isinstance(error.filename, str) else self.folder
        if isinstance(error, PermissionError):
            return MachineError(f"{place}: {error.strerror}", hint="run it as root, with `sudo`")
        return MachineError(
            f"{place}: {error.strerror or error}",
            hint="the state of changes is kept there; free space or set LIBRESPOT_GUARD_STATE",
        )


def _in_place_of(oldest: "dict[str, Any]", gone: "dict[str, Any]") -> "dict[str, Any]":
    """The oldest change that is kept, with the way back of the one before it, which is forgotten: the last way back leads to no rules."""
    own, before = oldest["change"], gone["change"]
    settings = [step for step in own["revert_boot"] if step["step"] == "restore-file"]
    way = {
        "before": before["before"],
        "revert": before["revert"],
        "revert_boot": [*settings, *before["revert_boot"]],
    }
    return {**oldest, "change": {**own, **way}}


def timestamp() -> str:
    """Now, UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
