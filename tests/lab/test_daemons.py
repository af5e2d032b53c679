"""The real daemons, started in a sandbox: they listen, answer a phone, and do to a stranger what the facts say."""

import stat
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from librespot_guard.errors import MachineError
from librespot_guard.lab import _daemon_rust, _install, daemons, mdns, stranger
from librespot_guard.lab.daemons import Daemon
from librespot_guard.lab.sandbox import Host, Sandbox


def obtained(name: str) -> Daemon:
    """The daemon, or a skip that says why there is none."""
    daemon = daemons.available(name)
    if daemon is None:
        pytest.skip(
            f"{name} is not installed; `python -m librespot_guard.lab.daemons obtain {name}` gets it or says why not"
        )
    return daemon


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """A speaker and a phone."""
    with Sandbox(hostname="speaker", names={"speaker": "192.168.10.2"}) as box:
        speaker, phone = box.host("speaker"), box.host("phone")
        box.link(speaker, "eth0", phone, "eth0")
        speaker.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        phone.address("eth0", "192.168.10.9/24", "fd00:10::9/64")
        speaker.multicast("eth0")
        phone.multicast("eth0")
        yield speaker, phone


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("name", daemons.NAMES)
@pytest.mark.parametrize("port", [None, 4070])
def test_starts_listens_is_found_and_answers(hosts: tuple[Host, Host], name: str, port: int | None) -> None:
    """Pinned or random, its port is known as soon as it has started; a phone finds it by mDNS and reads its name."""
    speaker, phone = hosts
    with obtained(name).start(speaker, name="kitchen", port=port) as running:
        assert running.port == (port or running.port) > 0
        found = phone.call(lambda: mdns.discover("eth0", timeout=5))
        assert [(f.name, f.port) for f in found] == [("kitchen", running.port)]
        info = phone.call(lambda: stranger.get_info("192.168.10.2", running.port))
        assert (info["remoteName"], info["activeUser"]) == ("kitchen", "")
        assert running.alive()
        assert f"/proc/{running.pid}" in speaker.run(["sh", "-c", "ls -d /proc/[0-9]*"]).stdout.split()
    assert not running.alive()
    assert running.log()


@pytest.mark.kernel
@pytest.mark.family
def test_one_request_ends_librespot(hosts: tuple[Host, Host]) -> None:
    """A well-formed addUser with an invalid login is accepted, and then the process exits with 1."""
    speaker, phone = hosts
    with obtained("librespot").start(speaker) as running:
        answer = phone.call(lambda: stranger.add_user("fd00:10::2", running.port, "mallory"))
        assert (answer.status, answer.json()["status"]) == (200, 101)
        assert running.wait(10) == 1


@pytest.mark.kernel
@pytest.mark.family
def test_one_request_takes_librespot_python_over(hosts: tuple[Host, Host]) -> None:
    """The session of one user is replaced by the next who asks, and the process goes on."""
    speaker, phone = hosts
    with obtained("librespot-python").start(speaker) as running:
        for user in ("alice", "mallory"):
            answer = phone.call(partial(stranger.add_user, "192.168.10.2", running.port, user))
            assert (answer.status, answer.json()["status"]) == (200, 101)
            assert phone.call(lambda: stranger.get_info("192.168.10.2", running.port))["activeUser"] == user
        assert running.wait(0.2) is None


@pytest.mark.kernel
@pytest.mark.family
def test_a_wrong_mac_is_refused(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon does check what we build: a blob with another shared secret is answered with status 102."""
    speaker, phone = hosts
    real = stranger.outer_blob
    monkeypatch.setattr(stranger, "outer_blob", lambda shared, inner: real(shared + 1, inner))
    with obtained("librespot").start(speaker) as running:
        answer = phone.call(lambda: stranger.add_user("192.168.10.2", running.port, "mallory"))
        assert answer.json()["status"] == 102
        assert running.alive()


@pytest.mark.kernel
def test_a_daemon_that_ends_is_an_error_with_its_own_words(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """A start that fails shows the end of the log and the exit status."""
    speaker, _ = hosts
    fake = tmp_path / "librespot"
    fake.write_text("#!/bin/sh\necho no such device >&2\nexit 4\n", encoding="utf-8")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(MachineError, match=r"ended with status 4[\s\S]*no such device"):
        Daemon("librespot", "0", (fake,)).start(speaker)


def test_no_recipe_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown daemon is Unavailable, with the names that exist."""
    with pytest.raises(daemons.Unavailable, match="winamp"):
        daemons.obtain("winamp")


def test_no_compiler_is_said_in_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without cargo the command ends with 3, and the last line on stderr is the reason."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert daemons.main(["obtain", "librespot"]) == 3
    assert "no `cargo` with a `rustc` is installed" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "librespot-guard").glob("librespot*"))


def compiler(folder: Path, version: str) -> Path:
    """A folder with a cargo and a rustc that say this version."""
    folder.mkdir()
    for tool in ("rustc", "cargo"):
        (folder / tool).write_text(f"#!/bin/sh\necho '{tool} {version} (4b91a6ea7 2022-08-08)'\n", encoding="utf-8")
        (folder / tool).chmod(0o755)
    return folder


def test_an_old_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rustc of Debian 12 is too old, and that is said before anything is built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(compiler(tmp_path / "old", "1.63.0")))
    with pytest.raises(daemons.Unavailable, match=r"1\.85 or newer.*1\.63\.0"):
        daemons.obtain("librespot")


def test_the_first_compiler_that_is_new_enough_is_used(tmp_path: Path) -> None:
    """An old compiler, or rustup's proxy without a toolchain, in front on the PATH does not hide a new one behind it."""
    old, new = compiler(tmp_path / "old", "1.63.0"), compiler(tmp_path / "new", "1.96.0")
    proxy = compiler(tmp_path / "proxy", "1.96.0")
    (proxy / "rustc").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert _daemon_rust.toolchain(f"{proxy}:{old}:{new}") == new


def test_a_half_done_install_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When installing fails half way, nothing of it is left, and the daemon is not available."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fill(folder: Path) -> None:
        (folder / "half").write_text("half", encoding="utf-8")
        _install.quietly([sys.executable, "-c", "print('broken'); raise SystemExit(5)"], "it failed", env={})

    with pytest.raises(daemons.Unavailable, match="status 5"):
        _install.install(tmp_path / "x", (tmp_path / "x" / "half",), fill, needs_mb=1, progress=print)
    assert [p.name for p in tmp_path.iterdir()] == [".x.lock"]
    assert daemons.available("librespot-python") is None


def test_a_librespot_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that the user has already is as good as one of ours, and is named by its own version."""
    program = tmp_path / "librespot"
    program.write_text("#!/bin/sh\necho 'librespot 0.6.0 383a6f6 (Built on 2024-10-30)'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    daemon = daemons.obtain("librespot")
    assert (daemon.version, daemon.files) == ("0.6.0", (program,))
