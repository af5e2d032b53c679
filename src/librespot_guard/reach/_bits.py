"""Registers of the nf_tables virtual machine as vectors of symbolic bits.

A value is a sequence of pieces, most significant first, in memory order. A piece is constant, or a run of bits of a packet
field (possibly xored with a constant), or unknown. Masks, xors, shifts and byte order only move and cut such runs, so a value
stays exact until an expression computes something that is no permutation of bits.
"""

from dataclasses import dataclass

UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Piece:
    """`width` bits: constant `bits` (field None), or bits low..low+width-1 of `field` xored with `bits`."""

    width: int
    field: str | None
    low: int
    bits: int


Value = tuple[Piece, ...]


def constant(data: bytes) -> Value:
    """Constant bytes."""
    return (Piece(8 * len(data), None, 0, int.from_bytes(data, "big")),) if data else ()


def unknown(length: int) -> Value:
    """`length` bytes of which nothing is known."""
    return (Piece(8 * length, UNKNOWN, 0, 0),)


def in_host_order(name: str, width: int, byteorder: str) -> Value:
    """A field as the kernel holds a host integer of `width` bits in memory."""
    if byteorder == "big":
        return (Piece(width, name, 0, 0),)
    return tuple(Piece(8, name, low, 0) for low in range(0, width, 8))


def joined(pieces: Value) -> Value:
    """The same value with neighbouring pieces merged where they continue each other."""
    out: list[Piece] = []
    for piece in pieces:
        if out:
            last = out[-1]
            both_const = last.field is None and piece.field is None
            goes_on = last.field == piece.field and last.field is not None and last.low == piece.low + piece.width
            if both_const or goes_on:
                bits = last.bits << piece.width | piece.bits
                out[-1] = Piece(last.width + piece.width, last.field, piece.low, bits)
                continue
        out.append(piece)
    return tuple(out)


def width(value: Value) -> int:
    """How many bits a value has."""
    return sum(piece.width for piece in value)


def cut(value: Value, start: int, length: int) -> Value:
    """`length` bits of a value from bit `start` (0 is the most significant); what is beyond the value is unknown."""
    out: list[Piece] = []
    position = 0
    for piece in value:
        low, high = max(start, position), min(start + length, position + piece.width)
        if low < high:
            after = position + piece.width - high
            size = high - low
            bits = piece.bits >> after & (1 << size) - 1
            out.append(Piece(size, piece.field, piece.low + after if piece.field else 0, bits))
        position += piece.width
    missing = length - sum(p.width for p in out)
    if missing > 0:
        out.append(Piece(missing, UNKNOWN, 0, 0))
    return tuple(out)


def masked(value: Value, mask: int, xor: int) -> Value:
    """(value & mask) ^ xor, for mask and xor as wide as the value."""
    total = width(value)
    out: list[Piece] = []
    start = 0
    while start < total:
        keep = mask >> (total - 1 - start) & 1
        end = start
        while end < total and mask >> (total - 1 - end) & 1 == keep:
            end += 1
        flip = xor >> (total - end) & (1 << (end - start)) - 1
        if keep:
            position = 0
            for piece in cut(value, start, end - start):
                part = flip >> (end - start - position - piece.width) & (1 << piece.width) - 1
                out.append(Piece(piece.width, piece.field, piece.low, piece.bits ^ part))
                position += piece.width
        else:
            out.append(Piece(end - start, None, 0, flip))
        start = end
    return joined(tuple(out))


def swapped(value: Value, size: int) -> Value:
    """The value with the byte order of each `size`-byte unit reversed."""
    total = width(value) // 8
    out: list[Piece] = []
    for unit in range(0, total, size):
        for byte in reversed(range(unit, min(unit + size, total))):
            out.extend(cut(value, 8 * byte, 8))
    return joined(tuple(out))


def shifted(value: Value, op: str, amount: int, byteorder: str) -> Value:
    """Shift a 4-byte value as nft_bitwise does, on host-order words; wider values are unknown."""
    total = width(value)
    if total != 32 or not 0 <= amount < 32:
        return unknown(total // 8)
    word = swapped(value, 4) if byteorder == "little" else value
    zeros = (Piece(amount, None, 0, 0),) if amount else ()
    word = (*cut(word, amount, 32 - amount), *zeros) if op == "lshift" else (*zeros, *cut(word, 0, 32 - amount))
    return joined(swapped(word, 4) if byteorder == "little" else word)


def constant_bytes(value: Value) -> bytes | None:
    """The bytes of a value if it is constant."""
    if any(piece.field is not None for piece in value):
        return None
    number = 0
    for piece in value:
        number = number << piece.width | piece.bits
    return number.to_bytes(width(value) // 8, "big")
