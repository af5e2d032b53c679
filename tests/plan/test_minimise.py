"""The feature review: which surfaces a use does not need, what takes each away, and when it is left to a person."""

import hashlib
from dataclasses import replace

import pytest

from librespot_guard import catalog
from librespot_guard.catalog import USES
from librespot_guard.errors import Refused
from librespot_guard.plan.advice import weak_drop_ins
from librespot_guard.plan.minimise import Proposal, Review, review
from librespot_guard.plan.minimise_edits import edits
from librespot_guard.snapshot import Listener, Service, ServiceListener
from librespot_guard.snapshot.setting_file import SettingFile, UnitVariable
from librespot_guard.targets.steps import EditFile

KNOWN = catalog.load()


def speaker(flavour: str, *listeners: ServiceListener, **more: object) -> Service:
    """A running service."""
    plain = Service("kitchen", flavour, None, 7, 0, f"/usr/bin/{flavour}", "1", listeners, (flavour,))
    return replace(plain, **more)  # type: ignore[arg-type]


def listener(surface: str, port: int, address: str = "::", *, pinned: bool = True) -> ServiceListener:
    """A TCP listener."""
    return ServiceListener(Listener("tcp", "ipv6" if ":" in address else "ipv4", address, port), surface, pinned)


CONNECT = listener("connect", 37123, pinned=False)


def of(found: Review, surface: str) -> Proposal:
    """The proposal about a surface."""
    return next(p for p in found.proposals if surface in p.surfaces)


def test_every_flavour_version_and_use_has_an_answer_for_every_surface() -> None:
    """For each range of versions, each surface is kept, removed with an exact change, or said to be closed; nothing is left out."""
    for flavour in KNOWN.flavours:
        versions = {s.since for s in flavour.surfaces} | {s.until for s in flavour.surfaces} | {""}
        for version in versions:
            for use in USES:
                found = review(speaker(flavour.name, version=version or None), flavour, use)
                named = {s for p in found.proposals for s in p.surfaces}
                assert named >= {s.name for s in flavour.surfaces_of(version or None)}
                for proposal in found.proposals:
                    assert proposal.how
                    if proposal.action in ("off", "local"):
                        assert proposal.stops
                        assert proposal.place or proposal.problem


def test_phones_keep_connect_and_fix_its_port() -> None:
    """The port that is in use now is fixed, so that rules made today hold after a restart."""
    conf = SettingFile("/etc/raspotify/conf", "env", data=b"#LIBRESPOT_ZEROCONF_PORT=5354\n")
    found = review(
        speaker("raspotify", CONNECT, unit="raspotify.service"), KNOWN.flavour("raspotify"), "phones", [conf]
    )

    pin = of(found, "connect")
    assert pin.action == "pin"
    assert pin.place is not None
    assert pin.place.text == "LIBRESPOT_ZEROCONF_PORT=37123"
    made = edits([found], restart=True)
    assert made.diff == "@@ /etc/raspotify/conf:2\n+LIBRESPOT_ZEROCONF_PORT=37123"
    assert [step.step for step in made.steps] == ["edit-file", "restart-unit"]
    assert [step.step for step in made.back] == ["restore-file", "restart-unit"]


def test_a_fixed_port_needs_nothing() -> None:
    """A port that a setting fixes is left alone."""
    found = review(speaker("raspotify", listener("connect", 37123)), KNOWN.flavour("raspotify"), "phones")

    assert of(found, "connect").action == "keep"
    assert not edits([found])


def test_discovery_is_not_switched_off_where_that_ends_the_service() -> None:
    """As shipped, raspotify stores no login: without discovery it would end at start, so it is left to a person, with the reason."""
    flavour = KNOWN.flavour("raspotify")
    shipped = SettingFile("/etc/raspotify/conf", "env", data=b"LIBRESPOT_DISABLE_CREDENTIAL_CACHE=\n")
    stored = SettingFile("/etc/raspotify/conf", "env", data=b"")

    refused = of(review(speaker("raspotify", CONNECT), flavour, "nobody", [shipped]), "connect")
    made = of(review(speaker("raspotify", CONNECT), flavour, "nobody", [stored]), "connect")

    assert refused.place is None
    assert "LIBRESPOT_DISABLE_CREDENTIAL_CACHE" in refused.problem
    assert made.place is not None
    assert made.place.text == "LIBRESPOT_DISABLE_DISCOVERY="
    assert made.needs
    flag = speaker("librespot", CONNECT, argv=("librespot", "-H"), unit="librespot.service")
    assert "-H" not in of(review(flag, KNOWN.flavour("librespot"), "phones"), "connect").problem
    assert of(review(flag, KNOWN.flavour("librespot"), "nobody"), "connect").problem


def test_zeroconf_stays_on_with_its_own_login() -> None:
    """`zeroconf_enabled: false` does nothing with the default login of go-librespot, and so is not written."""
    flavour = KNOWN.flavour("go-librespot")
    default = SettingFile("/c/config.yml", "yaml", data=b"device_name: x\n")
    token = SettingFile("/c/config.yml", "yaml", data=b"credentials:\n  type: spotify_token\n")

    assert (
        "credentials.type"
        in of(review(speaker("go-librespot", CONNECT), flavour, "application", [default]), "connect").problem
    )
    place = of(review(speaker("go-librespot", CONNECT), flavour, "application", [token]), "connect").place
    assert place is not None
    assert place.text == "zeroconf_enabled: false"


def test_an_api_is_bound_to_the_host_unless_the_policy_lets_others_in() -> None:
    """An application on the same host keeps working; one on another host keeps the address."""
    flavour = KNOWN.flavour("go-librespot")
    service = speaker("go-librespot", listener("api", 3678))
    conf = [SettingFile("/c/config.yml", "yaml", data=b"server:\n  address: 0.0.0.0\n  enabled: true\n")]

    here = of(review(service, flavour, "application", conf, remote=frozenset()), "api")
    there = of(review(service, flavour, "application", conf, remote=frozenset({"api"})), "api")
    closed = of(review(speaker("go-librespot", listener("api", 3678, "127.0.0.1")), flavour, "phones", conf), "api")

    assert (here.action, here.place and here.place.text) == ("local", "server.address: localhost")
    assert there.action == "keep"
    assert closed.action == "none"
    assert (
        edits([review(service, flavour, "phones", conf)]).diff
        == "@@ /c/config.yml:2\n-  address: 0.0.0.0\n+  address: localhost"
    )


def test_the_command_line_wins() -> None:
    """An option on the command line can't be overruled by a file, and that is said."""
    flavour = KNOWN.flavour("spotifyd")
    conf = [SettingFile("/etc/spotifyd.conf", "toml", "global", b"[global]\n")]
    service = speaker("spotifyd", CONNECT, argv=("spotifyd", "--zeroconf-port=1"))

    assert "`--zeroconf-port`" in of(review(service, flavour, "phones", conf), "connect").problem


def test_the_own_section_of_spotifyd_wins() -> None:
    """A key in `[spotifyd]` overrides `[global]`, so that is where it is changed."""
    flavour = KNOWN.flavour("spotifyd")
    text = b"[global]\nzeroconf_port = 1\n[spotifyd]\nzeroconf_port = 2\n"
    conf = [SettingFile("/etc/spotifyd.conf", "toml", "global", text)]

    place = of(review(speaker("spotifyd", CONNECT), flavour, "phones", conf), "connect").place
    assert place is not None
    assert place.key == "spotifyd.zeroconf_port"


def test_without_a_file_the_unit_gets_a_drop_in() -> None:
    """Librespot has no configuration file: a drop-in of its unit sets the variable, and goes again on the way back."""
    found = review(speaker("librespot", CONNECT, unit="librespot.service"), KNOWN.flavour("librespot"), "phones")
    made = edits([found])

    assert made.diff.splitlines()[-1] == '+Environment="LIBRESPOT_ZEROCONF_PORT=37123"'
    assert made.steps[0].path == "/etc/systemd/system/librespot.service.d/zz-librespot-guard-zeroconf-port.conf"  # type: ignore[union-attr]
    for more in ({"unit": None}, {"unit": "librespot.service", "container": "abc"}, {"unit": "../x.service"}):
        assert of(
            review(speaker("librespot", CONNECT, **more), KNOWN.flavour("librespot"), "phones"), "connect"
        ).problem


FOLDER = "/etc/systemd/system/librespot.service.d"
PORT = "LIBRESPOT_ZEROCONF_PORT"
OLD = b'# Written by librespot-guard.\n[Service]\nEnvironment="LIBRESPOT_ZEROCONF_PORT=5000"\n'


def in_unit(*files: SettingFile, use: str = "phones", **more: object) -> Review:
    """The review of a librespot in a unit that has these files."""
    service = speaker("librespot", CONNECT, **{"unit": "librespot.service", **more})
    return review(service, KNOWN.flavour("librespot"), use, files)


def drop_in(name: str, *lines: UnitVariable, data: bytes | None = None) -> SettingFile:
    """A drop-in with what it does to the environment."""
    return SettingFile(f"{FOLDER}/{name}", "unit", data=data, variables=lines)


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("override.conf", UnitVariable(PORT, "5000", "/o:3"), ""),
        ("override.conf", UnitVariable("*", None, "/o:3"), ""),
        ("zzz.conf", UnitVariable(PORT, "5000", "/z:3"), "/z:3 is read after"),
        ("zzz.conf", UnitVariable("*", None, "/z:3"), "/z:3 is read after"),
        ("zzz.conf", UnitVariable("LIBRESPOT_NAME", "x", "/z:3"), ""),
        ("override.conf", UnitVariable(PORT, None, "/o:3", unset=True), "/o:3 is read after"),
        ("override.conf", UnitVariable(PORT, "37123", "/o:3", unset=True), "/o:3 is read after"),
        ("override.conf", UnitVariable(PORT, "5000", "/o:3", unset=True), ""),
    ],
)
def test_what_is_read_after_the_drop_in_is_noticed(name: str, line: UnitVariable, problem: str) -> None:
    """It is read after what `systemctl edit` writes; a line that is read after it, and says otherwise, is named, and nothing is promised."""
    found = in_unit(drop_in(name, line))

    assert problem in of(found, "connect").problem
    assert bool(of(found, "connect").problem) == bool(problem)
    assert bool(edits([found])) != bool(problem)


def test_a_flag_that_a_later_drop_in_sets_too() -> None:
    """A flag is on as soon as its variable exists: a later line that gives it another value changes nothing."""
    later = drop_in("zzz.conf", UnitVariable("LIBRESPOT_DISABLE_DISCOVERY", "no", "/z:3"))
    found = of(in_unit(later, use="nobody"), "discovery")

    assert found.done
    assert not found.problem


def test_a_unit_that_takes_a_variable_away_from_its_file() -> None:
    """`UnsetEnvironment=` holds over the file of variables: an edit of it would do nothing."""
    conf = SettingFile("/etc/raspotify/conf", "env", data=b"#\n")
    unit = drop_in("override.conf", UnitVariable(PORT, None, "/o:3", unset=True))
    found = review(
        speaker("raspotify", CONNECT, unit="raspotify.service"), KNOWN.flavour("raspotify"), "phones", [conf, unit]
    )

    assert "/o:3 takes `LIBRESPOT_ZEROCONF_PORT` away" in of(found, "connect").problem
    assert not edits([found])


def test_a_drop_in_of_ours_is_written_anew_and_an_older_one_goes() -> None:
    """The name that earlier versions gave it came before a user's: it is removed with the same change, and comes back on the way back."""
    line = UnitVariable(PORT, "5000", "/x:3")
    own = drop_in("zz-librespot-guard-zeroconf-port.conf", line, data=OLD)
    old = drop_in("50-librespot-guard-zeroconf-port.conf", line, data=OLD)
    mine = drop_in("50-librespot-guard-zeroconf-port.conf", line, data=OLD + b"Nice=5\n")
    made = edits([in_unit(old, own)])
    kept = edits([in_unit(mine, own)])

    edit, gone = made.steps
    assert isinstance(edit, EditFile)
    assert (edit.path, edit.before) == (
        f"{FOLDER}/zz-librespot-guard-zeroconf-port.conf",
        hashlib.sha256(OLD).hexdigest(),
    )
    assert (gone.path, gone.content) == (old.path, None)  # type: ignore[union-attr]
    assert made.back[1].content == OLD.decode()  # type: ignore[union-attr]
    assert f"@@ {old.path}:1" in made.diff
    # what somebody added to is not ours alone
    assert [step.path for step in kept.steps] == [own.path]  # type: ignore[union-attr]
    (warning,) = weak_drop_ins({"kitchen": [mine, own]}, {own.path})
    assert warning.startswith(f"{mine.path} was written by an earlier version")
    assert warning.endswith("rename it to zz-librespot-guard-zeroconf-port.conf")
    assert list(weak_drop_ins({"kitchen": [old, own]}, {step.path for step in made.steps})) == []  # type: ignore[union-attr]


def test_two_services_that_share_a_file_do_not_get_the_same_port() -> None:
    """Both would listen on it, and the second would not start: it is said, and nothing is written."""
    conf = SettingFile("/etc/spotifyd.conf", "toml", "global", data=b"[global]\n")
    both = [
        review(
            replace(speaker("spotifyd", listener("connect", port, pinned=False)), name=name),
            KNOWN.flavour("spotifyd"),
            "phones",
            [conf],
        )
        for name, port in (("kitchen", 37001), ("attic", 37002))
    ]

    assert edits(both[:1])
    with pytest.raises(Refused, match="kitchen and attic both read /etc/spotifyd"):
        edits(both)


def test_what_stands_between_two_edits_is_not_shown() -> None:
    """Nor is it in the steps, which are saved: it may be a password."""
    conf = SettingFile(
        "/etc/snapserver.conf", "ini", data=b"[http]\n[stream]\nsource = librespot:///l?password=hunter2\n[tcp]\n"
    )
    listeners = [listener(s, p) for s, p in (("stream", 1704), ("control", 1705), ("api", 1780))]
    found = review(
        replace(speaker("snapserver", *listeners), version="0.26.0"), KNOWN.flavour("snapserver"), "nobody", [conf]
    )
    made = edits([found])

    assert made.diff.count("+bind_to_address = 127.0.0.1") == 3
    assert "hunter2" not in made.diff + repr(made.steps)


def test_what_a_drop_in_says_already() -> None:
    """Written and not restarted yet: it waits for the restart, and is not written again."""
    own = drop_in("zz-librespot-guard-zeroconf-port.conf", UnitVariable(PORT, "37123", "/x:3"), data=b"")

    assert of(in_unit(own), "connect").done
    assert not edits([in_unit(own)])


def test_a_transient_unit_gets_no_drop_in() -> None:
    """What `systemd-run` started is gone with the unit: a drop-in would wait for nobody."""
    found = in_unit(SettingFile("/run/systemd/transient/librespot.service", "unit"), unit="librespot.service")

    assert "systemd-run" in of(found, "connect").problem
    assert not edits([found])


def test_a_unit_of_a_user_gets_no_drop_in_of_the_system() -> None:
    """The manager of a user reads other folders: a drop-in in /etc/systemd/system would do nothing."""
    cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/librespot.service"

    assert "systemctl --user edit librespot.service" in of(in_unit(cgroup=cgroup), "connect").problem


@pytest.mark.parametrize(
    ("version", "says"), [("0.26.0", "[tcp]\nbind_to_address"), ("0.34.0", "[tcp-control]\nbind_to_address")]
)
def test_the_section_depends_on_the_version(version: str, says: str) -> None:
    """Snapserver renamed its sections in 0.33: each version gets the one that it reads."""
    conf = [SettingFile("/etc/snapserver.conf", "ini", data=b"")]
    found = review(
        speaker("snapserver", listener("control", 1705), version=version), KNOWN.flavour("snapserver"), "phones", conf
    )

    assert says.replace("\n", "\n+") in edits([found]).diff


def test_a_name_that_depends_on_an_unknown_version_is_left_to_the_user() -> None:
    """Written under the name of another version it would do nothing; what is called the same in all versions is written."""
    conf = [SettingFile("/etc/snapserver.conf", "ini", data=b"")]
    service = speaker("snapserver", listener("control", 1705), listener("api", 1780))
    found = review(service, KNOWN.flavour("snapserver"), "phones", conf)

    assert "`tcp-control.bind_to_address` or `tcp.bind_to_address`" in of(found, "control").problem
    assert "+[http]\n+bind_to_address = 127.0.0.1" in edits([found]).diff
    assert "tcp" not in edits([found]).diff


def test_what_the_file_says_already_is_not_written_again() -> None:
    """A setting that stands there waits for a restart only."""
    conf = [SettingFile("/etc/raspotify/conf", "env", data=b"LIBRESPOT_ZEROCONF_PORT=37123\n")]
    found = review(speaker("raspotify", CONNECT), KNOWN.flavour("raspotify"), "phones", conf)

    assert of(found, "connect").done
    assert not edits([found])


def test_a_file_that_cannot_be_edited_is_named() -> None:
    """Why a file was not changed is said with its path."""
    flavour = KNOWN.flavour("raspotify")
    for conf in (
        SettingFile("/etc/raspotify/conf", "env", problem="Permission denied"),
        SettingFile("/etc/raspotify/conf", "env", data=b"X='\n"),
    ):
        problem = of(review(speaker("raspotify", CONNECT), flavour, "phones", [conf]), "connect").problem
        assert problem.startswith("/etc/raspotify/conf: ")
