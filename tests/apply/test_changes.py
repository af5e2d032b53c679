"""One change at a time, nothing twice, and every way back."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apply.stage import ALLOWED, DENIED, Stage, stage

pytestmark = pytest.mark.kernel
HOME = ("192.168.10.0/25", "fd00:10::/112")


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Stage]:
    """A speaker with a stand-in for librespot, and a phone."""
    with stage(tmp_path) as ready:
        yield ready


def confirmed(on: Stage, *networks: str) -> None:
    """Apply and confirm a policy."""
    done = on.guard("apply", on.policy(*networks), "--yes", "--no-wait", "--confirm-within", "1m")
    assert done.returncode == 0, done.stderr
    done = on.guard("confirm")
    assert done.returncode == 0, done.stderr


def test_the_second_apply_changes_nothing(on: Stage) -> None:
    """Applying the policy in force touches neither kernel nor files nor history, and asks for no confirmation."""
    confirmed(on, *HOME)
    before = on.speaker.run(["nft", "-a", "list", "ruleset"], check=True).stdout, on.files()
    journal = (on.folder / "state/journal.jsonl").read_text()

    done = on.guard("apply", on.policy(*HOME), "--yes", "--format", "json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["outcome"] == "unchanged"
    assert (on.speaker.run(["nft", "-a", "list", "ruleset"], check=True).stdout, on.files()) == before
    assert (on.folder / "state/journal.jsonl").read_text() == journal


def test_of_two_applies_at_once_one_wins(on: Stage) -> None:
    """Two applies started together: one arms its change, the other is refused and names who is at work."""
    first = on.start("apply", on.policy(*HOME), "--yes", "--no-wait", log="first")
    second = on.start("apply", on.policy(f"{DENIED}/32"), "--yes", "--no-wait", log="second")

    results = {first.wait(30): "first", second.wait(30): "second"}

    assert sorted(results) == [0, 1], (on.log("first"), on.log("second"))
    loser = on.log(results[1])
    assert "pid" in loser or "changed while the plan was made" in loser
    history = json.loads(on.guard("history", "--format", "json").stdout)["events"]
    assert [e["event"] for e in history] == ["armed"]
    assert on.guard("status", "--format", "json").returncode == 0


def test_a_second_apply_while_one_is_pending_is_refused(on: Stage) -> None:
    """The refusal names the pending change and how to end it; the pending one is not touched."""
    process = on.armed(on.policy(*HOME), seconds=60)
    rules = on.rules()

    done = on.guard("apply", on.policy(f"{DENIED}/32"), "--yes")

    assert done.returncode == 1
    assert "is pending for another" in done.stderr
    assert "rollback" in done.stderr
    assert on.rules() == rules
    process.stop()


def test_rollback_of_a_pending_change(on: Stage) -> None:
    """`rollback` undoes what is pending at once; the apply that waits for it ends with 5."""
    process = on.armed(on.policy(*HOME), seconds=60)
    assert not on.connects(DENIED)

    done = on.guard("rollback", "--reason", "wrong network")

    assert done.returncode == 0
    assert process.wait(5) == 5
    assert on.connects(DENIED)
    assert on.rules() == ""
    last = json.loads(on.guard("history", "--format", "json").stdout)["events"][-1]
    assert (last["event"], last["reason"]) == ("cancelled", "wrong network")


def test_rollback_goes_back_through_the_confirmed_policies(on: Stage) -> None:
    """Each `rollback` goes back by one confirmed policy, in the kernel and in the boot files, at the end to none."""
    confirmed(on, *HOME)
    rules, files = on.rules(), on.files()
    confirmed(on, f"{DENIED}/32")
    assert on.connects(DENIED)

    back = on.guard("rollback", "--format", "json")

    assert json.loads(back.stdout)["outcome"] == "reverted"
    assert not on.connects(DENIED)
    assert on.connects(ALLOWED)
    assert (on.rules(), on.files()) == (rules, files)
    assert on.guard("rollback").returncode == 0
    assert (on.rules(), on.files()) == ("", {})
    assert on.guard("rollback").returncode == 1


def test_rules_that_somebody_flushed_are_noticed_and_come_back(on: Stage) -> None:
    """`status` says that the confirmed rules are gone, and `apply` of the same policy loads them again."""
    confirmed(on, *HOME)
    on.speaker.run(["nft", "flush", "ruleset"], check=True)

    told = on.guard("status")
    confirmed(on, *HOME)

    assert "NOT loaded" in told.stderr
    assert not on.connects(DENIED)
    assert on.guard("status").stderr == ""
    assert on.guard("rollback").returncode == 0
    assert on.rules() == ""


def test_a_table_that_somebody_edited_is_refused(on: Stage) -> None:
    """A rule of somebody else in our table would be lost or could not be put back: apply refuses and says what to do."""
    confirmed(on, *HOME)
    on.speaker.run(["nft", "add rule inet librespot_guard input tcp dport 22 drop"], check=True)
    rules = on.rules()

    done = on.guard("apply", on.policy(f"{DENIED}/32"), "--yes")

    assert done.returncode == 1
    assert "changed by somebody else" in done.stderr
    assert on.rules() == rules


def test_a_change_that_another_program_removed_is_noticed(on: Stage) -> None:
    """If the table is flushed while a change is pending, `confirm` says 5 and nothing is pending any more."""
    process = on.armed(on.policy(*HOME), seconds=60)
    on.speaker.run(["nft", "flush", "ruleset"], check=True)

    done = on.guard("confirm")

    assert done.returncode == 5
    assert "its table was removed or replaced by another program" in done.stderr
    assert "in time" not in done.stderr
    assert process.wait(5) == 5
    assert "removed or replaced by another program" in on.log()
    assert on.guard("confirm").stderr == done.stderr
    assert json.loads(on.guard("status", "--format", "json").stdout)["pending"] is None


def test_rules_of_others_are_never_touched(on: Stage) -> None:
    """A foreign table is the same, handle by handle, after apply, confirm and rollback."""
    on.speaker.run(
        [
            "nft",
            "add table inet theirs; add chain inet theirs input { type filter hook input priority 0; policy accept; }",
        ],
        check=True,
    )
    on.speaker.run(["nft", "add rule inet theirs input tcp dport 9999 drop"], check=True)
    theirs = on.speaker.run(["nft", "-a", "list", "table", "inet", "theirs"], check=True).stdout

    confirmed(on, *HOME)
    confirmed(on, f"{DENIED}/32")
    assert on.guard("rollback").returncode == 0

    assert on.speaker.run(["nft", "-a", "list", "table", "inet", "theirs"], check=True).stdout == theirs


def test_replacing_a_policy_under_traffic_loses_nothing_and_lets_nobody_in(on: Stage) -> None:
    """While policies replace each other, no allowed connection fails and no denied one gets in."""
    confirmed(on, *HOME)
    allowed, denied = on.traffic("allowed", ALLOWED), on.traffic("denied", DENIED)

    for number in range(4):
        confirmed(on, *HOME, f"10.{number}.0.0/16")
        time.sleep(0.1)
    (on.folder / "stop").touch()
    (went, failed), (leaked, blocked) = allowed(), denied()

    assert went > 20
    assert blocked > 20
    assert (failed, leaked) == (0, 0)


def test_a_rule_of_others_that_keeps_one_allowed_device_out_is_named(on: Stage) -> None:
    """`plan` names the rule also if it drops only one of those whom the policy allows."""
    rule = f"ip saddr {ALLOWED} tcp dport 7001 drop"
    chain = "add chain inet theirs input { type filter hook input priority 300; policy accept; }"
    on.speaker.run(["nft", f"add table inet theirs; {chain}; add rule inet theirs input {rule}"], check=True)

    done = on.guard("plan", on.policy(*HOME))

    assert f"allowed by the policy, but `inet theirs input {rule}` drops it" in done.stdout
    assert not on.connects(ALLOWED)
