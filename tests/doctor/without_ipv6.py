"""Runs a command in a process to which the kernel gives no IPv6 sockets (EAFNOSUPPORT), as with ipv6.disable=1. x86_64 only."""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2  # linux/prctl.h, linux/seccomp.h
SYS_SOCKET, AF_INET6, EAFNOSUPPORT = 41, 10, 97
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data


class Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def main() -> None:
    """Install the filter and become the command."""
    code = [
        (LOAD, 0, 0, NUMBER),
        (JUMP_IF_EQUAL, 0, 3, SYS_SOCKET),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF_EQUAL, 0, 1, AF_INET6),
        (RETURN, 0, 0, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
    program = Program(len(code), ctypes.cast(text, ctypes.c_void_p).value)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "no seccomp filter")
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - to become another program is what it is for


if __name__ == "__main__":
    main()
