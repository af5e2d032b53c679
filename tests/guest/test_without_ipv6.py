"""A machine whose kernel was told to have no IPv6."""

import json

import pytest

from guest.speaker import CONF, FOLDER, SERVICE, SETTINGS, UNIT, Speaker

pytestmark = pytest.mark.guest


def test_the_doctor_says_why_it_does_not_start(speaker: Speaker) -> None:
    """With `ipv6.disable=1` a librespot ends at once, again and again; the doctor names the kernel as the likely reason."""
    guest = speaker.guest
    guest.write(f"{FOLDER}/{UNIT}", SERVICE)
    guest.write(CONF, SETTINGS)
    guest.shell(f"systemctl enable --quiet {UNIT}; sync")
    guest.cut()
    guest.start(kernel="ipv6.disable=1")
    try:
        assert "ipv6.disable=1" in guest.read("/proc/cmdline")
        said = guest.run(["librespot", "-n", "x", "-B", "pipe", "-d", "/dev/null", "-c", "/run/cache"], timeout=60)
        assert said.returncode == 1
        assert "Address family not supported" in said.stdout + said.stderr
        found = json.loads(guest.guard("doctor", "--format", "json", check=False).stdout)
    finally:
        # the next test boots it as it was
        guest.shell(f"systemctl disable --quiet --now {UNIT}; sync", check=False)
        guest.cut()

    causes = {one["cause"]: one["certainty"] for one in found["diagnoses"]}
    assert causes["no-ipv6"] == "likely"
