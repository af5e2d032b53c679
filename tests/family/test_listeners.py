"""What each daemon of the family opens, as the kernel sees it (sock_diag, by `ss`), over restarts; the catalogue and `scan` say the same."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from family.ask import KEYS, SPEAKER6, Ask, Scene, obtained, scene, street
from librespot_guard import catalog
from librespot_guard.lab import daemons, mdns
from librespot_guard.lab.daemons import Running
from librespot_guard.lab.sandbox import Host

pytestmark = [pytest.mark.kernel, pytest.mark.family]

CONNECT = 0  # stands for the port of the Spotify Connect listener, which is random
# address as `ss` prints it: * is one socket for both families, [::] is IPv6 only
LIBMDNS = {("udp", "0.0.0.0", 5353), ("udp", "*", 5353)}
OPENS: dict[str, set[tuple[str, str, int]]] = {
    "librespot": {("tcp", "*", CONNECT), *LIBMDNS},
    "librespot-0.4.2": {("tcp", "0.0.0.0", CONNECT), *LIBMDNS},
    "spotifyd": {("tcp", "*", CONNECT), *LIBMDNS},
    "librespot-python": {
        ("tcp", "0.0.0.0", CONNECT),
        *(("udp", address, 5353) for address in ("0.0.0.0", "127.0.0.1", "192.168.10.2")),
    },
    "librespot-java": {("tcp", "*", CONNECT), ("udp", "0.0.0.0", 5353)},
    "snapserver": {("tcp", "*", CONNECT), *(("tcp", "0.0.0.0", port) for port in (1704, 1705, 1780)), *LIBMDNS},
    "go-librespot": {
        ("tcp", "*", CONNECT),
        ("tcp", "127.0.0.1", 3678),
        ("udp", "0.0.0.0", 5353),
        ("udp", "[::]", 5353),
    },
    "librespot-java-api": {("tcp", "*", CONNECT), ("tcp", "*", 24879), ("udp", "0.0.0.0", 5353)},
}
# keys of getInfo: number, libraryVersion (None: whatever the program says), version, statusString
TELLS: dict[str, tuple[int, str | None, str, str]] = {
    "librespot": (23, "0.8.0", "2.9.0", "OK"),
    "librespot-0.4.2": (16, "0.4.2", "2.7.1", "ERROR-OK"),
    "spotifyd": (23, "0.8.0", "2.9.0", "OK"),
    "librespot-python": (20, "0.0.10", "2.7.1", "OK"),
    "librespot-java": (20, "1.6.3", "2.7.1", "OK"),
    "snapserver": (23, "0.8.0", "2.9.0", "OK"),
    "go-librespot": (20, None, "2.7.1", "OK"),
    "librespot-java-api": (20, "1.6.3", "2.7.1", "OK"),
}


@pytest.fixture(autouse=True)
def _told(told: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    if "name" in request.fixturenames:
        told(request.getfixturevalue("name"))


def test_every_daemon_of_the_lab_is_here() -> None:
    """None is forgotten."""
    assert set(OPENS) == set(TELLS) == set(daemons.NAMES)


def observed(host: Host, running: Running) -> set[tuple[str, str, int]]:
    """Every listener of the host's network namespace, with CONNECT for the daemon's own port; not what the lab runs beside it."""
    found = set()
    for line in host.run(["ss", "-Hlntup"], check=True).stdout.splitlines():
        proto, _, _, _, local, _, *users = line.split()
        address, _, port = local.rpartition(":")
        if (
            not re.search(r'"python3?(\.\d+)?",pid=\d+,fd=\d+\)\)$', " ".join(users))
            or running.daemon.name == "librespot-python"
        ):
            found.add((proto, address.partition("%")[0], CONNECT if int(port) == running.port else int(port)))
    return found


def settled(host: Host, running: Running, expected: set[tuple[str, str, int]]) -> set[tuple[str, str, int]]:
    """The listeners when they are as expected, or after three seconds: mDNS comes a little after Spotify Connect."""
    deadline = time.monotonic() + 3
    while (seen := observed(host, running)) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen


@pytest.mark.parametrize("port", [None, 4070])
@pytest.mark.parametrize("name", OPENS)
def test_it_opens_what_is_known_over_a_restart(name: str, port: int | None) -> None:
    """The same listeners after each start; a pinned port stays, a random one is another each time."""
    ports = []
    with street() as (speaker, _):
        for _ in range(2):
            with obtained(name).start(speaker, name="kitchen", port=port) as running:
                assert settled(speaker, running, OPENS[name]) == OPENS[name]
                ports.append(running.port)
    assert len(set(ports)) == (2 if port is None else 1)
    assert port is None or ports == [port, port]


@pytest.mark.parametrize("name", OPENS)
def test_it_answers_a_stranger_on_the_families_it_opens(name: str) -> None:
    """`getInfo` by IPv4 from every one, by IPv6 where the socket is for both; mDNS leads to the same port; what it tells is known."""
    keys, library, version, status = TELLS[name]
    with scene(name) as one:
        info = one.info()
        assert (len(info), info["version"], info["statusString"]) == (keys, version, status)
        assert library in (None, info["libraryVersion"])
        assert (info["remoteName"], info["activeUser"]) == ("kitchen", "")
        assert keys != len(KEYS) or list(info) == KEYS or name == "librespot-python"
        found = one.phone.call(lambda: mdns.discover("eth0", timeout=5))
        assert [(f.name, f.port) for f in found] == [("kitchen", one.running.port)]
        ask6 = Ask(path="/?action=getInfo")
        if ("tcp", "*", CONNECT) in OPENS[name]:
            assert one.connect(ask6, address=SPEAKER6).status == 200
        else:
            with pytest.raises(ConnectionRefusedError):
                one.connect(ask6, address=SPEAKER6)


@pytest.mark.parametrize("name", OPENS)
def test_the_catalogue_declares_what_was_observed(name: str) -> None:
    """Each listener has a surface with its protocol, port and family; and what it always opens is there."""
    daemon = obtained(name)
    version = daemon.version or "0.9.0"
    known = catalog.load()
    surfaces = list(known.flavour(daemon.flavour).surfaces_of(version))
    if name == "snapserver":  # its child is a service beside it
        surfaces += known.flavour("librespot").surfaces_of("0.8.0")
    with scene(name) as one:
        seen = settled(one.speaker, one.running, OPENS[name])
    binds = {"*": "::", "[::]": "::"}
    for proto, address, port in seen:
        near = [s for s in surfaces if s.proto == proto and s.port in (None if port == CONNECT else port, None)]
        assert near, f"{proto} {address}:{port} is no surface of {daemon.flavour} {version}"
        assert proto == "udp" or binds.get(address, address) in [s.bind for s in near], f"{near}"
    # mDNS has a socket for each family: both together are every address
    for surface in (s for s in surfaces if s.name == "discovery"):
        heard = {binds.get(address, address) for proto, address, port in seen if (proto, port) == ("udp", 5353)}
        assert surface.bind == ("::" if "::" in heard else "0.0.0.0"), f"{heard}"
    for surface in (s for s in surfaces if s.name in ("connect", "discovery", "stream", "control")):
        assert [s for s in seen if s[0] == surface.proto and s[2] in (surface.port or CONNECT, CONNECT)], surface


@pytest.mark.parametrize("port", [None, 4070])
@pytest.mark.parametrize("name", OPENS)
def test_scan_finds_it(name: str, port: int | None) -> None:
    """By flavour, version and name, with the Spotify Connect listener and discovery told apart, and a pinned port from a random one."""
    daemon = obtained(name)
    # the speaker of a snapserver is its child
    flavour = "librespot" if name == "snapserver" else daemon.flavour
    with scene(name, port=port) as one:
        settled(one.speaker, one.running, OPENS[name])
        service = _scanned(one, flavour)
        seen = observed(one.speaker, one.running)
        chosen = one.running.port
        said = one.info()["libraryVersion"]
    assert service["name"] == "kitchen"
    assert service["version"] in ({None, daemon.version} if flavour == "spotifyd" else {said})
    surfaces = {(x["proto"], x["port"]): x for x in service["listeners"]}
    assert surfaces["tcp", chosen]["surface"] == "connect"
    assert surfaces["udp", 5353]["surface"] == "discovery"
    by = surfaces["tcp", chosen]["pinned_by"]
    assert surfaces["tcp", chosen]["pinned"] == (port is not None) or "was not read" in by, by
    binds = {"*": "::", "[::]": "::"}
    reported = {(x["proto"], x["address"], CONNECT if x["port"] == chosen else x["port"]) for x in service["listeners"]}
    own = {(p, binds.get(a, a), n) for p, a, n in seen if name != "snapserver" or n in (CONNECT, 5353)}
    assert reported == own


def test_scan_reads_a_snapserver_by_its_own_version() -> None:
    """0.26 calls the control port `tcp.port`: its version is read from its program, and the port it was given is told with its place."""
    with scene("snapserver", options={"tcp.port": "1805"}) as one:
        service = _scanned(one, "snapserver")
    ports = {x["port"]: (x["surface"], x["pinned_by"]) for x in service["listeners"]}
    stated = {x["name"]: (x["value"], x["from"]) for x in service["settings"]}

    assert service["version"] == one.running.daemon.version
    assert ports[1805] == ("control", "argv --tcp.port")
    assert stated["control-port"] == ("1805", "argv --tcp.port")
    assert stated["stream-bind"] == ("0.0.0.0", f"default of snapserver with a librespot source {service['version']}")
    # CVE-2023-36177 is of its version
    (control,) = [x for x in service["listeners"] if x["surface"] == "control"]
    assert any("CVE-2023-36177" in can for can in control["stranger"])


@pytest.mark.parametrize("name", ["librespot", "librespot-0.4.2", "spotifyd"])
def test_scan_says_why_a_stopped_daemon_did_not_answer(name: str) -> None:
    """One that takes connections and says nothing, as it is stopped, is listed with the reason for which its account and version are not."""
    with scene(name) as one:
        one.speaker.run(["kill", "-STOP", str(one.running.pid)], check=True)
        try:
            document = json.loads(one.guard("scan", "--format", "json"))
        finally:
            one.speaker.run(["kill", "-CONT", str(one.running.pid)], check=True)
        port = one.running.port
    (service,) = document["services"]

    assert (service["flavour"], service["info"]) == (one.running.daemon.flavour, None)
    assert [gap["why"] for gap in document["incomplete"] if f"port {port})" in gap["what"]] == [
        "it takes the connection, and says nothing within 2 seconds"
    ]


def _scanned(one: Scene, flavour: str) -> dict[str, Any]:
    """The service of this flavour that `scan` reports; nothing that answers as it should is complained of."""
    document = json.loads(one.guard("scan", "--format", "json"))
    (service,) = [s for s in document["services"] if s["flavour"] == flavour]
    assert not [gap for gap in document["incomplete"] if "getInfo" in gap["what"]]
    return dict(service)
