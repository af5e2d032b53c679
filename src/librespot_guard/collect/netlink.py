"""A small netlink client on the standard library: whole dumps, single requests, attributes.

Encodes include/uapi/linux/netlink.h. A socket belongs to the network namespace of the thread that opened it, and so does
everything that is read or changed through it. `collect` reads with it; `lab` builds its throw-away namespaces with it.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from librespot_guard.errors import MachineError

# NETLINK_* protocols
NETLINK_ROUTE = 0
NETLINK_SOCK_DIAG = 4
NETLINK_NETFILTER = 12

# nlmsghdr.nlmsg_flags
NLM_F_REQUEST = 0x001
NLM_F_MULTI = 0x002
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3

# how often a dump is read again when the kernel says that it changed meanwhile
ATTEMPTS = 20

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_BUFFER = 1 << 17
_SECONDS = 30.0

Message = tuple[int, bytes]


class NetlinkError(MachineError):
    """The kernel refused a netlink request; `errno` says why, as errno(3)."""

    def __init__(self, message: str, number: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = number


class Netlink:
    """One netlink socket, to be used as a context manager by one thread.

    Raises NetlinkError when the kernel refuses, MachineError when it does not answer.
    """

    def __init__(self, protocol: int) -> None:
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            number = error.errno or errno.EIO
            raise NetlinkError(f"netlink protocol {protocol}: {os.strerror(number)}", number) from None
        self._socket.settimeout(_SECONDS)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:  # before Linux 4.12: errors come without a text
                continue
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dump(self, message_type: int, payload: bytes = b"", *, flags: int = 0) -> list[Message]:
        """Every message of a dump, as (type, payload); read again if the kernel says that it was interrupted."""
        return [(kind, raw[_HEADER.size :]) for kind, raw in self.dump_raw(message_type, payload, flags=flags)]

    def dump_raw(
        self, message_type: int, payload: bytes = b"", *, flags: int = 0, attempts: int = ATTEMPTS
    ) -> list[Message]:
        """As `dump`, but each message whole: its header included, padded to a multiple of four bytes.

        A dump that was interrupted (NLM_F_DUMP_INTR) `attempts` times is a NetlinkError with EINTR.
        """
        for _ in range(attempts):
            messages, interrupted = self._exchange(message_type, payload, flags | NLM_F_DUMP)
            if not interrupted:
                return messages
        raise NetlinkError(
            f"the kernel's tables changed during each of {attempts} attempts to read them (netlink message {message_type:#x})",
            errno.EINTR,
            hint="try again when whatever changes them has calmed down",
        )

    def stream(self, message_type: int, payload: bytes = b"") -> Iterator[bytes]:
        """The payloads of a dump one by one, none of them kept: for tables that may be large and that change while they are read.

        What came and went meanwhile may be missing. The socket is of no more use if not all of it was taken.
        """
        try:
            self._send(message_type, payload, NLM_F_DUMP)
            for kind, _, raw in self._messages(message_type, NLM_F_DUMP):
                if kind != NLMSG_DONE:
                    yield raw[_HEADER.size :]
        except OSError as error:
            raise _failure(error, message_type) from None

    def request(self, message_type: int, payload: bytes = b"", *, flags: int = NLM_F_ACK) -> list[Message]:
        """Send one request and return what the kernel answers to it, without the acknowledgement."""
        messages, _ = self._exchange(message_type, payload, flags)
        return [(kind, raw[_HEADER.size :]) for kind, raw in messages]

    def _exchange(self, message_type: int, payload: bytes, flags: int) -> tuple[list[Message], bool]:
        messages: list[Message] = []
        interrupted = False
        try:
            self._send(message_type, payload, flags)
            for kind, message_flags, raw in self._messages(message_type, flags):
                interrupted = interrupted or bool(message_flags & NLM_F_DUMP_INTR)
                if kind != NLMSG_DONE:
                    messages.append((kind, raw))
        except OSError as error:
            raise _failure(error, message_type) from None
        return messages, interrupted

    def _send(self, message_type: int, payload: bytes, flags: int) -> None:
        self._sequence += 1
        length = _HEADER.size + len(payload)
        self._socket.send(_HEADER.pack(length, message_type, flags | NLM_F_REQUEST, self._sequence, 0) + payload)

    def _messages(self, message_type: int, flags: int) -> Iterator[tuple[int, int, bytes]]:
        """(type, flags, whole message) until the dump is done (its NLMSG_DONE included), the acknowledgement came, or the one answer came."""
        dumping = flags & NLM_F_DUMP == NLM_F_DUMP
        answered = False
        while True:
            data, _, status, _ = self._socket.recvmsg(_BUFFER)
            if status & socket.MSG_TRUNC:
                raise MachineError(f"a netlink message of more than {_BUFFER} bytes (message {message_type:#x})")
            for kind, message_flags, sequence, raw in split(data):
                if sequence != self._sequence or kind == NLMSG_NOOP:
                    continue  # what is left of an earlier, abandoned exchange
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    _check(kind, message_flags, raw, message_type)
                    if kind == NLMSG_DONE:
                        yield kind, message_flags, raw
                    return
                answered = True
                yield kind, message_flags, raw
            if answered and not dumping and not flags & NLM_F_ACK:
                return


def _failure(error: OSError, message_type: int) -> MachineError:
    if isinstance(error, TimeoutError):
        return MachineError(f"the kernel did not answer netlink message {message_type:#x} within {_SECONDS:.0f} s")
    number = error.errno or errno.EIO
    return NetlinkError(f"netlink message {message_type:#x}: {os.strerror(number)}", number)


def _check(kind: int, flags: int, raw: bytes, message_type: int) -> None:
    """Raise NetlinkError if an NLMSG_ERROR or NLMSG_DONE says that it failed."""
    body = raw[_HEADER.size :]
    number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if number <= 0:
        return
    text = ""
    if flags & _NLM_F_ACK_TLVS:
        # the offending message's header comes first, and its payload too unless it was capped; NLMSG_DONE has neither
        start = 4
        if kind == NLMSG_ERROR:
            start += _HEADER.size if flags & _NLM_F_CAPPED else _align(struct.unpack_from("=I", body, 4)[0])
        text = attributes(body[start:]).get(_NLMSGERR_ATTR_MSG, b"").split(b"\0")[0].decode("utf-8", "replace")
    detail = f": {text}" if text else ""
    hint = (
        "this needs root (CAP_NET_ADMIN in the network namespace): run it with `sudo`"
        if number in (errno.EPERM, errno.EACCES)
        else ""
    )
    raise NetlinkError(f"netlink message {message_type:#x}: {os.strerror(number)}{detail}", number, hint=hint)


def dump(protocol: int, message_type: int, payload: bytes = b"", *, flags: int = 0) -> list[Message]:
    """One dump over a socket of its own, see `Netlink.dump`."""
    with Netlink(protocol) as link:
        return link.dump(message_type, payload, flags=flags)


def request(protocol: int, message_type: int, payload: bytes = b"", *, flags: int = NLM_F_ACK) -> list[Message]:
    """One request over a socket of its own, see `Netlink.request`."""
    with Netlink(protocol) as link:
        return link.request(message_type, payload, flags=flags)


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram: (type, flags, sequence, whole message padded to four bytes). A broken rest is dropped."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            return
        yield kind, flags, sequence, data[offset : offset + length] + bytes(_align(length) - length)
        offset += _align(length)


def iterate_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes (type without flags, payload) in their order; ends at the first that is broken."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            return
        yield kind & _NLA_TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += _align(length)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes by type; the last of a type that is there more than once."""
    return dict(iterate_attributes(data))


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + bytes(_align(length) - length)


def text_attribute(kind: int, text: str) -> bytes:
    """An attribute that holds a text ended by a zero byte."""
    return attribute(kind, text.encode() + b"\0")


def text(data: bytes | None) -> str:
    """The text of an attribute, without its zero byte."""
    return (data or b"").split(b"\0")[0].decode("utf-8", "replace")


def number(data: bytes | None, default: int = 0) -> int:
    """The unsigned number of an attribute in host byte order (1, 2, 4 or 8 bytes); `default` if there is no attribute."""
    return struct.unpack(f"={'BH I   Q'[len(data) - 1]}", data)[0] if data and len(data) in (1, 2, 4, 8) else default


def _align(length: int) -> int:
    return length + 3 & ~3
