"""The real daemons, started in a sandbox: they listen, answer a phone, and do to a stranger what the facts say."""

import hashlib
import stat
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from librespot_guard.cli import demo
from librespot_guard.errors import MachineError
from librespot_guard.lab import (
    _daemon_debian,
    _daemon_java,
    _daemon_rust,
    _daemon_standin,
    _install,
    daemons,
    mdns,
    stranger,
)
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
def test_one_request_after_the_other_is_answered_by_librespot_python(hosts: tuple[Host, Host]) -> None:
    """It closes what it accepted last instead of what it answered, so about one in a hundred quick followers was cut off."""
    speaker, phone = hosts
    with obtained("librespot-python").start(speaker) as running:

        def ask() -> set[str]:
            return {str(stranger.get_info("192.168.10.2", running.port)["activeUser"]) for _ in range(500)}

        assert phone.call(ask) == {""}


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


def test_the_demo_offers_every_daemon() -> None:
    """`demo --daemon` knows the names of the lab, without loading it for `--help`."""
    assert demo._NAMES == daemons.NAMES


def test_a_stand_in_is_listed_as_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`list` says of each name what it stands for; the two that no registry has are called stand-ins, unless the machine has them."""
    for variable in ("LIBRESPOT_GUARD_GO_LIBRESPOT", "LIBRESPOT_GUARD_LIBRESPOT_JAVA_API"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert daemons.main(["list"]) == 0
    listed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(listed) == list(daemons.NAMES)
    assert listed["librespot"] == "librespot 0.8.0, not here yet"
    assert listed["go-librespot"].startswith("a stand-in for go-librespot 0.9.0, ")
    assert listed["librespot-java-api"].startswith("a stand-in for librespot-java 1.6.3, ")


def test_the_program_itself_wins_over_a_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """go-librespot on the PATH, or named by its variable, is used; a variable that names nothing is an error, not the stand-in."""
    program = tmp_path / "go-librespot"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.delenv("LIBRESPOT_GUARD_GO_LIBRESPOT", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    daemon = daemons.obtain("go-librespot")
    assert (daemon.files, daemon.standin, daemon.title) == ((program,), False, "go-librespot")
    launch = daemon.launch(title="x", port=None, folder="/f")
    assert (launch.argv, launch.env["SSL_CERT_FILE"]) == ((str(program), "--config_dir", "/f"), "/f/ca.pem")
    monkeypatch.setenv("LIBRESPOT_GUARD_GO_LIBRESPOT", str(tmp_path / "nowhere"))
    with pytest.raises(daemons.Unavailable, match="there is no such file"):
        daemons.obtain("go-librespot")


def test_the_version_of_a_java_program_is_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It stands in the properties that Maven puts into the jar; what is no jar is refused."""
    jar = tmp_path / "api.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/maven/xyz.gianlu.librespot/librespot-api/pom.properties", "#x\nversion=1.6.4\n")
    assert _daemon_standin.jar_version(jar) == "1.6.4"
    jar.write_text("no jar", encoding="utf-8")
    with pytest.raises(daemons.Unavailable, match="not a zip file"):
        _daemon_standin.jar_version(jar)


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """The sha256 that was found and the one that is pinned are both said, and nothing is kept."""
    jar = tmp_path / "librespot-player-1.6.3.jar"
    jar.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(daemons.Unavailable, match=rf"{found}, expected {_daemon_java.SHA256}"):
        _daemon_java.check(jar)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("curl: (6) Could not resolve host: registry", "no connection to the package registry"),
        ("error: No space left on device (os error 28)", "the disk is full"),
        ("error[E0432]: unresolved import", "it failed (status 1)"),
    ],
)
def test_why_a_command_failed_is_said(said: str, reason: str) -> None:
    """No network and a full disk are told apart from other failures; what the command said follows."""
    with pytest.raises(daemons.Unavailable) as raised:
        _install.quietly(["sh", "-c", f"echo '{said}'; exit 1"], "it failed")
    assert reason in str(raised.value)
    assert said in str(raised.value)
    assert raised.value.hint


def test_too_small_a_disk_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    """With the figures: what is free, what is needed."""
    with pytest.raises(daemons.Unavailable, match=r"the disk is full: \d+ MB free, and installing needs 1000000000 MB"):
        _install.install(tmp_path / "x", (tmp_path / "x" / "y",), Path.touch, needs_mb=10**9, progress=print)


def test_a_second_install_waits_and_finds_it_done(tmp_path: Path) -> None:
    """Of two that install the same at once one does it, the other says that it waits."""
    target = tmp_path / "x"
    said: list[str] = []
    filled: list[Path] = []

    def fill(folder: Path) -> None:
        filled.append(folder)
        time.sleep(0.5)
        (folder / "file").touch()

    def install(progress: Callable[[str], None]) -> None:
        _install.install(target, (target / "file",), fill, needs_mb=1, progress=progress)

    workers = [threading.Thread(target=install, args=(said.append,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (len(filled), said) == (1, ["waiting for another process that installs x"])
    assert (target / "file").is_file()


def test_the_packages_that_apt_would_fetch() -> None:
    """Names and versions are read from what `apt-get --print-uris` prints, an escaped epoch too."""
    said = (
        "'http://mirror/libsoxr0_0.1.3-4_amd64.deb' libsoxr0_0.1.3-4_amd64.deb 77812 MD5Sum:5f7b\n"
        "'http://mirror/s.deb' snapserver_1%3a0.26.0+dfsg1-1+deb12u1_amd64.deb 1002744 MD5Sum:e47a\n"
    )
    assert _daemon_debian.parse_uris(said) == ["libsoxr0=0.1.3-4", "snapserver=1:0.26.0+dfsg1-1+deb12u1"]
