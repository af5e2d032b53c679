"""What a whole `scan` costs, and what it takes for a member of the family: on a host of 500 processes in 20 network namespaces.

Three figures, in one run (docs: benchmarks/README.md):

* CPU of `librespot-guard scan --no-ask` and `scan` (start of Python included) beside `ss -lntup` run once in each namespace, alternating; user and system
  time of the process and its children by wait4(2); the median of the ratio within a round. Goal: at most 2.
* found: every daemon of the lab that is obtained runs under a name of no meaning; all must be found, each with its flavour.
* false alarms: 200 unrelated daemons, among them look-alikes by name; none may be taken for a service.

Exit status 1 if a goal is missed. Everything runs in throw-away namespaces; no root is needed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from librespot_guard.lab import daemons
from librespot_guard.lab.daemons import Daemon
from librespot_guard.lab.sandbox import Host, Sandbox

GOAL = 2.0
NAMESPACES, PROCESSES, UNRELATED = 20, 500, 200

# one cheap process with a listening socket (and, every tenth, one on 5353 as well), then nothing
_SERVER = """
import os, socket, sys, time
os.setsid()
kept = []
for n in range({count}):
    if os.fork() == 0:
        one = socket.create_server((("0.0.0.0", "127.0.0.1")[n % 2], 0))
        if n % 10 == 0:
            two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            two.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            two.bind(("0.0.0.0", 5353))
        time.sleep(3600)
print("ready", flush=True)
time.sleep(3600)
"""
_SLEEPERS = "for i in $(seq {count}); do sleep 3600 & done; echo ready; wait"
_LOOK_ALIKES = {
    "librespot-notes": "import socket,time; s=socket.create_server(('0.0.0.0',0)); time.sleep(3600)",
    "spotifyd": "import socket,time; s=socket.create_server(('0.0.0.0',0)); time.sleep(3600)",
    "go-librespot": "import time; time.sleep(3600)",
    "snapserver": "import socket,time; s=socket.create_server(('0.0.0.0',0)); time.sleep(3600)",
}


def cpu(host: Host, argv: list[str], environment: dict[str, str]) -> float:
    """User and system time of a command and its children in a host, in ms, by the shell's `times` (POSIX): the last line has both."""
    done = host.run(["bash", "-c", '"$@" > /dev/null || exit 9; times', "x", *argv], env=environment, check=True)
    words = done.stdout.split()[2:4]
    return sum(float(w.split("m")[0]) * 60000 + float(w.split("m")[1].rstrip("s")) * 1000 for w in words)


def look_alikes(host: Host, folder: Path) -> None:
    """Programs whose names are those of the family and whose content is not: scripts, copies of a shell and of an interpreter."""
    for name, text in _LOOK_ALIKES.items():
        script = folder / name
        script.write_text(f"#!{sys.executable}\n{text}\n", encoding="utf-8")
        script.chmod(0o755)
        host.popen([str(script)])
    shell = folder / "bin" / "librespot"
    shell.parent.mkdir()
    shutil.copy(shutil.which("sleep") or "/bin/sleep", shell)
    host.popen([str(shell), "3600"])
    module = folder / "app" / "librespot"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text("", encoding="utf-8")
    (folder / "app" / "main.py").write_text(
        "import librespot, socket, time\n"
        "s = socket.create_server(('0.0.0.0', 0))\n"
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "u.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "u.bind(('0.0.0.0', 5353))\n"
        "time.sleep(3600)\n",
        encoding="utf-8",
    )
    host.popen([sys.executable, str(folder / "app" / "main.py")])


def renamed(daemon: Daemon, folder: Path) -> Daemon:
    """The same daemon, its program called something else, where the program is a file of its own."""
    if daemon.name in ("librespot", "spotifyd", "snapserver"):
        place = folder / f"music-{len(daemon.name)}"
        program = place / "usr" / "bin" / f"music-{daemon.version}"
        program.parent.mkdir(parents=True)
        shutil.copy(daemon.files[0], program)
        # the libraries that were unpacked with a program of Debian are looked for beside it
        for libraries in ("usr/lib", "lib"):
            (place / libraries).symlink_to(daemon.files[0].parents[2] / libraries)
        return Daemon(daemon.name, daemon.version, (program, *daemon.files[1:]))
    return daemon


def main() -> int:
    """Measure, print, and say by the exit status whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    # a user's Python keeps its bytecode
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": ""}
    scan = [sys.executable, "-m", "librespot_guard", "scan", "--format", "json"]
    failed = False
    with tempfile.TemporaryDirectory() as scratch, Sandbox(hostname="speaker", names={"speaker": "10.0.0.1"}) as box:
        folder = Path(scratch)
        folder.chmod(0o755)
        hosts = [box.host(f"n{n}") for n in range(NAMESPACES)]
        for one in hosts:
            count = UNRELATED // NAMESPACES
            for program in (
                [sys.executable, "-c", _SERVER.format(count=count)],
                ["sh", "-c", _SLEEPERS.format(count=PROCESSES // NAMESPACES - count - 2)],
            ):
                started = one.popen(program, stdout=subprocess.PIPE)
                if started.popen.stdout is None or started.popen.stdout.readline() != "ready\n":
                    sys.exit("error: the host of the benchmark did not start")
        look_alikes(hosts[0], folder)
        time.sleep(1)
        processes = hosts[0].run(["sh", "-c", "ls -d /proc/[0-9]* | wc -l"], check=True).stdout.strip()

        ss = ["sh", "-c", "".join(f"nsenter --net=/run/netns/{h.name} ss -lntup >/dev/null;" for h in hosts)]
        ratios: dict[str, list[float]] = {"scan --no-ask": [], "scan": []}
        times: dict[str, list[float]] = {"ss": [], "scan --no-ask": [], "scan": []}
        for _ in range(rounds):
            base = cpu(hosts[0], ss, environment)
            times["ss"].append(base)
            for label, argv in (("scan --no-ask", [*scan, "--no-ask"]), ("scan", scan)):
                took = cpu(hosts[0], argv, environment)
                times[label].append(took)
                ratios[label].append(took / base)
        print(f"{processes} processes, {NAMESPACES} namespaces, {rounds} rounds")
        print(f"  ss -lntup in each namespace: {statistics.median(times['ss']):.0f} ms of CPU")
        for label, values in ratios.items():
            ratio = statistics.median(values)
            failed |= ratio > GOAL
            print(f"  {label}: {statistics.median(times[label]):.0f} ms, {ratio:.2f} times (goal {GOAL:g})")

        alarms = json.loads(hosts[0].run(scan, env=environment, check=True).stdout)["services"]
        alarms = [s for s in alarms if s["status"] == "running"]
        failed |= bool(alarms)
        print(
            f"  false alarms among {UNRELATED} unrelated daemons and {len(_LOOK_ALIKES) + 2} look-alikes: {len(alarms)}"
        )
        for alarm in alarms:
            print(f"    {alarm['name']} ({alarm['flavour']}): {' '.join(alarm['argv'])}")

        one = box.host("family")
        other = box.host("phone")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "10.0.0.1/24")
        one.multicast("eth0")
        there = [d for name in daemons.NAMES if (d := daemons.available(name)) is not None]
        running = []
        for number, daemon in enumerate(there):
            running.append(renamed(daemon, folder).start(one, name=f"speaker-{number}", timeout=60))
        found = json.loads(hosts[0].run(scan, env=environment, check=True).stdout)["services"]
        by_pid = {s["pid"]: s["flavour"] for s in found if s["status"] == "running"}
        missed = [r.daemon.name for r in running if r.pid not in by_pid]
        failed |= bool(missed)
        print(
            f"  found: {len(running) - len(missed)} of {len(running)} ({', '.join(d.name for d in there)}), renamed where a program is a file"
        )
        if missed:
            print(f"    missed: {', '.join(missed)}")
        for each in running:
            each.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
