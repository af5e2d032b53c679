"""Perform steps (`targets.steps`, in their JSON form: the way back reads them from the journal without importing their classes)."""

import os

from librespot_guard.apply import files, gate, nft
from librespot_guard.errors import MachineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SYSTEMD = "/etc/systemd/system"


def etc(path: str) -> str:
    """The path with $LIBRESPOT_GUARD_ETC in front of /etc, for sandboxes."""
    prefix = os.environ.get("LIBRESPOT_GUARD_ETC", "").rstrip("/")
    return prefix + path if path.startswith("/etc/") else path


def systemd() -> bool:
    """Whether a unit makes sense here: systemd runs, or this host keeps its units where systemd looks."""
    return os.path.isdir("/run/systemd/system") or os.path.isdir(etc(SYSTEMD))  # noqa: PTH112 - pathlib is slow to import


def perform(steps: "Iterable[dict[str, Any]]", *, seconds: int = 0) -> None:
    """Perform the steps in order; each of them is whole or not done at all.

    Args:
        steps: what `steps.to_json` made.
        seconds: the time of the gate, for the texts that arm it.

    Raises:
        MachineError: a step failed; those before it are done, those after it are not.
    """
    for step in steps:
        if step["step"] == "load-nft":
            nft.load(gate.timed(step["text"], seconds))
            continue
        if step["step"] in ("restart-unit", "reload-units"):
            from librespot_guard.apply import units  # noqa: PLC0415 - the way back of a pending change needs none

            if step["step"] == "restart-unit":
                units.restart(step["unit"])
            elif os.path.isdir("/run/systemd/system") and etc(SYSTEMD) == SYSTEMD:  # noqa: PTH112 - see above
                units.reload()
            continue
        if step["path"].startswith(SYSTEMD) and not systemd():
            continue
        path = etc(step["path"])
        try:
            _file(step, path)
        except OSError as error:
            hint = "run it as root, with `sudo`" if isinstance(error, PermissionError) else f"needed for: {step['why']}"
            raise MachineError(f"{path}: {error.strerror or error}", hint=hint) from None


def _file(step: "dict[str, Any]", path: str) -> None:
    if step["step"] in ("edit-file", "restore-file"):
        _setting(step, path)
        return
    link = step["step"] == "link-file"
    value = step["target"] if link else step["content"]
    if value is None:
        files.remove_file(path)
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)  # noqa: PTH103, PTH120 - pathlib is slow to import
    if link:
        files.link_file(path, value)
    else:
        files.write_file(path, value, step["mode"])


def _setting(step: "dict[str, Any]", path: str) -> None:
    """Change another program's file, or bring it back. One that can't be written keeps neither the rules nor the way back waiting: it is said."""
    from librespot_guard.apply import edits  # noqa: PLC0415 - the rules alone do not need it

    there = step["step"] == "edit-file"
    try:
        (edits.edit if there else edits.restore)(path, step)
    except (OSError, MachineError) as error:
        if os.geteuid() != 0:
            raise
        why = f"{path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        what = "it is NOT edited: do it by hand" if there else "it is NOT brought back: undo the setting by hand"
        edits.note(f"{why}: {what}")


def in_place(steps: "Iterable[dict[str, Any]]") -> bool:
    """Whether the last file that these steps write, which is the one that decides, is there with their content."""
    written = [s for s in steps if s["step"] == "write-file" and s["content"] is not None]
    if not written:
        return False
    try:
        with open(etc(written[-1]["path"]), encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
            return file.read() == str(written[-1]["content"])
    except (OSError, UnicodeDecodeError):
        return False
