"""Telling a story: who hears it, and what is kept of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Narrator(Protocol):
    """Who tells the story."""

    def step(self, number: int, title: str) -> None:
        """A new step begins."""

    def say(self, text: str) -> None:
        """One or two lines of narration."""

    def command(self, who: str, line: str, output: str, status: int, *, lines: int = 40) -> None:
        """Somebody ran a command, or sent a request, and this came back, of which the first `lines` lines tell enough."""

    def claim(self, text: str, holds: bool) -> None:
        """Something was claimed, and observed or not."""

    def rows(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table."""


class StoppedError(Exception):
    """A claim did not hold, and the story does not go on."""


@dataclass(slots=True)
class Record:
    """What was told, for the JSON document and the exit status."""

    daemon: str
    version: str
    standin: bool = False
    claims: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False
    seconds: float = 0.0

    @property
    def true(self) -> bool:
        """Whether the whole story was told and every claim was observed."""
        return self.complete and bool(self.claims) and all(c["observed"] for c in self.claims)

    def to_json(self) -> dict[str, Any]:
        """The document of `demo --format json`, without its schema."""
        return {
            "daemon": self.daemon,
            "version": self.version,
            "standin": self.standin,
            "complete": self.complete,
            "observed": self.true,
            "seconds": round(self.seconds, 2),
            "claims": list(self.claims),
            "commands": list(self.commands),
        }
