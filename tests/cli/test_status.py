"""`status` and `history`: what they say of a host where nothing, something, or something broken was recorded."""

import json
import os
from pathlib import Path

import pytest

from librespot_guard.apply.journal import State
from librespot_guard.errors import MachineError, Refused
from support import Guard, Schema

EVENT = {"id": "0a1b2c3d", "title": "Speaker", "policy": "/p.yaml", "policy_sha256": "00"}


def test_a_host_where_nothing_was_ever_changed(guard: Guard, schema: Schema, tmp_path: Path) -> None:
    """Both commands answer, leave no state behind, and follow their schemas."""
    status, history = guard("status", "--format", "json"), guard("history", "--format", "json")

    schema("status").validate(json.loads(status.stdout))
    schema("history").validate(json.loads(history.stdout))
    assert json.loads(status.stdout)["pending"] is None
    assert json.loads(history.stdout)["events"] == []
    assert not (tmp_path / "state").exists()


def test_the_full_command_line_says_the_same(guard: Guard) -> None:
    """The quick way and click give the same text."""
    assert guard("status").stdout == guard("status", "--format=text").stdout
    assert "really loaded" in guard("status", "--help").stdout


def test_history_survives_a_torn_line(guard: Guard, tmp_path: Path) -> None:
    """A line torn by a power cut is left out; what is written after it is whole."""
    state = State(str(tmp_path / "state"))
    with state:
        state.record("armed", EVENT)
        with (tmp_path / "state/journal.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"time": "2026-11-24T12:')
        state.record("confirmed", EVENT, "a reason")

    events = json.loads(guard("history", "--format", "json").stdout)["events"]

    assert [e["event"] for e in events] == ["armed", "confirmed"]
    assert "a reason" in guard("history").stdout
    assert guard("history", "--last", "1").stdout.count("\n") == 1


def test_damaged_state_is_a_clear_error(guard: Guard, tmp_path: Path) -> None:
    """A damaged record is named with what to do; it is never taken for "nothing is pending"."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/pending.json").write_text("{", encoding="utf-8")

    done = guard("status")

    assert done.returncode == 3
    assert "pending.json: damaged" in done.stderr


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    """A second command is refused while the first holds the lock, and told its pid; afterwards the lock is free."""
    with State(str(tmp_path)), pytest.raises(Refused, match=f"pid {os.getpid()}"), State(str(tmp_path)):
        raise AssertionError("two at once")
    with State(str(tmp_path)) as again:
        assert again.pending() is None


def test_the_state_is_private(tmp_path: Path) -> None:
    """Only the owner can read what was done on the host."""
    state = State(str(tmp_path / "state"))
    with state:
        state.record("armed", EVENT)
        state.write_pending(EVENT)

    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "state").iterdir()} == {0o600}


def test_state_that_can_not_be_made_is_a_machine_error(tmp_path: Path) -> None:
    """A path that is no folder is an error with its name, not a traceback."""
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(MachineError, match="file"), State(str(tmp_path / "file")):
        raise AssertionError("entered")
