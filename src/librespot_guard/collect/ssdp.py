"""Which routers answer on the links of this network namespace: SSDP, asked for Internet Gateway Devices (UPnP Device Architecture 1.1, 1.3).

One question by multicast to each link, which no router passes on (TTL 1), and one straight to each default gateway: the packet
filter of this host may know the answer to the second as a reply only. Whoever answers is asked further only at the address it answered from.
"""

import re
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

from librespot_guard.snapshot import Address, Gap, Link

SECONDS = 2.0
_GROUP, _PORT = "239.255.255.250", 1900
_DEVICE = "urn:schemas-upnp-org:device:InternetGatewayDevice:"
_QUESTION = 'M-SEARCH * HTTP/1.1\r\nHOST: {to}:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: {device}\r\n\r\n'
_LONGEST, _MOST_MESSAGES, _MOST_ROUTERS = 4096, 512, 8
# a plain path: whoever claims another's address must not make this host send it a request that does something
_LOCATION = re.compile(r"http://(\d{1,3}(?:\.\d{1,3}){3})(?::(\d{1,5}))?(/[\w.~/%+-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a router on the link of `dev` says that its description is: on its own `address`."""

    dev: str
    address: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Where descriptions are, all addresses that answered, and what could not be asked."""

    places: tuple[Place, ...]
    answered: frozenset[str]
    gaps: tuple[Gap, ...]


def find(
    links: Iterable[Link], addresses: Iterable[Address], gateways: Mapping[str, str], *, seconds: float = SECONDS
) -> Heard:
    """Ask on every interface that is up and has an IPv4 address, in `seconds` in all. `gateways` are those to ask directly, by interface."""
    own: dict[str, list[Address]] = {}
    for one in addresses:
        if one.family == "ipv4" and one.prefixlen < 31:
            own.setdefault(one.dev, []).append(one)
    gaps: list[Gap] = []
    heard: dict[tuple[str, str], str] = {}
    ears: dict[str, socket.socket] = {}
    try:
        for link in links:
            if link.up and not link.loopback and link.name in own:
                try:
                    ears[link.name] = _ear(own[link.name][0].address, link.index)
                except OSError as error:
                    gaps.append(Gap(f"routers on {link.name}", f"can't be asked: {error.strerror or error}"))
        messages = _listen(ears, gateways, heard, seconds)
    finally:
        for ear in ears.values():
            ear.close()
    if messages >= _MOST_MESSAGES:
        gaps.append(Gap("routers on the networks of this host", f"more than {_MOST_MESSAGES} answers came"))
    places: list[Place] = []
    for (dev, sender), location in sorted(
        heard.items(), key=lambda item: (gateways.get(item[0][0]) != item[0][1], item[0])
    ):
        if not any(ip_address(sender) in ip_interface(f"{a.address}/{a.prefixlen}").network for a in own[dev]):
            why = "it answers from an address that is not on the link, so it was not asked further"
        elif (place := _place(dev, sender, location)) is None:
            why = "it does not say that its description is on itself, so it was not asked further"
        elif len(places) == _MOST_ROUTERS:
            why = f"more than {_MOST_ROUTERS} routers answered"
        else:
            places.append(place)
            continue
        gaps.append(Gap(f"port forwards of the router {sender} on {dev}", why))
    return Heard(tuple(places), frozenset(sender for _, sender in heard), tuple(gaps[: 2 * _MOST_ROUTERS]))


def _ear(address: str, index: int) -> socket.socket:
    """A socket of one interface: what it sends to the group leaves there, and answers come to its address."""
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"\0" * 4, b"\0" * 4, index))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        ear.bind((address, 0))
    except OSError:
        ear.close()
        raise
    return ear


def _listen(
    ears: Mapping[str, socket.socket], gateways: Mapping[str, str], heard: dict[tuple[str, str], str], seconds: float
) -> int:
    """Ask twice, half the time apart, and keep the first location of each sender; gives how many messages came."""
    begun, rounds, messages = time.monotonic(), 0, 0
    with selectors.DefaultSelector() as selector:
        for dev, ear in ears.items():
            selector.register(ear, selectors.EVENT_READ, dev)
        while ears and (now := time.monotonic() - begun) < seconds and messages < _MOST_MESSAGES:
            if rounds < 2 and now >= rounds * seconds / 2:
                rounds += 1
                for dev, ear in ears.items():
                    for to in filter(None, (_GROUP, gateways.get(dev))):
                        _ask(ear, to)
            for key, _ in selector.select(max(0.001, (rounds * seconds / 2 if rounds < 2 else seconds) - now)):
                messages += 1
                try:
                    message, sender = ears[key.data].recvfrom(_LONGEST)
                except OSError:  # "port unreachable" of a gateway that has no UPnP
                    continue
                location = _read(message)
                if location is not None:
                    heard.setdefault((key.data, str(sender[0])), location)
    return messages


def _ask(ear: socket.socket, to: str) -> None:
    for version in (1, 2):
        try:
            ear.sendto(_QUESTION.format(to=to, device=f"{_DEVICE}{version}").encode(), (to, _PORT))
        except OSError:  # no route, or the last one was refused: silence is told in the end
            continue


def _read(message: bytes) -> str | None:
    """The location in an answer of a gateway device; None if it is none."""
    first, *lines = message.decode("latin-1").split("\r\n")
    named = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return (
        named.get("location", "")
        if first.startswith("HTTP/1.1 200") and named.get("st", "").startswith(_DEVICE)
        else None
    )


def _place(dev: str, sender: str, location: str) -> Place | None:
    found = _LOCATION.fullmatch(location)
    if found is None or found[1] != sender or not 0 < int(found[2] or 80) < 1 << 16:
        return None
    return Place(dev, sender, int(found[2] or 80), found[3] or "/")
