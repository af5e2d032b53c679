"""The kernel-held gate: its clock, and what the kernel says about it.

The elements of the gate count down in the kernel's jiffies; nothing of ours has to run for the old rules to come back. Jiffies stand
still while the machine sleeps, so the gate may hold longer than CLOCK_BOOTTIME says; what the kernel lists decides.
"""

import time

from librespot_guard.apply import nft
from librespot_guard.errors import MachineError

TIMEOUT = "@TIMEOUT@"
MIN_SECONDS, MAX_SECONDS = 5, 3600
# one command: after the first of several, nft 1.1.3 (Debian 13) lists maps without their elements
_STATE = "list table inet librespot_guard\n"


class Kernel:
    """What our table in the kernel says: `loaded`, the id in force (`base`) and behind the gate (`gated`), "" for none; nft's `listing`."""

    __slots__ = ("base", "gated", "listing", "loaded")

    def __init__(self, *, loaded: bool, base: str, gated: str, listing: str = "") -> None:
        self.loaded, self.base, self.gated, self.listing = loaded, base, gated, listing


def timed(text: str, seconds: int) -> str:
    """The transaction with the time of the gate put in."""
    return text.replace(TIMEOUT, str(seconds))


def now() -> float:
    """Seconds since the machine started, time asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The id of this run of the machine: a deadline of another run means nothing."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        return file.read().strip()


def kernel() -> Kernel:
    """Ask the kernel, through nft. Raises MachineError if it can't be asked."""
    status, output, errors = nft.run(_STATE)
    if status:
        if "No such file or directory" in errors:
            return Kernel(loaded=False, base="", gated="")
        raise nft.failure(errors, status)
    base, gated, block = "", "", []
    for line in output.splitlines():
        words = line.replace(",", " ").split()
        if words[-1:] == ["{"] and words[0] in ("map", "chain", "set"):
            block = words[:2]
        if "goto" in words and block in (["map", "gate"], ["chain", "input"]):
            name = words[words.index("goto") + 1].removeprefix("policy_")
            if block == ["chain", "input"]:
                base = name
            else:
                gated = name
    return Kernel(loaded=True, base=base, gated=gated, listing=output)


def check_seconds(seconds: int) -> int:
    """The time of the gate, if it is one that makes sense. Raises MachineError else."""
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise MachineError(f"the gate can't be armed for {seconds} s: from {MIN_SECONDS} s to {MAX_SECONDS} s")
    return seconds
