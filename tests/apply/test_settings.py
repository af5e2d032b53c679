"""Settings of a program behind the same confirmation as the rules, and back to the very bytes."""

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apply.stage import STAND_IN, Stage, stage
from librespot_guard.apply import edits, executor
from librespot_guard.errors import MachineError
from librespot_guard.targets import settings
from librespot_guard.targets.steps import WriteFile, to_json

CONFIG = (
    '# mine: "ü"\r\n[global]\r\ndevice_name = "Hall"   # the hall\r\n# zeroconf_port = 1234\r\npassword = "hunter2"\r\n'
)
POLICY = """\
policy: 1
sources:
  home: {networks: [192.168.10.0/24], why: family phones}
services:
  hall:
    match: {flavour: spotifyd}
    use: phones
    allow: {discovery: [home], connect: [home]}
"""
PORT = 7002


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Stage]:
    """A speaker with a stand-in for spotifyd, whose port its configuration file does not fix."""
    with stage(tmp_path) as ready:
        program, script = tmp_path / "spotifyd", tmp_path / "spotifyd.py"
        shutil.copy(Path(sys.executable).resolve(), program)
        with program.open("ab") as file:
            file.write(b"\0_spotify-connect\0librespot_discovery\0spotifyd\0")  # what `scan` looks for in an executable
        script.write_text(STAND_IN.replace('int(sys.argv[sys.argv.index("--zeroconf-port") + 1])', str(PORT)))
        config = tmp_path / "spotifyd.conf"
        config.write_bytes(CONFIG.encode())
        config.chmod(0o640)
        argv = [str(program), str(script), "--config-path", str(config)]
        process = ready.speaker.popen(argv, env={"PYTHONHOME": sys.base_prefix})
        ready.processes.append(process)
        deadline = time.monotonic() + 20
        while f":{PORT} " not in ready.speaker.run(["ss", "-ltn"]).stdout:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield ready


def policy(on: Stage) -> Path:
    """The policy file."""
    path = on.folder / "use.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


@pytest.mark.kernel
def test_a_setting_is_changed_after_the_confirmation_and_comes_back_with_the_rollback(on: Stage) -> None:
    """Pending, the file is untouched; confirmed, one line is there; rolled back, it is the very same file, also a second time."""
    config = on.folder / "spotifyd.conf"
    old = config.read_bytes()

    plan = json.loads(on.guard("plan", policy(on), "--format", "json").stdout)
    assert plan["settings_diff"] == f"@@ {config}:5\n+zeroconf_port = {PORT}"
    assert "hunter2" not in json.dumps(plan)
    for _ in range(2):
        done = on.guard("apply", policy(on), "--yes", "--no-wait")
        assert done.returncode == 0, done.stderr
        assert config.read_bytes() == old
        assert on.guard("confirm").returncode == 0
        assert config.read_bytes() == CONFIG.replace("1234\r\n", f"1234\r\nzeroconf_port = {PORT}\r\n").encode()
        assert config.stat().st_mode & 0o777 == 0o640
        again = on.guard("apply", policy(on), "--yes", "--format", "json")
        assert json.loads(again.stdout)["outcome"] == "unchanged", again.stdout
        assert on.guard("rollback").returncode == 0
        assert config.read_bytes() == old
        assert config.stat().st_mode & 0o777 == 0o640
    journal = "".join(p.read_text() for p in (on.folder / "state").glob("*.json*"))
    assert "hunter2" not in journal


@pytest.mark.kernel
def test_a_change_that_is_cancelled_never_touched_the_file(on: Stage) -> None:
    """The file keeps even its inode when nobody confirms."""
    config = on.folder / "spotifyd.conf"
    before = config.stat()

    assert on.guard("apply", policy(on), "--yes", "--no-wait").returncode == 0
    assert on.guard("rollback").returncode == 0

    after = config.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.kernel
def test_a_setting_alone_is_a_change_of_its_own(on: Stage) -> None:
    """With the rules in force already, the setting still is confirmed, and rolled back without touching the rules."""
    config = on.folder / "spotifyd.conf"
    path = policy(on)
    path.write_text(POLICY.replace("    use: phones\n", ""))
    assert on.guard("apply", path, "--yes", "--no-wait").returncode == 0
    assert on.guard("confirm").returncode == 0
    assert config.read_bytes() == CONFIG.encode()

    path.write_text(POLICY)
    assert on.guard("apply", path, "--yes", "--no-wait").returncode == 0
    assert on.guard("confirm").returncode == 0
    assert b"zeroconf_port = 7002" in config.read_bytes()
    assert on.guard("rollback").returncode == 0
    assert config.read_bytes() == CONFIG.encode()
    assert f"dport {PORT}" in on.rules()


def change(path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, object], dict[str, object]]:
    """The steps that change a file "a" to "b" and back."""
    monkeypatch.setenv("LIBRESPOT_GUARD_STATE", str(state))
    path.write_bytes(b"a\n")
    there, back = settings.steps(str(path), b"a\n", b"b\n", "why")
    return to_json(there), to_json(back)


def test_a_file_that_somebody_else_changed_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the edit nor the way back overwrites what it was not planned on; both say so."""
    path = tmp_path / "conf"
    there, back = change(path, tmp_path / "state", monkeypatch)

    path.write_bytes(b"c\n")
    edits.edit(str(path), there)
    assert path.read_bytes() == b"c\n"
    assert "NOT edited" in capsys.readouterr().err
    path.write_bytes(b"a\n")
    edits.edit(str(path), there)
    path.write_bytes(b"b\nmine\n")
    edits.restore(str(path), back)
    assert path.read_bytes() == b"b\nmine\n"
    assert "left as it is" in capsys.readouterr().err
    path.unlink()
    edits.restore(str(path), back)
    edits.edit(str(path), there)
    assert capsys.readouterr().err.count("is gone") == 2


def test_an_edit_and_its_way_back_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that was killed half way is finished by the next one: each step done twice is done once."""
    path = tmp_path / "conf"
    there, back = change(path, tmp_path / "state", monkeypatch)
    link = tmp_path / "link"
    link.symlink_to(path)

    for _ in range(2):
        edits.edit(str(link), there)
        assert path.read_bytes() == b"b\n"
    for _ in range(2):
        edits.restore(str(link), back)
        assert path.read_bytes() == b"a\n"
    assert link.is_symlink()


def test_a_drop_in_is_created_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was not there is gone again, and one that is there with another text is not overwritten."""
    monkeypatch.setenv("LIBRESPOT_GUARD_STATE", str(tmp_path / "state"))
    path = tmp_path / "x.service.d/50.conf"
    there, back = (to_json(step) for step in settings.steps(str(path), None, b"[Service]\n", "why"))

    edits.edit(str(path), there)
    edits.edit(str(path), there)
    assert path.read_bytes() == b"[Service]\n"
    edits.restore(str(path), back)
    edits.restore(str(path), back)
    assert not path.exists()
    path.write_bytes(b"mine\n")
    edits.edit(str(path), there)
    edits.restore(str(path), back)
    assert path.read_bytes() == b"mine\n"


def test_a_file_with_two_names_is_not_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To replace one of two hard links would part them: refused, and untouched."""
    path = tmp_path / "conf"
    there, _ = change(path, tmp_path / "state", monkeypatch)
    (tmp_path / "other").hardlink_to(path)

    with pytest.raises(MachineError, match="several names"):
        edits.edit(str(path), there)
    assert path.read_bytes() == b"a\n"


def test_a_file_that_can_not_be_written_keeps_nothing_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest of a change, and of its way back, is done all the same: nobody is stuck with a change that can be neither finished nor undone."""
    path, behind = tmp_path / "conf", tmp_path / "behind"
    there, back = change(path, tmp_path / "state", monkeypatch)
    last = to_json(WriteFile(str(behind), "done\n", 0o644, "x"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(edits, "_replace", fails)
        executor.perform([there, last])
    assert (path.read_bytes(), behind.read_text()) == (b"a\n", "done\n")
    assert "Read-only file system: it is NOT edited: do it by hand" in capsys.readouterr().err
    executor.perform([there])
    with monkeypatch.context() as patch:
        patch.setattr(edits, "_replace", fails)
        executor.perform([back, to_json(WriteFile(str(behind), None, 0o644, "x"))])
    assert not behind.exists()
    assert "it is NOT brought back: undo the setting by hand" in capsys.readouterr().err


def test_lost_old_bytes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged copy is never put back."""
    path = tmp_path / "conf"
    there, back = change(path, tmp_path / "state", monkeypatch)
    edits.edit(str(path), there)
    next((tmp_path / "state/kept").iterdir()).write_bytes(b"x")

    with pytest.raises(MachineError, match="damaged"):
        edits.restore(str(path), back)
    assert path.read_bytes() == b"b\n"
