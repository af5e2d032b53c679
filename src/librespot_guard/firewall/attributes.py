"""Netlink attributes (struct nlattr), read tolerantly: a fault is a `Malformed`, which the decoder turns into an honest gap."""

from collections.abc import Iterator
from struct import Struct

# NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of the type (include/uapi/linux/netlink.h)
_TYPE_MASK = 0x3FFF
_HEADER = {"little": Struct("<HH"), "big": Struct(">HH")}


class Malformed(ValueError):  # noqa: N818 - it never leaves this package
    """Attributes that are cut, missing or of an impossible length."""


def walk(data: bytes, byteorder: str) -> Iterator[tuple[int, bytes]]:
    """Each attribute of a block as (type, payload). Raises Malformed if a length points outside the block."""
    unpack = _HEADER[byteorder].unpack_from
    position, end = 0, len(data)
    while position < end:
        if end - position < 4:
            raise Malformed("the last attribute is cut")
        length, kind = unpack(data, position)
        if length < 4 or position + length > end:
            raise Malformed(f"an attribute has the impossible length {length}")
        yield kind & _TYPE_MASK, data[position + 4 : position + length]
        position += (length + 3) & ~3


class Attributes:
    """The attributes of one block by type; the getters raise Malformed for what is missing (without a default) or misshapen."""

    def __init__(self, data: bytes, byteorder: str) -> None:
        self.byteorder = byteorder
        self.raw = data
        self._by_type = dict(walk(data, byteorder))

    def __contains__(self, kind: int) -> bool:
        return kind in self._by_type

    def data(self, kind: int) -> bytes:
        """The payload as it is."""
        try:
            return self._by_type[kind]
        except KeyError:
            raise Malformed(f"attribute {kind} is missing") from None

    def number(self, kind: int, size: int = 4, default: int | None = None) -> int:
        """An unsigned number of `size` bytes in network order, as nf_tables keeps all of them."""
        if default is not None and kind not in self._by_type:
            return default
        value = self.data(kind)
        if len(value) != size:
            raise Malformed(f"attribute {kind} has {len(value)} bytes instead of {size}")
        return int.from_bytes(value, "big")

    def text(self, kind: int, default: str | None = None) -> str:
        """A string that ends at its first NUL; bytes that are no UTF-8 are kept as escapes."""
        if default is not None and kind not in self._by_type:
            return default
        return self.data(kind).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")

    def nested(self, kind: int) -> "Attributes":
        """The attributes inside an attribute."""
        return Attributes(self.data(kind), self.byteorder)

    def items(self, kind: int) -> list[tuple[int, bytes]]:
        """The attributes inside an attribute as a list, in order; empty if it is absent."""
        return list(walk(self._by_type[kind], self.byteorder)) if kind in self._by_type else []
