"""getsockopt(2) whose buffer is read by the kernel before it is written: Python's own passes an empty one."""

import ctypes
import os
import socket


def ask(sock: socket.socket, level: int, option: int, buffer: bytes) -> bytes:
    """What the kernel makes of the buffer. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    data = ctypes.create_string_buffer(buffer, len(buffer))
    size = ctypes.c_uint32(len(buffer))
    if libc.getsockopt(sock.fileno(), level, option, data, ctypes.byref(size)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return data.raw[: size.value]
