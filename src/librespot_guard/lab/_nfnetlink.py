"""Writing to nfnetlink: one batch of nf_tables messages as one transaction, and forgetting tracked connections.

Messages and constants: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h. `collect.netlink` reads;
this, the writing half, belongs to the laboratory alone.
"""

import errno
import os
import socket
import struct
from collections.abc import Sequence

from librespot_guard.errors import MachineError

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_APPEND = 0x001, 0x004, 0x400, 0x800
_NLMSG_ERROR = 2
_BATCH_BEGIN, _BATCH_END = 16, 17
_SUBSYS_CTNETLINK, _SUBSYS_NFTABLES = 1, 10
_IPCTNL_MSG_CT_DELETE = 2


class RefusedError(MachineError):
    """The kernel refused message `number` (from 1; 0 for the whole) of a transaction; `reason` is its text of the error."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"the kernel refused message {number} of the rules: {reason}")
        self.number = number
        self.reason = reason


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """One netlink message, padded to 4 bytes."""
    length = 16 + len(payload)
    return struct.pack("=IHHII", length, kind, flags, sequence, 0) + payload + b"\0" * (-length % 4)


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to 4 bytes."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    sock.bind((0, 0))
    sock.settimeout(10)
    return sock


def transact(messages: Sequence[tuple[int, int, bytes]]) -> None:
    """Send nf_tables messages (type without subsystem, flags, payload with nfgenmsg) as one transaction.

    Raises:
        RefusedError: the kernel refused; it has the number of the first message that was refused, and nothing was changed.
    """
    group = struct.pack(">BBH", 0, 0, _SUBSYS_NFTABLES)
    parts = [message(_BATCH_BEGIN, NLM_F_REQUEST, 0, group)]
    for number, (kind, flags, payload) in enumerate(messages, start=1):
        parts.append(message((_SUBSYS_NFTABLES << 8) | kind, flags | NLM_F_REQUEST | NLM_F_ACK, number, payload))
    parts.append(message(_BATCH_END, NLM_F_REQUEST, len(messages) + 1, group))
    data = b"".join(parts)
    with _open() as sock:
        # the whole batch must be one datagram, and an answer comes for each message
        size = max(2 * len(data), 1 << 20)
        for option in (socket.SO_SNDBUF, 32):  # 32: SO_SNDBUFFORCE
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, size)
            except PermissionError:
                continue
        for option in (socket.SO_RCVBUF, 33):  # 33: SO_RCVBUFFORCE
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, max(1 << 20, 1024 * len(messages)))
            except PermissionError:
                continue
        try:
            sock.send(data)
        except OSError as error:
            raise MachineError(f"the rules could not be handed to the kernel: {error.strerror}") from None
        _answers(sock, len(messages))


def _answers(sock: socket.socket, expected: int) -> None:
    refused: list[tuple[int, int]] = []
    seen = 0
    while seen < expected:
        try:
            data = sock.recv(1 << 20)
        except TimeoutError:
            if refused:
                break
            raise MachineError("the kernel did not answer a batch of rules") from None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise MachineError("the kernel's answers to a batch of rules overflowed the socket's buffer") from None
            raise
        offset = 0
        while offset + 20 <= len(data):
            length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            if kind == _NLMSG_ERROR:
                code = -struct.unpack_from("=i", data, offset + 16)[0]
                seen += 1
                if code:
                    refused.append((sequence, code))
                    if sequence == 0:
                        seen = expected
            offset += (length + 3) & ~3
    if refused:
        sequence, code = refused[0]
        raise RefusedError(sequence, os.strerror(code))


def forget_connections() -> bool:
    """Flush the connection tracking table of this network namespace; False if the kernel has no such interface."""
    payload = struct.pack(">BBH", 0, 0, 0)
    with _open() as sock:
        sock.send(message((_SUBSYS_CTNETLINK << 8) | _IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, 1, payload))
        data = sock.recv(1 << 16)
    code = -struct.unpack_from("=i", data, 16)[0]
    return bool(code == 0)
