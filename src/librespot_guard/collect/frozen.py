"""Which Python modules a program holds that PyInstaller froze: by the tables of contents of its archives, in bounded reads.

A frozen program is an executable with an archive (CArchive) in it; a "cookie" near its end says where, and one of its entries is the archive
of modules (PYZ), whose table of contents names them (PyInstaller/archive/writers.py and readers.py, bootloader/src/pyi_archive.c). Nothing
is unpacked: that table is marshalled by Python, and a hostile one must not be loaded, so that names are looked for as marshal writes them.
"""

import os
import struct
from collections.abc import Iterable, Iterator

_MAGIC = b"MEI\014\013\012\013\016"
_COOKIE = struct.Struct("!8sIIII64s")
_ENTRY = struct.Struct("!IIIIBc")
# section headers of the executable may follow the archive
_MAX_TAIL = 1 << 20
_MAX_TOC = 4 << 20
_MAX_NAMES = 8 << 20
_MAX_ENTRIES = 50_000
# marshal.c: TYPE_SHORT_ASCII and its interned form, each also with FLAG_REF; the length follows in one byte
_SHORT_ASCII = (b"z", b"Z", b"\xfa", b"\xda")


def holds(descriptor: int, size: int, modules: Iterable[str]) -> bool:
    """Whether a file is a frozen program that holds all of these modules. Raises OSError."""
    names = b"".join(_tables(descriptor, size))
    return bool(names) and all(_named(module.encode("ascii"), names) for module in modules)


def _named(module: bytes, names: bytes) -> bool:
    return any(kind + bytes([len(module)]) + module in names for kind in _SHORT_ASCII)


def _tables(descriptor: int, size: int) -> Iterator[bytes]:
    """The tables of contents of the archives of modules; nothing for what is no frozen program, or a broken one."""
    tail = os.pread(descriptor, min(size, _MAX_TAIL), max(0, size - _MAX_TAIL))
    place = tail.rfind(_MAGIC)
    if place < 0 or len(tail) - place < _COOKIE.size:
        return
    _, length, toc, toc_length, _, _ = _COOKIE.unpack_from(tail, place)
    start = size - len(tail) + place + _COOKIE.size - length
    if start < 0 or toc + toc_length > length or toc_length > _MAX_TOC:
        return
    for at, long, kind in _entries(os.pread(descriptor, toc_length, start + toc)):
        if kind != b"z" or at + long > length:
            continue
        # "PYZ\0", the magic number of that Python, and where the table is
        head = os.pread(descriptor, 12, start + at)
        names = int.from_bytes(head[8:12], "big")
        if len(head) == 12 and head[:4] == b"PYZ\0" and 12 <= names <= long:
            yield os.pread(descriptor, min(long - names, _MAX_NAMES), start + at + names)
            return


def _entries(toc: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Where each uncompressed entry of the archive begins, how long it is, and of which kind."""
    place = 0
    for _ in range(_MAX_ENTRIES):
        if len(toc) - place < _ENTRY.size:
            return
        long, at, data, _, compressed, kind = _ENTRY.unpack_from(toc, place)
        if long < _ENTRY.size:
            return
        if not compressed:
            yield at, data, kind
        place += long
