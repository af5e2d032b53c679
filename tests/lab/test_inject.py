"""Injected packets: right on the wire, and told apart: let through by the input hook, or not."""

import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.errors import MachineError
from librespot_guard.lab.frames import build, checksum, multicast_mac, token_of
from librespot_guard.lab.inject import Way, deliver
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.reach import Packet

RULES = """
table inet t {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established drop
    tcp dport 80 ip saddr 192.168.10.0/25 accept
    tcp dport 80 ip6 saddr fd00:10::/112 accept
    udp dport 5353 accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
  }
}
"""
MAC = b"\x02\0\0\0\0\x01"


@pytest.fixture(scope="module")
def filtered() -> Iterator[tuple[Sandbox, Host, dict[str, Way]]]:
    """A host with a packet filter, and a way in."""
    with Sandbox() as box:
        host, world = box.host("host"), box.host("world")
        box.link(host, "eth0", world, "w0")
        host.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        host.run(["nft", "-f", "-"], input=RULES, check=True)
        yield box, host, {"eth0": Way(world, "w0")}


CASES = [
    (Packet("eth0", "192.168.10.127", "192.168.10.2", "tcp", dport=80), True),
    (Packet("eth0", "192.168.10.128", "192.168.10.2", "tcp", dport=80), False),
    (Packet("eth0", "192.168.10.127", "192.168.10.2", "tcp", dport=81), False),
    (Packet("eth0", "8.8.8.8", "192.168.10.2", "udp", dport=5353), True),
    (Packet("eth0", "127.0.0.1", "192.168.10.2", "udp", dport=5353), False),
    (Packet("eth0", "192.168.10.2", "192.168.10.2", "udp", dport=5353), False),
    (Packet("eth0", "fd00:10::ffff", "fd00:10::2", "tcp", dport=80), True),
    (Packet("eth0", "fd00:10::1:0", "fd00:10::2", "tcp", dport=80), False),
    (Packet("eth0", "fe80::1", "fd00:10::2", "udp", dport=5353), True),
    (Packet("eth0", "192.168.10.9", "192.168.10.2", "icmp", icmp_type=8), True),
    (Packet("eth0", "192.168.10.9", "192.168.10.2", "icmp", icmp_type=13), False),
    (Packet("eth0", "fd00:10::9", "fd00:10::2", "icmpv6", icmp_type=128), True),
    (Packet("eth0", "fd00:10::9", "fd00:10::2", "icmpv6", icmp_type=129), False),
]


@pytest.mark.kernel
def test_what_the_input_hook_lets_through(filtered: tuple[Sandbox, Host, dict[str, Way]]) -> None:
    """Both families, TCP, UDP and ICMP, spoofed and impossible sources: each verdict is the kernel's."""
    box, host, ways = filtered
    assert deliver(box, host, ways, [p for p, _ in CASES]) == [expected for _, expected in CASES]


@pytest.mark.kernel
def test_every_packet_is_the_first_of_its_flow(filtered: tuple[Sandbox, Host, dict[str, Way]]) -> None:
    """The same flow asked ten times gets ten times the answer of a new one, though the filter drops established ones."""
    box, host, ways = filtered
    packet, _ = CASES[0]
    assert deliver(box, host, ways, [packet] * 10) == [True] * 10


@pytest.mark.kernel
def test_thousands_of_packets_and_none_is_mixed_up(filtered: tuple[Sandbox, Host, dict[str, Way]]) -> None:
    """A shuffled batch of 5,000 gets each packet's own answer."""
    box, host, ways = filtered
    chooser = random.Random(7)
    packets = [
        Packet("eth0", f"192.168.10.{chooser.randrange(3, 255)}", "192.168.10.2", "tcp", sport=1024 + i, dport=80)
        for i in range(5000)
    ]
    answers = deliver(box, host, ways, packets)
    assert answers == [int(p.src.rpartition(".")[2]) < 128 for p in packets]


@pytest.mark.kernel
def test_multicast_needs_a_member(filtered: tuple[Sandbox, Host, dict[str, Way]]) -> None:
    """A multicast packet is delivered only while a socket of the host is a member of the group."""
    box, host, ways = filtered
    packet = Packet("eth0", "192.168.10.9", "224.0.0.251", "udp", dport=5353)

    def join() -> list[socket.socket]:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        member = struct.pack("=4s4si", socket.inet_aton("224.0.0.251"), b"\0" * 4, socket.if_nametoindex("eth0"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        return [sock]

    assert deliver(box, host, ways, [packet]) == [False]
    assert deliver(box, host, ways, [packet], sockets=join) == [True]


@pytest.mark.kernel
def test_a_link_that_is_down_is_an_error_and_no_verdict() -> None:
    """A frame that never arrives is not taken for one that the filter dropped."""
    with Sandbox() as box:
        host, world = box.host("host"), box.host("world")
        box.link(host, "eth0", world, "w0", up=False)
        world.ip("link set w0 up")
        packet = Packet("eth0", "192.168.10.9", "192.168.10.2", "udp", dport=1)
        with pytest.raises((MachineError, OSError)):
            deliver(box, host, {"eth0": Way(world, "w0")}, [packet])
        with pytest.raises(MachineError, match="eth7"):
            deliver(box, host, {"eth0": Way(world, "w0")}, [replace(packet, iface="eth7")])


V4 = st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n)))
V6 = st.integers(0, 2**128 - 1).map(lambda n: str(IPv6Address(n)))


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Any packet."""
    address, icmp = draw(st.sampled_from([(V4, "icmp"), (V6, "icmpv6")]))
    proto = draw(st.sampled_from(["tcp", "udp", icmp]))
    port = st.integers(0, 65535)
    byte = st.integers(0, 255)
    return Packet(
        "e", draw(address), draw(address), proto, draw(port), draw(port), draw(byte), "new", draw(byte), draw(byte)
    )


@given(packets(), st.integers(0, 2**32 - 1))
def test_checksums_hold_and_the_token_comes_back(packet: Packet, token: int) -> None:
    """Whatever the packet, header and transport checksums verify, and the token is found again in what a raw socket sees."""
    frame = build(packet, token, source_mac=MAC, target_mac=MAC)
    if packet.family == "ipv4":
        header, upper = frame[14:34], frame[34:]
        assert checksum(header) == 0
        pseudo = header[12:20] + struct.pack(">BBH", 0, header[9], len(upper))
    else:
        header, upper = frame[14:54], frame[54:]
        pseudo = header[8:40] + struct.pack(">IHBB", len(upper), 0, 0, header[6])
    assert checksum(upper if packet.proto == "icmp" else pseudo + upper) == 0
    assert token_of(packet.proto, upper) == token


@given(st.binary(max_size=80))
def test_checksum_is_the_internet_checksum(data: bytes) -> None:
    """The fast checksum equals the one-word-at-a-time sum of RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) == total ^ 0xFFFF


def test_multicast_goes_to_multicast_hardware_addresses() -> None:
    """RFC 1112 and RFC 2464; unicast has none."""
    assert multicast_mac("224.0.0.251") == b"\x01\x00\x5e\x00\x00\xfb"
    assert multicast_mac("ff02::fb") == b"\x33\x33\x00\x00\x00\xfb"
    assert multicast_mac("255.255.255.255") == b"\xff" * 6
    assert multicast_mac("192.0.2.1") is None
    assert multicast_mac("fd00::1") is None
