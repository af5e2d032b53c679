"""Which configuration files a service reads, and which of them may be written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from librespot_guard import catalog
from librespot_guard.collect.setting_files import _environment_files, setting_files
from librespot_guard.collect.units import Line, Unit
from librespot_guard.snapshot import Service

KNOWN = catalog.load()


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Where every user has a group (Debian), the folders that we make may be written by it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def service(flavour: str, *argv: str, pid: int | None = None) -> Service:
    """A service of our own user."""
    plain = Service("x", flavour, None, pid or os.getpid(), os.geteuid(), "/x", "1", argv=("x", *argv))
    return replace(plain, version=None)


def test_the_command_line_names_the_file(tmp_path: Path) -> None:
    """Only that one is read then; a folder gets the names that the program looks for in it."""
    conf = tmp_path / "my.conf"
    conf.write_bytes(b"[global]\n")
    found = setting_files(service("spotifyd", "--config-path", str(conf)), KNOWN.flavour("spotifyd"))
    assert [(f.path, f.section, f.data) for f in found] == [(str(conf), "global", b"[global]\n")]

    (tmp_path / "config.yml").write_bytes(b"a: 1\n")
    found = setting_files(service("go-librespot", f"--config_dir={tmp_path}"), KNOWN.flavour("go-librespot"))
    assert [(f.path, f.data) for f in found] == [
        (f"{tmp_path}/config.yaml", None),
        (f"{tmp_path}/config.yml", b"a: 1\n"),
    ]


def test_the_working_folder_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """librespot-java reads config.toml where it was started."""
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_bytes(b"")
    found = setting_files(service("librespot-java"), KNOWN.flavour("librespot-java"))

    assert [(f.path, f.data) for f in found] == [(f"{tmp_path}/config.toml", b"")]


def test_the_home_folder_of_the_process(tmp_path: Path) -> None:
    """It is the one that its environment names, as for the program itself, and not that of its user."""
    conf = tmp_path / ".config/spotifyd/spotifyd.conf"
    conf.parent.mkdir(parents=True)
    conf.write_bytes(b"[global]\n")
    with subprocess.Popen(["/bin/sleep", "30"], env={"HOME": str(tmp_path)}) as child:
        found = setting_files(service("spotifyd", pid=child.pid), KNOWN.flavour("spotifyd"))
        child.kill()

    assert [(f.path, f.data) for f in found] == [(str(conf), b"[global]\n")]


def test_a_process_that_sees_another_file(tmp_path: Path) -> None:
    """In a container, a chroot or a mount namespace of its own a path is not ours: our file is not changed for it."""
    conf = tmp_path / "x/my.conf"
    conf.parent.mkdir()
    conf.write_bytes(b"[global]\n")
    script = f"mount -t tmpfs none {conf.parent} && echo '[global]' > {conf} && echo ready && exec sleep 30"
    with subprocess.Popen(["unshare", "-Urm", "sh", "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        found = setting_files(service("spotifyd", "--config-path", str(conf), pid=child.pid), KNOWN.flavour("spotifyd"))
        child.kill()

    assert [(f.path, f.data) for f in found] == [(str(conf), None)]
    assert "another mount namespace" in found[0].problem


def test_a_path_that_is_no_plain_text(tmp_path: Path) -> None:
    """It is named as far as it can be, and left to the user: no plan could be written down with it."""
    folder = os.fsencode(tmp_path) + b"/x\xff"
    os.mkdir(folder)  # noqa: PTH102 - bytes that are no text
    with subprocess.Popen(["/bin/sleep", "30"], cwd=folder) as child:
        found = setting_files(service("librespot-java", pid=child.pid), KNOWN.flavour("librespot-java"))
        child.kill()

    assert [(f.path, f.problem) for f in found][:1] == [
        (f"{tmp_path}/x?/config.toml", "its path is not plain UTF-8 text: edit it by hand")
    ]


def test_etc_of_a_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a prefix for /etc the file is read there, and named as it is on the host; the second of two that exclude each other is not read."""
    monkeypatch.setenv("LIBRESPOT_GUARD_ETC", str(tmp_path))
    (tmp_path / "etc/raspotify").mkdir(parents=True)
    (tmp_path / "etc/raspotify/conf").write_bytes(b"A=1\n")
    found = setting_files(service("raspotify"), KNOWN.flavour("raspotify"))

    assert [(f.path, f.data) for f in found] == [("/etc/raspotify/conf", b"A=1\n")]


def test_the_environment_files_of_a_unit(tmp_path: Path) -> None:
    """Those that a later line took away are not read; of two the later one is named first; a pattern is not edited."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"A=1\n")
    values = ("/etc/raspotify/conf", "", f"-{one}", str(two), f"{tmp_path}/*.env")
    lines = tuple(Line("Service", "EnvironmentFile", value, f"/x:{i}") for i, value in enumerate(values))
    found = _environment_files(Unit("raspotify.service", (), lines))

    assert [(f.path, f.data) for f in found] == [(f"{tmp_path}/*.env", None), (str(two), None), (str(one), b"A=1\n")]
    assert [bool(f.problem) for f in found] == [True, False, False]


def test_what_the_files_of_a_unit_do_to_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unit and drop-ins in the order of systemd, each with its lines; only of those that this program writes the content is kept."""
    monkeypatch.setattr("librespot_guard.collect.units.SYSTEM", (f"{tmp_path}/etc", f"{tmp_path}/lib"))
    texts = {
        "lib/librespot.service": "[Service]\nEnvironment=A=1 'B=2 3'\nEnvironment=\n",
        "lib/librespot.service.d/10-c.conf": "[Service]\nEnvironment=C=%p\n[Unit]\nEnvironment=X=1\n",
        "etc/librespot.service.d/override.conf": '[Service]\nUnsetEnvironment=A B=2\nEnvironment="\n',
        "etc/librespot.service.d/zz-librespot-guard-zeroconf-port.conf": '[Service]\nEnvironment="D=4"\n',
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = setting_files(replace(service("librespot"), unit="librespot.service"), KNOWN.flavour("librespot"))
    said = [[(v.name, v.value, v.unset) for v in f.variables] for f in found]

    assert [f.path.removeprefix(f"{tmp_path}/") for f in found] == list(texts)
    assert {f.form for f in found} == {"unit"}
    assert said == [
        [("A", "1", False), ("B", "2 3", False), ("*", None, False)],
        [("C", "librespot", False)],
        [("A", None, True), ("B", "2", True)],
        [("D", "4", False)],
    ]
    assert found[2].variables[0].origin == f"{tmp_path}/etc/librespot.service.d/override.conf:2"
    assert [f.data for f in found] == [None, None, None, texts[list(texts)[3]].encode()]


@pytest.mark.parametrize("kind", ["fifo", "folder", "large", "linked"])
def test_what_is_no_plain_file_of_ours_is_not_edited(kind: str, tmp_path: Path) -> None:
    """Nothing hangs and nothing is guessed; the reason is said."""
    conf = tmp_path / "c"
    if kind == "fifo":
        os.mkfifo(conf)
    elif kind == "folder":
        conf.mkdir()
    elif kind == "large":
        conf.write_bytes(b"#" * ((1 << 20) + 1))
    else:
        conf.write_bytes(b"")
        (tmp_path / "d").hardlink_to(conf)
    found = setting_files(service("spotifyd", "--config-path", str(conf)), KNOWN.flavour("spotifyd"))

    assert found[0].data is None
    assert found[0].problem


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """Whoever can swap a file under root's pen decides what root writes: such a place is left to a person."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "c").write_bytes(b"")
    found = setting_files(service("spotifyd", "--config-path", str(folder / "c")), KNOWN.flavour("spotifyd"))

    assert "may be changed by another user" in found[0].problem
    folder.chmod(0o1777)
    assert (
        setting_files(service("spotifyd", "--config-path", str(folder / "c")), KNOWN.flavour("spotifyd"))[0].data == b""
    )


def test_a_read_only_file_system(tmp_path: Path) -> None:
    """What can't be written is said before a plan promises it."""
    script = f"""
import os, sys
from librespot_guard.collect.setting_files import _unwritable
assert _unwritable("{tmp_path}/a/my.conf") is None
os.system("mount -o remount,ro,bind {tmp_path}/a")
print(_unwritable("{tmp_path}/a/my.conf"))
"""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/my.conf").write_bytes(b"")
    command = f"mount --bind {tmp_path}/a {tmp_path}/a && exec {sys.executable} -c '{script}'"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True, check=False)

    assert done.stdout == "it is on a read-only file system\n", done.stderr
