"""Interfaces, addresses, routes, rules, groups and sysctls of a real namespace."""

import socket
import sys
from collections.abc import Iterator

import pytest

from librespot_guard import collect
from librespot_guard.collect import namespaces
from librespot_guard.collect.links import parse_igmp, parse_igmp6
from librespot_guard.errors import MachineError
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import Address, Group, Namespace, Route
from support import UNSEEN_IN_A_SANDBOX

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with two interfaces, several routing tables, and rules of many kinds."""
    with Sandbox() as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        box.link(one, "wan.7", other, "wan")
        one.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        one.address("wan.7", "10.9.0.2/16")
        one.ip(
            "addr add 10.50.0.1 peer 10.50.0.2/31 dev wan.7",
            "link set eth0 group 5",
            "link add br0 type bridge",
            "link set br0 up",
            "route add default via 192.168.10.1 dev eth0",
            "route add 172.16.0.0/12 nexthop via 10.9.0.1 dev wan.7 nexthop via 192.168.10.1 dev eth0",
            "route add blackhole 203.0.113.0/24",
            "route add unreachable 2001:db8::/32",
            "route add throw 198.51.100.0/24 table 77",
            "route add 192.0.2.0/24 via 192.168.10.254 dev eth0 table 777 metric 50",
            "rule add from 192.0.2.0/24 fwmark 0x5/0xff iif eth0 lookup 777 priority 100",
            "rule add not to 192.0.2.1 oif wan.7 prohibit priority 101",
            "rule add ipproto tcp dport 22 lookup 777 priority 102",
            "rule add lookup main suppress_prefixlength 0 priority 103",
            "rule add from 192.0.2.77/25 to 203.0.113.9/30 lookup 777 priority 104",
        )
        one.run(["ip", "-6", "rule", "add", "from", "fd00::/8", "lookup", "777", "priority", "100"], check=True)
        one.sysctl(
            {"net/ipv4/conf/wan.7/rp_filter": 2, "net.ipv4.conf.eth0.route_localnet": 1, "net.ipv4.ip_forward": 1}
        )
        yield one


@pytest.fixture(scope="module")
def facts(host: Host) -> Namespace:
    """What was read of it."""
    namespace, gaps = host.call(collect.read_namespace)
    assert {gap.what for gap in gaps} <= UNSEEN_IN_A_SANDBOX
    return namespace


def test_links(facts: Namespace) -> None:
    """Interfaces have their kind, type, group and hardware address; loopback has none."""
    links = {link.name: link for link in facts.links}

    assert links["lo"].loopback
    assert links["lo"].mac is None
    assert (links["eth0"].kind, links["eth0"].arp_type, links["eth0"].group, links["eth0"].up) == ("veth", 1, 5, True)
    assert len(links["eth0"].mac or "") == 17
    assert links["br0"].kind == "bridge"


def test_addresses(facts: Namespace) -> None:
    """Addresses have prefix, scope and broadcast; on a point-to-point address the host stands alone in its prefix."""
    found = {a.address: a for a in facts.addresses}

    assert found["192.168.10.2"] == Address("ipv4", "192.168.10.2", 24, "eth0", 0, found["192.168.10.2"].broadcast)
    assert found["fd00:10::2"].prefixlen == 64
    assert (found["10.50.0.1"].prefixlen, found["10.50.0.1"].dev) == (32, "wan.7")
    assert found["127.0.0.1"].scope == 254
    assert any(a.address.startswith("fe80::") and a.dev == "eth0" for a in facts.addresses)


def test_routes(facts: Namespace) -> None:
    """Routes of every table, of every kind, with the interfaces of every nexthop."""
    found = {(r.table, r.dst): r for r in facts.routes}

    assert found[254, "0.0.0.0/0"] == Route("ipv4", 254, "0.0.0.0/0", "unicast", ("eth0",), "192.168.10.1")
    assert set(found[254, "172.16.0.0/12"].devs) == {"eth0", "wan.7"}
    assert found[254, "203.0.113.0/24"].kind == "blackhole"
    assert found[254, "2001:db8::/32"].kind == "unreachable"
    assert found[77, "198.51.100.0/24"].kind == "throw"
    assert found[777, "192.0.2.0/24"].priority == 50
    assert found[255, "192.168.10.2/32"].kind == "local"
    assert found[255, "192.168.10.255/32"].kind == "broadcast"
    assert found[255, "fd00:10::2/128"].kind == "local"
    assert found[255, "127.0.0.0/8"].devs == ("lo",)


def test_rules(facts: Namespace) -> None:
    """Routing rules have their selectors; one that is not named in the facts makes the rule `other`."""
    found = {(r.family, r.priority): r for r in facts.rules}
    # the kernel keeps the bits of a host, and compares without them
    assert (found["ipv4", 104].src, found["ipv4", 104].dst) == ("192.0.2.0/25", "203.0.113.8/30")
    marked, inverted = found["ipv4", 100], found["ipv4", 101]

    assert (marked.src, marked.mark, marked.mask, marked.iif, marked.table, marked.other) == (
        "192.0.2.0/24",
        5,
        255,
        "eth0",
        777,
        False,
    )
    assert (inverted.dst, inverted.oif, inverted.action, inverted.inverted, inverted.other) == (
        "192.0.2.1/32",
        "wan.7",
        "prohibit",
        True,
        False,
    )
    assert found["ipv4", 102].other
    assert (found["ipv4", 103].suppress, found["ipv4", 103].other, marked.suppress) == (0, False, None)
    assert found["ipv6", 100].src == "fd00::/8"
    assert [(r.table, r.other) for r in facts.rules if r.family == "ipv4" and r.priority in (0, 32766, 32767)] == [
        (255, False),
        (254, False),
        (253, False),
    ]


def test_sysctls(facts: Namespace) -> None:
    """The sysctls are those of this namespace, also of an interface with a dot in its name."""
    assert facts.sysctls["net.ipv4.conf.wan.7.rp_filter"] == "2"
    assert facts.sysctls["net.ipv4.conf.eth0.route_localnet"] == "1"
    assert facts.sysctls["net.ipv4.ip_forward"] == "1"
    assert facts.sysctls["net.ipv6.conf.eth0.disable_ipv6"] == "0"
    assert "net.ipv6.bindv6only" in facts.sysctls


def test_groups(host: Host) -> None:
    """A joined multicast group is there, for both families, on its interface."""

    def join() -> Namespace:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six,
        ):
            index = socket.if_nametoindex("eth0")
            four.setsockopt(
                socket.IPPROTO_IP,
                socket.IP_ADD_MEMBERSHIP,
                socket.inet_aton("224.0.0.251") + socket.inet_aton("192.168.10.2"),
            )
            six.setsockopt(
                socket.IPPROTO_IPV6,
                socket.IPV6_JOIN_GROUP,
                socket.inet_pton(socket.AF_INET6, "ff02::fb") + index.to_bytes(4, "little"),
            )
            return collect.read_namespace()[0]

    groups = host.call(join).groups or ()

    assert {
        Group("ipv4", "eth0", "224.0.0.251"),
        Group("ipv6", "eth0", "ff02::fb"),
        Group("ipv4", "lo", "224.0.0.1"),
    } <= set(groups)


def test_the_name_and_the_id_of_the_namespace(host: Host, facts: Namespace) -> None:
    """The id is the inode of the namespace, the name the one under /run/netns."""
    assert facts.name == "one"
    assert facts.id == host.run(["stat", "-Lc", "%i", "/proc/self/ns/net"], check=True).stdout.strip()


def test_in_namespace_leaves_the_caller_where_it_is(host: Host) -> None:
    """The function sees the other namespace's sockets, /proc and /proc/sys; the caller stays in its own."""

    def work() -> tuple[str, str, str, Namespace]:
        before = namespaces.current_id()
        there = collect.in_namespace("/run/netns/other", namespaces.current_id)
        namespace = collect.in_namespace("/run/netns/other", lambda: collect.read_namespace(home=False)[0])
        return before, there, namespaces.current_id(), namespace

    before, there, after, namespace = host.call(work)

    assert before == after != there == namespace.id
    assert {link.name for link in namespace.links} == {"lo", "eth0", "wan"}
    assert namespace.sysctls["net.ipv4.ip_forward"] == "0"
    assert not namespace.home


def test_in_namespace_raises_what_the_function_raises(host: Host) -> None:
    """An error inside is the caller's error; a namespace that is gone is a MachineError that names it."""

    def work() -> None:
        with pytest.raises(ZeroDivisionError):
            collect.in_namespace("/run/netns/other", lambda: 1 // 0)
        with pytest.raises(MachineError, match="/run/netns/gone"):
            collect.in_namespace("/run/netns/gone", lambda: None)

    host.call(work)


def test_a_filter_of_another_kind_is_named(host: Host) -> None:
    """A classifier on the ingress hook is found and named with its interface."""
    tried = host.run(
        [
            "sh",
            "-c",
            "tc qdisc add dev br0 clsact && tc filter add dev br0 ingress protocol all u32 match u32 0 0 action drop",
        ]
    )
    if tried.returncode != 0:
        tried = host.run(
            ["sh", "-c", "tc filter add dev br0 ingress protocol all bpf bytecode '1,6 0 0 0,' direct-action"]
        )
    if tried.returncode != 0:
        pytest.skip(f"this kernel has no classifier to try: {tried.stderr.strip()}")
    found = host.call(collect.read_namespace)[0].other_filters
    host.run(["tc", "qdisc", "del", "dev", "br0", "clsact"], check=True)

    assert [(f.kind, f.where) for f in found if f.kind == "tc"] == [("tc", "br0")]
    assert "ingress" in next(f.detail for f in found if f.kind == "tc")


def test_igmp_listings_are_read() -> None:
    """The formats of /proc/net/igmp and igmp6 give device and address, whatever the byte order of the number."""
    number = f"{int.from_bytes(socket.inet_aton('224.0.0.251'), sys.byteorder):08X}"
    listing = f"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n2\teth0      :     1      V3\n\t\t\t\t{number}     1 0:00000000\t\t0\n"

    assert list(parse_igmp(listing)) == [Group("ipv4", "eth0", "224.0.0.251")]
    assert list(parse_igmp6("2    eth0            ff0200000000000000000000000000fb     1 0000000C 0\n")) == [
        Group("ipv6", "eth0", "ff02::fb")
    ]
