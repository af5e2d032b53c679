"""What each listener is for, and whether its port stays."""

from dataclasses import replace

import pytest

from librespot_guard import catalog
from librespot_guard.collect.processes import Process
from librespot_guard.collect.settings import Resolved, Start, resolve
from librespot_guard.collect.surfaces import Subject, classify, pin_of
from librespot_guard.snapshot import Info, Listener

KNOWN = catalog.load()
LIBRESPOT, SPOTIFYD, PYTHON = (KNOWN.flavour(n) for n in ("librespot", "spotifyd", "librespot-python"))
PROCESS = Process(9, 1, "librespot", "/usr/bin/librespot", ("librespot",), 0, None, "/", None, None, "1", 1)
WILD = Listener("tcp", "ipv6", "::", 37001, v6only=False)
LOGIN = Listener("tcp", "ipv4", "127.0.0.1", 5588)
MDNS = Listener("udp", "ipv4", "0.0.0.0", 5353)
OTHER = Listener("udp", "ipv4", "0.0.0.0", 4000)


@pytest.mark.parametrize(
    ("argv", "environment", "pinned", "by"),
    [
        ((), {}, False, "random port (changes at restart)"),
        (("--zeroconf-port", "37001"), {}, True, "argv --zeroconf-port"),
        (("-z37001",), {}, True, "argv -z"),
        ((), {"LIBRESPOT_ZEROCONF_PORT": "37001"}, True, "environment LIBRESPOT_ZEROCONF_PORT"),
        (("-z", "37001"), {"LIBRESPOT_ZEROCONF_PORT": "9"}, True, "argv -z"),
        (("-z", "9"), {"LIBRESPOT_ZEROCONF_PORT": "37001"}, False, "can't be told: argv -z asks for port 9"),
        (("-z", "x"), {}, False, "random port (changes at restart)"),
    ],
)
def test_what_pins_the_port(argv: tuple[str, ...], environment: dict[str, str], pinned: bool, by: str) -> None:
    """The port is pinned only by a setting of exactly this port; the command line wins over the environment."""
    subject = Subject(replace(PROCESS, argv=("librespot", *argv)), LIBRESPOT, environment)

    assert pin_of(subject, 37001) == (pinned, by)


@pytest.mark.parametrize(
    ("pending", "by"),
    [
        (("37001", "/etc/raspotify/conf:7"), "/etc/raspotify/conf:7"),
        # the file was changed since: what the process has came from an older one
        (("37002", "/etc/raspotify/conf:7"), "environment LIBRESPOT_ZEROCONF_PORT"),
        (None, "environment LIBRESPOT_ZEROCONF_PORT"),
    ],
)
def test_where_a_variable_pins_the_port(pending: tuple[str, str] | None, by: str) -> None:
    """The line of the unit's file that set the variable is named, where it still says so."""
    variable = "LIBRESPOT_ZEROCONF_PORT"
    start = Start(("librespot",), {variable: "37001"}, pending={variable: pending} if pending else {})
    resolved = resolve(LIBRESPOT, "0.8.0", start)

    assert pin_of(Subject(PROCESS, LIBRESPOT, start.environment, "0.8.0", resolved), 37001) == (True, by)


def test_a_configuration_file_that_was_not_read() -> None:
    """Where a file could fix the port, it is not claimed to be random."""
    pinned, by = pin_of(Subject(PROCESS, SPOTIFYD, {}, resolved=Resolved(unread=True)), 37001)

    assert not pinned
    assert "zeroconf_port" in by


def test_a_library_in_a_program_that_is_no_python() -> None:
    """A library's port can't be looked for in a program that is not Python."""
    assert "can't be told" in pin_of(Subject(PROCESS, PYTHON, {}), 37001)[1]


def surfaces(
    *listeners: Listener, answers: dict[Listener, Info] | None = None, argv: tuple[str, ...] = ()
) -> list[tuple[str, str, bool]]:
    """Surface, how it is known, and whether it is pinned, of each listener."""
    found = classify(Subject(replace(PROCESS, argv=("librespot", *argv)), LIBRESPOT, {}), listeners, answers or {})
    return [(f.surface, f.known_by, f.pinned) for f in found]


def test_by_catalogue() -> None:
    """A TCP wildcard is connect, UDP 5353 discovery, the loopback port of the login is login, the rest is unknown."""
    assert surfaces(WILD, MDNS, LOGIN, OTHER) == [
        ("connect", "catalogue", False),
        ("discovery", "catalogue", True),
        ("login", "catalogue", True),
        ("unknown", "catalogue", False),
    ]


def test_by_asking() -> None:
    """What answered getInfo is connect; another wildcard listener of the same process then is unknown."""
    second = replace(WILD, port=8080)

    assert surfaces(WILD, second, answers={WILD: Info()}) == [
        ("connect", "asked", False),
        ("unknown", "catalogue", False),
    ]


def test_the_login_port_can_be_moved() -> None:
    """With --oauth-port the login is there, and no longer at its default."""
    moved = replace(LOGIN, port=6000)

    assert surfaces(moved, argv=("-K", "6000")) == [("login", "catalogue", True)]
    assert surfaces(LOGIN, argv=("-K", "6000")) == [("unknown", "catalogue", False)]
    assert surfaces(moved) == [("unknown", "catalogue", False)]
