"""Ctrl-C and SIGTERM end `scan --watch` at whatever instant they come."""

import os
import subprocess
import sys

from support import SOURCE

# a process of its own waits, and is ended at random instants by another one; while it waits for no time at all, it is nearly
# always in the midst of what waiting does besides
STORM = """
import os, random, signal, time
from librespot_guard.cli._watch import until_ended
me, (go, say) = os.getpid(), os.pipe()
if not os.fork():
    os.close(say)
    while os.read(go, 1):
        end = time.perf_counter() + random.uniform(0, 0.0004)
        while time.perf_counter() < end:
            pass
        os.kill(me, signal.SIGTERM)
    os._exit(0)
for _ in range(300):
    with until_ended() as ended:
        os.write(say, b".")
        while not ended.came:
            ended.wait(0)
print("ended 300 times")
"""

SECOND = """
import os, signal
from librespot_guard.cli._watch import until_ended
with until_ended() as ended:
    os.kill(os.getpid(), signal.SIGINT)
    ended.wait(60)
    print(ended.came, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    ended.wait(60)
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    """SIGKILL ends it if it hangs: TimeoutExpired."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE.parent), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_a_signal_at_any_instant_is_noted() -> None:
    """300 signals at random instants of the waiting: each ends it, and none makes it hang."""
    done = _run(STORM)

    assert (done.returncode, done.stdout) == (0, "ended 300 times\n"), done.stderr


def test_the_second_one_ends_it_at_once() -> None:
    """Who can't wait for the end of a look presses Ctrl-C again."""
    done = _run(SECOND)

    assert done.stdout == "True\n"
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
