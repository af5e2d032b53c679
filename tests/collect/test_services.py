"""Which processes become services, and what is kept of them."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard import catalog
from librespot_guard.collect import candidates, services
from librespot_guard.collect.candidates import Candidate
from librespot_guard.collect.processes import Process
from librespot_guard.collect.settings import Resolved
from librespot_guard.snapshot import Address, Info, Listener, Service

KNOWN = catalog.load()
GONE = 4194304  # no process can have this number: its program can't be read, so that its name is believed
PROCESS = Process(
    pid=GONE,
    parent=1,
    command="librespot",
    executable="/usr/bin/librespot",
    argv=("/usr/bin/librespot", "--name", "Küche 1", "-k", "SECRET", "-C", "/system", "-c", "/cache"),
    uid=os.geteuid(),
    started=5.0,
    cgroup="/",
    unit=None,
    container=None,
    netns="1",
    net=1,
)
WILD = Listener("tcp", "ipv6", "::", 37001, v6only=False)
MDNS = Listener("udp", "ipv4", "0.0.0.0", 5353)
RUST = Info("librespot", "librespot", "2.9.0", "0.8.0", "Küche 1", "x", "")


def find(process: Process, *listeners: Listener) -> Candidate | None:
    """The candidate that one process is."""
    return next(iter(candidates.find([process], {process.pid: listeners}, KNOWN)), None)


def built(process: Process, *listeners: Listener, info: Info | None = None) -> Service | None:
    """The service that one process is, when its first listener answers."""
    candidate = find(process, *listeners)
    if candidate is None:
        return None
    made = services.build(candidate, {listeners[0]: info} if info else {}, KNOWN, "1")
    return made[0] if made else None


@pytest.mark.parametrize(
    ("changes", "flavour"),
    [
        ({}, "librespot"),
        ({"executable": "", "command": "x"}, "librespot"),
        ({"executable": "", "argv": ("x",)}, "librespot"),
        ({"unit": "raspotify.service"}, "raspotify"),
        ({"unit": "librespot.service"}, "librespot"),
        ({"unit": "other.service"}, "librespot"),
        ({"executable": "/opt/spotifyd", "argv": ("spotifyd",), "command": "spotifyd"}, "spotifyd"),
        ({"executable": "/bin/dash", "argv": ("sh", "/usr/local/bin/librespot")}, None),
        ({"executable": "/usr/bin/sudo", "argv": ("librespot",)}, None),
        ({"executable": "", "argv": ("/bin/bash", "/usr/local/bin/librespot"), "command": "librespot"}, None),
        ({"executable": "/usr/bin/vim", "argv": ("vim", "librespot"), "command": "vim"}, None),
    ],
)
def test_by_name(changes: dict[str, object], flavour: str | None) -> None:
    """The name of the program, of its first argument or of the process tells the flavour, the unit its package; wrappers are none."""
    service = built(replace(PROCESS, **changes))  # type: ignore[arg-type]

    assert (service and service.flavour) == flavour


def test_under_another_name_only_its_answer_counts() -> None:
    """A process that listens everywhere and speaks mDNS is asked, and is a service only if it answers as one."""
    renamed = replace(PROCESS, executable="/opt/speaker", command="speaker", argv=("speaker",))

    assert find(renamed, WILD) is None  # and its program can't be read here
    assert built(renamed, WILD, MDNS) is None
    assert built(renamed, WILD, MDNS, info=replace(RUST, brand="Acme")) is None
    service = built(renamed, WILD, MDNS, info=RUST)
    assert service is not None
    assert (service.flavour, service.version, service.name) == ("librespot", "0.8.0", "kuche-1")


def test_a_worker_is_no_service_of_its_own() -> None:
    """A child that holds only what it inherited belongs to its parent; one with a listener of its own is another service."""
    child = replace(PROCESS, pid=PROCESS.pid + 1, parent=PROCESS.pid)
    own = replace(WILD, port=37002, inode=9)

    def pids(*listeners: Listener) -> list[int]:
        both = {PROCESS.pid: (WILD, MDNS), child.pid: listeners}
        return [c.process.pid for c in candidates.find([PROCESS, child], both, KNOWN)]

    assert pids(WILD) == [PROCESS.pid]
    assert pids(WILD, own) == [PROCESS.pid, child.pid]


def test_the_answer_corrects_the_name() -> None:
    """A program called librespot that answers as librespot-python is that; spotifyd answers as librespot and stays spotifyd."""
    python = built(
        PROCESS, WILD, info=Info("kokarare1212", "librespot-python", library_version="0.0.10", remote_name="b")
    )
    daemon = built(replace(PROCESS, executable="/usr/bin/spotifyd"), WILD, info=RUST)

    assert python is not None
    assert python.flavour == "librespot-python"
    assert daemon is not None
    # what it says is the version of the library inside it
    assert (daemon.flavour, daemon.version) == ("spotifyd", None)


def test_what_is_kept() -> None:
    """Name, cache folder and command line are kept, the secret is not."""
    service = built(PROCESS, WILD)

    assert service is not None
    assert "SECRET" not in repr(service)
    assert service.argv[3:5] == ("-k", "***")
    assert (service.name, service.cache_dir, service.version) == ("kuche-1", "/system", None)


@pytest.mark.parametrize(
    ("source", "ours"),
    [
        ("process:///usr/bin/spotifyd?name=x", True),
        ("spotify:///x?name=y", True),
        ("pipe:///tmp/snapfifo?name=default", False),
    ],
)
def test_a_snapserver_with_a_source_of_the_family(source: str, ours: bool) -> None:
    """It belongs to the family where a source is one of it, by whatever scheme."""
    found = services.family(KNOWN.flavour("snapserver"), Resolved(every={"source": ("pipe:///x", source)}))

    assert found is ours


def test_program_text_is_not_kept() -> None:
    """What an interpreter got by `-c` may hold anything, and is left out."""
    argv = services._without_code(
        replace(PROCESS, executable="/usr/bin/python3", argv=("python3", "-uc", "login('SECRET')", "x"))
    )

    assert argv == ("python3", "-uc", "<program text, 15 characters>", "x")


@given(st.lists(st.text(max_size=80), max_size=12))
def test_names_are_unique_and_plain(titles: list[str]) -> None:
    """Whatever the devices are called, every service has a name of its own of small letters, digits and dashes."""
    service = built(PROCESS)
    assert service is not None
    found = services.unique([replace(service, name=services.slug(t), pid=n) for n, t in enumerate(titles, start=1)])

    assert len({s.name for s in found}) == len(titles)
    assert all(
        s.name and set(s.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and s.name[0] != "-" for s in found
    )


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        (WILD, ["127.0.0.1", "::1"]),
        (replace(WILD, v6only=True), ["::1", "fd00::2"]),
        (Listener("tcp", "ipv4", "0.0.0.0", 1), ["127.0.0.1", "192.168.1.2"]),
        (Listener("tcp", "ipv4", "192.168.1.2", 1), ["192.168.1.2"]),
    ],
)
def test_where_a_listener_is_asked(listener: Listener, expected: list[str]) -> None:
    """Only addresses of the host itself are asked, loopback first."""
    own = [
        Address(f, a, 64, "x")
        for f, a in (
            ("ipv4", "192.168.1.2"),
            ("ipv6", "fe80::1"),
            ("ipv6", "fd00::2"),
            ("ipv6", "::1"),
            ("ipv4", "127.0.0.1"),
        )
    ]

    assert services.reached_at(listener, own) == expected
