"""Values as YAML text that every reader reads back as the same text, and comments that stay comments."""

import re

from librespot_guard.policy.scalars import scalar

# readers of YAML 1.1 take these for truth values
_TRUTHS = {"y", "n", "yes", "no", "on", "off", "true", "false"}
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._/@-]*[A-Za-z0-9._/@-])?")
_SEXAGESIMAL = re.compile(r"[-+0-9_.:]+")


def text(value: str) -> str:
    """A scalar, in double quotes unless it is plainly text without them. ValueError for text that YAML can't write (lone surrogates)."""
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"not Unicode text: {value!r}")
    safe = _PLAIN.fullmatch(value) and value.lower() not in _TRUTHS and isinstance(scalar(value[:40]), str)
    if safe and not _SEXAGESIMAL.fullmatch(value):
        return value
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    # the byte order mark counts as printable for nobody, and as a line break U+2028 does for some
    if character.isprintable() and character != "\ufeff":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def comment(words: str, *, indent: int = 0, width: int = 110) -> list[str]:
    """A comment in as many lines as it needs; what can't be printed is left out."""
    room = width - indent - 2
    lines, line = [], ""
    for piece in "".join(c if c.isprintable() else " " for c in words).split():
        if line and len(line) + 1 + len(piece) > room:
            lines.append(line)
            line = piece
        else:
            line = f"{line} {piece}" if line else piece
    return [f"{' ' * indent}# {each}" for each in (*lines, line)]
