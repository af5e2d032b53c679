"""What `status` says of rules that another program changed, of services that moved, and where nothing can be written."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from apply.stage import DENIED, PORT, Stage, stage

pytestmark = pytest.mark.kernel
HOME = ("192.168.10.0/25", "fd00:10::/64", "fd00:20::/64")


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Stage]:
    """A speaker with a confirmed policy."""
    with stage(tmp_path) as ready:
        assert ready.guard("apply", ready.policy(*HOME), "--yes", "--no-wait").returncode == 0
        assert ready.guard("confirm").returncode == 0
        yield ready


def warnings(on: Stage) -> list[str]:
    """The warnings of `status`."""
    found: list[str] = json.loads(on.guard("status", "--format", "json").stdout)["warnings"]
    return found


def test_rules_that_another_program_opened_are_noticed(on: Stage) -> None:
    """Whatever in our table was emptied, added to or put to sleep, `status` does not call it in force without a word."""
    policy = on.rules().partition("goto policy_")[2][:8]
    assert warnings(on) == []

    for done in (
        f"flush chain inet librespot_guard policy_{policy}",
        f"flush chain inet librespot_guard connect_kitchen_{policy}",
        f"insert rule inet librespot_guard policy_{policy} accept",
        "insert rule inet librespot_guard input accept",
        f"add element inet librespot_guard home_6_{policy} {{ 2001:db8::/32 }}",
        "add element inet librespot_guard gate { ipv4 : accept }",
        "add table inet librespot_guard { flags dormant; }",
    ):
        on.speaker.run(["nft", done], check=True)

        [told] = warnings(on)
        assert "were changed by another program" in told, done

        on.speaker.run(["nft", "-f", str(on.folder / "root/etc/librespot-guard/rules.nft")], check=True)
        assert warnings(on) == [], done
    assert not on.connects(DENIED)


def test_a_pending_change_that_another_program_opened_is_noticed(on: Stage) -> None:
    """The same while a change waits for its confirmation: whoever tries it must not take an open host for a closed one."""
    assert on.guard("apply", on.policy(f"{DENIED}/32"), "--yes", "--no-wait").returncode == 0
    assert warnings(on) == []

    on.speaker.run(["nft", "flush table inet librespot_guard"], check=True)

    assert any("another program" in each for each in warnings(on))
    assert on.guard("rollback").returncode == 0
    assert warnings(on) == []


def test_a_change_that_nothing_is_recorded_of_is_noticed(on: Stage) -> None:
    """Where the records of a pending change are gone, or elsewhere, `status` does not call the host as it was."""
    assert on.guard("apply", on.policy(f"{DENIED}/32"), "--yes", "--no-wait").returncode == 0

    done = on.guard("status", "--format", "json", env={"LIBRESPOT_GUARD_STATE": str(on.folder / "elsewhere")})

    assert any("nothing is recorded of it" in each for each in json.loads(done.stdout)["warnings"])


def test_a_service_that_moved_is_noticed(on: Stage) -> None:
    """When nothing listens on a guarded port any more, `status` says so: the service may be open on another one."""
    on.processes[0].stop()

    [told] = warnings(on)

    assert f"nothing listens on tcp port {PORT}, udp port 5353" in told
    assert "librespot-guard plan" in told


def test_a_state_that_can_only_be_read(on: Stage) -> None:
    """On a file system that is mounted read-only `status` still answers, also with a change whose end it can't record."""
    assert on.guard("apply", on.policy(f"{DENIED}/32"), "--yes", "--no-wait").returncode == 0
    on.speaker.run(["nft", "-f", str(on.folder / "root/etc/librespot-guard/rules.nft")], check=True)
    state = str(on.folder / "state")
    on.speaker.run(["mount", "--bind", state, state], check=True)
    on.speaker.run(["mount", "-o", "remount,bind,ro", state], check=True)

    try:
        done = on.guard("status", "--format", "json")
    finally:
        on.speaker.run(["umount", state], check=True)

    found = json.loads(done.stdout)
    assert (done.returncode, found["pending"]) == (0, None)
    assert found["in_force"]["id"] == found["kernel"]["in_force"]
    assert "can't be written to" in found["warnings"][0]
