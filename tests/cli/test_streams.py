"""Standard streams that are closed, full, cut off or in another encoding: a clear exit status, no traceback, and no change half told."""

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from librespot_guard.snapshot import Namespace, Service, Snapshot, dumps
from support import ALONE, SOURCE, Guard

POLICY = """\
policy: 1
title: "Küche — ✓"
owner: ops@example.org
review: every 3 months
sources:
  home: {networks: [192.168.10.0/24], why: "größere Geräte ✓"}
services:
  kitchen:
    match: {flavour: librespot}
    allow: {connect: [home]}
"""
COMMANDS = [["status"], ["explain", "gate"], ["--version"], ["--help"], ["scan", "--help"], ["check", "policy.yaml"]]


def run(
    folder: Path, *words: str | bytes, prefix: tuple[str, ...] = (), **more: object
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line with streams of the test's choice."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE.parent),
        "LIBRESPOT_GUARD_STATE": str(folder / "state"),
        "LIBRESPOT_GUARD_ETC": str(folder / "root"),
        **dict(more.pop("env", {})),  # type: ignore[call-overload]
    }
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*prefix, sys.executable, "-m", "librespot_guard", *words],
        **{"stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more},
        cwd=folder,
        env=environment,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_output_that_is_full_is_said(words: list[str], unbuffered: str, tmp_path: Path) -> None:
    """An answer that can't be written is status 3 with a reason, not a traceback and not "the answer is no"."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = run(tmp_path, *words, stdout=full, env={"PYTHONUNBUFFERED": unbuffered})

    assert done.returncode == 3
    assert b"standard output can't be written to: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_is_gone_is_no_fault(words: list[str], tmp_path: Path) -> None:
    """`| head -1` ends every command with 141, as any other program, never with the 1 of "the answer is no"."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = run(tmp_path, *words, stdout=pipe)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_closed_streams(words: list[str], tmp_path: Path) -> None:
    """Without any standard stream a command does its work; the files it opens do not take their places."""
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "librespot_guard", *words]
    run(tmp_path, "--version", stdout=subprocess.DEVNULL)
    done = subprocess.run(closing, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(SOURCE.parent)}, check=False)

    assert done.returncode == 0


@pytest.mark.kernel
def test_a_full_standard_error_stops_nothing(tmp_path: Path) -> None:
    """Remarks that nobody can read change neither the answer nor the exit status."""
    (tmp_path / "bad.yaml").write_text("policy: 2\n", encoding="utf-8")
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        good = run(tmp_path, "init", prefix=ALONE, stdout=subprocess.PIPE, stderr=full)
        bad = run(tmp_path, "check", "bad.yaml", stdout=subprocess.PIPE, stderr=full)

    assert good.returncode == 0
    assert good.stdout.startswith(b"# Who may reach")
    assert bad.returncode == 2


@pytest.mark.parametrize("encoding", ["latin-1:strict", "ascii:strict", "utf-8:strict"])
def test_another_encoding(encoding: str, tmp_path: Path) -> None:
    """What the terminal can't show is escaped, in JSON so that it stays JSON; a file name need not be Unicode."""
    odd = b"p\xff.yaml"
    (tmp_path / os.fsdecode(odd)).write_text(POLICY, encoding="utf-8")
    for words in (["check", odd], ["check", "--format", "json", odd], ["snapshot", "--help"]):
        done = run(tmp_path, *words, stdout=subprocess.PIPE, env={"PYTHONIOENCODING": encoding})

        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        if "json" in words:
            found = json.loads(done.stdout.decode(encoding.partition(":")[0]))
            assert found["policy"]["title"] == "Küche — ✓"
            assert found["file"] == os.fsdecode(odd)


def test_the_state_is_told_in_any_encoding(guard: Guard, tmp_path: Path) -> None:
    """`history` and `status` answer about a policy whose title the encoding of the terminal lacks."""
    (tmp_path / "state").mkdir()
    event = {"time": "t", "id": "0a1b2c3d", "event": "armed", "who": {"uid": 0}, "title": "Küche ✓", "reason": "\udcff"}
    (tmp_path / "state/journal.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")

    for words in (["history"], ["history", "--format", "json"], ["status"], ["status", "--format", "json"]):
        done = guard(*words, env={"PYTHONIOENCODING": "ascii:strict"})

        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
        if "json" in words:
            json.loads(done.stdout)


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
    ids=["no-color", "dumb", "empty"],
)
def test_colours_only_where_they_are_wanted(variables: dict[str, str], coloured: bool, tmp_path: Path) -> None:
    """On a terminal NO_COLOR (present and not empty) and TERM=dumb keep colours out of every command, not only out of errors."""
    (tmp_path / "unused.yaml").write_text(POLICY.replace("connect: [home]", "connect: []"), encoding="utf-8")
    ours, theirs = pty.openpty()
    done = run(tmp_path, "check", "unused.yaml", stdout=theirs, stderr=theirs, env={"TERM": "xterm", **variables})
    os.close(theirs)
    shown = b""
    while b"not used" not in shown:
        shown += os.read(ours, 4096)
    os.close(ours)

    assert done.returncode == 0
    assert (b"\x1b[3" in shown) == coloured


def test_a_device_is_written_to_and_never_replaced(guard: Guard, tmp_path: Path) -> None:
    """A snapshot that goes to a FIFO, to standard output or through a link leaves what was there: renamed over it, /dev/null would be a file."""
    fifo, link, file = tmp_path / "fifo", tmp_path / "link", tmp_path / "file"
    os.mkfifo(fifo)
    file.write_text("old", encoding="utf-8")
    link.symlink_to(file)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE, text=True) as reader:
        done = guard("snapshot", "--no-ask", "-o", str(fifo))
        read, _ = reader.communicate(timeout=20)

    assert done.returncode == 0, done.stderr
    assert read.startswith("{")
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert guard("snapshot", "--no-ask", "-o", "/dev/stdout").stdout.startswith("{")
    assert guard("snapshot", "--no-ask", "-o", str(link)).returncode == 0
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8").startswith("{")


def test_links_in_a_circle_are_an_error(guard: Guard, tmp_path: Path) -> None:
    """They lead to no file: that is said, and they stay."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    done = guard("snapshot", "--no-ask", "-o", tmp_path / "a")

    assert done.returncode == 3
    assert f"{tmp_path}/a: Too many levels of symbolic links" in done.stderr
    assert (tmp_path / "a").is_symlink()


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
