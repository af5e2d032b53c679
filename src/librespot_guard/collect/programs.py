"""What a program is by its content, whatever its file is called: strings linked into an executable, classes in a jar, code of a package.

The markers are strings that the programs need to work or that the compiler left in them: the mDNS type and the actions of the protocol
(facts 3.2), paths of crates and modules. Looked for in real builds: librespot 0.4.2 and 0.8.0, spotifyd 0.4.2, go-librespot 0.9.0,
snapserver 0.26.0, librespot-java 1.6.3.
"""

import fnmatch
import mmap
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.collect import frozen

T = TypeVar("T")

# of a larger file only this much is searched
_MAX_SEARCHED = 192 << 20
_MAX_TAIL = 8 << 20
# all of them must be there; the first flavour that fits is it
_ELF_MARKERS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("go-librespot", (b"devgianlu/go-librespot", b"_spotify-connect")),
    ("spotifyd", (b"_spotify-connect", b"librespot_discovery", b"spotifyd")),
    ("librespot", (b"_spotify-connect", b"librespot_", b"addUser")),
    ("snapserver", (b"Server.GetStatus", b"_snapcast", b"librespot")),
    # by its source, as the catalogue names it: no build of it was at hand
    ("owntone", (b"owntone.conf", b"/api/spotify")),
)
# how far before its name a program holds its version (`Snapserver(): … name = "Snapserver", version = VERSION`, common/message/hello.hpp)
_VERSION_BEFORE: dict[str, bytes] = {"snapserver": b"\0Snapserver\0"}
_VERSION = re.compile(rb"\0(\d{1,4}\.\d{1,4}\.\d{1,4})\Z")
_MAX_PLACES = 64
# modules of a library that a frozen speaker holds: a module of somebody else that has the name of the library has not these in it
_FROZEN = ("zeroconf", "core", "proto.Connect_pb2")
_JAVA = re.compile(r"java|jsvc")
# they run programs of other people: their own name or that of a script says nothing
_INTERPRETERS = re.compile(
    r"(?:python|pypy|perl|ruby|node|nodejs|php|lua|luajit|java|jsvc|tclsh|deno|bun|mono|dotnet|sh|bash|dash|ash|zsh|fish|ksh|busybox|env|sudo|su"
    r"|doas|timeout|nice|nohup|strace|gdb|socat|screen|tmux(?:: server)?)[\d.]*"
)


# the loader of ELF programs called by hand (ld.so(8)), and emulators of other machines: their first argument is the program that runs
_LOADER = re.compile(r"ld(?:-linux|-musl|64|32)?[\w.-]*\.so(?:\.\d+)*|(?:qemu-[a-z0-9_]+|box64|box86)(?:-static)?")
_LOADER_VALUES = frozenset(
    {"--library-path", "--inhibit-rpath", "--audit", "--preload", "--argv0", "-L", "-0", "-E", "-U", "-cpu", "-r", "-s"}
)


def loaded(executable: str, argv: Sequence[str]) -> str | None:
    """The path of the program that a loader or an emulator runs, as the process sees it; None if the executable is none of them."""
    if not _LOADER.fullmatch(executable.rpartition("/")[2]):
        return None
    words = iter(argv[1:])
    for word in words:
        if not word.startswith("-"):
            return word
        if word in _LOADER_VALUES:
            next(words, None)
    return None


def interpreter(name: str) -> bool:
    """Whether a program of this file name runs what others wrote."""
    return _INTERPRETERS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Held:
    """What an executable is by its content: a flavour's `name`, "" for none, and the version that it holds, None if it can't be told."""

    name: str
    version: str | None = None


@dataclass(slots=True)
class Programs:
    """Contents of programs, each looked at once. `known` maps a file (device, inode) to what it holds, None if unreadable."""

    catalog: Catalog
    known: dict[tuple[int, int], Held | None] = field(default_factory=dict)
    jars: dict[tuple[int, int], bool | None] = field(default_factory=dict)
    packages: dict[tuple[str, ...], Path | None] = field(default_factory=dict)

    def of_executable(self, path: str) -> tuple[Flavour | None, bool]:
        """The flavour that an executable is by its content, and whether it could be read."""
        held = _once(path, self.known, self._elf)
        return (self._flavour(held.name) if held else None), held is not None

    def version_of(self, path: str) -> str | None:
        """The version that an executable says it is, None if it says none that can be told."""
        held = _once(path, self.known, self._elf)
        return held.version if held else None

    def of_java(self, argv: Sequence[str], resolve: Callable[[str], str]) -> tuple[Flavour | None, bool]:
        """The flavour that a Java virtual machine runs, by the content of its jars or the name of its main class; whether that is sure.

        A jar that is only in the class path of another main class may be used as a library: then its answer decides.
        """
        flavours = [f for f in self.catalog.flavours if f.jars or f.main_classes]
        for flavour in flavours:
            if any(word in flavour.main_classes for word in argv[1:]):
                return flavour, True
            for word, runs in _jars(argv):
                path = resolve(word)
                name = PurePosixPath(word).name
                named = any(fnmatch.fnmatchcase(name, pattern) for pattern in flavour.jars)
                held = _once(path, self.jars, _holds_librespot) if path else None
                if held or (held is None and named):
                    return flavour, bool(held) and runs
        return None, False

    def _elf(self, descriptor: int, size: int) -> Held:
        with mmap.mmap(descriptor, min(size, _MAX_SEARCHED), access=mmap.ACCESS_READ) as content:
            if content[:4] != b"\x7fELF":
                return Held("")
            for name, markers in _ELF_MARKERS:
                if all(content.find(marker) >= 0 for marker in markers):
                    return Held(name, _version(content, _VERSION_BEFORE.get(name)))
        for flavour in self.catalog.flavours:
            package = flavour.python_package
            if package and frozen.holds(descriptor, size, (f"{package}.{part}" for part in _FROZEN)):
                return Held(flavour.name)
        return Held("")

    def _flavour(self, name: str) -> Flavour | None:
        return next((f for f in self.catalog.flavours if f.name == name), None)


class Resolver:
    """Where a path that a process speaks of is found from here: its root folder and its working folder."""

    def __init__(self, root: str, working: str) -> None:
        self.root, self.working = root, working

    def __call__(self, path: str) -> str:
        """The path as seen from here."""
        return f"{self.root.rstrip('/')}{os.path.join(self.working, path)}"  # noqa: PTH118 - a path of another root


def is_java(*names: str) -> bool:
    """Whether one of the names is that of a Java virtual machine."""
    return any(_JAVA.fullmatch(name.rpartition("/")[2]) for name in names)


def _jars(argv: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The jar of `-jar`, and those of the class path; whether it is what is run."""
    for place, word in enumerate(argv[:-1]):
        if word == "-jar":
            yield argv[place + 1], True
        elif word in ("-cp", "-classpath", "--class-path"):
            yield from [(w, False) for w in argv[place + 1].split(":") if w.endswith(".jar")][:40]


def _once(path: str, known: dict[tuple[int, int], T | None], look: Callable[[int, int], T]) -> T | None:
    """What `look(descriptor, size)` says of a file, remembered by the file itself; None if it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        about = os.fstat(descriptor)
        key = (about.st_dev, about.st_ino)
        if key not in known:
            regular = stat.S_ISREG(about.st_mode) and about.st_size > 0
            known[key] = look(descriptor, about.st_size) if regular else None
        return known[key]
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def _version(content: mmap.mmap, before: bytes | None) -> str | None:
    """The one version that stands, as a text of its own, right before another text; None if there is none, or two that differ.

    The compiler puts the texts of one function side by side. Another program that happens to hold both apart is none.
    """
    found: set[str] = set()
    place = -1
    for _ in range(_MAX_PLACES if before else 0):
        place = content.find(before or b"", place + 1)
        if place < 0:
            break
        match = _VERSION.search(content[max(0, place - 16) : place])
        if match:
            found.add(match[1].decode())
    return found.pop() if len(found) == 1 else None


def _holds_librespot(descriptor: int, size: int) -> bool:
    """Whether a jar has classes of librespot-java: their names stand in the directory at its end (APPNOTE.TXT 4.3.12), not compressed."""
    length = min(size, _MAX_TAIL)
    return b"xyz/gianlu/librespot/" in os.pread(descriptor, length, size - length)
