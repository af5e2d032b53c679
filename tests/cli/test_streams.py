"""Where the output goes: a full disk, a closed descriptor, a device, a link."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from librespot_guard.snapshot import Namespace, Service, Snapshot, dumps

COMMANDS = (["--version"], ["explain", "LG301"], ["scan", "--no-ask", "--format", "json"])


def guard(arguments: list[str], shell: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program with a redirection of a shell."""
    script = f'exec "$0" -m librespot_guard "$@" {shell}'
    command = ["sh", "-c", script, sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_full_disk_is_an_error_and_no_traceback(arguments: list[str]) -> None:
    """Nobody takes a half answer for a whole one: it is said, and the exit status is that of a machine that cannot."""
    done = guard(arguments, ">/dev/full")

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith("error: the output could not be written: No space left on device\n")


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.parametrize("shell", [">&-", "2>&-", "2>/dev/full", "<&-"])
def test_a_stream_that_is_not_there_is_no_fault(arguments: list[str], shell: str) -> None:
    """What is written there goes nowhere; the other stream still counts."""
    done = guard(arguments, shell)

    assert done.returncode == 0, done.stderr
    assert bool(done.stdout) is not shell.startswith(">")


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    """A snapshot that goes to a FIFO, to standard output or through a link leaves what was there: renamed over it, /dev/null would be a file."""
    fifo, link, file = tmp_path / "fifo", tmp_path / "link", tmp_path / "file"
    os.mkfifo(fifo)
    file.write_text("old", encoding="utf-8")
    link.symlink_to(file)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE, text=True) as reader:
        done = guard(["snapshot", "--no-ask", "-o", str(fifo)])
        read, _ = reader.communicate(timeout=20)

    assert done.returncode == 0, done.stderr
    assert read.startswith("{")
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert guard(["snapshot", "--no-ask", "-o", "/dev/stdout"]).stdout.startswith("{")
    assert guard(["snapshot", "--no-ask", "-o", str(link)]).returncode == 0
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8").startswith("{")


def test_a_path_that_is_no_utf_8_ends_no_command(tmp_path: Path) -> None:
    """Anybody may start a program from a folder with any bytes in its name; the document is UTF-8 all the same."""
    service = Service("kitchen", "librespot", None, 7, 0, "/srv/\udcff/librespot", "1")
    space = Namespace("1", home=True)
    file = tmp_path / "host.json"
    file.write_text(dumps(Snapshot("2026-11-25T00:00:00+00:00", "x", "h", "6.1", "little", (space,), (service,))))

    for command in ("scan", "audit"):
        done = subprocess.run(
            [sys.executable, "-m", "librespot_guard", command, "--snapshot", str(file), "--format", "json"],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert done.stdout.decode("utf-8").startswith("{")
