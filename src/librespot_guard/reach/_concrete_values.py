"""Values of which some bits may be unknown, the registers that hold them, and the choices that unknown bits lead to.

A value is (data, known): `known` has a one for every bit of `data` that is certain. What the packet of a question leaves open
(the sender's hardware address, TCP sequence numbers, …) stays unknown until an expression reads it and cannot do without.
"""

from dataclasses import dataclass, field

Value = tuple[bytes, bytes]

# 16 registers of 4 bytes, and room for what a malformed rule may write behind them
_ROOM = 4 * 20 + 256


class Undecidable(Exception):  # noqa: N818 - an outcome, not a fault
    """Nothing certain can be said about what happens from here on; the text says why."""


def sure(data: bytes) -> Value:
    """A value of which every bit is certain."""
    return data, b"\xff" * len(data)


def unsure(length: int) -> Value:
    """A value of which nothing is known."""
    return bytes(length), bytes(length)


def host(number: int, length: int, byteorder: str) -> Value:
    """A host integer, as the kernel holds it in memory."""
    return sure(number.to_bytes(length, "little" if byteorder == "little" else "big"))


def is_sure(value: Value) -> bool:
    """Whether every bit is certain."""
    return value[1].count(0xFF) == len(value[1])


def ends(value: Value) -> tuple[bytes, bytes]:
    """The smallest and the largest bytes that the value can be, compared as memcmp does."""
    data, known = value
    low = bytes(d & k for d, k in zip(data, known, strict=True))
    return low, bytes(d | (~k & 0xFF) for d, k in zip(low, known, strict=True))


def equal(value: Value, wanted: bytes) -> bool | None:
    """Whether the value is `wanted`; None if that depends on unknown bits."""
    data, known = value
    if data == wanted and is_sure(value):
        return True
    if any((d ^ w) & k for d, w, k in zip(data, wanted, known, strict=True)):
        return False
    return None if not is_sure(value) else data == wanted


def between(value: Value, low: bytes, high: bytes) -> bool | None:
    """Whether low <= value <= high; None if that depends on unknown bits."""
    smallest, largest = ends(value)
    if low <= smallest and largest <= high:
        return True
    return False if largest < low or high < smallest else None


def masked(value: Value, mask: bytes, xor: bytes) -> Value:
    """(value & mask) ^ xor: bits that the mask clears become certain."""
    data, known = value
    out = bytes((d & m) ^ x for d, m, x in zip(data, mask, xor, strict=True))
    return out, bytes(k | (~m & 0xFF) for k, m in zip(known, mask, strict=True))


class Registers:
    """The register file of one base chain (struct nft_regs), addressed by 4-byte slots."""

    __slots__ = ("_data", "_known")

    def __init__(self) -> None:
        self._data = bytearray(_ROOM)
        self._known = bytearray(_ROOM)

    def read(self, slot: int, length: int) -> Value:
        """`length` bytes from a slot on; what lies behind the registers is unknown."""
        start = 4 * max(slot, 0)
        data, known = bytes(self._data[start : start + length]), bytes(self._known[start : start + length])
        return data.ljust(length, b"\0"), known.ljust(length, b"\0")

    def write(self, slot: int, value: Value, *, pad: bool = True) -> None:
        """Write from a slot on; the last slot is filled up with zeros, as every load does (nft_reg_store8, nft_data_copy)."""
        start, length = 4 * max(slot, 0), len(value[0])
        extra = -length % 4 if pad else 0
        self._data[start : start + length + extra] = value[0] + bytes(extra)
        self._known[start : start + length + extra] = value[1] + b"\xff" * extra


@dataclass(slots=True)
class Choices:
    """The ways that one run takes where more than one is possible: first those of `script`, then always the first.

    `made` records (way taken, number of ways, why) of each choice, so that the next run can take another way; `rules` counts
    the rules that were run.
    """

    script: tuple[int, ...] = ()
    made: list[tuple[int, int, str]] = field(default_factory=list)
    rules: int = 0

    def choose(self, ways: int, why: str) -> int:
        """Which of `ways` possible ways to go."""
        position = len(self.made)
        taken = self.script[position] if position < len(self.script) else 0
        self.made.append((taken, ways, why))
        return taken

    def following(self) -> tuple[int, ...] | None:
        """The script of the next run in depth-first order, None if every way has been gone."""
        made = list(self.made)
        while made:
            taken, ways, _ = made.pop()
            if taken + 1 < ways:
                return (*(t for t, _, _ in made), taken + 1)
        return None
