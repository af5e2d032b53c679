"""A phone's question for Spotify Connect speakers by multicast DNS: the first complete answer is enough (RFC 6762)."""

import socket
import struct
import time

from librespot_guard.collect.mdns_messages import GROUP, LONGEST, PORT, SERVICE, Found, question, read

__all__ = ["GROUP", "PORT", "SERVICE", "Found", "discover", "question", "read"]


def discover(dev: str, *, family: str = "ipv4", timeout: float = 2.0, service: str = SERVICE) -> list[Found]:
    """Ask on an interface of the calling thread's network namespace; returns as soon as one answer is complete.

    As a phone does that has just come (RFC 6762 sections 5.2 and 5.4), the first question asks for an answer straight to us, and
    it is repeated every second as one to be answered by multicast. (librespot-python answers the second kind only in the first
    seconds after its start.) Every speaker that answered within the time is returned; none is an empty list. Raises OSError if
    nothing can be sent.
    """
    found: dict[str, Found] = {}
    index = socket.if_nametoindex(dev)
    target = (GROUP[family], PORT) if family == "ipv4" else (GROUP[family], PORT, 0, index)
    with _socket(family, index) as sock:
        begun = time.monotonic()
        asked = 0
        while (now := time.monotonic() - begun) < timeout:
            if now >= asked:
                sock.sendto(question(service, unicast=asked == 0), target)
                asked += 1
            sock.settimeout(max(0.001, min(asked, timeout) - now))
            try:
                message, sender = sock.recvfrom(LONGEST)
            except TimeoutError:
                continue
            if sender[1] != PORT:  # RFC 6762 section 6: answers come from 5353
                continue
            read(message, found, service=service)
            if any(f.port and f.addresses for f in found.values()):
                break
    return list(found.values())


def _socket(family: str, index: int) -> socket.socket:
    sock = socket.socket(
        socket.AF_INET if family == "ipv4" else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == "ipv4":
            member = socket.inet_aton(GROUP["ipv4"]) + struct.pack("=4si", b"\0" * 4, index)
            sock.bind(("", PORT))
            sock.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"\0" * 4, b"\0" * 4, index)
            )
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("::", PORT))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            sock.setsockopt(
                socket.IPPROTO_IPV6,
                socket.IPV6_JOIN_GROUP,
                socket.inet_pton(socket.AF_INET6, GROUP["ipv6"]) + struct.pack("=i", index),
            )
    except BaseException:
        sock.close()
        raise
    return sock
