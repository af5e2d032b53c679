"""The connections through which somebody manages this host."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from librespot_guard import collect
from librespot_guard.collect import admin
from librespot_guard.collect.owners import read_owners
from librespot_guard.collect.processes import read_processes
from librespot_guard.collect.sockets import read_connections
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Connection

pytestmark = pytest.mark.kernel

# listens like sshd, under its name, and holds one connection
DAEMON = """
import socket, sys
open("/proc/self/comm", "w").write(sys.argv[1])
server = socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
connection, _ = server.accept()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """A server and the computer of its administrator."""
    with Sandbox() as box:
        server, desk = box.host("server"), box.host("desk")
        box.link(server, "eth0", desk, "eth0")
        server.address("eth0", "192.168.10.2/24")
        desk.address("eth0", "192.168.10.9/24")
        yield server, desk


def read() -> tuple[Connection, ...]:
    """The connections that are found in the calling host."""
    namespace, _ = collect.read_namespace()
    return admin.read_admin(namespace, read_connections(), read_processes(), read_owners().pids, os.getpid())


@pytest.mark.parametrize(
    ("name", "port", "found"), [("sshd", 2222, True), ("dropbear", 22, True), ("nginx", 2222, False)]
)
def test_connections_of_daemons(hosts: tuple[Host, Host], name: str, port: int, found: bool) -> None:
    """A connection to a port on which sshd or its like listens is one, with the interface it came over; others are not."""
    server, desk = hosts
    daemon = server.popen(
        [sys.executable, "-c", DAEMON, name, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert daemon.popen.stdout
        assert daemon.popen.stdout.readline() == "ready\n"
        script = f"import socket,sys; s=socket.create_connection(('192.168.10.2',{port})); print('up',flush=True); sys.stdin.read()"
        client = desk.popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.popen.stdout
        assert client.popen.stdout.readline() == "up\n"
        connections = server.call(read)
        client.stop()
    finally:
        daemon.stop()

    shown = [(c.family, c.local, c.local_port, c.peer, c.dev) for c in connections]
    assert shown == ([("ipv4", "192.168.10.2", port, "192.168.10.9", "eth0")] if found else [])
    assert all(name in c.why for c in connections)


def test_the_session_of_an_ancestor(hosts: tuple[Host, Host]) -> None:
    """SSH_CONNECTION is found where `sudo` has taken it away, in the environment of the shell above."""
    server, _ = hosts
    code = (
        "from librespot_guard import collect\n"
        "for c in collect.snapshot(ask=False).admin: print(c.family, c.local, c.local_port, c.peer, c.peer_port, c.dev, c.why)"
    )
    done = server.run(
        ["sh", "-c", 'env -u SSH_CONNECTION "$0" -c "$1"; exit 0', sys.executable, code],
        env={"SSH_CONNECTION": "192.168.10.9 50000 192.168.10.2 22", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )

    assert done.stdout.startswith("ipv4 192.168.10.2 22 192.168.10.9 50000 eth0 SSH_CONNECTION of process ")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a b c d",
        "1.2.3.4 x 1.2.3.4 22",
        "1.2.3.4 1 1.2.3.4",
        "1.2.3.4 1 nonsense 22",
        "1.2.3.4 70000 1.2.3.4 22",
        "1.2.3.4 1 1.2.3.4 99999999999",
    ],
)
def test_a_session_that_is_none(hosts: tuple[Host, Host], value: str) -> None:
    """An environment that somebody set to nonsense is not believed, and does no harm."""
    server, _ = hosts

    def work() -> tuple[Connection, ...]:
        with subprocess.Popen(["sleep", "60"], env={"SSH_CONNECTION": value}) as child:
            processes = read_processes()
            found = tuple(admin._of_session(processes, child.pid))
            child.kill()
        return found

    assert server.call(work) == ()


def test_a_scope_in_the_address(hosts: tuple[Host, Host]) -> None:
    """The interface of a link-local peer is the one that sshd names."""
    server, _ = hosts

    def work() -> tuple[Connection, ...]:
        with subprocess.Popen(["sleep", "60"], env={"SSH_CONNECTION": "fe80::9%eth0 50000 fe80::2%eth0 22"}) as child:
            found = tuple(admin._of_session(read_processes(), child.pid))
            child.kill()
        return found

    (connection,) = server.call(work)

    assert (connection.family, connection.peer, connection.local, connection.dev) == (
        "ipv6",
        "fe80::9",
        "fe80::2",
        "eth0",
    )
