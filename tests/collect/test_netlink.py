"""The netlink client: attributes, whole dumps, and errors that say what the kernel said."""

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import netlink
from librespot_guard.collect.netlink import NETLINK_ROUTE, Netlink, NetlinkError, attribute, attributes
from librespot_guard.errors import MachineError

RTM_GETLINK, RTM_DELLINK = 18, 17


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    """What `attribute` packs, `iterate_attributes` gives back, in order."""
    packed = b"".join(attribute(kind, data) for kind, data in pairs)

    assert list(netlink.iterate_attributes(packed)) == pairs
    assert attributes(packed) == dict(pairs)


@given(st.binary(max_size=200))
def test_broken_input_ends_quietly(data: bytes) -> None:
    """No bytes make the readers raise or run on: they end at the first broken message or attribute."""
    assert sum(len(raw) for *_, raw in netlink.split(data)) <= len(data) + 3
    assert all(len(value) <= len(data) for _, value in netlink.iterate_attributes(data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"\x07", 7), (struct.pack("=H", 5353), 5353), (struct.pack("=I", 1 << 31), 1 << 31), (b"", 3), (None, 3)],
)
def test_numbers_have_the_size_of_their_attribute(data: bytes | None, expected: int) -> None:
    """1, 2, 4 and 8 bytes are host-order numbers; nothing is the default."""
    assert netlink.number(data, 3) == expected


def test_a_dump_holds_every_interface() -> None:
    """The kernel's dump of links has as many messages as the socket module sees interfaces."""
    found = netlink.dump(NETLINK_ROUTE, RTM_GETLINK, bytes(16))

    assert len(found) == len(socket.if_nameindex())


def test_an_error_carries_its_number() -> None:
    """A refused request is a NetlinkError with the errno of the kernel."""
    with pytest.raises(NetlinkError) as caught:
        netlink.request(NETLINK_ROUTE, RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0x7FFFFFF0, 0, 0))

    assert caught.value.errno == errno.ENODEV
    assert isinstance(caught.value, MachineError)


def test_an_error_carries_the_text_of_the_kernel() -> None:
    """Where the kernel explains itself (extended acknowledgement), its words are in the message."""
    rtm_getroute = 26
    request = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
    with Netlink(NETLINK_ROUTE) as link, pytest.raises(NetlinkError) as caught:
        link.request(rtm_getroute, request + attribute(1, b"xx"), flags=0)  # an address of two bytes

    assert "ttribute" in str(caught.value)


def test_a_protocol_that_is_not_there() -> None:
    """A kernel without the protocol is an error that names it, not a crash."""
    with pytest.raises(NetlinkError, match="netlink protocol 31"):
        Netlink(31)


def test_sockets_are_closed() -> None:
    """A client used as a context manager leaves no open descriptor."""
    with Netlink(NETLINK_ROUTE) as link:
        link.dump(RTM_GETLINK, bytes(16))
    with pytest.raises(NetlinkError):
        link.dump(RTM_GETLINK, bytes(16))
