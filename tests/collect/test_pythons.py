"""Python processes: what they run, whether a package is theirs, and whether their program fixes a port."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from librespot_guard.collect import processes, pythons
from librespot_guard.collect.processes import Process

PROCESS = Process(1, 0, "python3", "/usr/bin/python3.11", ("python3",), 0, None, "", None, None, None, 0)


@pytest.mark.parametrize(
    ("argv", "script", "code"),
    [
        (("python", "x.py", "-c", "a"), "x.py", None),
        (("python", "-u", "-X", "dev", "-W", "error", "x.py"), "x.py", None),
        (("python", "-Werror", "-Xdev", "x.py"), "x.py", None),
        (("python", "-c", "print()", "y"), None, (2, 0)),
        (("python", "-uc", "print()"), None, (2, 0)),
        (("python", "-cprint()"), None, (1, 2)),
        (("python", "-m", "http.server", "80"), None, None),
        (("python", "-"), None, None),
        (("python", "-c"), None, None),
        (("python",), None, None),
        (("python", "--check-hash-based-pycs", "never", "x.py"), "x.py", None),
    ],
)
def test_what_an_interpreter_runs(argv: tuple[str, ...], script: str | None, code: tuple[int, int] | None) -> None:
    """Script, program text or module are told as the interpreter tells them."""
    assert (pythons.script_of(argv), pythons.code_of(argv)) == (script, code)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python3", True),
        ("python3.11", True),
        ("pypy3", True),
        ("/opt/x/bin/python", True),
        ("pythonista", False),
        ("librespot", False),
    ],
)
def test_what_an_interpreter_is(name: str, expected: bool) -> None:
    """Interpreters are known by the name of the program or of the first argument."""
    assert pythons.is_python(replace(PROCESS, executable="", command="x", argv=(name,))) is expected


@pytest.mark.parametrize(
    ("text", "arguments", "pinned", "says"),
    [
        ("b.set_listen_port(37001)", (), True, "set_listen_port(37001) in"),
        ("b.set_listen_port( 37_001 )", (), True, "set_listen_port"),
        ("b.set_listen_port(int(sys.argv[1]))", ("37001",), True, "argv 37001"),
        ("b.set_listen_port(int(sys.argv[1]))", ("4",), False, "can't be told"),
        ("b.set_listen_port(37002)", (), False, "can't be told"),
        ("b.create()", (), False, "random port"),
    ],
)
def test_a_port_in_the_program(tmp_path: Path, text: str, arguments: tuple[str, ...], pinned: bool, says: str) -> None:
    """A number in the script, in the `-c` text or among the arguments pins the port; anything else does not, and says why."""
    script = tmp_path / "speaker.py"
    script.write_text(f"input()\n{text}\n", encoding="utf-8")
    for argv in ([str(script), *arguments], ["-c", f"input()\n{text}", *arguments]):
        with subprocess.Popen([sys.executable, *argv], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            process = processes.read_processes()[child.pid]
            answer = pythons.port_set_in_code(process, "set_listen_port", 37001)
            child.kill()
        assert answer[0] is pinned
        assert says in answer[1]


def test_a_program_that_is_gone(tmp_path: Path) -> None:
    """A script that was deleted, or a module, can't be read: then it says so."""
    gone = replace(PROCESS, pid=0, argv=("python", str(tmp_path / "x.py")))

    assert pythons.port_set_in_code(gone, "set_listen_port", 1)[0] is False
    assert "can't be told" in pythons.port_set_in_code(gone, "set_listen_port", 1)[1]
    assert (
        "can't be told"
        in pythons.port_set_in_code(replace(PROCESS, argv=("python", "-m", "x")), "set_listen_port", 1)[1]
    )


@pytest.mark.parametrize("way", ["venv", "pythonpath", "beside"])
def test_a_package_in_the_environment(tmp_path: Path, way: str) -> None:
    """A package in the virtual environment, on PYTHONPATH or beside the script is found, with its version."""
    folder = {
        "venv": tmp_path / "v/lib/python3.11/site-packages",
        "pythonpath": tmp_path / "p",
        "beside": tmp_path / "s",
    }[way]
    (folder / "librespot").mkdir(parents=True)
    (folder / "librespot/__init__.py").touch()
    (folder / "librespot/zeroconf.py").touch()
    (folder / "librespot-0.0.10.dist-info").mkdir()
    (tmp_path / "s").mkdir(exist_ok=True)
    (tmp_path / "s/x.py").write_text("input()", encoding="utf-8")
    program = tmp_path / "v/bin/python"
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    environment = {"PYTHONPATH": str(folder)} if way == "pythonpath" else {}
    with subprocess.Popen([str(program), "s/x.py"], stdin=subprocess.PIPE, cwd=tmp_path, env=environment) as child:
        process = processes.read_processes()[child.pid]
        found = pythons.package_folder(process, environment, "librespot")
        other = pythons.package_folder(process, environment, "no_such_package")
        version = pythons.package_version(found, "librespot") if found else None
        child.kill()

    assert version == "0.0.10"
    assert other is None
