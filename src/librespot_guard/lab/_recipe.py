"""What the lab knows of each daemon: how it is had, and how it is started without an account."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from librespot_guard.lab._install import Progress

Files = tuple[Path, ...]


def python_path() -> str:
    """PYTHONPATH for a program of the lab that is run by `python -m` in a sandbox."""
    package = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))


@dataclass(frozen=True, slots=True)
class Given:
    """What a start is made of.

    Attributes:
        files: the files that the recipe's `cached`, `install` or `found` gave.
        title: the name to announce.
        port: the port of its Spotify Connect listener, None for a random one.
        folder: an empty folder of its own, its working directory and HOME.
        options: the program's own settings by its own names, "" for a switch.
    """

    files: Files
    title: str
    port: int | None
    folder: str
    options: Mapping[str, str]

    def long_options(self) -> list[str]:
        """The settings as `--name value`."""
        return [word for name, value in self.options.items() for word in (f"--{name}", value) if word]

    def assigned_options(self) -> list[str]:
        """The settings as `--name=value`."""
        return [f"--{name}={value}" for name, value in self.options.items()]


@dataclass(frozen=True, slots=True)
class Start:
    """What to run.

    Attributes:
        argv: the command line.
        files: configuration, by file name, written into its folder first.
        env: variables beside those of the sandbox.
        others: the TCP ports it opens beside the Spotify Connect listener.
        awaited: those of them that must be there before it counts as started.
        names: lines of /etc/hosts it needs (name -> address).
        helper: a program that must run beside it and prints a line when it is ready, or ().
    """

    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    others: frozenset[int] = frozenset()
    awaited: frozenset[int] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    helper: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A daemon that the machine has already: not ours, so its version is its own ("" if it does not tell)."""

    version: str
    files: Files


def nowhere() -> Found | None:
    """For recipes that look for nothing on the machine."""
    return None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A daemon by name.

    Attributes:
        name: what it is called in the lab.
        flavour: what it is in the catalogue.
        version: the pinned one.
        cached: its files if they are in the cache, else None.
        install: its files, obtained if necessary; raises Unavailable.
        start: the command.
        found: looks on the machine for the program itself; `start_found` is its command where that is another one.
        standin: it is a stand-in, written from what the original was seen to do, for a program that no package registry has.
    """

    name: str
    flavour: str
    version: str
    cached: Callable[[], Files | None]
    install: Callable[[Progress], Files]
    start: Callable[[Given], Start]
    found: Callable[[], Found | None] = nowhere
    start_found: Callable[[Given], Start] | None = None
    standin: bool = False
