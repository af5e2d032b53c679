"""Which Spotify Connect speakers answer on the interfaces of this network namespace: multicast DNS, asked politely.

One question for an answer straight to us (RFC 6762 section 5.4), and one a second later in the old one-shot way (section 6.7),
from a port of our own: no other responder's port 5353 is touched. Some members of the family (librespot-java) answer the group
all the same, so the group is listened to as well, on a socket bound to the group's address, which takes no unicast answer
away from anybody.
"""

import errno
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from librespot_guard.collect.mdns_messages import GROUP, LONGEST, MOST_FOUND, PORT, Found, question, read
from librespot_guard.snapshot import Address, Announcement, Gap, Link

SECONDS = 3.0
_IP_MULTICAST_ALL = 49  # linux/in.h
_IPV6_MULTICAST_ALL = 29  # linux/in6.h
_SO_MEMINFO, _DROPS = 55, 8  # asm-generic/socket.h, SK_MEMINFO_DROPS of linux/sock_diag.h
_BUFFER = 1 << 20
_MOST_MESSAGES = 4096
_MOST_SENDERS = 512


@dataclass(slots=True)
class _Ear:
    """One socket: `speaks` is where its questions go, None for one that only listens."""

    socket: socket.socket
    dev: str
    family: str
    speaks: tuple[str | int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What a browse found: `unshared` as `Namespace.mdns_unshared`, `gaps` where could not be asked."""

    announcements: tuple[Announcement, ...]
    unshared: bool
    gaps: tuple[Gap, ...]


@dataclass(slots=True)
class _Browse:
    """What was heard so far, by interface, family of the question and sender."""

    heard: dict[tuple[str, str, str], dict[str, Found]] = field(default_factory=dict)
    messages: int = 0
    broken: int = 0
    unread: int = 0
    lost: int = 0
    gaps: list[Gap] = field(default_factory=list)
    unshared: bool = False

    def hear(self, ear: _Ear) -> None:
        try:
            message, sender = ear.socket.recvfrom(LONGEST)
        except OSError:
            return
        self.messages += 1
        key = (ear.dev, ear.family, str(sender[0]).partition("%")[0])
        if sender[1] != PORT:  # RFC 6762 section 6: answers come from 5353
            return
        if key not in self.heard and len(self.heard) >= _MOST_SENDERS:
            self.unread += 1
        elif not read(message, self.heard.setdefault(key, {})):
            self.broken += 1

    def told(self) -> tuple[Gap, ...]:
        """What could not be heard, and what was heard and could not be read."""
        found = list(self.gaps)
        if self.broken:
            found.append(
                Gap(
                    f"{self.broken} answer{'s' * (self.broken != 1)} by multicast DNS",
                    "not understood: broken, or out of bounds",
                )
            )
        if self.unread:
            found.append(Gap(f"{self.unread} answers by multicast DNS", f"more than {_MOST_SENDERS} hosts answered"))
        if self.lost:
            found.append(
                Gap(
                    "answers by multicast DNS",
                    f"{self.lost} were lost: they came faster than they could be read",
                    "ask again",
                )
            )
        found += [
            Gap(
                f"speakers that {sender} announces on {dev}",
                f"there are more than {MOST_FOUND}: the rest is not listed",
            )
            for (dev, _, sender), speakers in self.heard.items()
            if len(speakers) >= MOST_FOUND
        ]
        if self.messages >= _MOST_MESSAGES:
            found.append(
                Gap(
                    "speakers of the network",
                    f"more than {_MOST_MESSAGES} messages came: it was not listened to the end",
                )
            )
        return tuple(found)


def browse(
    links: Iterable[Link],
    addresses: Iterable[Address],
    *,
    seconds: float = SECONDS,
    progress: Callable[[str], None] = lambda _: None,
) -> Heard:
    """Ask for speakers on every interface of the calling thread's network namespace that is up and has an address.

    Takes `seconds` in all. What was announced is sorted by interface, family and name.
    """
    families: dict[str, set[str]] = {}
    for address in addresses:
        families.setdefault(address.dev, set()).add(address.family)
    state = _Browse()
    ears: list[_Ear] = []
    try:
        for link in links:
            for family in sorted(families.get(link.name, ())) if link.up and not link.loopback else ():
                _open(link, family, ears, state)
        devices = len({e.dev for e in ears})
        progress(f"asking for speakers on {devices} interface{'s' * (devices != 1)}, for {seconds:.0f} s")
        _listen(ears, state, seconds)
    finally:
        for ear in ears:
            state.lost += _lost(ear.socket)
            ear.socket.close()
    found = [
        Announcement(dev, family, sender, one.name, one.host, one.port, one.addresses, one.txt)
        for (dev, family, sender), speakers in state.heard.items()
        for one in speakers.values()
    ]
    found.sort(key=lambda a: (a.dev, a.family, a.name, a.sender))
    return Heard(tuple(found), state.unshared, state.told())


def _open(link: Link, family: str, ears: list[_Ear], state: _Browse) -> None:
    """Open the two sockets of one interface and family; what can't be had is a gap."""
    domain = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    target = (GROUP[family], PORT) if family == "ipv4" else (GROUP[family], PORT, 0, link.index)
    for prepare, speaks in ((_prepare_asking, target), (_prepare_group, None)):
        what = f"speakers on {link.name} by {family}"
        try:
            sock = socket.socket(domain, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError as error:
            state.gaps.append(Gap(what, error.strerror or str(error)))
            return
        ears.append(_Ear(sock, link.name, family, speaks))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # a hundred answers may come at once
        try:
            prepare(sock, family, link.index)
        except OSError as error:
            ears.pop().socket.close()
            if error.errno == errno.EADDRINUSE:
                state.unshared = True
            else:
                state.gaps.append(Gap(what, error.strerror or str(error)))


def _lost(sock: socket.socket) -> int:
    """How many messages the kernel threw away because nobody had read those before."""
    try:
        told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_DROPS + 1))
    except OSError:
        return 0
    return int(struct.unpack(f"={_DROPS + 1}I", told)[_DROPS]) if len(told) == 4 * (_DROPS + 1) else 0


def _listen(ears: list[_Ear], state: _Browse, seconds: float) -> None:
    """Send the questions and hear the answers until the time is over."""
    begun = time.monotonic()
    rounds = 0
    with selectors.DefaultSelector() as selector:
        for ear in ears:
            selector.register(ear.socket, selectors.EVENT_READ, ear)
        while ears and (now := time.monotonic() - begun) < seconds and state.messages < _MOST_MESSAGES:
            if rounds < 2 and now >= rounds:
                for ear in ears:
                    _ask(ear, state, unicast=rounds == 0)
                rounds += 1
            for key, _ in selector.select(max(0.001, min(rounds if rounds < 2 else seconds, seconds) - now)):
                state.hear(key.data)


def _ask(ear: _Ear, state: _Browse, *, unicast: bool) -> None:
    if ear.speaks is None:
        return
    try:
        ear.socket.sendto(question(unicast=unicast), ear.speaks)
    except OSError as error:
        why = f"no question can be sent there: {error.strerror or error}"
        state.gaps.append(Gap(f"speakers on {ear.dev} by {ear.family}", why))
        ear.speaks = None


def _prepare_asking(sock: socket.socket, family: str, index: int) -> None:
    """Questions leave on this interface, and services of this very host hear them too."""
    if family == "ipv4":
        on_link = struct.pack("=4s4si", b"\0" * 4, b"\0" * 4, index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, on_link)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)


def _prepare_group(sock: socket.socket, family: str, index: int) -> None:
    """What is said to the group on this interface, and nothing else, is heard."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == "ipv4":
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        member = struct.pack("=4s4si", socket.inet_aton(GROUP["ipv4"]), b"\0" * 4, index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        sock.bind((GROUP["ipv4"], PORT))
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        member = socket.inet_pton(socket.AF_INET6, GROUP["ipv6"]) + struct.pack("=i", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        sock.bind((GROUP["ipv6"], PORT, 0, index))
