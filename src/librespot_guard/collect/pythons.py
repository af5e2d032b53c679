"""Python processes whose environment holds a package: librespot-python is a library, its process is any program.

Where an interpreter finds packages: the documentation of `site` and `venv` (pyvenv.cfg); Debian's dist-packages.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from librespot_guard.collect.processes import Process, inside

_PYTHON = re.compile(r"(?:python|pypy)(?:\d+(?:\.\d+)*)?(?:-dbg|d|t)?")
MAX_SCRIPT = 1 << 20
# options of the interpreter that take a value of their own
_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")


def is_python(process: Process) -> bool:
    """Whether a process is a Python interpreter."""
    return any(
        _PYTHON.fullmatch(name.rpartition("/")[2]) for name in (process.executable, process.argv[0], process.command)
    )


def package_folder(process: Process, environment: Mapping[str, str], package: str) -> Path | None:
    """The folder that holds a package in the environment of a Python process, as seen from here; None if there is none."""
    return next((f for f in search_path(process, environment) if holds_package(f, package)), None)


def holds_package(folder: Path, package: str) -> bool:
    """Whether a folder holds a package that can make a speaker: a module of one's own that is called the same is not it."""
    try:
        return (folder / package / "__init__.py").is_file() and (folder / package / "zeroconf.py").is_file()
    except OSError:
        return False


def package_version(folder: Path, package: str) -> str | None:
    """The version of a package by its *.dist-info (PEP 376) in the folder that holds it."""
    try:
        for metadata in sorted(folder.glob(f"{package}-*.dist-info")):
            found = re.fullmatch(rf"{re.escape(package)}-([0-9A-Za-z.+!_]+)\.dist-info", metadata.name)
            if found:
                return found[1]
    except OSError:
        pass
    return None


def search_path(process: Process, environment: Mapping[str, str]) -> Iterator[Path]:
    """Folders in which the interpreter looks for packages, in its order as far as it can be told from outside."""
    script = script_of(process.argv)
    places = [str(Path(script).parent) if script else "."]
    places += [p for p in environment.get("PYTHONPATH", "").split(":") if p]
    for place in places:
        found = inside(process.pid, place)
        if found is not None:
            yield found
    for prefix in _prefixes(process, environment):
        for pattern in ("lib/python3*/site-packages", "lib64/python3*/site-packages", "lib/python3*/dist-packages"):
            try:
                yield from sorted(prefix.glob(pattern))
            except OSError:
                continue


def _prefixes(process: Process, environment: Mapping[str, str]) -> Iterator[Path]:
    program = inside(process.pid, process.argv[0], environment)
    if program is not None:
        yield program.parent.parent
    home = environment.get("HOME", "")
    for place in (
        environment.get("VIRTUAL_ENV", ""),
        str(Path(process.executable).parent.parent) if process.executable else "",
        f"{home}/.local" if home.startswith("/") else "",
        "/usr/local",
        "/usr",
    ):
        found = inside(process.pid, place) if place.startswith("/") else None
        if found is not None:
            yield found


def script_of(argv: tuple[str, ...]) -> str | None:
    """The script that an interpreter runs, or None (`-c`, `-m`, interactive)."""
    kind, index, _ = _program(argv)
    return argv[index] if kind == "script" and argv[index] != "-" else None


def module_of(argv: tuple[str, ...]) -> str | None:
    """The module that an interpreter runs by `-m`, or None."""
    kind, index, offset = _program(argv)
    return argv[index][offset:] if kind == "m" else None


def code_of(argv: tuple[str, ...]) -> tuple[int, int] | None:
    """Where the program text is that an interpreter got by `-c`: (argument, first character), or None."""
    kind, index, offset = _program(argv)
    return (index, offset) if kind == "c" else None


def _program(argv: tuple[str, ...]) -> tuple[str, int, int]:
    """What an interpreter runs ("c", "m", "script", or "" for nothing), and its place: (argument, first character)."""
    index = 1
    while index < len(argv):
        argument = argv[index]
        if not argument.startswith("-") or argument == "-":
            return "script", index, 0
        if argument in _WITH_VALUE:
            index += 1
        elif not argument.startswith(("--", "-X", "-W")):
            for place, letter in enumerate(argument[1:], start=1):
                if letter in "cm":
                    attached = place + 1 < len(argument)
                    found = (letter, index, place + 1) if attached else (letter, index + 1, 0)
                    return found if found[1] < len(argv) else ("", 0, 0)
        index += 1
    return "", 0, 0


def port_set_in_code(process: Process, function: str, port: int) -> tuple[bool, str]:
    """Whether the program of a Python process calls `function` with this port as a number, and where; or why it can't be told."""
    place = code_of(process.argv)
    if place is not None:
        text, where = process.argv[place[0]][place[1] :], "the program text of `-c`"
    else:
        script = script_of(process.argv)
        path = inside(process.pid, script) if script else None
        if script is None or path is None:
            return False, "can't be told: its program could not be read; without a setting the port is random"
        where = script
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(MAX_SCRIPT)
        except OSError as error:
            return False, f"can't be told: {script} could not be read ({error.strerror})"
    called = [
        a.strip().replace("_", "") for a in re.findall(rf"\b{re.escape(function)}\s*\(((?:[^()]|\([^()]*\))*)\)", text)
    ]
    if str(port) in called:
        return True, f"{function}({port}) in {where}"
    if called and str(port) in process.argv[1:]:
        return True, f"argv {port}, and {where} calls {function}"
    if called:
        return False, f"can't be told: {where} calls {function} with something else than this number"
    return False, f"random port (changes at restart): {where} does not call {function}"
