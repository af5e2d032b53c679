"""`demo`: the whole story is true with each real daemon, ends clean whenever it is interrupted, and never claims what was not seen."""

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from librespot_guard import catalog
from librespot_guard.lab import daemons
from support import SOURCE, Guard, Schema

pytestmark = pytest.mark.kernel


def _needs(name: str) -> None:
    if daemons.available(name) is None:
        pytest.skip(
            f"{name} is not installed; `python -m librespot_guard.lab.daemons obtain {name}` gets it or says why not"
        )


@pytest.mark.family
@pytest.mark.parametrize("name", daemons.NAMES)
def test_every_claim_is_observed_within_a_minute(name: str, guard: Guard, schema: Schema) -> None:
    """With each daemon: every claim of the story was observed, every command of the product was part of it, in 60 s.

    What is told meanwhile is readable in a log: no control sequences, each step and each claim on a line of its own.
    """
    _needs(name)
    flavour = daemons.obtain(name).flavour
    if flavour not in {known.name for known in catalog.load().flavours}:
        pytest.skip(f"the catalogue does not know {flavour} yet")
    done = guard("demo", "--daemon", name, "--format", "json", timeout=200)
    document = json.loads(done.stdout)
    schema("demo").validate(document)
    assert [claim["text"] for claim in document["claims"] if not claim["observed"]] == []
    assert (done.returncode, document["observed"], document["daemon"]) == (0, True, name)
    # a JVM and two daemons in one take longer to start, while the other tests keep every core busy
    assert document["seconds"] <= (60 if name in daemons.NAMES[:2] else 120)
    shown = {command["argv"][1] for command in document["commands"]}
    assert {
        "scan",
        "audit",
        "reach",
        "init",
        "check",
        "plan",
        "apply",
        "confirm",
        "status",
        "verify",
        "history",
    } <= shown
    assert {claim["step"] for claim in document["claims"]} == {1, 2, 3, 4, 5, 6, 7}
    assert "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line[:2] for line in lines if line.endswith("──")] == [f"{n}." for n in range(1, 8)]
    assert sum("✓" in line for line in lines) == len(document["claims"]) >= 20
    assert "stranger> GET http://192.168.30.2" in done.stderr


def _marked(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


@pytest.mark.family
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_at_any_moment_it_ends_clean(number: signal.Signals) -> None:
    """Ended at a random moment, it leaves no process, no traceback, and goes within seconds."""
    _needs("librespot-python")
    mark = f"mark-{uuid.uuid4()}"
    env = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "DEMO_TEST_MARK": mark}
    process = subprocess.Popen(
        [sys.executable, "-m", "librespot_guard", "demo", "--daemon", "librespot-python"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(random.uniform(0.3, 8))
    process.send_signal(number)
    _, said = process.communicate(timeout=15)
    assert "Traceback" not in said
    if number == signal.SIGINT:
        assert process.returncode == 130
    deadline = time.monotonic() + 5
    while _marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _marked(mark) == []


def test_what_is_not_observed_is_not_claimed(tmp_path: Path, guard: Guard) -> None:
    """A program that only calls itself librespot does not do what the story says: the story stops there, with status 1."""
    fake = tmp_path / "librespot"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import socket, sys, time\n"
        "if '--version' in sys.argv:\n    print('librespot 9.9.9 fake'); raise SystemExit\n"
        "server = socket.create_server(('', 0))\ntime.sleep(60)\n",
        encoding="utf-8",
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    env = {"XDG_CACHE_HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = guard("demo", "--daemon", "librespot", env=env)
    assert done.returncode == 1, done.stderr
    assert "NOT OBSERVED" in done.stdout
    assert "the story stopped there" in done.stdout


def test_a_daemon_that_can_not_be_had_is_status_3(tmp_path: Path, guard: Guard) -> None:
    """Without compiler the reason is said, and what to do."""
    env = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": str(tmp_path)}
    done = guard("demo", "--daemon", "librespot", env=env)
    assert done.returncode == 3
    assert "no `cargo` with a `rustc` is installed" in done.stderr
    assert "hint" in done.stderr
    assert "Traceback" not in done.stderr
