"""What can go wrong on a machine: a clear error with its exit status, nothing lost, nothing half changed."""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apply.stage import DENIED, Stage, stage

pytestmark = pytest.mark.kernel
HOME = ("192.168.10.0/25", "fd00:10::/112")


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Stage]:
    """A speaker with a stand-in for librespot, and a phone."""
    with stage(tmp_path) as ready:
        yield ready


def status(on: Stage) -> dict[str, dict[str, object] | None]:
    """The document of `status`."""
    done = on.guard("status", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, object] | None] = json.loads(done.stdout)
    return found


def test_no_nft(on: Stage) -> None:
    """Without nft, apply says so with 3, and no change is recorded as pending."""
    rules = on.rules()
    # seen only in the sandbox's own mount namespace
    for path in {os.path.realpath(p) for p in ("/usr/sbin/nft", "/sbin/nft", str(shutil.which("nft")))}:
        on.speaker.run(["mount", "--bind", os.devnull, path], check=True)

    done = on.guard("apply", on.policy(*HOME), "--yes")

    assert done.returncode == 3
    assert "`nft` is not on the PATH" in done.stderr
    assert "install" in done.stderr
    assert not (on.folder / "state/pending.json").exists()
    assert rules == ""


def test_nft_is_found_beside_the_path(on: Stage, tmp_path: Path) -> None:
    """After `su` without `-` the PATH lacks /usr/sbin, where Debian keeps nft: it is found all the same."""
    (tmp_path / "empty").mkdir()

    done = on.guard("apply", on.policy(*HOME), "--yes", "--no-wait", env={"PATH": str(tmp_path / "empty")})

    assert done.returncode == 0, done.stderr


def test_no_privilege(on: Stage) -> None:
    """Without CAP_NET_ADMIN, apply and confirm say so with 3, and nothing changes."""
    unprivileged = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    argv = [*unprivileged, sys.executable, "-m", "librespot_guard", "apply", str(on.policy(*HOME)), "--yes"]

    done = on.speaker.run(argv, env=on.environment(), cwd=str(on.folder))

    assert done.returncode == 3
    assert "sudo" in done.stderr
    assert on.rules() == ""
    assert status(on)["pending"] is None


def test_privilege_lost_before_confirm(on: Stage) -> None:
    """A confirmation without privilege says so with 3; the change stays pending and can still be confirmed."""
    assert on.guard("apply", on.policy(*HOME), "--yes", "--no-wait", "--confirm-within", "1m").returncode == 0
    unprivileged = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]

    done = on.speaker.run(
        [*unprivileged, sys.executable, "-m", "librespot_guard", "confirm"], env=on.environment(), cwd=str(on.folder)
    )

    assert done.returncode == 3
    assert "sudo" in done.stderr
    assert on.guard("confirm").returncode == 0


@pytest.mark.parametrize("room", [0, 4096, 8192, 12288, 20480])
def test_disk_full(on: Stage, tmp_path: Path, room: int) -> None:
    """With no room, or room for a part, apply says so with 3, the kernel keeps the old rules, and nothing is pending."""
    state = tmp_path / "state"
    state.mkdir()
    # a file system of its own for the state, nearly full, in the mount namespace of the sandbox
    full = f"mount -t tmpfs -o size=64k tmpfs {state} && head -c {65536 - room} /dev/zero > {state}/ballast"
    on.speaker.run(["sh", "-c", full], check=True)

    done = on.guard("apply", on.policy(*HOME), "--yes", "--no-wait", "--confirm-within", "1m")

    if done.returncode == 0:
        assert room >= 12288
        assert on.guard("rollback").returncode in (0, 3)
    else:
        assert done.returncode == 3
        assert "No space left" in done.stderr
    assert on.rules() == ""
    assert on.connects(DENIED)
    on.speaker.run(["rm", f"{state}/ballast"], check=True)
    assert status(on)["pending"] is None


def test_disk_full_when_the_boot_files_are_written(on: Stage, tmp_path: Path) -> None:
    """A confirmation that can't write the boot files says what is in force, and the next command finishes it."""
    assert on.guard("apply", on.policy(*HOME), "--yes", "--no-wait", "--confirm-within", "1m").returncode == 0
    etc = tmp_path / "root/etc"
    full = f"mount -t tmpfs -o size=64k tmpfs {etc} && mkdir -p {etc}/systemd/system && head -c 65536 /dev/zero > {etc}/ballast"
    on.speaker.run(["sh", "-c", full], check=True)

    done = on.guard("confirm")
    assert done.returncode == 3
    assert "in force" in done.stderr
    assert not on.connects(DENIED)
    on.speaker.run(["rm", f"{etc}/ballast"], check=True)
    found = status(on)

    assert found["pending"] is None
    assert found["in_force"] is not None
    written = on.speaker.run(["cat", f"{etc}/librespot-guard/rules.nft"], check=True).stdout
    assert str(found["in_force"]["id"]) in written


def test_apply_killed_at_any_instant(on: Stage) -> None:
    """Whenever apply is killed, `status` and the kernel agree: the change is pending behind its gate, or there is none."""
    for number in range(12):
        process = on.start("apply", on.policy(*HOME), "--yes", "--confirm-within", "1m")
        if number % 3:
            # from the first record on, where it changes things
            until = time.monotonic() + 30
            while not (on.folder / "state/pending.json").exists() and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.06))
        else:
            time.sleep(random.uniform(0.1, 1.0))
        process.kill()
        process.wait(5)

        found = status(on)
        kernel, pending = found["kernel"], found["pending"]

        assert kernel is not None
        if pending is None:
            assert on.rules() == ""
        else:
            assert kernel["behind_gate"] == pending["id"]
            assert not on.connects(DENIED, seconds=0.2)
            assert on.guard("rollback").returncode == 0
        assert on.rules() == ""


def test_confirm_killed_at_any_instant(on: Stage) -> None:
    """Whenever confirm is killed, afterwards the new policy is in force and in the boot files, or the old one still is, complete."""
    done = on.guard("apply", on.policy(*HOME), "--yes", "--no-wait", "--confirm-within", "1m")
    assert done.returncode == 0
    begin = time.monotonic()
    assert on.guard("confirm").returncode == 0
    takes = time.monotonic() - begin
    networks = [f"10.{number}.0.0/16" for number in range(8)]
    old_rules, old_file = on.rules(), on.files()["etc/librespot-guard/rules.nft"]
    for network in networks:
        assert (
            on.guard("apply", on.policy(*HOME, network), "--yes", "--no-wait", "--confirm-within", "1m").returncode == 0
        )
        process = on.start("confirm")
        time.sleep(random.uniform(0.2 * takes, takes))
        process.kill()
        process.wait(5)
        file_at_the_cut = on.files()["etc/librespot-guard/rules.nft"]

        found = status(on)
        kernel, pending, in_force = found["kernel"], found["pending"], found["in_force"]

        assert kernel is not None
        assert in_force is not None
        assert kernel["in_force"] == in_force["id"]
        assert str(in_force["id"]) in on.files()["etc/librespot-guard/rules.nft"]
        assert file_at_the_cut.endswith("}\n")
        if pending is not None:
            assert kernel["behind_gate"] == pending["id"]
            assert file_at_the_cut == old_file
            assert on.guard("rollback").returncode == 0
            assert on.rules() == old_rules
        old_rules, old_file = on.rules(), on.files()["etc/librespot-guard/rules.nft"]
        assert not on.connects(DENIED, seconds=0.2)
    leftovers = [p.name for p in (on.folder / "root/etc/librespot-guard").iterdir() if p.name != "rules.nft"]
    assert len(leftovers) <= len(networks)


def test_a_restart_of_the_machine_while_a_change_is_pending(on: Stage) -> None:
    """After a restart the boot files are the old ones, so the old rules are in force, and the change is recorded as expired."""
    assert on.guard("apply", on.policy(*HOME), "--yes", "--no-wait", "--confirm-within", "1m").returncode == 0
    pending = on.folder / "state/pending.json"
    found = json.loads(pending.read_text(encoding="utf-8"))
    # what a restart leaves: an empty kernel and the state of another boot
    on.speaker.run(["nft", "flush", "ruleset"], check=True)
    pending.write_text(json.dumps({**found, "boot": "00000000-0000-0000-0000-000000000000"}), encoding="utf-8")

    done = on.guard("confirm")

    assert done.returncode == 5
    assert status(on)["pending"] is None
    assert "etc/librespot-guard/rules.nft" not in on.files()
    last = json.loads(on.guard("history", "--format", "json").stdout)["events"][-1]
    assert "restarted" in last["reason"]
