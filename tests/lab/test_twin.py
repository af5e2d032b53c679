"""The twin of a host decides about packets as the host does, and says what it can't reproduce."""

from dataclasses import replace

import pytest

from librespot_guard.collect import read_namespace
from librespot_guard.lab.inject import Way, deliver
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.lab.twin import Twin, build
from librespot_guard.reach import Packet
from librespot_guard.snapshot import Namespace

pytestmark = pytest.mark.kernel

RULES = """
table inet f {
  chain input {
    type filter hook input priority 0; policy accept;
    iif "eth1" tcp dport 4070 drop
    ip6 saddr fd00:10::9 drop
    ip saddr 192.168.10.64/26 udp dport 5353 drop
  }
}
"""


def _original(box: Sandbox) -> tuple[Host, dict[str, Way]]:
    """A host with two networks, odd interface indexes, routes of every kind, sysctls and rules."""
    host, world = box.host("host"), box.host("world")
    box.link(host, "eth0", world, "w0", one_index=5)
    box.link(host, "eth1", world, "w1", one_index=9)
    host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
    host.address("eth1", "192.168.30.2/24", "fd00:30::2/64")
    host.multicast("eth0")
    host.route("default", via="192.168.10.1")
    host.route("10.0.0.0/8", via="192.168.30.1")
    host.route("default", via="fd00:10::1")
    host.ip(
        "route add blackhole 10.9.0.0/16",
        "rule add from 10.1.0.0/16 lookup 100 priority 77",
        "route add default dev eth1 table 100",
    )
    host.sysctl({"net.ipv4.conf.all.rp_filter": 1, "net.ipv4.conf.eth1.route_localnet": 1, "net.ipv4.ip_forward": 1})
    host.run(["nft", "-f", "-"], input=RULES, check=True)
    return host, {"eth0": Way(world, "w0"), "eth1": Way(world, "w1")}


def _packets() -> list[Packet]:
    sources4 = [
        "192.168.10.9",
        "192.168.10.63",
        "192.168.10.64",
        "192.168.10.128",
        "192.168.30.9",
        "10.5.0.1",
        "10.9.0.1",
        "127.0.0.1",
        "8.8.8.8",
    ]
    sources6 = ["fd00:10::8", "fd00:10::9", "fd00:30::8", "fe80::1", "2001:db8::1", "::1"]
    out = []
    for iface, own4, own6 in (("eth0", "192.168.10.2", "fd00:10::2"), ("eth1", "192.168.30.2", "fd00:30::2")):
        for proto, port in (("tcp", 4070), ("udp", 5353)):
            for dst in (own4, "192.168.10.2", "127.0.0.1", "224.0.0.1"):
                out += [Packet(iface, src, dst, proto, dport=port) for src in sources4]
            for dst in (own6, "ff02::1"):
                out += [Packet(iface, src, dst, proto, dport=port) for src in sources6]
    return out


def _twin(box: Sandbox, namespace: Namespace) -> Twin:
    return build(box, namespace, byteorder="little")


def test_original_and_twin_decide_alike() -> None:
    """Reverse-path filter, martians, policy routing, weak host model, rules by interface index: packet by packet the same."""
    packets = _packets()
    with Sandbox() as box:
        host, ways = _original(box)
        namespace, _ = host.call(read_namespace)
        expected = deliver(box, host, ways, packets)
        twin = _twin(box, namespace)
        got = deliver(box, twin.host, twin.ways, packets)
    assert (twin.notes, twin.faithful) == ([], True)
    differing = [(p, e) for p, e, g in zip(packets, expected, got, strict=True) if e != g]
    assert differing == []
    assert len(set(expected)) == 2


def test_listeners_and_groups_stand_in_the_twin() -> None:
    """The original's sockets are opened in the twin, with their addresses, and its multicast groups are joined."""
    with Sandbox() as box:
        host, _ = _original(box)
        code = "import socket,struct,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('',5353))\n"
        code += "s.setsockopt(0,35,struct.pack('=4s4si',socket.inet_aton('224.0.0.251'),bytes(4),socket.if_nametoindex('eth0')))\n"
        code += "t=socket.create_server(('192.168.10.2',4070))\nprint(1,flush=True)\ntime.sleep(60)"
        import subprocess  # noqa: PLC0415
        import sys  # noqa: PLC0415

        process = host.popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.popen.stdout is not None
        process.popen.stdout.readline()
        namespace, _ = host.call(read_namespace)
        process.stop()
        twin = _twin(box, namespace)

        def listening() -> set[tuple[str, int]]:
            return {s.getsockname()[:2] for s in twin.sockets() if s.getsockname()[1]}

        assert twin.host.call(listening) == {("0.0.0.0", 5353), ("192.168.10.2", 4070)}
        packet = Packet("eth0", "192.168.10.9", "224.0.0.251", "udp", dport=5353)
        assert deliver(box, twin.host, twin.ways, [packet], sockets=twin.sockets) == [True]
        assert deliver(box, twin.host, twin.ways, [packet]) == [False]


def test_what_can_not_be_reproduced_is_said() -> None:
    """A rule on the owner of a socket, and one on a module that the twin lacks, are named with table, chain and handle."""
    with Sandbox() as box:
        host, _ = _original(box)
        host.run(["nft", "add", "rule", "inet", "f", "input", "meta", "skuid", "0", "accept"], check=True)
        namespace, _ = host.call(read_namespace)
        twin = _twin(box, namespace)
    (note,) = twin.notes
    assert "`meta skuid`" in note
    assert "table inet f, chain input" in note


def test_an_interface_that_can_not_be_made_is_said() -> None:
    """Where the twin already has an interface of that name, the twin is built without it, and it says which is missing."""
    with Sandbox() as box:
        host, _ = _original(box)
        namespace, _ = host.call(read_namespace)
        eth1 = next(one for one in namespace.links if one.name == "eth1")
        impossible = replace(eth1, name="a-name-that-is-too-long", index=17, up=False)
        twin = _twin(box, replace(namespace, links=(*namespace.links, impossible)))
    assert twin.notes == ["interface a-name-that-is-too-long could not be made the same"]
    assert set(twin.ways) == {"eth0", "eth1"}


def test_rules_that_are_not_known_make_no_faithful_twin() -> None:
    """Without the host's rules the twin's answers mean nothing, and it says so."""
    with Sandbox() as box:
        host, _ = _original(box)
        namespace, _ = host.call(read_namespace)
        twin = _twin(box, replace(namespace, nft=None))
    assert not twin.faithful
    assert twin.notes == ["the packet filter of the host could not be read"]
