"""`init` as a person uses it: a policy from what was found, and no file lost."""

import stat
from pathlib import Path

import pytest

from librespot_guard.policy import assign, load
from librespot_guard.snapshot import dumps
from policy.factory import HOME, host, listening, service
from support import ALONE, Guard

SERVICES = (
    service("living-room", unit="librespot.service", listeners=[listening(pinned=True)]),
    service("Küche: 'laut' #1", "spotifyd", pid=2),
)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The snapshot of a host with two services."""
    path = tmp_path / "host.json"
    path.write_text(dumps(host(*SERVICES)), encoding="utf-8")
    return path


def test_to_standard_output(guard: Guard, snapshot: Path) -> None:
    """The policy alone is on stdout, what to do next on stderr; it speaks of every service."""
    done = guard("init", "--snapshot", snapshot)
    policy = load(done.stdout, file="init")

    assert done.returncode == 0
    assert [a.service for a in assign(policy, host(*SERVICES))] == list(SERVICES)
    assert "drafted a policy for 2 services: living-room, " in done.stderr
    assert "next: save it with `librespot-guard init -o policy.yaml`" in done.stderr


def test_to_a_file_that_check_and_plan_take(guard: Guard, snapshot: Path, tmp_path: Path) -> None:
    """The file passes `check` on the same host without a fault, and `plan` reads it."""
    path = tmp_path / "policy.yaml"
    done = guard("init", "--snapshot", snapshot, "-o", path)
    checked = guard("check", path, "--snapshot", snapshot)
    planned = guard("plan", path, "--snapshot", snapshot)

    assert (done.returncode, done.stdout) == (0, "")
    assert f"next: edit it, then `librespot-guard check {path}` and `librespot-guard plan {path}`" in done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "Traceback" not in planned.stderr
    assert "living-room" in planned.stdout


def test_a_file_is_never_replaced_unasked(guard: Guard, snapshot: Path, tmp_path: Path) -> None:
    """An existing file, or a link to nothing, stays as it is; --force replaces it."""
    path, dangling = tmp_path / "policy.yaml", tmp_path / "link.yaml"
    path.write_text("mine", encoding="utf-8")
    dangling.symlink_to(tmp_path / "gone")
    refused = guard("init", "--snapshot", snapshot, "-o", path)
    linked = guard("init", "--snapshot", snapshot, "-o", dangling)

    assert (refused.returncode, linked.returncode) == (2, 2)
    assert f"{path}: this file exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert path.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "gone").exists()
    assert guard("init", "--snapshot", snapshot, "-o", path, "--force").returncode == 0
    assert load(path.read_text(encoding="utf-8"), file="p").services


def test_no_service(guard: Guard, tmp_path: Path) -> None:
    """A host without a service gives a policy that loads, and says that there is none."""
    path = tmp_path / "host.json"
    path.write_text(dumps(host()), encoding="utf-8")
    done = guard("init", "--snapshot", path)

    assert done.returncode == 0
    assert load(done.stdout, file="init").services == {}
    assert "no service of the librespot family was found" in done.stderr


@pytest.mark.kernel
def test_of_this_host(guard: Guard) -> None:
    """Without a snapshot it reads this host, as any user; here one without the daemons of other tests, which it would ask."""
    done = guard("init", prefix=ALONE)

    assert done.returncode == 0
    load(done.stdout, file="init")


def test_a_full_disk_leaves_the_old_file(guard: Guard, snapshot: Path, tmp_path: Path) -> None:
    """When the policy can't be written whole, the old one stays as it was, and the status is 3."""
    path = tmp_path / "policy.yaml"
    path.write_text("mine", encoding="utf-8")
    done = guard("init", "--snapshot", snapshot, "-o", path, "--force", prefix=("prlimit", "--fsize=100"))

    assert done.returncode == 3
    assert str(path) in done.stderr
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_snapshot_that_is_none(guard: Guard, tmp_path: Path) -> None:
    """A broken snapshot is an input error, and no policy is written."""
    path = tmp_path / "host.json"
    path.write_text(dumps(host(namespaces=[HOME]))[:-20], encoding="utf-8")
    done = guard("init", "--snapshot", path, "-o", tmp_path / "policy.yaml")

    assert done.returncode == 2
    assert "not a whole JSON document" in done.stderr
    assert not (tmp_path / "policy.yaml").exists()
