"""A host with a real systemd and a real librespot under it: the guest as the tests of this room want it at their beginning."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from librespot_guard.lab.guest import ADDRESS, Guest
from support import Guard

ALLOWED, DENIED, DENIED6 = "192.168.10.9", "192.168.10.200", "fd00:10::dead"
UNIT = "raspotify.service"
FOLDER = "/etc/systemd/system"
CONF = "/etc/raspotify/conf"
STATE = "/var/lib/librespot-guard"
# who has a speaker among the units of his own
USER, UID = "listener", 1000
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
systemctl stop {UNIT} nftables.service librespot-guard.service firewall.service other.service 2>/dev/null || true
if id {USER} >/dev/null 2>&1; then
  loginctl disable-linger {USER}
  systemctl stop user@{UID}.service
  userdel --remove {USER} 2>/dev/null
fi
rm -rf {FOLDER}/raspotify* {FOLDER}/attic* {FOLDER}/librespot-guard.service {FOLDER}/firewall.service {FOLDER}/*.wants/raspotify.service \
  {FOLDER}/other.service /usr/local/sbin/firewall \
  {FOLDER}/*.wants/librespot-guard.service {FOLDER}/*.wants/nftables.service {FOLDER}/*.wants/firewall.service \
  {FOLDER}/nftables.service.d /etc/raspotify /etc/librespot-guard {STATE} /root/*.yaml
printf '%s\\n' '#!/usr/sbin/nft -f' 'flush ruleset' >/etc/nftables.conf
systemctl daemon-reload
nft flush ruleset
"""


def asking(port: int) -> tuple[str, ...]:
    """The arguments of `reach` for who gets to a port of the guest over the cable."""
    return "--to", f"tcp/{port}@{ADDRESS}", "--interface", "eth0"


@dataclass(frozen=True, slots=True)
class Told:
    """What the commands say of a host: findings of `audit` by id, and the answer of `reach` for a port over the cable, with who really got one."""

    findings: Mapping[str, Any]
    answer: Mapping[str, Any]
    reached: frozenset[str]

    @property
    def exact(self) -> bool:
        """Whether the answer is exact."""
        return bool(self.answer["exact"])

    @property
    def because(self) -> str:
        """Why it is not."""
        return " ".join(self.answer["inexact_because"])

    def evidence(self, finding: str) -> str:
        """The evidence of a finding, line by line."""
        return "\n".join(self.findings[finding]["evidence"])


@dataclass(slots=True)
class Speaker:
    """The guest, and what the tests ask it. `here` runs commands on this machine, on files in `folder`. `policy` is the path of a policy there that allows half of the network."""

    guest: Guest
    here: Guard
    folder: Path
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

    def told(self, port: int) -> Told:
        """Ask `audit` and `reach` about a snapshot of the guest; packets of the allowed and of the denied have to do what the latter says.

        They run here: under emulation each takes many seconds to start, and a snapshot is all that they know in the guest, too.
        """
        self.guest.guard("snapshot", "--output", "/run/facts.json")
        facts = self.folder / "facts.json"
        facts.write_text(self.guest.read("/run/facts.json"), encoding="utf-8")
        (answer,) = self._here("reach", *asking(port), "--snapshot", str(facts))["answers"]
        reached = set()
        for source in (ALLOWED, DENIED):
            may, must = (any(ip_address(source) in ip_network(n) for n in answer[key]) for key in ("may", "must"))
            if self.reaches(source, port):
                assert may, f"{source} got an answer, and is not in `may`"
                reached.add(source)
            else:
                assert not must, f"{source} got no answer, and is in `must`"
        findings = {one["id"]: one for one in self._here("audit", "--snapshot", str(facts))["findings"]}
        return Told(findings, answer, frozenset(reached))

    def _here(self, *arguments: str) -> Any:
        done = self.here(*arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def reaches(self, source: str, port: int) -> bool:
        """Whether a connection from an address of the network is answered; a refusal is no answer but a wrong port."""
        answer = self.guest.wire.asked(source, port)
        assert answer != "refused", f"nothing listens on {port}"
        return answer == "open"

    @contextlib.contextmanager
    def knocking(self, port: int, *sources: str) -> Iterator[None]:
        """Send the first packet of a connection from each source twenty times a second, whatever the guest does meanwhile."""
        ended = threading.Event()

        def knock() -> None:
            number = 0
            while not ended.wait(0.05):
                for source in sources:
                    self.guest.wire.syn(source, port, sport=20000 + number % 20000)
                number += 1

        thread = threading.Thread(target=knock, daemon=True)
        self.guest.wire.forget()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
