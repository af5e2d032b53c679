"""Whether a Python program that runs is a speaker made with a library: what it has loaded, and what its own text imports.

Python keeps no file of a module open, but what is compiled stays mapped (/proc/PID/maps, proc(5)). The text of the program is followed
through the modules that are its own; nothing is run and no memory is read. Import statements: docs.python.org, "The import system".
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from librespot_guard.collect.processes import Process, inside
from librespot_guard.collect.pythons import MAX_SCRIPT, code_of, module_of, script_of
from librespot_guard.collect.textfile import read

# librespot/zeroconf.py of librespot-python imports these at its top: Cryptodome.Cipher.AES and Cryptodome.Hash.SHA1 are these libraries
_COMPILED = ("/Cryptodome/Cipher/_raw_aes.", "/Cryptodome/Hash/_SHA1.")
_ENTRY = "zeroconf"
_MAX_FILES, _MAX_CHARACTERS = 100, 2 << 20
_IMPORT = re.compile(
    r"(?:^|[;\n])[ \t]*(?:from[ \t]+(?P<base>[.\w]+)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\n;#]*)|import[ \t]+(?P<plain>[^\n;#]*))"
)
_INSTALLED = ("site-packages", "dist-packages")


def loaded_from(pid: int) -> tuple[str, ...]:
    """The folders, as the process sees them, out of which it has loaded all the compiled modules that the library imports; () if it has not."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found: list[set[str]] = []
    for part in _COMPILED:
        paths = (line.partition(part)[0] for line in lines if part in line)
        found.append({"/" + path.partition("/")[2] for path in paths})
    return tuple(sorted(set.intersection(*found)))


def makes_a_speaker(process: Process, package: str, places: Sequence[Path]) -> bool | None:
    """Whether the text of a program imports the part of a package that makes a speaker, by itself or through modules of its own.

    Followed are modules beside the program and on its PYTHONPATH, and the installed package that it begins in or imports itself.
    None if there is no text to be had, as of a program that was typed or piped in.
    """
    wanted = re.compile(rf"\b{re.escape(package)}\.{_ENTRY}\b")
    queue = list(_start(process, places))
    if not queue:
        return None
    seen: set[Path] = set()
    budget = _MAX_CHARACTERS
    while queue and budget > 0:
        # its own modules first
        queue.sort(key=lambda each: each[2] is not None)
        text, home, top = queue.pop(0)
        budget -= len(text)
        if wanted.search(text):
            return True
        for name in _imports(text, home, places):
            if name == f"{package}.{_ENTRY}":
                return True
            for path, place in _files(name, places):
                installed = place.name in _INSTALLED
                own = name.partition(".")[0]
                if path in seen or len(seen) >= _MAX_FILES or own == package:
                    continue
                if installed and top not in (None, own):
                    continue  # what others are made of does not tell what this one is
                content = read(str(path), limit=MAX_SCRIPT).text
                if content is not None:
                    seen.add(path)
                    queue.append((content, path.parent, own if installed else None))
    return False


def _start(process: Process, places: Sequence[Path]) -> Iterator[tuple[str, Path | None, str | None]]:
    """(text, folder, installed package it belongs to) of what the interpreter was told to run."""
    code, module, script = code_of(process.argv), module_of(process.argv), script_of(process.argv)
    if code is not None:
        yield process.argv[code[0]][code[1] :], None, None
    elif module is not None:
        for name in (f"{module}.__main__", module):
            for path, place in _files(name, places):
                if (text := read(str(path), limit=MAX_SCRIPT).text) is not None:
                    yield text, path.parent, name.partition(".")[0] if place.name in _INSTALLED else None
    elif script is not None:
        given = inside(process.pid, script)
        if given is None:
            return
        file = given / "__main__.py" if given.is_dir() else given
        if (text := read(str(file), limit=MAX_SCRIPT).text) is not None:
            yield text, file.parent, None


def _imports(text: str, home: Path | None, places: Sequence[Path]) -> Iterator[str]:
    """The absolute names of the modules that a text imports; a name taken out of a module may be a module itself."""
    for found in _IMPORT.finditer(text):
        if found["plain"] is not None:
            yield from (name for part in found["plain"].split(",") if (name := part.split(" as ")[0].strip()))
            continue
        base = found["base"]
        if base.startswith("."):
            base = _absolute(base, home, places)
        if base:
            yield base
            names = found["names"].strip("() \t\n").split(",")
            yield from (
                f"{base}.{name}" for part in names if re.fullmatch(r"\w+", name := part.split(" as ")[0].strip())
            )


def _absolute(relative: str, home: Path | None, places: Sequence[Path]) -> str:
    """The absolute name of a relative one in a module of this folder, "" if it is in none of the places."""
    name = relative.lstrip(".")
    folder = home
    for _ in range(len(relative) - len(name) - 1):
        folder = folder.parent if folder is not None else None
    for place in places:
        if folder is not None and folder.is_relative_to(place):
            return ".".join([*folder.relative_to(place).parts, *filter(None, [name])])
    return ""


def _files(name: str, places: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """The files of a module and of the packages that it is in, each with the place where it was found."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return
    for place in places:
        try:
            packages = [place.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
            found = [p for p in (place.joinpath(*parts[:-1], f"{parts[-1]}.py"), *packages) if p.is_file()]
        except OSError:
            continue
        if found:
            yield from ((path, place) for path in found)
            return
