"""The flows that the kernel tracks in the calling thread's network namespace, over nfnetlink (ctnetlink).

Encodes include/uapi/linux/netfilter/nfnetlink_conntrack.h. The kernel tracks only where a rule, NAT or a setting asks for it, so that an empty
table says nothing. Reading needs CAP_NET_ADMIN, and lets the kernel load the module that answers (nf_conntrack_netlink); nothing else changes.
"""

import errno
import re
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from librespot_guard.collect.netlink import NETLINK_NETFILTER, Netlink, NetlinkError, attributes, number

GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
MAX_READ = 1 << 18  # entries; what nf_conntrack_max is where there is memory enough
MAX_FLOWS = 1 << 14
_NFGENMSG = struct.Struct("!BBH")
_ORIGINAL, _REPLY, _PROTOINFO, _ID = 1, 2, 4, 12  # CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_PROTOINFO, CTA_ID
_IP, _PROTO = 1, 2  # CTA_TUPLE_IP, CTA_TUPLE_PROTO
_ADDRESSES = ((1, 2), (3, 4))  # CTA_IP_V4_SRC, _DST; CTA_IP_V6_SRC, _DST
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT
_TCP, _STATE = 1, 1  # CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE
_ENDED = (7, 8)  # TCP_CONNTRACK_TIME_WAIT, TCP_CONNTRACK_CLOSE (nf_conntrack_tcp.h)
_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}

Ends = tuple[str, int, str, int]
"""Source address and port, destination address and port."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A tracked flow: as its first packet was sent (`sent`), and as answers to it leave (`answer`), which differ where addresses are rewritten.

    `id` is the kernel's own, the same as long as the entry lives. `ended`: both sides of a TCP connection are through with it.
    """

    id: int
    proto: str
    sent: Ends
    answer: Ends
    ended: bool


@dataclass(frozen=True, slots=True)
class Table:
    """What was read. `entries` is how many the kernel showed, `whole` whether that was all, `why` why nothing could be read."""

    flows: tuple[Flow, ...] = ()
    entries: int = 0
    whole: bool = True
    why: str = ""


def read(ports: Collection[int]) -> Table:
    """The tracked TCP and UDP flows in which one of these ports has a part, at most MAX_FLOWS of them."""
    flows: list[Flow] = []
    entries = 0
    wanted = _needles(ports)
    try:
        with Netlink(NETLINK_NETFILTER) as link:
            for payload in link.stream(GET, _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0)):
                entries += 1
                if entries > MAX_READ or len(flows) >= MAX_FLOWS:
                    return Table(tuple(flows), entries, whole=False)
                # most entries of a busy router concern others: they are not taken apart
                if wanted.search(payload) and (flow := decode(payload)) is not None:
                    flows.append(flow)
    except NetlinkError as error:
        if error.errno in (errno.EINVAL, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP):
            return Table(why="the kernel has no nf_conntrack_netlink")
        if error.errno in (errno.EPERM, errno.EACCES):
            return Table(why="only root (CAP_NET_ADMIN) may read it")
        return Table(why=str(error))
    return Table(tuple(flows), entries)


def decode(payload: bytes) -> Flow | None:
    """The flow of a message of the table; None for another protocol than TCP and UDP, and for what is broken."""
    fields = attributes(payload[_NFGENMSG.size :])
    sent, answer = _ends(fields.get(_ORIGINAL, b"")), _ends(fields.get(_REPLY, b""))
    if sent is None or answer is None or sent[0] not in _PROTOCOLS:
        return None
    state = attributes(attributes(fields.get(_PROTOINFO, b"")).get(_TCP, b"")).get(_STATE)
    return Flow(
        id=int.from_bytes(fields.get(_ID, b"")[:4], "big"),
        proto=_PROTOCOLS[sent[0]],
        sent=sent[1],
        answer=answer[1],
        ended=number(state) in _ENDED,
    )


def _ends(part: bytes) -> tuple[int, Ends] | None:
    """The protocol number and the ends of a tuple."""
    nested = attributes(part)
    addresses, proto = attributes(nested.get(_IP, b"")), attributes(nested.get(_PROTO, b""))
    for source, destination in _ADDRESSES:
        raw = addresses.get(source, b""), addresses.get(destination, b"")
        if {len(r) for r in raw} <= {4, 16}:
            here, there = (str(ip_address(r)) for r in raw)
            ports = (int.from_bytes(proto.get(kind, b""), "big") for kind in (_SOURCE_PORT, _DESTINATION_PORT))
            return number(proto.get(_NUMBER)), (here, next(ports), there, next(ports))
    return None


def _needles(ports: Collection[int]) -> re.Pattern[bytes]:
    """Finds an attribute that holds one of the ports in the bytes of a message."""
    heads = (struct.pack("=HH", 6, kind) for kind in (_SOURCE_PORT, _DESTINATION_PORT))
    numbers = b"|".join(re.escape(struct.pack("!H", port)) for port in sorted(ports))
    return re.compile(b"(?:" + b"|".join(map(re.escape, heads)) + b")(?:" + (numbers or b"(?!)") + b")", re.DOTALL)
