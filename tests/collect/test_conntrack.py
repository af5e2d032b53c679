"""The flows that the kernel tracks: read from a real table, and whose each is."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import conntrack
from librespot_guard.collect.conntrack import Flow
from librespot_guard.collect.flows import Holders
from librespot_guard.collect.sockets import Sock
from librespot_guard.collect.watched import MAX_KEPT, Watched
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Listener, Service, ServiceListener

HERE, PHONE, GROUP = "192.168.10.2", "192.168.10.3", "224.0.0.251"
RULES = """table inet t {
chain n { type nat hook prerouting priority -100; tcp dport 8080 redirect to :37001; }
chain i { type filter hook input priority 0; ct state new accept; }
}"""
SERVE = "import socket; s=socket.create_server(('',37001),family=socket.AF_INET6,dualstack_ipv6=True); print('ready',flush=True)\nwhile 1: s.accept()[0].recv(9)"
TALK = """
import socket
socket.create_connection(("192.168.10.2", 8080)).close()
socket.create_connection(("fd00:10::2", 37001)).close()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", 5353)); u.sendto(b"x", ("192.168.10.2", 5353)); u.sendto(b"x", ("192.168.10.2", 9))
"""


@pytest.fixture
def two() -> Iterator[tuple[Host, Host]]:
    """Two hosts on one cable."""
    with Sandbox() as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", f"{HERE}/24", "fd00:10::2/64")
        other.address("eth0", f"{PHONE}/24", "fd00:10::3/64")
        yield one, other


@pytest.mark.kernel
def test_a_real_table(two: tuple[Host, Host]) -> None:
    """Both families, both protocols, a redirected connection with both its ports; other ports are counted, not shown."""
    one, other = two
    assert one.call(lambda: conntrack.read({37001})) == conntrack.Table()
    one.run(["nft", "-f", "-"], input=RULES, check=True)
    server = one.popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE)
    try:
        assert server.popen.stdout is not None
        server.popen.stdout.readline()
        other.run([sys.executable, "-c", TALK], check=True)
        table = one.call(lambda: conntrack.read({37001, 5353}))
        none = one.call(lambda: conntrack.read({1}))
    finally:
        server.stop()

    assert table.whole
    assert table.why == ""
    assert table.entries >= 4
    found = {(f.proto, f.sent[0], f.sent[2], f.sent[3], f.answer[1]) for f in table.flows}
    assert {
        ("tcp", PHONE, HERE, 8080, 37001),
        ("tcp", "fd00:10::3", "fd00:10::2", 37001, 37001),
        ("udp", PHONE, HERE, 5353, 5353),
        ("udp", PHONE, HERE, 9, 9),  # from port 5353
    } == found
    assert len({f.id for f in table.flows}) == len(table.flows)
    assert (none.flows, none.entries) == ((), table.entries)


@pytest.mark.kernel
def test_without_the_right(two: tuple[Host, Host]) -> None:
    """Who may not read it is told so, and nothing else fails."""
    one, _ = two
    code = "from librespot_guard.collect import conntrack; print(conntrack.read({1}).why)"
    command = ["setpriv", "--bounding-set", "-net_admin", sys.executable, "-c", code]
    done = one.run(command, env={"PYTHONPATH": ":".join(sys.path)}, check=True)

    assert done.stdout == "only root (CAP_NET_ADMIN) may read it\n"


@pytest.mark.kernel
def test_a_table_that_is_too_long(two: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends at its bound, and says that there is more."""
    one, other = two
    one.run(["nft", "-f", "-"], input=RULES, check=True)
    other.run([sys.executable, "-c", TALK.replace('socket.create_connection(("', '0 and socket.create_connection(("').replace(".close()", "")], check=True)  # fmt: skip
    monkeypatch.setattr(conntrack, "MAX_READ", 1)
    table = one.call(lambda: conntrack.read({5353}))

    assert not table.whole
    assert len(table.flows) == 1


@given(st.binary(max_size=200))
def test_bytes_never_raise(data: bytes) -> None:
    """What is no entry of TCP or UDP is none."""
    assert conntrack.decode(data) is None or len(data) > 60


def service(name: str, pid: int, *listeners: tuple[str, int]) -> Service:
    """A service with these listeners on all addresses."""
    owned = tuple(ServiceListener(Listener(p, "ipv4", "0.0.0.0", n), "x", pinned=False) for p, n in listeners)
    return Service(name, "librespot", None, pid, 0, "/x", "1", owned)


def sock(proto: str, port: int, inode: int, *, peer: str = "0.0.0.0", state: int = 7) -> Sock:
    """A socket; an unconnected UDP one unless said otherwise."""
    return Sock(proto, "ipv4", "0.0.0.0", port, peer, 0, 0, 0, inode, state=state)


ONE = service("one", 1, ("tcp", 37001), ("udp", 5353))
TWO = service("two", 2, ("tcp", 37002), ("udp", 5353))
SOCKS = [sock("tcp", 37001, 10, state=10), sock("udp", 5353, 11), sock("tcp", 37002, 20, state=10), sock("udp", 40000, 12), sock("tcp", 50000, 13, peer="1.2.3.4", state=1)]  # fmt: skip
OWNERS = {10: ONE, 11: ONE, 12: ONE, 13: ONE, 20: TWO}


def flow(proto: str, source: str, sport: int, destination: str, dport: int, here: str = "", port: int = 0) -> Flow:
    """A flow, rewritten to `here` and `port` if given."""
    answer = (here or destination, port or dport, source, sport)
    return Flow(1, proto, (source, sport, destination, dport), answer, ended=False)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (flow("tcp", PHONE, 1, HERE, 37001), [("one", True, PHONE, 37001)]),
        (flow("tcp", PHONE, 1, HERE, 8080, port=37001), [("one", True, PHONE, 37001)]),
        (flow("tcp", PHONE, 1, "127.0.0.1", 37001), [("one", True, PHONE, 37001)]),
        (flow("tcp", PHONE, 1, "192.168.10.77", 37001), []),  # on its way through this host
        (flow("udp", PHONE, 1, HERE, 37001), []),
        (flow("udp", PHONE, 5353, GROUP, 5353), [("one", True, PHONE, 5353), ("two", True, PHONE, 5353)]),
        (flow("udp", PHONE, 5353, HERE, 5353), []),  # one of two: which, can't be told
        (flow("udp", HERE, 40000, PHONE, 9000), [("one", False, PHONE, 9000)]),
        (flow("tcp", HERE, 50000, "1.2.3.4", 443), [("one", False, "1.2.3.4", 443)]),
        (flow("udp", HERE, 40001, PHONE, 9000), []),
        (flow("udp", PHONE, 40000, "192.168.10.77", 9000), []),
        (flow("tcp", HERE, 37002, PHONE, 1), [("two", True, PHONE, 37002)]),  # tracked from the middle on
    ],
)
def test_whose_a_flow_is(seen: Flow, expected: list[tuple[str, bool, str, int]]) -> None:
    """A flow is that of who listens, or of who sent; forwarded ones and those of others are nobody's."""
    holders = Holders.of([ONE, TWO], SOCKS, OWNERS, [HERE])

    assert [(p.service.name, p.inbound, p.peer, p.port) for p in holders.parts(seen)] == expected


def test_a_port_that_a_stranger_shares() -> None:
    """Where another program holds UDP 5353 too, only what is sent to the group is known to reach the service."""
    alone = replace(ONE, listeners=ONE.listeners)
    with_other = Holders.of([alone], [*SOCKS, sock("udp", 5353, 99)], OWNERS, [HERE])
    without = Holders.of([alone], SOCKS, OWNERS, [HERE])
    asked, sent = flow("udp", PHONE, 5353, HERE, 5353), flow("udp", HERE, 5353, GROUP, 5353)

    assert [len(list(without.parts(one))) for one in (asked, sent)] == [1, 1]
    assert [len(list(with_other.parts(one))) for one in (asked, sent)] == [0, 0]
    assert len(list(with_other.parts(flow("udp", PHONE, 5353, GROUP, 5353)))) == 1


def test_a_full_table_lets_the_oldest_go() -> None:
    """What was not seen for longest goes; what is seen again stays."""
    watched = Watched("x", "librespot", None)
    for n in range(MAX_KEPT):
        watched.seen(watched.starts, n, float(n))
    watched.seen(watched.starts, 0, 1e6)
    span, new = watched.seen(watched.starts, -1, 1e6)

    assert (new, span.first, len(watched.starts), watched.left_out) == (True, 1e6, MAX_KEPT, 1)
    assert 0 in watched.starts
    assert 1 not in watched.starts
