"""Names and comments for nft out of the free text of a policy."""

import re

from librespot_guard.targets.syntax import MAX_COMMENT

# 31 is the longest chain name of every kernel that still runs; 9 are for "_" and the id
_ROOM = 22


class Names:
    """Gives out unique identifiers that end in the id of their policy; the same calls give the same names."""

    def __init__(self, policy_id: str) -> None:
        self._id = policy_id
        self._given: set[str] = set()

    def new(self, *words: str) -> str:
        """A name made of these words: lower-case ASCII letters, digits and `_`, at most 31 characters, unique."""
        base = re.sub(r"[^a-z0-9]+", "_", "_".join(words).lower()).strip("_") or "x"
        if not base[0].isalpha():
            base = f"x{base}"
        name, number = base[:_ROOM].rstrip("_"), 1
        # `policy` is the first chain's own word
        while name in self._given or name == "policy":
            number += 1
            tail = f"_{number}"
            name = base[: _ROOM - len(tail)].rstrip("_") + tail
        self._given.add(name)
        return f"{name}_{self._id}"


def comment(text: str) -> str | None:
    """The text as a comment of a rule: one line, no quote or backslash, at most 127 bytes of UTF-8; None if nothing is left."""
    plain = "".join(c if c.isprintable() else " " for c in text).replace('"', "'").replace("\\", "/")
    plain = " ".join(plain.split())
    raw = plain.encode("utf-8", "replace")
    if len(raw) > MAX_COMMENT:
        raw = raw[: MAX_COMMENT - 3]
        plain = raw.decode("utf-8", "ignore").rstrip() + "…"
    return plain or None
