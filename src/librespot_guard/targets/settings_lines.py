"""A configuration file as its lines, so that each of them comes back as it was."""

from dataclasses import dataclass, replace

from librespot_guard.errors import Refused

_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a file with their endings; `ending` is the one that new lines get."""

    lines: tuple[str, ...]
    ending: str = "\n"

    def text(self, index: int) -> str:
        """A line without its ending (and the first one without a byte order mark)."""
        return self.lines[index].rstrip("\r\n").removeprefix(_BOM if index == 0 else "")

    def put(self, index: int, text: str) -> "Lines":
        """With another text in place of a line, its ending as it was."""
        old = self.lines[index]
        ending = old[len(old.rstrip("\r\n")) :]
        mark = _BOM if index == 0 and old.startswith(_BOM) else ""
        return replace(self, lines=(*self.lines[:index], mark + text + ending, *self.lines[index + 1 :]))

    def insert(self, index: int, *texts: str) -> "Lines":
        """With new lines in front of the line `index` (behind the last one, if there is none)."""
        head = list(self.lines[:index])
        if head and not head[-1].endswith("\n"):
            head[-1] += self.ending
        return replace(self, lines=(*head, *(t + self.ending for t in texts), *self.lines[index:]))


def decode(data: bytes) -> Lines:
    """The lines of a file. Raises Refused for what is no text."""
    if b"\0" in data:
        raise Refused("it holds NUL bytes: this is no text")
    text = data.decode("utf-8", "surrogateescape")
    bare = text.replace("\r\n", "")
    if "\r" in bare:
        raise Refused("it has line endings of the old Macintosh (CR alone): edit it by hand")
    lines = text.split("\n")
    whole = tuple(line + "\n" for line in lines[:-1]) + ((lines[-1],) if lines[-1] else ())
    return Lines(whole, "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n")


def encode(lines: Lines) -> bytes:
    """The bytes of a file."""
    return "".join(lines.lines).encode("utf-8", "surrogateescape")
