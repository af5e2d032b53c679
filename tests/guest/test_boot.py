"""Restarts of the machine and power cuts around a change, and the gate that nobody confirms."""

import time

import pytest

from guest.speaker import ALLOWED, DENIED, DENIED6, FOLDER, SETTINGS, STATE, UNIT, Speaker

pytestmark = pytest.mark.guest
PORT = 37878
PINNED = SETTINGS.replace("#LIBRESPOT_ZEROCONF_PORT=", f"LIBRESPOT_ZEROCONF_PORT={PORT}")
BOOT_FILES = f"/etc/librespot-guard/rules.nft {FOLDER}/librespot-guard.service"


def started(speaker: Speaker, unit: str, what: str = "ActiveEnter") -> int:
    """When a unit of the guest was there, microseconds since its kernel started."""
    return int(speaker.guest.shell(f"systemctl show --value -p {what}TimestampMonotonic {unit}"))


def test_a_confirmed_policy_holds_at_every_instant_of_a_restart(speaker: Speaker) -> None:
    """Through shutdown and boot nobody but the allowed is answered once: the rules are there before the network and the daemon."""
    assert speaker.service(PINNED) == PORT
    assert speaker.reaches(DENIED, PORT)
    assert speaker.reaches(DENIED6, PORT)
    speaker.apply()
    speaker.guest.guard("confirm")
    assert not speaker.reaches(DENIED, PORT)

    with speaker.knocking(PORT, ALLOWED, DENIED, DENIED6):
        speaker.guest.reboot()
        assert speaker.port() == PORT
        time.sleep(1)

    assert "open" in speaker.guest.wire.answered(ALLOWED)
    assert "open" not in speaker.guest.wire.answered(DENIED)
    assert "open" not in speaker.guest.wire.answered(DENIED6)
    rules = started(speaker, "librespot-guard.service")
    assert 0 < rules < started(speaker, "systemd-networkd.service", "InactiveExit")
    assert rules < started(speaker, UNIT, "InactiveExit")
    assert speaker.json("status")["in_force"]


def test_a_power_cut_brings_back_what_was_confirmed_and_nothing_else(speaker: Speaker) -> None:
    """Cut while a change is pending, the host is as before it; cut right after `confirm` has returned, the policy holds from the start."""
    assert speaker.service(PINNED) == PORT
    speaker.apply()
    assert not speaker.reaches(DENIED, PORT)

    speaker.guest.cut()
    speaker.guest.start()

    assert speaker.port() == PORT
    assert speaker.reaches(DENIED, PORT)
    assert speaker.rules() == ""
    assert speaker.guest.run(["ls", *BOOT_FILES.split()]).stdout == ""
    status = speaker.json("status")
    assert (status["pending"], status["in_force"]) == (None, None)
    assert '"event": "expired"' in speaker.guest.read(f"{STATE}/journal.jsonl")

    speaker.apply()
    speaker.guest.guard("confirm")
    speaker.guest.cut()
    with speaker.knocking(PORT, DENIED):
        speaker.guest.start()
        assert speaker.port() == PORT

    assert "open" not in speaker.guest.wire.answered(DENIED)
    assert speaker.reaches(ALLOWED, PORT)
    assert speaker.json("status")["in_force"]


def test_the_gate_falls_by_itself_when_nobody_confirms(speaker: Speaker) -> None:
    """With no process of ours left, the kernel lets the denied in again when the time is over, and `confirm` comes too late."""
    assert speaker.service(PINNED) == PORT
    speaker.apply(within="20s")
    assert not speaker.reaches(DENIED, PORT)
    assert "bin/librespot-guard" not in speaker.guest.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    deadline = time.monotonic() + 40
    while not speaker.reaches(DENIED, PORT):
        assert time.monotonic() < deadline
    late = speaker.guest.guard("confirm", check=False)

    assert late.returncode == 5, late.stderr
    assert speaker.rules() == ""
