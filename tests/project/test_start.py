"""What a start may load: the figures of benchmarks/start.py, held by counting modules, which does not depend on the machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import SOURCE

POLICY = """\
policy: 1
title: Living-room speaker
owner: ops@example.org
review: every 3 months
sources:
  home: {networks: [192.168.10.0/24], why: family phones}
services:
  living-room:
    match: {flavour: librespot}
    allow: {connect: [home]}
"""

PROGRAM = """
import atexit, json, os, sys
report = int(sys.argv.pop(1))
before = set(sys.modules)
from librespot_guard.cli.entry import main
try:
    status = main(sys.argv[1:])
finally:
    with os.fdopen(report, "w") as stream:
        json.dump(sorted(set(sys.modules) - before), stream)
sys.exit(status)
"""

# command -> (how many modules it may load above a bare interpreter, and which it must not load)
BUDGETS: dict[str, tuple[int, tuple[str, ...]]] = {
    "--version": (6, ("click", "yaml", "pydantic", "rich", "json", "re")),
    "--help": (8, ("click", "yaml", "pydantic", "rich", "json", "re")),
    "confirm": (40, ("click", "yaml", "pydantic", "rich", "asyncio", "inspect", "librespot_guard.cli.main")),
    "status": (40, ("click", "yaml", "pydantic", "rich", "asyncio", "inspect", "librespot_guard.cli.main")),
    "check": (150, ("rich", "asyncio", "librespot_guard.collect", "librespot_guard.lab", "librespot_guard.reach")),
}


def loaded(command: str, folder: Path) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """The modules that one command loads above a bare interpreter."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    words = [command, str(policy)] if command == "check" else [command]
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as stream:
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(writer), *words],
            env={
                **os.environ,
                "PYTHONPATH": str(SOURCE.parent),
                "LIBRESPOT_GUARD_STATE": str(folder / "s"),
                "LIBRESPOT_GUARD_ETC": str(folder),
            },
            pass_fds=(writer,),
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(writer)
        return json.load(stream), result


@pytest.mark.parametrize("command", BUDGETS)
def test_a_start_loads_no_more_than_its_budget(command: str, tmp_path: Path) -> None:
    """A command stays within its number of modules and away from what it must not load."""
    budget, forbidden = BUDGETS[command]

    modules, result = loaded(command, tmp_path)

    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or command == "confirm"
    assert [m for m in modules if any(m == f or m.startswith(f + ".") for f in forbidden)] == []
    assert len(modules) <= budget, modules


def test_confirm_needs_the_way_back_only(tmp_path: Path) -> None:
    """Of the project itself, `confirm` loads `apply`, what it is told to do, and the errors: nothing that reads or analyses."""
    modules, _ = loaded("confirm", tmp_path)
    own = {m.split(".")[1] for m in modules if m.startswith("librespot_guard.")}

    assert own <= {"apply", "targets", "errors", "cli"}
