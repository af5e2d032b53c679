"""Rules that are loaded anew (12 of docs/bypasses.md): which units leave a moment without any, told from real files."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit.booting import SYSTEM, enable, root, unit
from audit.hosts import filters, home_only, host, librespot
from librespot_guard import audit
from librespot_guard.collect.boot import read_boot
from librespot_guard.plan.change import DROP_IN, DROP_IN_TEXT
from librespot_guard.plan.change import RULES as OURS
from librespot_guard.snapshot import dumps, loads

RULES = "table inet filter {\n chain input {\n  type filter hook input priority 0; policy accept;\n  tcp dport 3678 drop\n }\n}\n"
WHOLE = f"flush ruleset\n{RULES}"
CLOSED = RULES.replace("policy accept", "policy drop")
LOAD = "ExecStart=/usr/sbin/nft -f /etc/rules.nft\n"
SAVED = "*filter\n:INPUT {} [0:0]\n-A INPUT -p tcp --dport 3678 -j DROP\nCOMMIT\n"
SCRIPT = "ExecStart=/usr/local/sbin/firewall\n"


def reported(folder: Path) -> audit.Report:
    """What the audit says of a host with the units of this folder; the snapshot goes through its JSON."""
    boot, gaps = read_boot(["librespot.service"], root=str(folder))
    assert gaps == ()
    return audit.run(loads(dumps(replace(host(librespot()), boot=boot))), rulesets=filters(home_only()))


def of_firewall(service: str, **files: str) -> tuple[audit.Finding | None, bool]:
    """LG307 about a firewall.service of these Exec lines, and whether it says that it can't tell. `nft`, `more`, `saved`, `script`: what the files hold."""
    paths = {
        "nft": "etc/rules.nft",
        "more": "etc/more.nft",
        "saved": "etc/rules.v4",
        "script": "usr/local/sbin/firewall",
    }
    with root() as folder:
        for name, text in files.items():
            path = folder / paths[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        unit(folder, "firewall.service", f"[Service]\nType=oneshot\n{service}", "multi-user.target")
        said = reported(folder)
    found = next((f for f in said.findings if f.id == "LG307"), None)
    return found, any(u.check == "LG307" for u in said.incomplete)


@pytest.mark.parametrize(
    ("service", "files", "severity", "seen"),
    [
        # a reload of two transactions
        (f"{LOAD}ExecReload=/usr/sbin/nft flush ruleset\nExecReload=/usr/sbin/nft -f /etc/rules.nft\n", {"nft": RULES}, "medium", "reload firewall.service`: rules are missing from /etc/systemd/system/firewall.service:4: `/usr/sbin/nft flush ruleset`"),
        (f"{LOAD}ExecReload=sh -c 'nft flush ruleset; nft -f /etc/rules.nft'\n", {"nft": RULES}, "medium", "`systemctl reload"),
        (f"{LOAD}ExecReload=sh -c 'nft delete table inet filter && nft -f /etc/rules.nft'\n", {"nft": RULES}, "medium", "`systemctl reload"),
        # the table goes, and with it the policy
        (f"{LOAD}ExecReload=sh -c 'nft flush ruleset; nft -f /etc/rules.nft'\n", {"nft": CLOSED}, "medium", "`systemctl reload"),
        (f"{LOAD}ExecReload=sh -c 'nft flush table inet filter; nft -f /etc/rules.nft'\n", {"nft": CLOSED}, None, ""),
        (f"{LOAD}ExecReload=sh -c 'nft flush table inet filter; nft -f /etc/rules.nft'\n", {"nft": RULES}, "medium", "`systemctl reload"),
        # one transaction
        (f"{LOAD}ExecReload=/usr/sbin/nft -f /etc/rules.nft\n", {"nft": WHOLE}, None, ""),
        (f"{LOAD}ExecReload=/usr/sbin/nft -f /etc/rules.nft\n", {"nft": "table inet filter\ndelete table inet filter\n" + RULES}, None, ""),
        (f"{LOAD}ExecReload=/usr/sbin/nft -f /etc/rules.nft\nExecStop=/usr/sbin/nft flush ruleset\n", {"nft": WHOLE}, "low", "restart firewall.service`: rules are missing from /etc/systemd/system/firewall.service:5"),
        (f"{LOAD}ExecStop=/usr/sbin/nft flush ruleset\n", {"nft": WHOLE}, "medium", "`systemctl restart"),
        # all tables are taken, and not all of them brought
        (f"{LOAD}ExecReload=/usr/sbin/nft -f /etc/rules.nft\nExecReload=/usr/sbin/nft -f /etc/more.nft\n", {"nft": WHOLE, "more": RULES}, "medium", "firewall.service:4: `/usr/sbin/nft -f /etc/rules.nft` until"),
        (f"{LOAD}ExecReload=/usr/sbin/nft -f /etc/rules.nft\nExecReload=/usr/sbin/nft -f /etc/more.nft\n", {"nft": "table inet filter\ndelete table inet filter\n" + RULES, "more": RULES}, None, ""),
        # removed, and nothing that would come back: that is no moment
        (f"{LOAD}ExecReload=/usr/sbin/nft flush ruleset\n", {"nft": RULES}, None, ""),
        ("ExecStart=/sbin/iptables-restore /etc/rules.v4\nExecReload=/sbin/iptables-restore /etc/rules.v4\n", {"saved": SAVED.format("ACCEPT")}, None, ""),
        ("ExecStart=/sbin/iptables-restore /etc/rules.v4\nExecReload=sh -c 'iptables -F; iptables-restore -n /etc/rules.v4'\n", {"saved": SAVED.format("ACCEPT")}, "medium", "`iptables -F`"),
        ("ExecStart=/sbin/iptables-restore /etc/rules.v4\nExecReload=sh -c 'iptables -F; iptables-restore -n /etc/rules.v4'\n", {"saved": SAVED.format("DROP")}, None, ""),
        # scripts of the administrator
        (SCRIPT, {"script": "#!/bin/sh\niptables -F\niptables -A INPUT -p tcp --dport 3678 -j DROP\n"}, "medium", "/usr/local/sbin/firewall:2: `iptables -F`"),
        (SCRIPT, {"script": "#!/bin/sh\nIPT=/sbin/iptables\nfor c in INPUT; do\n  $IPT -F $c\ndone\n$IPT -A INPUT -j DROP\n"}, "medium", "/usr/local/sbin/firewall:4: `/sbin/iptables -F $c` until /usr/local/sbin/firewall:6"),
        (SCRIPT, {"script": "#!/bin/sh\niptables -P INPUT DROP\niptables -F\niptables -A INPUT -j ACCEPT\n"}, None, ""),
        (SCRIPT, {"script": "#!/bin/sh\niptables -P INPUT DROP\nip6tables -F\nip6tables -A INPUT -j DROP\n"}, "medium", "`ip6tables -F`"),
        (SCRIPT, {"script": "#!/bin/sh\niptables -P INPUT ACCEPT\niptables -F\niptables -A INPUT -j ACCEPT\niptables -P INPUT DROP\n"}, "medium", "/usr/local/sbin/firewall:2: `iptables -P INPUT ACCEPT`"),
        (SCRIPT, {"script": "#!/bin/sh\niptables -t nat -F\niptables -F OUTPUT\niptables -A INPUT -j DROP\n"}, None, ""),
        (SCRIPT, {"script": f"#!/bin/sh\nnft -f - <<EOF\n{WHOLE}EOF\n"}, None, ""),
        (SCRIPT, {"script": f"#!/bin/sh\nnft flush ruleset\nnft -f - <<'EOF'\n{RULES}EOF\n"}, "medium", "/usr/local/sbin/firewall:2: `nft flush ruleset` until /usr/local/sbin/firewall:3: `nft -f -`"),
        (SCRIPT, {"script": f"#!/usr/sbin/nft -f\n{WHOLE}"}, None, ""),
        (SCRIPT, {"script": "#!/bin/sh\n# nft flush ruleset\nnft -f /etc/rules.nft\n", "nft": WHOLE}, None, ""),
    ],
)  # fmt: skip
def test_which_units_leave_a_moment_without_rules(
    service: str, files: dict[str, str], severity: str | None, seen: str
) -> None:
    """LG307 names the two transactions, and is not there where one replaces the rules or a policy to drop stays."""
    found, unsure = of_firewall(service, **files)

    assert (found.severity if found else None) == severity
    assert seen in "\n".join(found.evidence if found else ())
    assert not unsure


@pytest.mark.parametrize(
    "script",
    [
        '#!/bin/sh\ncase "$1" in\nstop)\n  iptables -F\n  ;;\nstart)\n  iptables -A INPUT -j DROP\n  ;;\nesac\n',
        "#!/bin/sh\nclear_all() {\n  iptables -F\n}\niptables -A INPUT -j DROP\n",
        "#!/usr/bin/perl\nsystem('iptables -F');\nsystem('iptables -A INPUT -j DROP');\n",
        "#!/bin/sh\niptables -F\ncat /etc/rules.nft | nft -f -\n",
        "#!/bin/sh\niptables -F\nnft 'add rule inet filter input\n drop'\n",
    ],
)
def test_what_cannot_be_followed_is_said(script: str) -> None:
    """Of a script that branches, or that is in another language, nothing is claimed."""
    assert of_firewall(SCRIPT, script=script) == (None, True)


def test_the_unit_that_debian_ships() -> None:
    """A reload of nftables.service is one transaction, a restart is not; with an empty `ExecStop=` it is, as the finding says."""
    if not (SYSTEM / "nftables.service").exists():
        pytest.skip("nftables.service is missing (Debian package nftables)")
    with root("nftables.service") as folder:
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc/nftables.conf").write_text(WHOLE, encoding="utf-8")
        enable(folder, "nftables.service", "sysinit.target")
        shipped = {f.id: f for f in reported(folder).findings}
        unit(folder, "nftables.service.d/own.conf", "[Service]\nExecStop=\n")
        mended = {f.id: f for f in reported(folder).findings}

    assert shipped["LG307"].severity == "low"
    assert "`systemctl reload nftables.service`, which leaves no such moment" in shipped["LG307"].fix[0]
    assert "ExecStop=" in shipped["LG307"].fix[-1]
    assert "LG307" not in mended


def test_our_own_rules_beside_a_file_that_flushes() -> None:
    """A reload of nftables.service takes the table of librespot-guard too, until our drop-in loads it: that is said, and not where the file spares others."""
    if not (SYSTEM / "nftables.service").exists():
        pytest.skip("nftables.service is missing (Debian package nftables)")
    evidence = []
    for text in (WHOLE, f"table inet filter\ndelete table inet filter\n{RULES}"):
        with root("nftables.service") as folder:
            enable(folder, "nftables.service", "sysinit.target")
            unit(folder, DROP_IN.rpartition("/system/")[2], DROP_IN_TEXT)
            own = folder / OURS.lstrip("/")
            own.parent.mkdir(parents=True)
            own.write_text(RULES.replace("filter", "librespot_guard", 1), encoding="utf-8")
            (folder / "etc/nftables.conf").write_text(text, encoding="utf-8")
            found = {f.id: f for f in reported(folder).findings}
        evidence.append("\n".join(found["LG307"].evidence))

    reload = "`systemctl reload nftables.service`: rules are missing from "
    assert (
        f"nftables.service:16: `/usr/sbin/nft -f /etc/nftables.conf` until {DROP_IN}:4: `-nft -f {OURS}`" in evidence[0]
    )
    assert reload in evidence[0]
    assert reload not in evidence[1]
