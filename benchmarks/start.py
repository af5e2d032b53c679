"""CPU time of a start, in multiples of a bare interpreter: what it costs to say `confirm` on a small machine in trouble.

Every command runs once in each round, in a new order, beside `python -c 0`; user and system time of the child come from
wait4(2). The figure is the median over the rounds of the ratio within a round, so that a busy machine slows both sides.
Exit status 1 if a goal is missed. The budgets that hold these figures in the tests count modules: tests/project/test_start.py.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GOALS = {"confirm": 2.5, "--version": 3.5, "--help": 4.0, "status": 5.0, "check": 16.0}

POLICY = """\
policy: 1
title: Living-room speaker
owner: ops@example.org
review: every 3 months

sources:
  home: {networks: [192.168.10.0/24, "fd00:10::/64"], interface: eth0, why: family phones}
  vpn: {interface: wg0, why: administrators}

services:
  living-room:
    match: {flavour: librespot, name: Living Room}
    allow:
      discovery: [home]
      connect: [home, vpn]
"""


def cpu_milliseconds(argv: list[str], environment: dict[str, str]) -> float:
    """User and system time of one process and its children."""
    process = subprocess.Popen(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (usage.ru_utime + usage.ru_stime) * 1000


def command_lines(policy: Path) -> dict[str, tuple[list[str], float]]:
    """What is measured: a label, its argv and its goal, as the installed script (the user's way) and as a module."""
    script = Path(sys.executable).parent / "librespot-guard"
    if not script.exists():
        sys.exit(
            f"error: {script} is missing\n\nhint: install the project into this environment, or use that of `scripts/test`"
        )
    lines: dict[str, tuple[list[str], float]] = {}
    for name, goal in GOALS.items():
        words = [name, str(policy)] if name == "check" else [name]
        lines[f"librespot-guard {name}"] = ([str(script), *words], goal)
        lines[f"python -m librespot_guard {name}"] = ([sys.executable, "-m", "librespot_guard", *words], goal)
    return lines


def measure(rounds: int, folder: Path) -> dict[str, list[float]]:
    """The milliseconds of every command in every round; "python -c 0" is among them."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    environment = {
        **os.environ,
        # a user's Python keeps its bytecode
        "PYTHONDONTWRITEBYTECODE": "",
        "LIBRESPOT_GUARD_STATE": str(folder / "state"),
        "LIBRESPOT_GUARD_ETC": str(folder / "root"),
    }
    lines = {
        "python -c 0": [sys.executable, "-c", "0"],
        **{label: argv for label, (argv, _) in command_lines(policy).items()},
    }
    checked = subprocess.run(
        lines["librespot-guard check"], env=environment, capture_output=True, text=True, check=False
    )
    if checked.returncode:
        sys.exit(f"error: the policy of this benchmark does not pass `check`\n{checked.stderr}")
    times: dict[str, list[float]] = {label: [] for label in lines}
    for number in range(rounds + 1):
        for label in random.sample(list(lines), len(lines)):
            spent = cpu_milliseconds(lines[label], environment)
            if number:  # the first round compiles and warms the page cache
                times[label].append(spent)
    return times


def main() -> int:
    """Measure, print a table, and say whether every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="rounds to measure after one to warm up (default: 30)")
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp(prefix="librespot-guard-start-"))
    try:
        times = measure(rounds, folder)
        goals = {label: goal for label, (_, goal) in command_lines(folder / "policy.yaml").items()}
    finally:
        shutil.rmtree(folder)
    bare = times["python -c 0"]
    print(
        f"Python {sys.version.split()[0]}, {rounds} rounds; bare interpreter: {statistics.median(bare):.1f} ms (fastest {min(bare):.1f})\n"
    )
    print(f"{'':36}  {'ms':>6}  {'fastest':>7}  {'ratio':>5}  {'goal':>5}")
    missed = 0
    for label, goal in goals.items():
        ratio = statistics.median(a / b for a, b in zip(times[label], bare, strict=True))
        missed += ratio > goal
        verdict = "" if ratio <= goal else "  missed"
        print(
            f"{label:36}  {statistics.median(times[label]):6.1f}  {min(times[label]):7.1f}  {ratio:5.2f}  {goal:5.1f}{verdict}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
