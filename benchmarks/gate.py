"""The gate under attack: does the kernel put the old rules back whenever the tool is ended, and does replacing rules leak?

Part one: `apply` on a speaker in a throw-away network, ended by SIGKILL, SIGHUP or SIGTERM while its change is pending; afterwards a
phone that the new policy denies must connect again, the rules must be those of before, and the history must say "expired".
Part two: two policies replace each other (arm and confirm) while an allowed and a denied phone connect as fast as they can.
No root is needed and nothing outside the sandbox is touched. Exit status 1 if a single one fails.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from apply.stage import ALLOWED, DENIED, Stage, stage  # noqa: E402 - the stage of the tests is the stage here

EVENTS = ("SIGKILL", "SIGHUP", "SIGTERM")
SECONDS = 5
HOME = ("192.168.10.0/25", "fd00:10::/112")


def revert(on: Stage, event: str) -> dict[str, object]:
    """Arm, end the tool, and wait for the old rules: how long it took, and what was wrong ("" if nothing)."""
    process = on.armed(on.policy(*HOME), seconds=SECONDS)
    begin = time.monotonic()
    wrong = [] if not on.connects(DENIED, seconds=0.3) else ["the new rules were not in force"]
    process.popen.send_signal(getattr(signal, event))
    process.wait(10)
    while not on.connects(DENIED, seconds=0.3):
        if time.monotonic() - begin > SECONDS + 10:
            wrong.append("the old rules did not come back")
            break
    took = time.monotonic() - begin
    history = json.loads(on.guard("status", "--format", "json").stdout)
    events = json.loads(on.guard("history", "--format", "json").stdout)["events"]
    if history["pending"] is not None or events[-1]["event"] != "expired":
        wrong.append("the records do not say so")
    if on.rules() != "":
        wrong.append("something is left of the new rules")
    return {"event": event, "seconds": took, "wrong": "; ".join(wrong)}


def worker(events: list[str]) -> None:
    """Some reverts on a stage of its own; one line of JSON for each."""
    with tempfile.TemporaryDirectory(prefix="librespot-guard-gate-") as folder, stage(Path(folder)) as on:
        for event in events:
            print(json.dumps(revert(on, event)), flush=True)


def reverts(count: int, workers: int) -> list[dict[str, object]]:
    """All reverts, several stages side by side."""
    events = [EVENTS[number % len(EVENTS)] for number in range(count)]
    running = [
        subprocess.Popen([sys.executable, __file__, "--worker", ",".join(share)], stdout=subprocess.PIPE, text=True)
        for share in (events[number::workers] for number in range(workers))
        if share
    ]
    found = []
    for process in running:
        output = process.communicate()[0]
        found += [json.loads(line) for line in output.splitlines()]
        if process.returncode:
            sys.exit(f"error: a worker ended with {process.returncode}")
    return found


def replaces(count: int) -> dict[str, tuple[int, int]]:
    """Replace one policy by another under traffic; per kind of phone (through, failed)."""
    with tempfile.TemporaryDirectory(prefix="librespot-guard-gate-") as name, stage(Path(name)) as on:
        first, second = on.policy(*HOME), on.policy(*HOME, "10.0.0.0/8")
        if on.guard("apply", first, "--yes", "--no-wait").returncode or on.guard("confirm").returncode:
            sys.exit("error: the first policy could not be applied")
        phones = [
            (source, on.traffic(what, source))
            for what, source in (("allowed", ALLOWED), ("allowed", ALLOWED), ("denied", DENIED))
        ]
        begin = time.monotonic()
        done = on.speaker.run(
            [sys.executable, __file__, "--replace", f"{second},{first}", "--count", str(count)],
            env=on.environment(),
            cwd=name,
            timeout=200,
        )
        spent = time.monotonic() - begin
        (Path(name) / "stop").touch()
        if done.returncode:
            sys.exit(f"error: replacing failed\n{done.stderr}")
        print(f"\n{count} replacements (arm and confirm) in {spent:.1f} s, {1000 * spent / count:.0f} ms each")
        found: dict[str, tuple[int, int]] = {}
        for source, result in phones:
            through, failed = result()
            before = found.get(source, (0, 0))
            found[source] = (before[0] + through, before[1] + failed)
        return found


def replace(policies: list[Path], count: int) -> None:
    """On the speaker: arm and confirm the policies in turn, in this process."""
    from librespot_guard import collect, plan, policy  # noqa: PLC0415 - only this role plans
    from librespot_guard.apply import machine  # noqa: PLC0415
    from librespot_guard.apply.journal import State  # noqa: PLC0415
    from librespot_guard.plan.change import change  # noqa: PLC0415

    facts, today = collect.snapshot(), datetime.now(UTC).date()
    wanted = []
    for path in policies:
        made = plan.make(policy.load(path.read_text(encoding="utf-8"), file=str(path)), facts, today=today)
        if made.wanted is None:
            sys.exit("\n".join(made.refusals))
        wanted.append(made.wanted)
    current = wanted[1]
    for number in range(count):
        following = wanted[number % 2]
        with State() as state:
            machine.arm(state, change(following, current).to_json(), 60, {"title": "benchmark"})
            machine.confirm(state, following.id)
        current = following


def main() -> int:
    """Run both parts, print their tables, and say whether everything held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reverts", type=int, default=100, help="default: 100")
    parser.add_argument("--replaces", type=int, default=100, help="default: 100")
    parser.add_argument("--workers", type=int, default=10, help="stages side by side (default: 10)")
    for role in ("--worker", "--replace"):
        parser.add_argument(role, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    if given.worker:
        worker(given.worker.split(","))
        return 0
    if given.replace:
        replace([Path(p) for p in given.replace.split(",")], given.count)
        return 0
    begin = time.monotonic()
    found = reverts(given.reverts, given.workers)
    print(
        f"{'the tool was ended by':22} {'reverted':>10} {'median s':>9} {'longest s':>10}    (the gate was set to {SECONDS} s)"
    )
    wrong = 0
    for event in EVENTS:
        here = [r for r in found if r["event"] == event]
        bad = [r for r in here if r["wrong"]]
        wrong += len(bad)
        times = [float(str(r["seconds"])) for r in here] or [0.0]
        print(
            f"{event:22} {f'{len(here) - len(bad)}/{len(here)}':>10} {statistics.median(times):9.2f} {max(times):10.2f}"
        )
        for each in bad:
            print(f"  {each['wrong']}")
    phones = replaces(given.replaces)
    print(f"{'phone':22} {'connected':>10} {'did not':>9}")
    for source, (through, failed) in phones.items():
        print(f"{'allowed' if source == ALLOWED else 'denied':22} {through:10} {failed:9}")
    leaks, gaps = phones[DENIED][0], phones[ALLOWED][1]
    print(f"\nreverts that failed: {wrong}; allowed connections that failed: {gaps}; denied ones that got in: {leaks}")
    print(f"{time.monotonic() - begin:.0f} s in all")
    return 1 if wrong or leaks or gaps or len(found) != given.reverts else 0


if __name__ == "__main__":
    sys.exit(main())
