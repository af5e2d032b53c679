"""Whether a record is as this version writes it. A newer version may have written another one: nothing is done by half of it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PHASES = ("arming", "armed", "confirming", "undoing", "reverting")
_LISTS = ("arm", "confirm", "boot", "undo", "revert", "revert_boot")
# what the executor reads of each step; the values of "content" and "target" may be null
_STEPS: "dict[str, dict[str, type]]" = {
    "load-nft": {"text": str},
    "write-file": {"path": str, "mode": int, "why": str},
    "link-file": {"path": str, "why": str},
    "edit-file": {"path": str, "before": str, "after": str, "at": int, "cut": int, "put": str, "why": str},
    "restore-file": {"path": str, "before": str, "after": str, "why": str},
    "restart-unit": {"unit": str},
    "reload-units": {},
}
_VALUES = {"write-file": "content", "link-file": "target"}
# no machine runs that long
_LATEST = 1e12


def check_pending(found: "Any") -> None:
    """A pending change. Raises ValueError, saying what is wrong with it."""
    _keys(found, {"id": str, "phase": str, "boot": str, "pid": int, "ssh": str, "change": dict})
    if found["phase"] not in PHASES:
        raise ValueError(f"the phase {found['phase']!r} is not known")
    deadline = found.get("deadline")
    if type(deadline) not in (int, float) or not -_LATEST < deadline < _LATEST:
        raise ValueError("`deadline` is not a time")
    _change(found["change"])


def check_changes(found: "Any") -> None:
    """The list of confirmed changes. Raises ValueError, saying what is wrong with it."""
    if not isinstance(found, list):
        raise ValueError("`changes` is not a list")  # noqa: TRY004 - the data are wrong, not the program
    for each in found:
        _keys(each, {"id": str, "title": str, "policy": str, "time": str, "change": dict})
        _change(each["change"])


def is_event(found: "Any") -> bool:
    """Whether a line of the history is an event."""
    try:
        _keys(found, dict.fromkeys(("time", "id", "event", "title", "reason"), str) | {"who": dict})
        _keys(found["who"], {"uid": int})
    except ValueError:
        return False
    return True


def _change(found: "dict[str, Any]") -> None:
    _keys(found, {"id": str, "before": str, **dict.fromkeys(_LISTS, list)})
    for name in _LISTS:
        for step in found[name]:
            _keys(step, {"step": str})
            kind = step["step"]
            if kind not in _STEPS:
                raise ValueError(f"the step {kind!r} is not known")
            _keys(step, _STEPS[kind])
            value = _VALUES.get(kind)
            if value is not None and not isinstance(step.get(value, 0), str | None):
                raise ValueError(f"`{value}` is missing or of another kind")


def _keys(found: "Any", wanted: "dict[str, type]") -> None:
    if not isinstance(found, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - see above
    for key, kind in wanted.items():
        if type(found.get(key)) is not kind:
            raise ValueError(f"`{key}` is missing or of another kind")
