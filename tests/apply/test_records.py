"""Records of a newer version, or with something else in them: an error that says so, whatever command reads them; nothing half done."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from librespot_guard.apply import records
from librespot_guard.apply.journal import KEPT, State
from librespot_guard.errors import MachineError
from support import Guard

LOAD = {"step": "load-nft", "text": "", "why": "x"}
WRITE = {"step": "write-file", "path": "/etc/x", "content": None, "mode": 384, "why": "x"}
CHANGE: dict[str, Any] = {
    "id": "0a1b2c3d",
    "before": "",
    **{name: [LOAD] for name in ("arm", "confirm", "undo", "revert")},
    **{name: [WRITE, {"step": "reload-units", "why": "x"}] for name in ("boot", "revert_boot")},
}
PENDING: dict[str, Any] = {
    "id": "0a1b2c3d",
    "phase": "armed",
    "deadline": 1.5,
    "boot": "b",
    "pid": 1,
    "ssh": "",
    "title": "T",
    "policy": "/p",
    "change": CHANGE,
}
CONFIRMED: dict[str, Any] = {"id": "0a1b2c3d", "title": "T", "policy": "/p", "time": "t", "change": CHANGE}


def wrong(whole: Any, keys: tuple[str | int, ...] = ()) -> Iterator[Any]:
    """The record with each value, at any depth, taken away or made another kind."""
    here = whole
    for key in keys:
        here = here[key]
    for key in list(here) if isinstance(here, dict) else range(len(here)):
        if key in ("title", "policy", "time") and whole is not CONFIRMED:
            continue
        if key in ("why", "before", "content") and len(keys) > 1 and here.get("step") in ("load-nft", "reload-units"):
            continue
        for value in ([1], float("nan"), {"a": 1}):
            changed = copy.deepcopy(whole)
            place = changed
            for each in keys:
                place = place[each]
            place[key] = value
            yield changed
        if isinstance(here[key], dict | list):
            yield from wrong(whole, (*keys, key))


@pytest.mark.parametrize("whole", [PENDING, CONFIRMED], ids=["pending", "confirmed"])
def test_what_this_version_writes_is_taken_and_nothing_else(whole: dict[str, Any]) -> None:
    """A value of another kind, anywhere in a record, is a fault; it is found before anything is done."""

    def check(value: Any) -> None:
        records.check_pending(value) if whole is PENDING else records.check_changes([value])

    check(whole)
    for number, changed in enumerate(wrong(whole)):
        with pytest.raises(ValueError, match=r"."):
            check(changed)
        assert number < 1000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pending.json", "[]"),
        ("pending.json", '{"id": "0a1b2c3d"}'),
        ("pending.json", json.dumps({**PENDING, "phase": "waiting"})),
        ("pending.json", json.dumps({**PENDING, "change": {**CHANGE, "undo": [{"step": "load-ebpf"}]}})),
        ("pending.json", "[" * 100_000),
        ("confirmed.json", '{"changes": 1}'),
        ("confirmed.json", '{"changes": [{"id": "0a1b2c3d"}]}'),
    ],
)
def test_every_command_says_what_is_wrong(name: str, content: str, guard: Guard, tmp_path: Path) -> None:
    """Each is status 3 with the file and what to do, for every command that reads it; the file stays as it is."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / name).write_text(content, encoding="utf-8")

    for words in (["status"], ["rollback"], ["confirm"]) if name == "pending.json" else (["status"], ["rollback"]):
        done = guard(*words)

        assert done.returncode == 3, done.stderr
        assert f"{name}: " in done.stderr
        assert "move the file away" in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "state" / name).read_text(encoding="utf-8") == content


def test_a_line_of_the_history_that_is_no_event_is_left_out(guard: Guard, tmp_path: Path) -> None:
    """Whatever stands in the history, what is an event is shown."""
    state = State(str(tmp_path / "state"))
    with state:
        state.record("armed", PENDING)
        with (tmp_path / "state/journal.jsonl").open("a", encoding="utf-8") as file:
            file.write('[1]\n{"event": "armed"}\n{"id": 1, "who": 2}\n' + "[" * 100_000 + "\n")
        state.record("expired", PENDING)

    done = guard("history", "--format", "json")

    assert [e["event"] for e in json.loads(done.stdout)["events"]] == ["armed", "expired"]
    assert guard("history").returncode == 0
    assert guard("confirm").returncode == 5


def test_a_reason_need_not_be_unicode(tmp_path: Path) -> None:
    """Whatever bytes stand on the command line, a record can be written, and read again."""
    with State(str(tmp_path)) as state:
        state.write_pending({**PENDING, "reason": "\udcff"})
        state.record("cancelled", PENDING, "\udcff")

        assert (state.pending() or {})["reason"] == "\udcff"
        assert state.history()[-1]["reason"] == "\udcff"


def test_the_last_way_back_leads_to_no_rules(tmp_path: Path) -> None:
    """However many policies were confirmed, the oldest that is kept goes back to where the first one went."""

    def numbered(number: int) -> dict[str, Any]:
        back = [{**LOAD, "text": f"back to {number - 1}"}]
        settings = {"step": "restore-file", "path": "/etc/x", "before": "", "after": "", "why": f"settings of {number}"}
        way = {"before": str(number - 1) if number else "", "revert": back, "revert_boot": [WRITE, settings]}
        return {**CONFIRMED, "id": str(number), "change": {**CHANGE, "id": str(number), **way}}

    with State(str(tmp_path)) as state:
        for number in range(KEPT + 3):
            state.write_confirmed([*state.confirmed(), numbered(number)])
        kept = state.confirmed()

    assert [each["id"] for each in kept] == [str(number) for number in range(3, KEPT + 3)]
    oldest = kept[0]["change"]
    assert (oldest["before"], oldest["revert"][0]["text"]) == ("", "back to -1")
    assert [s["why"] for s in oldest["revert_boot"] if s["step"] == "restore-file"] == [
        f"settings of {number}" for number in (3, 2, 1, 0)
    ]
    assert kept[1] == numbered(4)


def test_damaged_records_end_with_a_reason(tmp_path: Path) -> None:
    """The same for a program that uses the state."""
    (tmp_path / "pending.json").write_text("{}", encoding="utf-8")
    with pytest.raises(MachineError, match="not as this version writes it"):
        State(str(tmp_path)).pending()
