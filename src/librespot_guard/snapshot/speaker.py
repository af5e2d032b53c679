"""A speaker somewhere on the network: no fact about this host, so it is not in a snapshot of it."""

from dataclasses import dataclass

from librespot_guard.snapshot.facts import Announcement, Info


@dataclass(frozen=True, slots=True)
class Speaker:
    """A speaker on the segment: how it announced itself, `asked` (the address that was asked, "" if none was) and its answer.

    `info` is None if it did not answer as a Spotify Connect speaker; `why` says what came instead.
    `any_host` is whether it gave the same answer under a foreign name, None if it was not asked that (`--probe`).
    """

    announcement: Announcement
    asked: str = ""
    info: Info | None = None
    why: str = ""
    any_host: bool | None = None
