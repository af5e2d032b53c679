"""Listening sockets of every kind, as the kernel shows them."""

import os
import socket
from collections.abc import Iterator

import pytest

from librespot_guard import collect
from librespot_guard.collect import sockets
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Listener

pytestmark = pytest.mark.kernel

KINDS = ("v4", "v4-local", "v6only", "dual", "mapped", "v6-local", "device", "udp4", "udp6")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with an interface."""
    with Sandbox() as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24")
        yield one


def opened() -> dict[str, socket.socket]:
    """One socket of each kind."""
    made: dict[str, socket.socket] = {}
    for kind in KINDS:
        family = socket.AF_INET if kind in ("v4", "v4-local", "device", "udp4") else socket.AF_INET6
        one = socket.socket(family, socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, kind in ("v6only", "udp6"))
        if kind == "device":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        address = {"v4-local": "127.0.0.1", "mapped": "::ffff:127.0.0.1", "v6-local": "::1"}.get(
            kind, "" if family == socket.AF_INET else "::"
        )
        one.bind((address, 0))
        if not kind.startswith("udp"):
            one.listen()
        made[kind] = one
    return made


def seen(*, by_proc: bool = False) -> tuple[dict[str, Listener], list[Listener]]:
    """The listeners of one socket of each kind by kind, and all others."""
    made = opened()
    # connected sockets are no listeners
    client = socket.create_connection(made["v4-local"].getsockname())
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.connect(("127.0.0.1", 9))
    if by_proc:
        found = [
            sockets._listener(s, {}, {}, {})
            for proto, (_, state) in sockets._PROTOCOLS.items()
            for s in sockets._from_proc(proto, state)
        ]
    else:
        found = list(collect.read_namespace()[0].listeners)
    inodes = {os.fstat(s.fileno()).st_ino: kind for kind, s in made.items()}
    client.close()
    peer.close()
    for one in made.values():
        one.close()
    return {inodes[s.inode]: s for s in found if s.inode in inodes}, [s for s in found if s.inode not in inodes]


def test_every_kind_is_shown_as_what_it_is(host: Host) -> None:
    """IPv4, IPv6 only, dual-stack, IPv4-mapped, loopback, bound to a device, TCP and UDP."""
    found, others = host.call(seen)

    assert others == []
    shown = {kind: (s.proto, s.family, s.address, s.v6only, s.device) for kind, s in found.items()}
    assert shown == {
        "v4": ("tcp", "ipv4", "0.0.0.0", None, None),
        "v4-local": ("tcp", "ipv4", "127.0.0.1", None, None),
        "v6only": ("tcp", "ipv6", "::", True, None),
        "dual": ("tcp", "ipv6", "::", False, None),
        "mapped": ("tcp", "ipv4", "127.0.0.1", None, None),
        "v6-local": ("tcp", "ipv6", "::1", shown["v6-local"][3], None),
        "device": ("tcp", "ipv4", "0.0.0.0", None, "eth0"),
        "udp4": ("udp", "ipv4", "0.0.0.0", None, None),
        "udp6": ("udp", "ipv6", "::", True, None),
    }


def test_the_owner_is_known(host: Host) -> None:
    """Each listener has the process and the user that hold it."""
    found, _ = host.call(seen)

    assert {s.uid for s in found.values()} == {0}
    assert all(len(s.pids) == 1 and s.pids[0] > 0 for s in found.values())
    assert all(s.port > 0 for s in found.values())


def test_proc_shows_the_same_sockets(host: Host) -> None:
    """Without inet_diag the same sockets are found, each IPv6 wildcard taken for dual-stack: never less than there is."""
    found, others = host.call(lambda: seen(by_proc=True))

    assert others == []
    assert set(found) == set(KINDS)
    assert (found["dual"].v6only, found["v6only"].v6only) == (False, False)
    assert found["mapped"].address == "127.0.0.1"
    assert (found["udp4"].proto, found["udp4"].family) == ("udp", "ipv4")


def test_a_kernel_without_inet_diag_is_a_gap(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sock_diag knows no TCP, the gap says so and what to load."""
    monkeypatch.setitem(sockets._PROTOCOLS, "tcp", (252, sockets._LISTEN))  # a protocol that inet_diag does not have
    _, gaps = host.call(lambda: sockets.read_listeners({}, {}, {}))

    assert [g.what for g in gaps] == ["tcp sockets"]
    assert "modprobe tcp_diag" in gaps[0].hint


def test_established_connections_have_both_ends(host: Host) -> None:
    """A connection is there with local and peer address and port."""

    def work() -> tuple[tuple[str, int], tuple[str, int], list[tuple[tuple[str, int], tuple[str, int]]]]:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            found = [((s.local, s.local_port), (s.peer, s.peer_port)) for s in sockets.read_connections()]
            accepted.close()
            return server.getsockname(), client.getsockname(), found

    server, client, found = host.call(work)

    assert sorted(found) == sorted([(server, client), (client, server)])
