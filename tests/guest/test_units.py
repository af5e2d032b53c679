"""Services under a real systemd: where their settings come from, and how they change them."""

import pytest

from guest.speaker import ALLOWED, CONF, DENIED, FOLDER, POLICY, SETTINGS, UNIT, Speaker

pytestmark = pytest.mark.guest
OWN = "/etc/raspotify/own"


def test_scan_says_which_setting_wins_and_where_it_stands(speaker: Speaker) -> None:
    """Of a file that a drop-in took away, a variable that a file overrides and the file that holds, the last is named; so is a stopped unit."""
    speaker.guest.write(OWN, "LIBRESPOT_ZEROCONF_PORT=4005\nLIBRESPOT_NAME=Hall\nLIBRESPOT_BACKEND=pipe\n")
    attic = "[Service]\nUser=daemon\nExecStart=/usr/bin/librespot --name Attic --zeroconf-port 4002 -B pipe\n"
    speaker.guest.write(f"{FOLDER}/attic.service", attic)
    drop_ins = {
        "10-port.conf": "[Service]\nEnvironment=LIBRESPOT_ZEROCONF_PORT=4001\n",
        "20-own.conf": f"[Service]\nEnvironmentFile=\nEnvironmentFile={OWN}\n",
    }
    port = speaker.service(SETTINGS.replace("#LIBRESPOT_ZEROCONF_PORT=", "LIBRESPOT_ZEROCONF_PORT=4003"), drop_ins)
    shown = speaker.guest.shell(f"systemctl show -p DropInPaths -p EnvironmentFiles {UNIT}")

    found = {service["unit"]: service for service in speaker.json("scan")["services"]}

    assert port == 4005
    assert "20-own.conf" in shown
    assert CONF not in shown
    hall, stopped = found[UNIT], found["attic.service"]
    assert (hall["name"], hall["status"], hall["pid"]) == ("hall", "running", speaker.pid())
    wins = {s["name"]: (s["value"], s["from"]) for s in hall["settings"] if s["wins"]}
    assert wins["zeroconf-port"] == ("4005", f"{OWN}:1")
    connect = next(item for item in hall["listeners"] if item["surface"] == "connect")
    assert (connect["port"], connect["pinned"], connect["pinned_by"]) == (4005, True, f"{OWN}:1")
    assert (stopped["status"], stopped["pid"], stopped["user"]) == ("stopped", None, "daemon")
    assert [item["port"] for item in stopped["listeners"] if item["surface"] == "connect"] == [4002]


def test_with_restart_the_port_is_fixed_and_guarded_and_rollback_brings_file_and_service_back(speaker: Speaker) -> None:
    """The file is the one that a drop-in names; the restarted service listens on the guarded port; rolled back, both are as before."""
    speaker.guest.write(OWN, SETTINGS)
    port = speaker.service(drop_ins={"own.conf": f"[Service]\nEnvironmentFile=\nEnvironmentFile={OWN}\n"})
    pid = speaker.pid()
    speaker.guest.write(speaker.policy, POLICY.replace("    allow:", "    use: phones\n    allow:"))

    speaker.apply("--restart")
    assert speaker.guest.read(OWN) == SETTINGS
    assert speaker.pid() == pid
    speaker.guest.guard("confirm")

    assert speaker.guest.read(OWN) == SETTINGS.replace(
        "#LIBRESPOT_ZEROCONF_PORT=\n", f"#LIBRESPOT_ZEROCONF_PORT=\nLIBRESPOT_ZEROCONF_PORT={port}\n"
    )
    assert speaker.guest.read(CONF) == SETTINGS
    assert speaker.port() == port
    guarded = speaker.pid()
    assert guarded not in (0, pid)
    assert speaker.reaches(ALLOWED, port)
    assert not speaker.reaches(DENIED, port)

    speaker.guest.guard("rollback")
    assert speaker.guest.read(OWN) == SETTINGS
    assert speaker.rules() == ""
    again = speaker.port()
    assert speaker.pid() not in (0, pid, guarded)
    assert speaker.reaches(DENIED, again)


def test_without_restart_the_service_runs_on_and_the_restart_is_said_to_be_due(speaker: Speaker) -> None:
    """The file is written and the process is the same; a restart by hand then listens on the guarded port."""
    port, pid = speaker.service(), speaker.pid()
    speaker.guest.write(speaker.policy, POLICY.replace("    allow:", "    use: phones\n    allow:"))

    said = speaker.apply()
    speaker.guest.guard("confirm")

    assert "take effect when their services are restarted" in said
    assert speaker.pid() == pid
    assert f"LIBRESPOT_ZEROCONF_PORT={port}" in speaker.guest.read(CONF).splitlines()
    speaker.guest.shell(f"systemctl restart {UNIT}")
    assert speaker.port() == port
    assert not speaker.reaches(DENIED, port)


def test_a_drop_in_holds_over_what_systemctl_edit_wrote(speaker: Speaker) -> None:
    """Without a file of variables the port is fixed by a drop-in; it is read after `override.conf`, and one that is read after it is named."""
    name = f"{FOLDER}/{UNIT}.d/zz-librespot-guard-zeroconf-port.conf"
    bare = "[Service]\nEnvironmentFile=\nEnvironment=LIBRESPOT_BACKEND=pipe\n"
    port = speaker.service(drop_ins={"override.conf": bare})
    speaker.guest.write(speaker.policy, POLICY.replace("    allow:", "    use: phones\n    allow:"))
    late = f"{FOLDER}/{UNIT}.d/zzz.conf"
    speaker.guest.write(late, "[Service]\nEnvironment=LIBRESPOT_ZEROCONF_PORT=4999\n")
    told = speaker.apply()
    speaker.guest.guard("rollback")
    assert f"{late}:2 is read after" in told
    speaker.guest.shell(f"rm {late}")

    speaker.apply("--restart")
    speaker.guest.guard("confirm")
    assert f'"LIBRESPOT_ZEROCONF_PORT={port}"' in speaker.guest.read(name)
    assert speaker.port() == port
    speaker.guest.write(f"{FOLDER}/{UNIT}.d/override.conf", f"{bare}Environment=LIBRESPOT_ZEROCONF_PORT=4998\n")
    speaker.guest.shell(f"systemctl daemon-reload; systemctl restart {UNIT}")
    assert speaker.port() == port
