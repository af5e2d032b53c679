"""The gate: nobody confirms, and the kernel itself puts the old rules back, whatever happened to the tool."""

import json
import signal
import sys
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


def wait_for_the_fall(on: Stage, seconds: float = 8) -> None:
    """Wait until the gate has fallen."""
    until = time.monotonic() + seconds
    while (
        "timeout"
        in on.speaker.run(["nft", "list", "map", "inet", "librespot_guard", "gate"]).stdout.partition("elements")[2]
    ):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("event", ["SIGKILL", "SIGHUP", "SIGTERM", "SIGINT"])
def test_the_old_rules_come_back_when_the_tool_is_ended(on: Stage, event: str) -> None:
    """Killed, hung up, terminated or interrupted while it waits: the new rules hold until the time is over, then the old ones."""
    process = on.armed(on.policy(*HOME))
    assert on.connects(ALLOWED)
    assert not on.connects(DENIED)

    if event == "SIGKILL":
        process.kill()
    else:
        process.popen.send_signal(getattr(signal, event))
    status = process.wait(5)
    assert not on.connects(DENIED)
    wait_for_the_fall(on)

    assert status == (-signal.SIGKILL if event == "SIGKILL" else 128 + getattr(signal, event))
    if event != "SIGKILL":
        assert "stays armed" in on.log()
    assert on.connects(DENIED)
    assert on.connects(ALLOWED)
    assert "nothing" in on.guard("status").stdout
    assert on.rules() == ""
    history = json.loads(on.guard("history", "--format", "json").stdout)["events"]
    assert [e["event"] for e in history] == ["armed", "expired"]
    assert "etc/librespot-guard/rules.nft" not in on.files()


def test_the_policy_before_comes_back(on: Stage) -> None:
    """When another policy was confirmed before, it is what comes back, and its boot files were never touched."""
    on.armed(on.policy(*HOME))
    assert on.guard("confirm").returncode == 0
    rules, files = on.rules(), on.files()
    process = on.armed(on.policy(f"{DENIED}/32"))
    assert on.connects(DENIED)
    assert not on.connects(ALLOWED)

    status = process.wait(12)

    assert status == 5
    assert on.connects(ALLOWED)
    assert not on.connects(DENIED)
    assert on.rules() == rules
    assert on.files() == files


def test_confirm_in_time_keeps_the_rules_now_and_at_boot(on: Stage) -> None:
    """After `confirm` the rules outlive the gate's time, and the boot files load exactly what is in the kernel."""
    process = on.armed(on.policy(*HOME))

    done = on.guard("confirm", "--format", "json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["outcome"] == "confirmed"
    assert process.wait(5) == 0
    rules, files = on.rules(), on.files()
    assert set(files) == {
        "etc/librespot-guard/rules.nft",
        "etc/systemd/system/librespot-guard.service",
        "etc/systemd/system/nftables.service.d/50-librespot-guard.conf",
        "etc/systemd/system/sysinit.target.wants/librespot-guard.service",
    }
    assert files["etc/systemd/system/sysinit.target.wants/librespot-guard.service"] == "../librespot-guard.service"
    on.speaker.run(["nft", "flush", "ruleset"], check=True)
    on.speaker.run(["nft", "-f", str(on.folder / "root/etc/librespot-guard/rules.nft")], check=True)
    assert on.rules() == rules
    assert not on.connects(DENIED)


def test_confirm_too_late_says_so(on: Stage) -> None:
    """A confirmation after the time changes nothing and exits with 5."""
    process = on.armed(on.policy(*HOME))
    process.kill()
    wait_for_the_fall(on)

    done = on.guard("confirm")

    assert done.returncode == 5
    assert "not confirmed in time" in done.stderr
    assert on.rules() == ""
    assert on.guard("confirm").returncode == 5


def test_confirm_wants_a_new_connection(on: Stage) -> None:
    """The connection that made the change can't confirm it (the old one survives nearly any rules); a new one or `--force` can."""
    here = {"SSH_CONNECTION": "192.168.10.9 50000 192.168.10.2 22"}
    assert on.guard("apply", on.policy(*HOME), "--yes", "--no-wait", env=here).returncode == 0

    refused = on.guard("confirm", env=here)
    behind_sudo = on.speaker.run(
        ["sh", "-c", f"env -u SSH_CONNECTION {sys.executable} -m librespot_guard confirm; exit $?"],
        env=on.environment(**here),
    )
    wrong = on.guard("confirm", "00000000", env={"SSH_CONNECTION": "192.168.10.9 50001 192.168.10.2 22"})
    kept = on.guard("confirm", env={"SSH_CONNECTION": "192.168.10.9 50001 192.168.10.2 22"})

    assert (refused.returncode, behind_sudo.returncode) == (1, 1)
    assert "second session" in refused.stderr
    assert "second session" in behind_sudo.stderr
    assert wrong.returncode == 1
    assert "not 00000000" in wrong.stderr
    assert kept.returncode == 0


def test_an_established_connection_that_was_cut_goes_on_after_the_fall(on: Stage) -> None:
    """The new rules freeze a connection that they do not allow; when the old ones are back it goes on, with nothing lost."""
    talk = on.traffic("talk", DENIED)
    until = time.monotonic() + 20
    while not (on.folder / "talking").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    process = on.armed(on.policy(*HOME))
    (on.folder / "armed").touch()

    assert process.wait(15) == 5
    assert talk() == [True, "during\n"]
