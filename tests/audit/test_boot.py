"""What units do to the packet filter and to a service (11, 12 and 23 of docs/bypasses.md): Debian's own units, and a real systemd as judge of their order."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit.booting import SYSTEM, SYSTEMD, Transaction, enable, root, unit
from audit.hosts import ACCEPT, DROP, filters, home_only, host, librespot, table
from librespot_guard import audit
from librespot_guard.audit.ordering import NETWORK_PRE, started_before
from librespot_guard.collect.boot import read_boot
from librespot_guard.firewall.model import Ruleset
from librespot_guard.snapshot import Boot, Snapshot, dumps, loads

NETWORK = "[Unit]\nAfter=network-online.target\nWants=network-online.target\n[Service]\nExecStart=/usr/bin/librespot\n"
PLAIN = "[Service]\nExecStart=/usr/bin/librespot\n"
OWN = "[Unit]\n{}\n[Service]\nType=oneshot\nExecStart=/sbin/iptables-restore /etc/iptables/rules.v4\n"
DOCKER = table((ACCEPT,), (DROP,), family="ip", chain="DOCKER-USER")


def booted(folder: Path) -> Boot:
    """The facts about such a root."""
    boot, gaps = read_boot(["librespot.service"], root=str(folder))
    assert gaps == ()
    return boot


def test_units_that_lead_in_a_circle() -> None:
    """Such links are no units, and end nothing."""
    with root() as folder:
        unit(folder, "librespot.service", "[Service]\nExecStart=/usr/bin/librespot\n", "multi-user.target")
        for one, other in (("a.service", "b.service"), ("b.service", "a.service")):
            (folder / "etc/systemd/system" / one).symlink_to(other)
            enable(folder, one, "multi-user.target")
        boot, _ = read_boot(["librespot.service"], root=str(folder))

    assert "librespot.service" in {u.name for u in boot.units}


def report(boot: Boot, rules: dict[str, Ruleset] | None = None) -> dict[str, audit.Finding]:
    """What the audit finds about units on a host with them; the snapshot goes through its JSON."""
    snapshot: Snapshot = replace(host(librespot()), boot=boot)
    found = audit.run(loads(dumps(snapshot)), rulesets=rules or filters(home_only())).findings
    return {f.id: f for f in found if f.id in ("LG210", "LG305", "LG306")}


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("firewall", "wanted_by", "service", "race"),
    [
        ("nftables.service", "sysinit.target", NETWORK, False),
        ("nftables.service", "sysinit.target", PLAIN, False),
        ("ufw.service", "multi-user.target", NETWORK, False),
        ("firewalld.service", "multi-user.target", NETWORK, False),
        (OWN.format("After=network-online.target\nWants=network-online.target"), "multi-user.target", NETWORK, True),
        (OWN.format("After=network-online.target"), "multi-user.target", "[Unit]\nAfter=firewall.service\n" + PLAIN, False),
        (OWN.format("Before=network.target"), "multi-user.target", PLAIN, True),
        (OWN.format("Before=network.target"), "multi-user.target", NETWORK, False),
        # a target that nothing wants orders nothing
        (OWN.format("Before=network-pre.target"), "multi-user.target", PLAIN, True),
        (OWN.format("Before=network-pre.target\nWants=network-pre.target"), "multi-user.target", PLAIN, False),
        # what orders a unit is not taken back by an empty value
        (OWN.format("After=network-online.target"), "multi-user.target", "[Unit]\nAfter=firewall.service\nAfter=\n" + PLAIN, False),
        (OWN.format("DefaultDependencies=no\nBefore=sysinit.target"), "sysinit.target", PLAIN, False),
        (OWN.format("DefaultDependencies=no"), "sysinit.target", PLAIN, True),
        (OWN.format(""), "basic.target", PLAIN, True),
    ],
)  # fmt: skip
def test_rules_and_network_race(firewall: str, wanted_by: str, service: str, race: bool) -> None:
    """LG306 is there exactly where a real systemd starts the network and the service without waiting for the rules."""
    if not SYSTEMD.exists():
        pytest.skip("systemd is missing (Debian package systemd)")
    debian = firewall if firewall.endswith(".service") else ""
    if debian and not (SYSTEM / debian).exists():
        pytest.skip(f"{debian} is missing (Debian package {debian.removesuffix('.service')})")
    with root(*filter(None, [debian])) as folder:
        name = debian or "firewall.service"
        if debian:
            enable(folder, debian, wanted_by)
        else:
            unit(folder, name, firewall, wanted_by)
        unit(folder, "librespot.service", service, "multi-user.target")
        boot = booted(folder)
        judge = Transaction(folder)

    assert {name, "librespot.service"} <= judge.starts
    for later in ("librespot.service", NETWORK_PRE):
        assert (name in started_before(boot, later)) == (name in judge.before(later)), later
    assert (name not in judge.before("librespot.service") and name not in judge.before(NETWORK_PRE)) == race
    found = report(boot).get("LG306")
    assert (found is not None) == race
    if found:
        assert name in found.evidence[0]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("order", "service", "circles"),
    [
        ("After=local-fs.target", PLAIN, (False, False)),
        ("Before=network.target", PLAIN, (False, False)),
        ("After=network.target", PLAIN, (True, False)),
        ("After=network-online.target\nWants=network-online.target", NETWORK, (True, False)),
        ("After=network.target librespot.service", PLAIN, (True, True)),
        ("", "[Unit]\nBefore=firewall.service\n" + PLAIN, (False, True)),
    ],
)
def test_the_advice_closes_no_circle(order: str, service: str, circles: tuple[bool, bool]) -> None:
    """LG306 advises a drop-in exactly where a real systemd, with that drop-in, finds no circle, of which it would drop a unit."""
    if not SYSTEMD.exists():
        pytest.skip("systemd is missing (Debian package systemd)")
    before = "[Unit]\nWants=network-pre.target\nBefore=network-pre.target\n"
    advice = (
        ("firewall.service", before, "`systemctl edit firewall.service`"),
        ("librespot.service", "[Unit]\nAfter=firewall.service\n", "`systemctl edit librespot.service`"),
    )
    said = []
    for name, drop_in, _ in advice:
        with root() as folder:
            unit(folder, "firewall.service", OWN.format(order), "multi-user.target")
            unit(folder, "librespot.service", service, "multi-user.target")
            found = report(booted(folder))["LG306"]
            unit(folder, f"{name}.d/advice.conf", drop_in)
            said.append(Transaction(folder).circle)
            if not said[-1]:
                assert "LG306" not in report(booted(folder))

    assert tuple(said) == circles
    assert tuple(not any(words in line for line in found.fix) for _, _, words in advice) == circles


CONFIGURATION = '#!/usr/sbin/nft -f\n\nflush ruleset\n\ninclude "/etc/nftables.d/*.nft"\n'


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("loaded", "drop_in", "enabled", "severity", "seen"),
    [
        (CONFIGURATION, "", True, "medium", ("nftables.service:", "/etc/nftables.conf:3: `flush ruleset`")),
        (CONFIGURATION, "[Service]\nExecStop=\n", True, "medium", ("/etc/nftables.conf:3",)),
        (CONFIGURATION.replace("flush ruleset", ""), "", True, "medium", ("ExecStop=/usr/sbin/nft flush ruleset",)),
        (CONFIGURATION.replace("flush ruleset", "# flush ruleset"), "[Service]\nExecStop=\n", True, "medium", ("/etc/nftables.d/1.nft:1",)),
        (CONFIGURATION, "", False, None, ()),
        ("table inet f\ndelete table inet f\n", "[Service]\nExecStop=\nExecStop=/usr/sbin/nft delete table inet f\n", True, None, ()),
    ],
)  # fmt: skip
def test_what_a_restart_removes(
    loaded: str, drop_in: str, enabled: bool, severity: str | None, seen: tuple[str, ...]
) -> None:
    """LG305 names the lines of Debian's nftables.service, of its drop-ins and of the files that it loads, and whose tables they remove."""
    if not (SYSTEM / "nftables.service").exists():
        pytest.skip("nftables.service is missing (Debian package nftables)")
    with root("nftables.service") as folder:
        (folder / "etc/nftables.d").mkdir(parents=True)
        (folder / "etc/nftables.conf").write_text(loaded, encoding="utf-8")
        (folder / "etc/nftables.d/1.nft").write_text("flush ruleset\ntable inet back {\n}\n", encoding="utf-8")
        if drop_in:
            unit(folder, "nftables.service.d/own.conf", drop_in)
        if enabled:
            enable(folder, "nftables.service", "sysinit.target")
        boot = booted(folder)
    found = report(boot, filters(home_only(), DOCKER)).get("LG305")
    alone = report(boot).get("LG305")
    theirs = next(u for u in boot.units if u.name == "nftables.service").brings
    back = report(boot, filters(table((ACCEPT,), (DROP,), name="back"))).get("LG305")

    assert (found.severity if found else None) == severity
    assert (alone.severity if alone else None) == severity
    assert theirs == (("inet back",) if "include" in loaded else ())
    assert (back.severity if back else None) == ("low" if severity else None)
    text = "\n".join(found.evidence) if found else ""
    assert [s for s in seen if s not in text] == []
    assert "ip filter of Docker" in text or severity is None


@pytest.mark.parametrize(
    ("version", "features", "setting", "vain"),
    [
        ("252 (252.38-1~deb12u1)", ("+SECCOMP", "-BPF_FRAMEWORK"), "SocketBindDeny=any", True),
        ("252 (252.38-1~deb12u1)", ("+SECCOMP", "-BPF_FRAMEWORK"), "RestrictNetworkInterfaces=lo", True),
        ("257.9-1", ("+SECCOMP", "+BPF_FRAMEWORK"), "SocketBindDeny=any", False),
        ("252 (252.38-1~deb12u1)", ("-BPF_FRAMEWORK",), "IPAddressDeny=any", False),
        ("252 (252.38-1~deb12u1)", ("-BPF_FRAMEWORK",), "NFTSet=cgroup:inet:t:s", True),
        ("257.9-1", ("+BPF_FRAMEWORK",), "NFTSet=cgroup:inet:t:s", False),
        ("252 (252.38-1~deb12u1)", ("-BPF_FRAMEWORK",), "SocketBindDeny=any\nSocketBindDeny=", False),
    ],
)
def test_settings_that_systemd_ignores(version: str, features: tuple[str, ...], setting: str, vain: bool) -> None:
    """LG210 is there where the running systemd has not what the setting of a unit's drop-in needs, and names its line."""
    with root() as folder:
        unit(folder, "librespot.service", PLAIN, "multi-user.target")
        unit(folder, "librespot.service.d/confine.conf", f"[Service]\n{setting}\n")
        boot = replace(booted(folder), version=version, features=features)
    found = report(boot).get("LG210")

    assert (found is not None) == vain
    if found:
        assert "librespot.service.d/confine.conf:2" in found.evidence[0]


def test_units_of_a_user() -> None:
    """A unit of a user's manager is read from the user's folders before those for all users, with its drop-ins, and orders nothing of the system."""
    with root() as folder:
        unit(folder, "librespot.service", PLAIN, "multi-user.target")
        for place, text in (
            ("usr/lib/systemd/user/librespot.service", "[Service]\nIPAddressDeny=10.0.0.0/8\n"),
            (
                "home/anna/.config/systemd/user/librespot.service",
                "[Unit]\nAfter=b.service\n[Service]\nSocketBindDeny=any\n",
            ),
            ("etc/systemd/user/librespot.service.d/all.conf", "[Service]\nIPAddressDeny=any\n"),
        ):
            path = folder / place
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
        boot, gaps = read_boot(
            ["librespot.service"], of_users=[("librespot.service", "anna", "/home/anna")], root=str(folder)
        )
    own = [u for u in boot.units if u.name == "librespot.service"]

    assert gaps == ()
    assert [u.user for u in own] == ["", "anna"]
    assert [(line.key, line.value, line.origin) for line in own[1].lines] == [
        ("SocketBindDeny", "any", "/home/anna/.config/systemd/user/librespot.service:4"),
        ("IPAddressDeny", "any", "/etc/systemd/user/librespot.service.d/all.conf:2"),
    ]
    assert own[0].lines == ()
    assert "b.service" not in started_before(boot, "librespot.service")


def test_the_version_that_is_not_known() -> None:
    """Where systemd did not say its version, a setting that may be ignored is named as not looked at."""
    with root() as folder:
        unit(folder, "librespot.service", f"{PLAIN}SocketBindDeny=any\n", "multi-user.target")
        boot = booted(folder)
    incomplete = audit.run(replace(host(librespot()), boot=boot), rulesets=filters(home_only())).incomplete

    assert [u.check for u in incomplete] == ["LG210"]


def test_a_script_of_the_administrator() -> None:
    """A unit whose script writes rules loads a packet filter, and the lines of the script that remove all rules are found."""
    with root() as folder:
        script = folder / "usr/local/sbin/firewall"
        script.parent.mkdir(parents=True)
        script.write_text(
            "#!/bin/sh\n# iptables -F\niptables -F\niptables -F mine\niptables -A INPUT -j DROP\nsh -c 'ip6tables -F'\n",
            encoding="utf-8",
        )
        unit(folder, "rules.service", "[Service]\nExecStart=/usr/local/sbin/firewall\n", "multi-user.target")
        found = next(u for u in booted(folder).units if u.name == "rules.service")

    assert found.filters
    assert [(line.origin, line.text) for line in found.removes] == [
        ("/usr/local/sbin/firewall:3", "iptables -F"),
        ("/usr/local/sbin/firewall:6", "sh -c 'ip6tables -F'"),
    ]


def test_old_snapshots_are_read_and_say_what_they_lack() -> None:
    """A snapshot without facts about units is read; what could not be looked at is named."""
    old = replace(host(librespot()), boot=None)
    incomplete = audit.run(loads(dumps(old)), rulesets=filters(home_only())).incomplete

    assert {u.check for u in incomplete} == {"LG305", "LG306"}
