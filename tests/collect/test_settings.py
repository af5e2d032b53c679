"""Where each value stands, and which one wins."""

from pathlib import Path

import pytest

from librespot_guard import catalog
from librespot_guard.collect import installed
from librespot_guard.collect.settings import Start, canonical, resolve
from librespot_guard.snapshot import Service, ServiceSetting

KNOWN = catalog.load()
LIBRESPOT, SPOTIFYD, GO, JAVA, SNAP = (
    KNOWN.flavour(n) for n in ("librespot", "spotifyd", "go-librespot", "librespot-java", "snapserver")
)


def rows(settings: tuple[ServiceSetting, ...], name: str) -> list[tuple[str, str, bool]]:
    """Value, place and whether it wins, of one setting."""
    return [(s.value, s.origin, s.wins) for s in settings if s.name == name]


def test_the_command_line_wins_over_the_environment() -> None:
    """Both values are there with their places, and the one that is used is marked."""
    start = Start(
        ("librespot", "-z", "37001"),
        {"LIBRESPOT_ZEROCONF_PORT": "5000"},
        pending={"LIBRESPOT_ZEROCONF_PORT": ("5000", "/etc/raspotify/conf:7")},
    )

    assert rows(resolve(LIBRESPOT, "0.8.0", start).settings, "zeroconf-port") == [
        ("37001", "argv -z", True),
        ("5000", "/etc/raspotify/conf:7", False),
    ]


def test_a_flag_that_says_off_is_on() -> None:
    """A flag is on as soon as its variable exists, whatever it says, and that is told."""
    start = Start(("librespot",), {"LIBRESPOT_DISABLE_DISCOVERY": "off"})
    (one,) = [s for s in resolve(LIBRESPOT, "0.8.0", start).settings if s.name == "disable-discovery"]

    assert (one.value, one.wins, one.origin) == ("on", True, "environment LIBRESPOT_DISABLE_DISCOVERY")
    assert "although it says 'off'" in one.note


@pytest.mark.parametrize(("argv", "on"), [(("-O",), True), (("-vO",), True), (("-nO",), False), (("--", "-O"), False)])
def test_flags_on_the_command_line(argv: tuple[str, ...], on: bool) -> None:
    """A flag is found in a group of short options, not in the value of another option."""
    assert bool(rows(resolve(LIBRESPOT, None, Start(("librespot", *argv), {})).settings, "disable-discovery")) is on


def test_variables_in_small_letters() -> None:
    """They are taken too by librespot; of two that mean the same the first one holds, and other programs' variables stay as they are."""
    given = {
        "LIBRESPOT_zeroconf_port": "5000",
        "LIBRESPOT_ZEROCONF_PORT": "1",
        "LIBRESPOT_LIBRESPOT_Name": "x",
        "home": "/",
    }

    assert canonical(given, LIBRESPOT) == {"LIBRESPOT_ZEROCONF_PORT": "5000", "LIBRESPOT_NAME": "x", "home": "/"}
    assert canonical(given, GO) == given


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (("--no-daemon", "--disable-discovery"), "true"),
        (("--disable-discovery", "--no-daemon"), "true"),
        (("--disable-discovery=false", "true"), "false"),
        (("--no-daemon",), "false"),
    ],
)
def test_a_switch_that_may_stand_alone(argv: tuple[str, ...], value: str) -> None:
    """spotifyd: what follows `--disable-discovery` is no value of it."""
    assert resolve(SPOTIFYD, None, Start(("spotifyd", *argv), {})).raw["disable-discovery"] == value


def test_the_configuration_that_an_early_go_librespot_is_given(tmp_path: Path) -> None:
    """Go's own flags have one dash (Volumio: `-config_path FILE`)."""
    conf = tmp_path / "go.yml"
    conf.write_text("server_port: 9876\n", encoding="utf-8")
    for argv in (("-config_path", str(conf)), (f"--config_path={conf}",)):
        found = resolve(GO, "0.0.7", Start(("go-librespot", *argv), {}))
        assert rows(found.settings, "server-port") == [("9876", f"{conf}:1", True)]


def test_a_switch_is_no_secret_by_its_name(tmp_path: Path) -> None:
    """Whether credentials are stored is shown."""
    (tmp_path / "config.toml").write_text("[auth]\nstoreCredentials = true\n", encoding="utf-8")
    found = resolve(JAVA, "1.6.3", Start(("x.jar",), {}, working=str(tmp_path)))

    assert [v for v, _, _ in rows(found.settings, "store-credentials")] == ["true"]


def test_a_file_changed_since_the_start() -> None:
    """What a running process has is the truth; that its file says something else by now is told."""
    start = Start(
        ("librespot",), {"LIBRESPOT_ZEROCONF_PORT": "5000"}, pending={"LIBRESPOT_ZEROCONF_PORT": ("6000", "/etc/x:1")}
    )
    (one,) = [s for s in resolve(LIBRESPOT, None, start).settings if s.name == "zeroconf-port"]

    assert (one.value, one.origin) == ("5000", "environment LIBRESPOT_ZEROCONF_PORT")
    assert "/etc/x:1 says something else" in one.note


def test_toml_of_spotifyd(tmp_path: Path) -> None:
    """The section of the program itself wins over [global]; the file of the user over /etc."""
    folder = tmp_path / "home/.config/spotifyd"
    folder.mkdir(parents=True)
    (folder / "spotifyd.conf").write_text(
        "[global]\nzeroconf_port = 5000\n[spotifyd]\nzeroconf_port = 5001\n", encoding="utf-8"
    )
    start = Start(("spotifyd",), {"HOME": "/home"}, root=str(tmp_path))

    assert rows(resolve(SPOTIFYD, "0.4.2", start).settings, "zeroconf-port") == [
        ("5001", "/home/.config/spotifyd/spotifyd.conf:4", True),
        ("5000", "/home/.config/spotifyd/spotifyd.conf:2", False),
    ]


def test_yaml_of_go_librespot(tmp_path: Path) -> None:
    """--config_dir names the folder, and -c KEY=VALUE wins over the file."""
    (tmp_path / "config.yml").write_text("zeroconf_port: 5000\nserver:\n  enabled: true\n", encoding="utf-8")
    start = Start(("go-librespot", "--config_dir", str(tmp_path), "-c", "zeroconf_port=6000"), {"HOME": "/nowhere"})
    found = resolve(GO, "0.9.0", start)

    assert rows(found.settings, "zeroconf-port") == [
        ("6000", "argv -c zeroconf_port", True),
        ("5000", f"{tmp_path}/config.yml:1", False),
    ]
    assert rows(found.settings, "server-enabled") == [("true", f"{tmp_path}/config.yml:3", True)]
    assert found.raw["server-address"] == "localhost"


def test_toml_of_librespot_java(tmp_path: Path) -> None:
    """config.toml of the working folder, over which the command line wins; its secrets are hidden."""
    (tmp_path / "config.toml").write_text(
        '[zeroconf]\nlistenPort = 5000\n[auth]\npassword = "SESAME"\n', encoding="utf-8"
    )
    found = resolve(JAVA, None, Start(("x.jar", "--zeroconf.listenPort=6000"), {}, working=str(tmp_path)))
    ports = [
        (s.value, s.wins) for s in found.settings if s.origin.startswith(("argv", str(tmp_path))) and s.value[0] in "56"
    ]

    assert ports == [("6000", True), ("5000", False)]
    assert "SESAME" not in repr(found)


def test_all_sources_of_a_snapserver(tmp_path: Path) -> None:
    """Every source counts, and a password in one is hidden."""
    (tmp_path / "snap.conf").write_text(
        "[stream]\nsource = pipe:///x?name=a\nsource = librespot:///usr/bin/librespot?name=b&username=u&password=SESAME\n",
        encoding="utf-8",
    )
    found = resolve(SNAP, "0.26.0", Start(("snapserver", "-c", str(tmp_path / "snap.conf")), {}))
    values = rows(found.settings, "source")

    assert len(values) == 2
    assert all(wins for _, _, wins in values)
    assert "SESAME" not in repr(values)
    assert "librespot:///usr/bin/librespot" in values[0][0] + values[1][0]


def test_a_version_that_is_not_known(tmp_path: Path) -> None:
    """The names of all versions are looked at, and of each it is said which versions read it; a known version reads its own only."""
    (tmp_path / "snap.conf").write_text("[tcp]\nport = 1805\n[tcp-control]\nport = 1905\n[stream]\nport = 1804\n")
    start = Start(("snapserver", "-c", str(tmp_path / "snap.conf")), {})
    unknown, old, new = (resolve(SNAP, version, start) for version in (None, "0.26.0", "0.34.0"))
    notes = {s.value: s.note for s in unknown.settings}

    assert rows(unknown.settings, "control-port") == [
        ("1905", f"{tmp_path}/snap.conf:4", True),
        ("1805", f"{tmp_path}/snap.conf:2", True),
    ]
    assert rows(unknown.settings, "stream-port") == [("1804", f"{tmp_path}/snap.conf:6", True)]
    assert notes["1905"] == "its version is not known: only those from 0.33.0 on read this."
    assert notes["1804"] == notes["1805"] == "its version is not known: only those before 0.33.0 read this."
    assert "its own is not known" in {s.name: s.origin for s in unknown.settings}["stream-bind"]
    assert rows(old.settings, "control-port") == [("1805", f"{tmp_path}/snap.conf:2", True)]
    assert rows(new.settings, "control-port") == [
        ("1905", f"{tmp_path}/snap.conf:4", True),
        ("1805", f"{tmp_path}/snap.conf:2", False),
    ]
    assert rows(new.settings, "stream-port") == [("1804", f"{tmp_path}/snap.conf:6", True)]
    assert not any("version is not known" in s.note for s in (*old.settings, *new.settings))


NEW_BIND, OLD_BIND = "[tcp-control]\nbind_to_address = 127.0.0.1\n", "[tcp]\nbind_to_address = 127.0.0.2\n"


@pytest.mark.parametrize(
    ("text", "argv", "name", "winning"),
    [
        # of a port and a switch what is read last wins, by whichever name
        ("[tcp-control]\nport = 1\n[tcp]\nport = 2\n", (), "control-port", ["2"]),
        ("[tcp]\nport = 2\n[tcp-control]\nport = 1\n", (), "control-port", ["1"]),
        ("[tcp-control]\nport = 1\n", ("--tcp.port=3",), "control-port", ["3"]),
        ("", ("--tcp.port=3", "--tcp-control.port=4"), "control-port", ["4"]),
        ("", ("--tcp-control.port=4", "--tcp.port=3"), "control-port", ["3"]),
        ("[tcp-control]\nenabled = true\n[tcp]\nenabled = false\n", (), "control-enabled", ["false"]),
        # addresses by the earlier name are looked at only where there is none by the present one
        (OLD_BIND, (), "control-bind", ["127.0.0.2"]),
        (NEW_BIND + OLD_BIND, (), "control-bind", ["127.0.0.1"]),
        (NEW_BIND, ("--tcp.bind_to_address=127.0.0.3",), "control-bind", ["127.0.0.1"]),
        (OLD_BIND, ("--tcp-control.bind_to_address=127.0.0.3",), "control-bind", ["127.0.0.3"]),
        # and all of one name hold, those of the file and those of the command line
        (NEW_BIND, ("--tcp-control.bind_to_address=127.0.0.3",), "control-bind", ["127.0.0.3", "127.0.0.1"]),
    ],
)
def test_earlier_names_of_a_snapserver(
    tmp_path: Path, text: str, argv: tuple[str, ...], name: str, winning: list[str]
) -> None:
    """What a snapserver 0.34.0 did with the same files and options, when it was asked for its listeners."""
    (tmp_path / "snap.conf").write_text(text, encoding="utf-8")
    found = resolve(SNAP, "0.34.0", Start(("snapserver", "-c", str(tmp_path / "snap.conf"), *argv), {}))

    assert [value for value, _, wins in rows(found.settings, name) if wins] == winning
    earlier = [s for s in found.settings if s.name == name and ("tcp." in s.origin or s.value == "127.0.0.2")]
    assert all("an old name" in s.note for s in earlier)


def test_a_snapserver_on_two_addresses(folders: Path) -> None:
    """What is stopped would open a listener on each of its addresses."""
    path = folders / "snapserver"
    path.write_bytes(b"\x7fELF Server.GetStatus _snapcast librespot uname -m\0000.34.0\0Snapserver\0")
    (folders / "conf").write_text(f"[stream]\nsource = librespot:///x?name=a\n{NEW_BIND}bind_to_address = ::1\n")
    (folders / "snapserver.service").write_text(f"[Service]\nExecStart={path} -c {folders}/conf\n", encoding="utf-8")
    (one,) = stopped()

    found = {(s.listener.family, s.listener.address) for s in one.listeners if s.surface == "control"}
    assert found == {("ipv4", "127.0.0.1"), ("ipv6", "::1")}


def test_a_configuration_that_can_not_be_read(tmp_path: Path) -> None:
    """A half-written file and one that is not there are named, and nothing is claimed about what they might say."""
    (tmp_path / "half").write_text("[global]\nzeroconf_port = ", encoding="utf-8")
    half = resolve(SPOTIFYD, None, Start(("spotifyd", "--config-path", str(tmp_path / "half")), {}))
    gone = resolve(SPOTIFYD, None, Start(("spotifyd", "--config-path", str(tmp_path / "gone")), {}))

    assert half.unread
    assert "malformed" in half.gaps[0].why
    assert "is not there" in gone.gaps[0].why


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of units that stands for those of the system, and nobody's own."""
    monkeypatch.setattr("librespot_guard.collect.units.SYSTEM", (str(tmp_path),))
    monkeypatch.setattr("librespot_guard.collect.units.homes", dict)
    return tmp_path


def program(folder: Path, name: str = "librespot") -> Path:
    """An executable that is a librespot by its content."""
    path = folder / name
    path.write_bytes(b"\x7fELF _spotify-connect._tcp librespot_core addUser")
    path.chmod(0o755)
    return path


def stopped(*running: str) -> list[Service]:
    """What is installed and does not run."""
    return list(installed.find(KNOWN, [(name, None) for name in running], "1")[0])


def test_installed_and_stopped(folders: Path) -> None:
    """A unit that does not run is listed with its settings, their places, and what it would open."""
    (folders / "conf").write_text('LIBRESPOT_NAME="Küche"\nLIBRESPOT_ZEROCONF_PORT=37878\n', encoding="utf-8")
    (folders / "raspotify.service").write_text(
        f"[Unit]\nStartLimitBurst=5\nStartLimitIntervalSec=60\n[Service]\nRestart=on-failure\nEnvironmentFile=-{folders}/conf\nExecStart={program(folders)}\n",
        encoding="utf-8",
    )
    (one,) = stopped()

    assert (one.name, one.flavour, one.status, one.pid, one.unit) == (
        "kuche",
        "raspotify",
        "stopped",
        0,
        "raspotify.service",
    )
    assert (one.restart, one.start_limit) == ("on-failure", "5 in 60")
    assert [(s.surface, s.listener.port, s.known_by, s.pinned_by) for s in one.listeners if s.surface == "connect"] == [
        ("connect", 37878, "declared", f"{folders}/conf:2")
    ]
    assert stopped("raspotify.service") == []


def test_a_stopped_one_behind_other_programs(folders: Path) -> None:
    """What `env`, `nice` or a shell would start is found, and so is what another line than the first one starts."""
    librespot = program(folders)
    for name, start in (
        ("env", f"/usr/bin/env LIBRESPOT_zeroconf_port=5001 {librespot} -n Env"),
        ("sh", f"/bin/sh -c 'exec nice -n 5 {librespot} -n Sh -z 5002'"),
        ("second", f"/bin/true\nExecStart={librespot} -n Second -z 5003"),
        ("copy", f"/bin/cp {librespot} /tmp"),
    ):
        (folders / f"{name}.service").write_text(f"[Service]\nExecStart={start}\n", encoding="utf-8")

    assert {(s.name, s.listeners[0].listener.port) for s in stopped()} == {
        ("env", 5001),
        ("sh", 5002),
        ("second", 5003),
    }


def test_a_stopped_one_with_discovery_off(folders: Path) -> None:
    """One that would open neither listener nor mDNS is listed without them."""
    (folders / "a.service").write_text(
        f"[Service]\nExecStart={program(folders)} --disable-discovery\n", encoding="utf-8"
    )
    (one,) = stopped()

    assert {s.surface for s in one.listeners} <= {"login"}


def test_under_any_name_and_no_look_alike(folders: Path) -> None:
    """A renamed program behind a link is found; a script, an editor and a removed program are none."""
    real = program(folders, "librespot")
    (folders / "music").symlink_to(real)
    script = folders / "spotifyd"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    for name, start in (
        ("music", folders / "music"),
        ("spotifyd", script),
        ("librespot-notes", "/bin/true librespot"),
        ("librespot", "/gone/librespot"),
        ("shell", f"/bin/sh -c {real}-notes"),
    ):
        (folders / f"{name}.service").write_text(f"[Service]\nExecStart={start}\n", encoding="utf-8")

    assert [(s.unit, s.flavour) for s in stopped()] == [("music.service", "librespot")]


def test_a_stopped_snapserver_by_its_version(folders: Path) -> None:
    """Its version is read from its program, so that its file is read by the names which that version knows."""
    marks = b"\x7fELF Server.GetStatus _snapcast librespot uname -m\0%s\0Snapserver\0"
    (folders / "conf").write_text("[stream]\nsource = librespot:///x?name=a\n[tcp]\nport = 1805\n", encoding="utf-8")
    ports = {}
    for version in (b"0.26.0", b"0.34.0", b"none"):
        path = folders / f"snap-{version.decode()}"
        path.write_bytes(marks % version)
        (folders / "snapserver.service").write_text(
            f"[Service]\nExecStart={path} -c {folders}/conf\n", encoding="utf-8"
        )
        (one,) = stopped()
        ports[one.version] = [s.listener.port for s in one.listeners if s.surface == "control"]

    # of one that is not known, what is said in either name is looked at
    assert ports == {"0.26.0": [1805], "0.34.0": [1805], None: [1805]}


def test_defaults_are_told_as_such() -> None:
    """What nobody set has the default of that version, and says so."""
    found = resolve(GO, "0.9.0", Start(("go-librespot",), {"HOME": "/nowhere"}))

    assert rows(found.settings, "server-enabled") == [("false", "default of go-librespot 0.9.0", True)]
