"""The feature review: which surfaces a use does not need, what takes each away, and when it is left to a person."""

from dataclasses import replace

import pytest

from librespot_guard import catalog
from librespot_guard.catalog import USES
from librespot_guard.plan.minimise import Proposal, Review, review
from librespot_guard.plan.minimise_edits import edits
from librespot_guard.snapshot import Listener, Service, ServiceListener
from librespot_guard.snapshot.setting_file import SettingFile

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
    assert made.steps[0].path == "/etc/systemd/system/librespot.service.d/50-librespot-guard-zeroconf-port.conf"  # type: ignore[union-attr]
    for more in ({"unit": None}, {"unit": "librespot.service", "container": "abc"}, {"unit": "../x.service"}):
        assert of(
            review(speaker("librespot", CONNECT, **more), KNOWN.flavour("librespot"), "phones"), "connect"
        ).problem


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
