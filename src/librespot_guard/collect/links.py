"""Interfaces, addresses and joined multicast groups of the calling thread's network namespace.

Encodes include/uapi/linux/if_link.h, if_addr.h and the formats of /proc/net/igmp and /proc/net/igmp6 (net/ipv4/igmp.c,
net/ipv6/mcast.c).
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from librespot_guard.collect.netlink import Netlink, attribute, attributes, number, text
from librespot_guard.snapshot import Address, Group, Link

FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}

RTM_GETLINK, RTM_GETADDR, RTM_GETNSID = 18, 22, 90
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_GROUP, _IFLA_XDP = 1, 3, 4, 10, 18, 27, 43
_IFLA_LINK, _IFLA_LINK_NETNSID = 5, 37
_IFLA_INFO_KIND = 1
_NETNSA_NSID, _NETNSA_FD = 1, 3  # linux/net_namespace.h
_IFLA_XDP_ATTACHED = 2
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4


def read_neighbours(link: Netlink, others: Mapping[str, int]) -> dict[int, str]:
    """The ids of other namespaces by the number under which this one knows them (RTM_GETNSID).

    `others` holds an open descriptor of each namespace by its id; one that this namespace has never met has no number.
    """
    found = {}
    for ns_id, descriptor in others.items():
        body = bytes(4) + attribute(_NETNSA_FD, struct.pack("=I", descriptor))
        for _, answer in link.request(RTM_GETNSID, body, flags=0):
            known = attributes(answer[4:]).get(_NETNSA_NSID)
            if known is not None and (at := struct.unpack("=i", known)[0]) >= 0:
                found[at] = ns_id
    return found


def read_links(link: Netlink, neighbours: Mapping[int, str] | None = None) -> tuple[tuple[Link, ...], tuple[str, ...]]:
    """Every interface, and the names of those with an XDP program.

    Args:
        link: a NETLINK_ROUTE socket.
        neighbours: the ids of other namespaces by their number in this one, as from `read_neighbours`.
    """
    raw = [
        (_IFINFOMSG.unpack_from(body), attributes(body[_IFINFOMSG.size :]))
        for _, body in link.dump(RTM_GETLINK, bytes(_IFINFOMSG.size))
    ]
    names = {header[2]: text(fields.get(_IFLA_IFNAME)) for header, fields in raw}
    found, xdp = [], []
    for (_, arp_type, index, flags, _), fields in raw:
        mac = fields.get(_IFLA_ADDRESS, b"")
        kind = attributes(fields.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND)
        master = number(fields.get(_IFLA_MASTER))
        elsewhere = fields.get(_IFLA_LINK_NETNSID)
        found.append(
            Link(
                index=index,
                name=names[index],
                up=bool(flags & _IFF_UP),
                arp_type=arp_type,
                mac=mac.hex(":") if arp_type == 1 and mac else None,
                kind=text(kind) if kind else None,
                # a master may be in another namespace's numbering only for a moment; then it has no name here
                master=names.get(master) if master else None,
                group=number(fields.get(_IFLA_GROUP)),
                mtu=number(fields.get(_IFLA_MTU), 1500),
                peer=number(fields.get(_IFLA_LINK)) or None,
                peer_netns=None if elsewhere is None else (neighbours or {}).get(number(elsewhere), "?"),
            )
        )
        if number(attributes(fields.get(_IFLA_XDP, b"")).get(_IFLA_XDP_ATTACHED)):
            xdp.append(names[index])
    return tuple(found), tuple(xdp)


def read_addresses(link: Netlink, names: Mapping[int, str]) -> tuple[Address, ...]:
    """Every address. `names` are those of the interfaces by index.

    On a point-to-point interface the prefix is that of the peer; the host's own address then stands alone in it.
    """
    found = []
    for _, body in link.dump(RTM_GETADDR, bytes(_IFADDRMSG.size)):
        family, prefixlen, _, scope, index = _IFADDRMSG.unpack_from(body)
        fields = attributes(body[_IFADDRMSG.size :])
        local = fields.get(_IFA_LOCAL) or fields.get(_IFA_ADDRESS)
        if family not in FAMILIES or local is None or index not in names:
            continue
        if fields.get(_IFA_ADDRESS, local) != local:
            prefixlen = len(local) * 8
        broadcast = fields.get(_IFA_BROADCAST)
        found.append(
            Address(
                family=FAMILIES[family],
                address=str(ip_address(local)),
                prefixlen=prefixlen,
                dev=names[index],
                scope=scope,
                broadcast=str(ip_address(broadcast)) if broadcast else None,
            )
        )
    return tuple(found)


def read_groups() -> tuple[Group, ...]:
    """Every multicast group that an interface has joined. Raises OSError if /proc has no network files."""
    here = Path("/proc/thread-self/net")
    found = list(parse_igmp((here / "igmp").read_text()))
    if (here / "igmp6").exists():
        found += parse_igmp6((here / "igmp6").read_text())
    return tuple(dict.fromkeys(found))


def parse_igmp(listing: str) -> Iterator[Group]:
    """The groups of /proc/net/igmp: a line for each device, then an indented one for each group as a number in host order."""
    device = ""
    for line in listing.splitlines()[1:]:
        words = line.split()
        if not line.startswith("\t"):
            device = words[1].rstrip(":") if len(words) > 1 else ""
        elif words and device:
            yield Group("ipv4", device, str(ip_address(struct.pack("=I", int(words[0], 16)))))


def parse_igmp6(listing: str) -> Iterator[Group]:
    """The groups of /proc/net/igmp6: index, device, address as 32 hexadecimal digits, …."""
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 3:
            yield Group("ipv6", words[1], str(ip_address(bytes.fromhex(words[2]))))
