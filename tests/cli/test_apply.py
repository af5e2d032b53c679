"""`apply`, `confirm` and `rollback` as a person types them: usage, questions, outputs."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apply.stage import DENIED, Stage, stage
from librespot_guard.apply import quick
from support import Guard, Schema

HOME = ("192.168.10.0/25",)


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Stage]:
    """A speaker with a stand-in for librespot, and a phone."""
    with stage(tmp_path) as ready:
        yield ready


@pytest.mark.parametrize("value", ["4s", "0", "61m", "2h", "soon", "-5", "1.5m", ""])
def test_a_time_out_of_range_is_a_usage_error(guard: Guard, tmp_path: Path, value: str) -> None:
    """`--confirm-within` takes 5s to 1h and nothing else."""
    done = guard("apply", tmp_path / "policy.yaml", f"--confirm-within={value}")

    assert done.returncode == 2
    assert "5s to 1h" in done.stderr


def test_a_missing_policy_is_an_input_error(guard: Guard, tmp_path: Path) -> None:
    """The file is named; nothing was looked at or changed."""
    done = guard("apply", tmp_path / "none.yaml", "--yes")

    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    assert not (tmp_path / "state").exists()


def test_there_is_no_apply_to_a_snapshot(guard: Guard, tmp_path: Path) -> None:
    """A change is made on the host it is for: `--snapshot` is not offered."""
    assert guard("apply", tmp_path / "p.yaml", "--snapshot", tmp_path / "s.json").returncode == 2


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ([], ([], [], "text")),
        (["0a1b2c3d"], (["0a1b2c3d"], [], "text")),
        (["--force", "0a1b2c3d", "--format", "json"], (["0a1b2c3d"], ["--force"], "json")),
        (["--format", "yaml"], None),
        (["--format"], None),
        (["--help"], None),
        (["a", "b"], None),
        (["--format=json"], None),
        ([""], None),
    ],
)
def test_the_quick_way_takes_only_what_it_understands(
    words: list[str], parsed: tuple[list[str], list[str], str] | None
) -> None:
    """Anything but the plain forms is left to click, which explains it."""
    assert quick._parse(words, words=1, flags=("--force",)) == parsed


def test_confirm_explains_itself(guard: Guard) -> None:
    """The full command line answers what the quick way leaves to it."""
    done = guard("confirm", "--help")

    assert done.returncode == 0
    assert "NEW connection" in done.stdout
    assert guard("confirm", "--format=json").returncode == 1
    assert guard("confirm", "a", "b").returncode == 2


def test_nothing_to_confirm_and_nothing_to_roll_back(guard: Guard) -> None:
    """Both are the answer no, with what to do."""
    confirm, rollback = guard("confirm"), guard("rollback")

    assert (confirm.returncode, rollback.returncode) == (1, 1)
    assert "no change is pending" in confirm.stderr
    assert "hint:" in confirm.stderr
    assert "nothing to roll back" in rollback.stderr


@pytest.mark.kernel
def test_without_a_terminal_it_wants_yes(on: Stage) -> None:
    """A script must say `--yes`; without it nothing is changed."""
    done = on.guard("apply", on.policy(*HOME))

    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert on.rules() == ""


@pytest.mark.kernel
def test_every_outcome_follows_its_schema(on: Stage, schema: Schema) -> None:
    """pending, confirmed, unchanged, cancelled, expired and reverted are documents of one schema, alone on standard output."""
    outcomes = []
    for words in (
        ["apply", on.policy(*HOME), "--yes", "--no-wait"],
        ["confirm"],
        ["apply", on.policy(*HOME), "--yes"],
        ["apply", on.policy(f"{DENIED}/32"), "--yes", "--no-wait"],
        ["rollback"],
        ["apply", on.policy(f"{DENIED}/32"), "--yes", "--confirm-within", "5s"],
        ["rollback"],
    ):
        document = json.loads(on.guard(*words, "--format", "json").stdout)
        schema("apply").validate(document)
        outcomes.append(document["outcome"])
        schema("status").validate(json.loads(on.guard("status", "--format", "json").stdout))

    assert outcomes == ["pending", "confirmed", "unchanged", "pending", "cancelled", "expired", "reverted"]
    schema("history").validate(json.loads(on.guard("history", "--format", "json").stdout))


@pytest.mark.kernel
@pytest.mark.parametrize(("answer", "status"), [("n", 1), ("y", 5)])
def test_on_a_terminal_it_asks(on: Stage, answer: str, status: int) -> None:
    """It shows the plan, asks, and changes only after a yes; then it counts down and says how it ended."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "librespot_guard", "apply", str(on.policy(*HOME)), "--confirm-within", "5s"]
    process = on.speaker.popen(
        argv, env=on.environment(), cwd=str(on.folder), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    until = time.monotonic() + 30
    while b"Apply this?" not in shown:
        assert time.monotonic() < until
        shown += os.read(ours, 4096)
    os.write(ours, answer.encode() + b"\n")
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(ours)

    assert process.wait(20) == status
    text = shown.decode()
    assert ("librespot-guard confirm" in text) == (status == 5)
    assert ("s to confirm" in text) == (status == 5)
    assert on.rules() == ""


@pytest.mark.kernel
def test_a_hang_up_of_the_terminal_leaves_the_gate_armed(on: Stage) -> None:
    """When the terminal goes away, the tool ends, and the change can still be confirmed from another session."""
    ours, theirs = pty.openpty()
    argv = [
        "setsid",
        "--ctty",
        "--wait",
        sys.executable,
        "-m",
        "librespot_guard",
        "apply",
        str(on.policy(*HOME)),
        "--yes",
    ]
    process = on.speaker.popen(
        argv, env=on.environment(), cwd=str(on.folder), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    until = time.monotonic() + 30
    while b"s to confirm" not in shown:
        assert time.monotonic() < until
        shown += os.read(ours, 4096)

    os.close(ours)

    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.stop()
        raise
    assert not on.connects(DENIED)
    assert on.guard("confirm").returncode == 0
    assert not on.connects(DENIED)


@pytest.mark.kernel
def test_a_saved_plan_is_applied_only_as_it_was_seen(on: Stage) -> None:
    """`--plan` accepts the plan that was saved, and refuses after the rules or the policy moved; nothing is changed then."""
    policy, saved = on.policy(*HOME), on.folder / "plan.json"
    assert on.guard("plan", policy, "-o", saved).returncode == 0
    other = on.guard("apply", on.policy("192.168.10.0/24"), "--plan", saved, "--yes", "--no-wait")
    untouched = on.rules()
    same = on.guard("apply", policy, "--plan", saved, "--yes", "--no-wait")

    assert other.returncode == 1
    assert "another one now" in other.stderr
    assert not untouched
    assert same.returncode == 0, same.stderr


@pytest.mark.kernel
def test_lost_boot_files_are_written_again(on: Stage) -> None:
    """Applying a policy that is in force mends its boot files, and says so."""
    policy = on.policy(*HOME)
    on.guard("apply", policy, "--yes", "--no-wait")
    on.guard("confirm")
    before = on.files()
    (on.folder / "root/etc/librespot-guard/rules.nft").unlink()
    done = on.guard("apply", policy, "--yes")

    assert done.returncode == 0
    assert "written again" in done.stderr
    assert before == on.files()


def test_something_else_is_no_saved_plan(guard: Guard, tmp_path: Path) -> None:
    """A file that is no plan is refused before the host is looked at."""
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    (tmp_path / "policy.yaml").write_text("", encoding="utf-8")
    done = guard("apply", tmp_path / "policy.yaml", "--plan", tmp_path / "plan.json", "--yes")

    assert done.returncode == 2
    assert "not a saved plan" in done.stderr
