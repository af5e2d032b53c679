"""What a real systemd does to rules, ours and others': by packets, on hosts that have a bypass and on their twins that have not."""

import time
from collections.abc import Callable

import pytest

from guest import hosts
from guest.speaker import ALLOWED, DENIED, DENIED6, FOLDER, POLICY, SETTINGS, UNIT, USER, Speaker, asking

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


@pytest.mark.parametrize("host", [hosts.flushing, hosts.sparing])
def test_a_restart_of_nftables_takes_the_rules_of_others(speaker: Speaker, host: Callable[[Speaker], None]) -> None:
    """Rules loaded by hand are gone after it, as `audit` and `plan` said before, unless its file replaces its own table only."""
    host(speaker)
    assert speaker.service(PINNED) == PORT
    hosts.by_hand(speaker, PORT)
    flushes = host is hosts.flushing
    before = speaker.told(PORT)
    if flushes:
        # what the commands say in the guest itself is what they say of its snapshot
        live = {finding["id"]: finding for finding in speaker.json("audit")["findings"]}
        assert live["LG305"] == before.findings["LG305"]
        assert speaker.json("reach", *asking(PORT))["answers"] == [before.answer]
        assert (
            "a `nft flush ruleset` of their owner removes ours too"
            in speaker.guest.guard("plan", speaker.policy).stdout
        )

    speaker.guest.shell("systemctl restart nftables.service")
    after = speaker.told(PORT)

    assert before.exact
    assert before.reached == {ALLOWED}
    assert after.reached == ({ALLOWED, DENIED} if flushes else {ALLOWED})
    assert ("LG305" in before.findings) is flushes
    if flushes:
        assert before.findings["LG305"]["severity"] == "medium"
        assert "takes table inet filter with it" in before.evidence("LG305")
        assert "/etc/nftables.conf:2: `flush ruleset`" in before.evidence("LG305")


@pytest.mark.parametrize("late", [True, False])
def test_a_firewall_that_is_late_lets_the_denied_in_while_the_host_comes_up(speaker: Speaker, late: bool) -> None:
    """In both cases the rules are the same before and after the restart, and closed; `audit` knew who gets in between."""
    assert speaker.service(PINNED) == PORT
    hosts.firewall(speaker, PORT, late=late)
    speaker.guest.shell("systemctl start firewall.service; sync")
    before = speaker.told(PORT)
    if not late:
        with speaker.knocking(PORT, DENIED):
            # systemd refuses the sixth start within ten seconds (StartLimitBurst=), unless it forgets those before
            again = "systemctl reset-failed firewall.service; systemctl restart firewall.service"
            speaker.guest.shell(f"for i in 1 2 3 4 5; do {again}; done")
        assert "open" not in speaker.guest.wire.answered(DENIED)

    with speaker.knocking(PORT, ALLOWED, DENIED, DENIED6):
        speaker.guest.reboot()
        assert speaker.port() == PORT
        time.sleep(1)
    heard = {source for source in (ALLOWED, DENIED, DENIED6) if "open" in speaker.guest.wire.answered(source)}

    assert before.reached == {ALLOWED}
    assert ("LG306" in before.findings) is late
    assert "LG307" not in before.findings
    assert heard == ({ALLOWED, DENIED, DENIED6} if late else {ALLOWED})
    assert not speaker.reaches(DENIED, PORT)
    assert not speaker.reaches(DENIED6, PORT)
    if late:
        assert before.findings["LG306"]["service"] == "kitchen"
        assert "firewall.service loads rules and is not before network-pre.target" in before.evidence("LG306")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_reload_in_two_steps_lets_the_denied_in(speaker: Speaker, at_once: bool) -> None:
    """Before and behind it the port is closed to them, and in the moment between it is not, as `audit` says; a reload in one step has no such moment."""
    assert speaker.service(PINNED) == PORT
    hosts.reloading(speaker, PORT, at_once=at_once)
    before = speaker.told(PORT)

    with speaker.knocking(PORT, DENIED):
        for _ in range(10 if at_once else 60):
            speaker.guest.shell("systemctl reload firewall.service")
            if "open" in speaker.guest.wire.answered(DENIED):
                break
    heard = "open" in speaker.guest.wire.answered(DENIED)

    assert before.exact
    assert before.reached == {ALLOWED}
    assert not speaker.reaches(DENIED, PORT)
    assert heard is not at_once
    assert ("LG307" in before.findings) is not at_once
    if not at_once:
        assert (
            f"{FOLDER}/firewall.service:9: `nft flush ruleset` until {FOLDER}/firewall.service:10"
            in before.evidence("LG307")
        )


def test_a_rule_on_the_cgroup_of_a_unit_dies_with_its_restart(speaker: Speaker) -> None:
    """The denied are let in after the restart, and `audit` names the dead rule, unless it is on a slice of its own."""
    assert speaker.service(PINNED) == PORT
    hosts.by_cgroup(speaker, slice_of_its_own=False)
    before = speaker.told(PORT)
    speaker.guest.shell(f"systemctl restart {UNIT}")
    assert speaker.port() == PORT
    after = speaker.told(PORT)
    assert before.reached == {ALLOWED}
    assert after.reached == {ALLOWED, DENIED}
    assert "LG407" not in before.findings
    assert after.findings["LG407"]["severity"] == "high"
    assert f"(/system.slice/{UNIT})" in after.evidence("LG407")

    speaker.guest.shell("nft flush ruleset")
    hosts.by_cgroup(speaker, slice_of_its_own=True)
    speaker.guest.shell(f"systemctl restart {UNIT}")
    assert speaker.port() == PORT
    mended = speaker.told(PORT)
    assert mended.reached == {ALLOWED}
    assert "LG407" not in mended.findings


def test_a_setting_that_this_systemd_ignores_does_nothing(speaker: Speaker) -> None:
    """`SocketBindDeny=any` is accepted, the port is open as before, and `audit` says so; `IPAddressDeny=` holds, and `reach` says what it can't tell."""
    assert speaker.service(PINNED) == PORT
    hosts.confined(speaker, "SocketBindDeny=any")
    assert "any" in speaker.guest.shell(f"systemctl show -p SocketBindDeny {UNIT}")
    assert "-BPF_FRAMEWORK" in speaker.guest.shell("systemctl --version")
    assert speaker.port() == PORT
    ignored = speaker.told(PORT)
    assert ignored.exact
    assert ignored.reached == {ALLOWED, DENIED}
    assert "confined.conf:2: `SocketBindDeny=any`" in ignored.evidence("LG210")

    hosts.confined(speaker, "IPAddressDeny=any", "IPAddressAllow=192.168.10.0/25")
    assert speaker.port() == PORT
    held = speaker.told(PORT)
    assert held.reached == {ALLOWED}
    assert "LG210" not in held.findings
    assert not held.exact
    assert f"bpf-cgroup /system.slice/{UNIT}" in held.because


def test_the_programs_of_other_cgroups_cost_nothing(speaker: Speaker) -> None:
    """Beside units of systemd itself, and beside a server, that have `IPAddressDeny=any`, the answer for the speaker is exact; that for the server is a bound."""
    assert speaker.service(PINNED) == PORT
    hosts.another(speaker, 8080)
    shown = speaker.guest.shell("systemctl show --value -p IPAddressDeny systemd-journald systemd-udevd systemd-logind")
    assert sorted(shown.split()) == ["0.0.0.0/0"] * 3 + ["::/0"] * 3

    told = speaker.told(PORT)
    beside = speaker.told(8080)

    assert told.exact
    assert told.reached == {ALLOWED, DENIED}
    assert not beside.exact
    assert "bpf-cgroup /system.slice/other.service" in beside.because
    assert beside.reached == set()


def test_the_manager_of_a_user_has_no_right_to_confine(speaker: Speaker) -> None:
    """`IPAddressDeny=` in a unit of a user lets in whom it denies, and `audit` says so; the cure that it names holds, and the twin has no such finding."""
    hosts.of_a_user(speaker, PORT, f"IPAddressDeny={DENIED}")
    assert speaker.port() == PORT
    told = speaker.told(PORT)
    assert told.exact
    assert told.reached == {ALLOWED, DENIED}
    assert f"/home/{USER}/.config/systemd/user/attic.service:2: `IPAddressDeny={DENIED}`" in told.evidence("LG210")
    assert "not running as root" in speaker.guest.shell(told.findings["LG210"]["verify"])

    speaker.guest.write(speaker.policy, POLICY.replace(UNIT, "attic.service"))
    speaker.apply()
    assert not speaker.reaches(DENIED, PORT)
    assert speaker.reaches(ALLOWED, PORT)

    speaker.guest.guard("rollback")
    hosts.of_a_user(speaker, PORT)
    assert speaker.port() == PORT
    twin = speaker.told(PORT)
    assert twin.reached == {ALLOWED, DENIED}
    assert "LG210" not in twin.findings
