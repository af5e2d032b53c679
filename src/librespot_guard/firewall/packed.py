"""Many plain set elements in little memory: keys side by side, and which of them end an interval.

An `Element` costs some 150 bytes; a set of 100,000 intervals has 200,000 of them that differ in their key alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from librespot_guard.firewall.model import Element

# fewer are kept as they are
WORTHWHILE = 256


@dataclass(frozen=True, slots=True)
class PackedElements(Sequence[Element]):
    """Elements that are a key and nothing else, made anew whenever one is asked for.

    `keys` are all keys of `length` bytes behind one another; `ends` has a byte for each, 1 where it ends an interval.
    """

    length: int
    keys: bytes
    ends: bytes

    def __len__(self) -> int:
        """How many elements there are."""
        return len(self.ends)

    def __iter__(self) -> Iterator[Element]:
        """Each element, in order."""
        length, keys = self.length, self.keys
        for number, end in enumerate(self.ends):
            yield Element(keys[number * length : (number + 1) * length], interval_end=bool(end))

    @overload
    def __getitem__(self, index: int) -> Element: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Element, ...]: ...

    def __getitem__(self, index: int | slice) -> Element | tuple[Element, ...]:
        """One element, or some of them."""
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = index if index >= 0 else index + len(self)
        if not 0 <= number < len(self):
            raise IndexError(index)
        return Element(
            self.keys[number * self.length : (number + 1) * self.length], interval_end=bool(self.ends[number])
        )


class Gathered:
    """The elements of one set while they arrive."""

    def __init__(self) -> None:
        self._length = 0
        self._keys = bytearray()
        self._ends = bytearray()
        self._mixed: list[Element] | None = None

    def plain(self, key: bytes, *, end: bool) -> None:
        """Add an element that is a key and nothing else."""
        if self._mixed is not None or (self._ends and len(key) != self._length):
            self.add(Element(key, interval_end=end))
            return
        self._length = len(key)
        self._keys += key
        self._ends.append(end)

    def add(self, element: Element) -> None:
        """Add any element."""
        if self._mixed is None:
            self._mixed = list(self._packed())
        self._mixed.append(element)

    def _packed(self) -> PackedElements:
        return PackedElements(self._length, bytes(self._keys), bytes(self._ends))

    def finished(self) -> Sequence[Element]:
        """All of them, in the form that costs least."""
        if self._mixed is not None:
            return tuple(self._mixed)
        packed = self._packed()
        return packed if len(packed) >= WORTHWHILE else tuple(packed)
