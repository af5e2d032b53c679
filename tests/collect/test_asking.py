"""Which listeners of a candidate are asked who they are, and that no silent one keeps the others waiting."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from librespot_guard import catalog
from librespot_guard.collect import services
from librespot_guard.collect.candidates import Candidate
from librespot_guard.collect.getinfo import NoInfo
from librespot_guard.collect.namespaces import current_id, in_namespace
from librespot_guard.collect.processes import Process
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Address, Info, Listener, Namespace

pytestmark = pytest.mark.kernel

KNOWN = catalog.load()
HOME = "192.168.10.2"
ANSWER = {
    "deviceID": "0" * 40,
    "remoteName": "kitchen",
    "brandDisplayName": "librespot",
    "modelDisplayName": "librespot",
}
BODY = json.dumps(ANSWER).encode()
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

Behaviour = Callable[[socket.socket], None]
Told = dict[int, Info | NoInfo]


def _serve(behave: Behaviour, served: list[int]) -> socket.socket:
    server = socket.create_server((HOME, 0))

    def accept() -> None:
        try:
            connection, _ = server.accept()
        except OSError:  # closed: nobody came
            return
        with connection:
            connection.settimeout(10)
            served.append(server.getsockname()[1])
            connection.recv(65536)
            behave(connection)

    threading.Thread(target=accept, daemon=True).start()
    return server


def _ask(flavour: str, behaviours: list[Behaviour], *, certain: bool = True, across: bool = False) -> tuple[Told, int]:
    """Listeners that behave so, asked as those of one process: what each told, and how many were asked. `across`: from another namespace."""
    served: list[int] = []
    servers = [_serve(behave, served) for behave in behaviours]
    try:
        listeners = tuple(Listener("tcp", "ipv4", HOME, server.getsockname()[1]) for server in servers)
        here = current_id()
        process = Process(os.getpid(), 1, "x", "/x", ("x",), os.geteuid(), 1.0, "/", None, None, here, 1)
        candidate = Candidate(process, KNOWN.flavour(flavour), certain, listeners, {})
        namespace = Namespace(here, home=True, addresses=(Address("ipv4", HOME, 32, "lo"),))
        ask = partial(services.ask_all, [candidate], {here: namespace})
        (answers,), gaps = in_namespace("/run/netns/other", ask) if across else ask()
        assert gaps == ()
        return {n: answers[one] for n, one in enumerate(listeners) if one in answers}, len(served)
    finally:
        for server in servers:
            server.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with an address of its own, and another one beside it."""
    with Sandbox() as box:
        one = box.host("one")
        box.host("other")
        one.address("lo", f"{HOME}/32")
        yield one


def _answer(connection: socket.socket) -> None:
    connection.sendall(HTTP)


def _silence(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize("across", [False, True])
def test_they_are_asked_side_by_side(host: Host, across: bool) -> None:
    """Each of two listeners answers only when the other one is being asked too, from the namespace of the process."""
    meeting = threading.Barrier(2)

    def behave(connection: socket.socket) -> None:
        meeting.wait(10)
        _answer(connection)

    told, asked = host.call(partial(_ask, "go-librespot", [behave, behave], across=across))

    assert asked == 2
    assert [getattr(one, "remote_name", one) for one in told.values()] == ["kitchen", "kitchen"]


def test_a_silent_listener_does_not_hide_another(host: Host) -> None:
    """What answers is known, and of what doesn't there is a reason."""
    told, asked = host.call(partial(_ask, "go-librespot", [_silence, _answer]))

    assert asked == 2
    assert told[0] == NoInfo("it takes the connection, and says nothing within 2 seconds")
    assert isinstance(told[1], Info)


@pytest.mark.parametrize(("certain", "asked"), [(True, 0), (False, 1)])
def test_a_program_without_spotify_connect_is_left_alone(host: Host, certain: bool, asked: int) -> None:
    """A snapserver that is known as one would say nothing and cost the time; what only has its name is asked."""
    told, connections = host.call(partial(_ask, "snapserver", [_answer], certain=certain))

    assert (len(told), connections) == (asked, asked)
