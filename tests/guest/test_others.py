"""What a real systemd does to rules, ours and others': by packets, on hosts that have a bypass and on their twins that have not."""

import pytest

from guest import hosts
from guest.speaker import ALLOWED, DENIED, SETTINGS, UNIT, Speaker

pytestmark = pytest.mark.guest
PORT = 37878
PINNED = SETTINGS.replace("#LIBRESPOT_ZEROCONF_PORT=", f"LIBRESPOT_ZEROCONF_PORT={PORT}")


def test_our_rules_come_back_whatever_is_done_to_nftables_service(speaker: Speaker) -> None:
    """Start, reload, restart and stop of nftables.service flush everything; the denied stay out after each of them."""
    assert speaker.service(PINNED) == PORT
    speaker.apply()
    speaker.guest.guard("confirm")
    hosts.flushing(speaker)
    held = {"start": speaker.reaches(DENIED, PORT)}

    for verb in ("reload", "restart", "stop", "start", "try-restart"):
        speaker.guest.shell(f"systemctl {verb} nftables.service")
        held[verb] = speaker.reaches(DENIED, PORT)

    assert not any(held.values()), held
    assert speaker.reaches(ALLOWED, PORT)


def test_a_rule_on_the_cgroup_of_a_unit_dies_with_its_restart(speaker: Speaker) -> None:
    """The denied are let in after the restart, unless the rule is on a slice of its own."""
    assert speaker.service(PINNED) == PORT
    hosts.by_cgroup(speaker, slice_of_its_own=False)
    assert not speaker.reaches(DENIED, PORT)
    speaker.guest.shell(f"systemctl restart {UNIT}")
    assert speaker.port() == PORT
    assert speaker.reaches(DENIED, PORT)

    speaker.guest.shell("nft flush ruleset")
    hosts.by_cgroup(speaker, slice_of_its_own=True)
    speaker.guest.shell(f"systemctl restart {UNIT}")
    assert speaker.port() == PORT
    assert not speaker.reaches(DENIED, PORT)
    assert speaker.reaches(ALLOWED, PORT)


def test_a_setting_that_this_systemd_ignores_does_nothing(speaker: Speaker) -> None:
    """`SocketBindDeny=any` is accepted and the port is open as before; `IPAddressDeny=` of the denied holds."""
    assert speaker.service(PINNED) == PORT
    hosts.confined(speaker, "SocketBindDeny=any")
    assert "any" in speaker.guest.shell(f"systemctl show -p SocketBindDeny {UNIT}")
    assert "-BPF_FRAMEWORK" in speaker.guest.shell("systemctl --version")
    assert speaker.port() == PORT
    assert speaker.reaches(DENIED, PORT)

    hosts.confined(speaker, f"IPAddressDeny={DENIED}")
    assert speaker.port() == PORT
    assert not speaker.reaches(DENIED, PORT)
    assert speaker.reaches(ALLOWED, PORT)
