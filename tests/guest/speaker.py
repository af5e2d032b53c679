"""A host with a real systemd and a real librespot under it: the guest as the tests of this room want it at their beginning."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from librespot_guard.lab.guest import Guest

ALLOWED, DENIED, DENIED6 = "192.168.10.9", "192.168.10.200", "fd00:10::dead"
UNIT = "raspotify.service"
FOLDER = "/etc/systemd/system"
CONF = "/etc/raspotify/conf"
STATE = "/var/lib/librespot-guard"
# a guest is emulated, and its host may be busy: a minute and a half is far more than a start takes
_LISTENS = 90
# as raspotify ships it (dtcooper/raspotify, raspotify.service), without the sandboxing that has nothing to do with settings
SERVICE = """\
[Unit]
Description=Raspotify (Spotify Connect Client)
Wants=network.target sound.target
After=network.target sound.target

[Service]
DynamicUser=yes
Restart=always
RestartSec=1
StandardOutput=null
Environment=LIBRESPOT_NAME="Raspotify"
EnvironmentFile=-/etc/raspotify/conf
ExecStart=/usr/bin/librespot

[Install]
WantedBy=multi-user.target
"""
SETTINGS = """\
# Kitchen, by hand
LIBRESPOT_NAME="Kitchen"
LIBRESPOT_BACKEND=pipe
#LIBRESPOT_ZEROCONF_PORT=
LIBRESPOT_DEVICE=/dev/null
"""
POLICY = """\
policy: 1
title: Kitchen speaker
sources:
  home: {networks: [192.168.10.0/25], why: family phones}
services:
  kitchen:
    match: {unit: raspotify.service}
    allow: {discovery: [home], connect: [home]}
"""
_CLEAN = f"""
systemctl stop {UNIT} nftables.service librespot-guard.service firewall.service 2>/dev/null || true
rm -rf {FOLDER}/raspotify* {FOLDER}/attic* {FOLDER}/librespot-guard.service {FOLDER}/firewall.service {FOLDER}/*.wants/raspotify.service \
  {FOLDER}/*.wants/librespot-guard.service {FOLDER}/*.wants/nftables.service {FOLDER}/*.wants/firewall.service \
  {FOLDER}/nftables.service.d /etc/raspotify /etc/librespot-guard {STATE} /root/*.yaml
printf '%s\\n' '#!/usr/sbin/nft -f' 'flush ruleset' >/etc/nftables.conf
systemctl daemon-reload
nft flush ruleset
"""


@dataclass(slots=True)
class Speaker:
    """The guest, and what the tests ask it. `policy` is the path of a policy there that allows half of the network."""

    guest: Guest
    policy: str = "/root/policy.yaml"

    def clean(self) -> None:
        """Take away what an earlier test left: services, rules, state, boot files."""
        self.guest.shell(_CLEAN)
        self.guest.write(self.policy, POLICY)

    def service(self, settings: str = SETTINGS, drop_ins: Mapping[str, str] | None = None) -> int:
        """Install and start raspotify with this configuration; returns its port when it listens.

        What was written so far is then on the disk, as it is on a host that was set up a while ago; what the product writes later is its own affair.
        """
        self.guest.write(f"{FOLDER}/{UNIT}", SERVICE)
        self.guest.write(CONF, settings)
        for name, text in (drop_ins or {}).items():
            self.guest.write(f"{FOLDER}/{UNIT}.d/{name}", text)
        self.guest.shell(f"systemctl daemon-reload; systemctl enable --quiet --now {UNIT}; sync")
        return self.port()

    def port(self) -> int:
        """The TCP port on which librespot listens, as soon as it does; else MachineError with what systemd says of the unit."""
        script = f"""
end=$(($(date +%s) + {_LISTENS}))
while [ "$(date +%s)" -lt $end ]; do
  ss -Hltnp | grep '"librespot"' && exit
  sleep 0.3
done
systemctl status --no-pager --full {UNIT} || true
journalctl --no-pager --lines=30 --unit={UNIT} || true
exit 1
"""
        return int(self.guest.shell(script, timeout=_LISTENS + 60).split()[3].rpartition(":")[2])

    def pid(self) -> int:
        """The main process of the unit, as systemd knows it."""
        return int(self.guest.shell(f"systemctl show --value -p MainPID {UNIT}"))

    def rules(self) -> str:
        """What nft lists of our table, "" if there is none."""
        return self.guest.shell("nft -s list table inet librespot_guard 2>/dev/null || true")

    def apply(self, *options: str, within: str = "1h") -> str:
        """Arm the policy without waiting; returns what the command said."""
        done = self.guest.guard("apply", self.policy, "--yes", "--no-wait", "--confirm-within", within, *options)
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """The JSON document that a command prints."""
        return json.loads(self.guest.guard(*arguments, "--format", "json").stdout)

    def reaches(self, source: str, port: int) -> bool:
        """Whether a connection from an address of the network is answered; a refusal is no answer but a wrong port."""
        answer = self.guest.wire.asked(source, port)
        assert answer != "refused", f"nothing listens on {port}"
        return answer == "open"
