"""Effects as values: a plan is a tuple of these, and one small executor (`apply.executor`) performs them.

They serialise to JSON (`to_json`, `from_json`), so that a plan can be saved, shown, compared, journalled and performed later.
Standard library only: the way back reads them.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LoadNft:
    """Feed `text` to `nft -f -` as one transaction. `why` is one line for people."""

    text: str
    why: str
    step: str = "load-nft"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write a whole file by write, sync, rename; `mode` is its permission bits; `content` None removes it."""

    path: str
    content: str | None
    mode: int
    why: str
    step: str = "write-file"


@dataclass(frozen=True, slots=True)
class LinkFile:
    """Make `path` a symbolic link to `target` (how systemd enables a unit), or remove it if `target` is None."""

    path: str
    target: str | None
    why: str
    step: str = "link-file"


@dataclass(frozen=True, slots=True)
class EditFile:
    """Change a file of somebody else in place: at byte `at`, `put` in place of `cut` bytes. Mode and owner stay.

    `before` and `after` are SHA-256 of the whole file: it is changed only if it is still the former. Its old bytes are kept, for `RestoreFile`.
    `before` "" is a file that is not there yet (a drop-in of a unit): it is created, and removed again. `more` are further places, each
    (at, cut, put) in what those before it leave: what stands between two places may be a secret, and is no part of a step.
    """

    path: str
    before: str
    after: str
    at: int
    cut: int
    put: str
    why: str
    more: tuple[tuple[int, int, str], ...] = ()
    step: str = "edit-file"


@dataclass(frozen=True, slots=True)
class RestoreFile:
    """Bring back the very bytes from before an `EditFile`, unless somebody changed the file since."""

    path: str
    before: str
    after: str
    why: str
    step: str = "restore-file"


@dataclass(frozen=True, slots=True)
class RestartUnit:
    """Let systemd read its units again and restart this one, so that new settings take effect."""

    unit: str
    why: str
    step: str = "restart-unit"


@dataclass(frozen=True, slots=True)
class ReloadUnits:
    """Let systemd read its units again, so that what was written for them holds without a restart of the machine."""

    why: str
    step: str = "reload-units"


Step = LoadNft | WriteFile | LinkFile | EditFile | RestoreFile | RestartUnit | ReloadUnits
_KINDS: dict[str, type[Step]] = {
    "load-nft": LoadNft,
    "write-file": WriteFile,
    "link-file": LinkFile,
    "edit-file": EditFile,
    "restore-file": RestoreFile,
    "restart-unit": RestartUnit,
    "reload-units": ReloadUnits,
}


def to_json(step: Step) -> dict[str, Any]:
    """One step as JSON."""
    return asdict(step)


def from_json(raw: dict[str, Any]) -> Step:
    """Read what `to_json` wrote; KeyError or TypeError if it is something else."""
    more = {"more": tuple(map(tuple, raw["more"]))} if "more" in raw else {}
    return _KINDS[raw["step"]](**raw | more)


@dataclass(frozen=True, slots=True)
class Change:
    """One complete change of a host, with its way back.

    Attributes:
        id: eight hexadecimal digits of the policy's content, see `targets.nftables`; the same policy on the same host has the same id.
        arm: performed by `apply`. The rules stand behind the gate and fall back by themselves after `@TIMEOUT@` seconds
            (the executor puts the number in).
        confirm: performed by `confirm` in one transaction with the disarming of the gate; fails whole if the gate has fallen.
        boot: files written after `confirm` succeeded.
        undo: performed by `rollback` while the change is pending, or by the next `apply` after it expired; never fails on what is already gone.
        revert: performed by `rollback` after it was confirmed: back to what was confirmed before (or to no table at all).
        revert_boot: the boot files that belong to `revert`.
        before: the id of the policy that `undo` and `revert` go back to, "" for none.
    """

    id: str
    arm: tuple[Step, ...]
    confirm: tuple[Step, ...]
    boot: tuple[Step, ...]
    undo: tuple[Step, ...]
    revert: tuple[Step, ...]
    revert_boot: tuple[Step, ...]
    before: str = ""

    def to_json(self) -> dict[str, Any]:
        """The change as JSON: what the executor and the journal work on."""
        lists = ("arm", "confirm", "boot", "undo", "revert", "revert_boot")
        return {
            "id": self.id,
            "before": self.before,
            **{name: [to_json(step) for step in getattr(self, name)] for name in lists},
        }
