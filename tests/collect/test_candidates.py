"""Which processes are taken for family members: by what they hold, under any name, and no look-alike."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from librespot_guard import catalog
from librespot_guard.collect import candidates, processes
from librespot_guard.collect.candidates import Candidate
from librespot_guard.collect.programs import Programs
from librespot_guard.snapshot import Listener

KNOWN = catalog.load()
WILD = Listener("tcp", "ipv4", "0.0.0.0", 37001)
MDNS = Listener("udp", "ipv4", "0.0.0.0", 5353)
MARKS = {
    "librespot": b"_spotify-connect._tcp librespot_core addUser",
    "spotifyd": b"_spotify-connect._tcp librespot_discovery addUser librespot_core spotifyd",
    "go-librespot": b"_spotify-connect._tcp github.com/devgianlu/go-librespot/daemon",
    "snapserver": b"Server.GetStatus _snapcast._tcp librespot",
    "owntone": b"/etc/owntone.conf ^/api/spotify$",
}


def judged(argv: list[str], *listeners: Listener) -> Candidate | None:
    """What a process of this command line, that holds these listeners, is taken for."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 5
        while True:  # until it is what it will be
            process = processes.read_processes()[child.pid]
            if process.argv[-1:] == tuple(argv[-1:]) or time.monotonic() > deadline:
                break
        found = candidates.find([process], {child.pid: listeners}, KNOWN)
        child.kill()
    return found[0] if found else None


def program(folder: Path, name: str, content: bytes = b"") -> str:
    """A copy of `sleep`, under another name, with something more in it."""
    path = folder / name
    shutil.copy(Path(shutil.which("sleep") or "/bin/sleep").resolve(), path)
    with path.open("ab") as file:
        file.write(content)
    return str(path)


@pytest.mark.parametrize("flavour", MARKS)
@pytest.mark.parametrize("name", ["music", "python-like", "librespot"])
def test_by_content_under_any_name(tmp_path: Path, flavour: str, name: str) -> None:
    """What is linked into a program that listens tells what it is, whatever it is called."""
    found = judged([program(tmp_path, name, MARKS[flavour]), "30"], WILD)

    assert found is not None
    assert found.flavour is not None
    assert (found.flavour.name, found.certain) == (flavour, True)


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"uname -m\0" + b"0.26.0\0Snapserver\0streams\0", "0.26.0"),
        (b"\0" + b"0.26.0\0Snapserver\0..." + b"\0" + b"0.26.0\0Snapserver\0", "0.26.0"),
        (b"\0" + b"0.26.0\0Snapserver\0..." + b"\0" + b"0.34.0\0Snapserver\0", None),
        (b"\0" + b"0.26.0\0\0\0Snapserver\0", None),
        (b"x0.26.0\0Snapserver\0", None),
        (b"\0" + b"1" * 400 + b".0.0\0Snapserver\0", None),
        (b"\0\x1b[2J0.1\0Snapserver\0", None),
        (b"\0Snapserver\0" * 20_000 + b"\0" + b"0.26.0\0Snapserver\0", None),
        (b"", None),
    ],
)
def test_the_version_that_a_snapserver_holds(tmp_path: Path, content: bytes, version: str | None) -> None:
    """One version right before its name is it; two that differ, one that is elsewhere, or nonsense is none."""
    path = tmp_path / "music"
    path.write_bytes(b"\x7fELF " + MARKS["snapserver"] + content)
    known = Programs(KNOWN)

    assert known.version_of(str(path)) == version
    path.write_bytes(b"\x7fELF " + MARKS["librespot"] + b"\0" + b"0.26.0\0Snapserver\0")
    assert Programs(KNOWN).version_of(str(path)) is None


@pytest.mark.parametrize("name", ["librespot", "spotifyd", "go-librespot", "snapserver", "librespot-notes"])
def test_a_name_alone_is_nothing(tmp_path: Path, name: str) -> None:
    """A program that is only called so is none while it does not listen, and must answer if it does."""
    path = program(tmp_path, name)
    silent, open_to_all = judged([path, "30"]), judged([path, "30"], WILD)

    assert silent is None
    assert open_to_all is None or not open_to_all.certain


def test_behind_a_loader(tmp_path: Path) -> None:
    """The loader called by hand is what /proc shows as the program; what it runs is what counts."""
    loaders = sorted(Path("/").glob("lib*/ld-linux*.so.*"))
    if not loaders:
        pytest.skip("no loader of glibc here")
    found = judged([str(loaders[0]), "--argv0", "x", program(tmp_path, "music", MARKS["snapserver"]), "30"], WILD)

    assert found is not None
    assert found.flavour is not None
    assert (found.flavour.name, found.certain) == ("snapserver", True)
    assert judged([str(loaders[0]), program(tmp_path, "librespot-not"), "31"], WILD) is None


def test_scripts_are_no_daemons(tmp_path: Path) -> None:
    """A shell script and a Python script called spotifyd are none, listening or not, unless they answer."""
    for interpreter in ("/bin/sh", sys.executable):
        script = tmp_path / "spotifyd"
        body = "sleep 30 # x" if interpreter == "/bin/sh" else "import time; time.sleep(30)"
        script.write_text(f"#!{interpreter}\n{body}\n", encoding="utf-8")
        script.chmod(0o755)
        assert judged([str(script), "x"]) is None
        found = judged([str(script), "x"], WILD)
        assert found is None or not found.certain


def test_a_module_of_ones_own(tmp_path: Path) -> None:
    """A Python program with a local module called librespot, that listens and speaks mDNS, must answer to be one."""
    (tmp_path / "librespot").mkdir()
    (tmp_path / "librespot/__init__.py").touch()
    script = tmp_path / "main.py"
    script.write_text("import librespot, time; time.sleep(30)", encoding="utf-8")
    found = judged([sys.executable, str(script)], WILD, MDNS)

    assert found is not None
    assert (found.flavour, found.certain) == (None, False)


def test_java_by_its_classes(tmp_path: Path) -> None:
    """A jar is known by the classes in it, whatever it is called; one that only has the name of a player is not sure."""
    jar = tmp_path / "app.jar"
    jar.write_bytes(b"PK" + b"x" * 100 + b"xyz/gianlu/librespot/player/Main.class")
    look = tmp_path / "librespot-player-9.jar"
    look.write_bytes(b"PK" + b"x" * 100)
    known = Programs(KNOWN)

    assert known.of_java(["java", "-jar", str(jar)], str)[1]
    flavour, sure = known.of_java(["java", "-cp", f"/x.jar:{jar}", "Main"], str)
    assert (flavour and flavour.name, sure) == (
        "librespot-java",
        False,
    )  # somebody else's program may use it as a library
    assert known.of_java(["java", "-cp", "/x", "xyz.gianlu.librespot.api.Main"], str)[1]
    assert known.of_java(["java", "-jar", str(look)], str) == (None, False)
    assert known.of_java(["java", "-jar", "/gone/librespot-player-1.jar"], str)[1] is False
