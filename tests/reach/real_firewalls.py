"""Rulesets that other people's tools write: ufw, firewalld, Docker. Generated here by the tools themselves, or recorded.

ufw and firewalld run in a sandbox, with an /etc of their own (an overlay) and firewalld with a bus of its own. Docker needs root: its
daemons run in namespaces of their own, with all their data on a tmpfs. What they leave in the kernel is kept as text
(`corpus/real/NAME.rules`), so that a machine without the tools can judge the recorded rulesets::

    python tests/reach/real_firewalls.py          records all anew
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from librespot_guard.lab.sandbox import Sandbox

FOLDER = Path(__file__).parent / "corpus" / "real"
# what each tool needs, and the Debian package it is in
NEEDS = {
    "ufw": {"ufw": "ufw", "iptables-nft": "iptables"},
    "firewalld": {"firewalld": "firewalld", "dbus-daemon": "dbus-daemon", "iptables-nft": "iptables"},
    "docker": {"dockerd": "docker.io", "containerd": "containerd", "iptables-nft": "iptables", "busybox": "busybox-static"},
}  # fmt: skip
# what a tool reads in /etc, which on Debian root alone may
_READS = {"ufw": "/etc/ufw/user.rules", "firewalld": "/etc/firewalld/zones"}
_SECTION = "##### "

MOUNTS = """set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/up /run/work /run/lock /run/dbus /run/firewalld
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/up,workdir=/run/work /etc
"""
_SAVE = f"""
echo '{_SECTION}iptables'; iptables-nft-save | sed '/^#/d'
echo '{_SECTION}ip6tables'; ip6tables-nft-save | sed '/^#/d'
"""
FIREWALLD = """
dbus-daemon --system --fork --print-pid >/run/dbus.pid
firewalld --nofork --nopid >/run/firewalld.log 2>&1 &
for i in $(seq 80); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.1; done
"""
_DOCKER = """set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/exec /run/containerd /run/root/bin /var/lib/docker /var/lib/containerd
mount -t tmpfs none /var/lib/docker
mount -t tmpfs none /var/lib/containerd
ip link set lo up
containerd --root /var/lib/containerd --state /run/containerd -a /run/containerd.sock >/run/containerd.log 2>&1 &
dockerd --containerd /run/containerd.sock --data-root /var/lib/docker --exec-root /run/exec -p /run/docker.pid \
  -H unix:///run/docker.sock DOCKERD_OPTIONS >/run/dockerd.log 2>&1 &
export DOCKER_HOST=unix:///run/docker.sock
for i in $(seq 100); do docker info >/dev/null 2>&1 && break; sleep 0.1; done
cp "$(command -v busybox)" /run/root/bin/
tar -C /run/root -c . | docker import - box >/dev/null
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """One configuration of one tool, as shell commands."""

    tool: str
    name: str
    commands: str
    options: str = ""

    @property
    def file(self) -> Path:
        """Where its rules are recorded."""
        return FOLDER / f"{self.name}.rules"


SETUPS = (
    Setup("ufw", "ufw-allow-from", "ufw default deny; ufw allow from 192.168.10.0/25 to any port 3678 proto tcp; ufw allow 22/tcp"),
    Setup("ufw", "ufw-limit-and-deny", "ufw default deny; ufw limit 22/tcp; ufw deny from 192.168.10.64/26; ufw allow 80,443/tcp; ufw reject 8080/tcp"),
    Setup("ufw", "ufw-interface-and-route", "ufw default deny; ufw allow in on eth0 to any port 5353 proto udp; ufw route allow in on eth0 out on eth1 to 10.9.0.0/24 port 80 proto tcp; ufw allow from fd00:10::/64 to any port 3678 proto tcp"),
    Setup("ufw", "ufw-allow-all", "ufw default allow; ufw deny 3678/tcp; ufw default reject routed"),
    Setup("firewalld", "firewalld-public", "firewall-cmd --zone=public --change-interface=eth0; firewall-cmd --zone=public --add-port=3678/tcp; firewall-cmd --zone=trusted --change-interface=eth1"),
    Setup("firewalld", "firewalld-zones-and-sources", "firewall-cmd --zone=home --change-interface=eth0; firewall-cmd --zone=block --add-source=192.168.10.64/26; firewall-cmd --zone=drop --add-source=fd00:9::/64; firewall-cmd --zone=home --add-service=mdns"),
    Setup("firewalld", "firewalld-rich-rules", "firewall-cmd --zone=public --change-interface=eth0; firewall-cmd --zone=public --add-rich-rule='rule family=ipv4 source address=192.168.10.0/25 port port=3678 protocol=tcp accept'; firewall-cmd --zone=public --add-rich-rule='rule priority=-10 family=ipv4 source address=192.168.10.9 reject'; firewall-cmd --zone=public --add-rich-rule='rule family=ipv6 source NOT address=fd00:10::9 port port=3678 protocol=tcp drop'; firewall-cmd --zone=public --add-forward-port=port=8080:proto=tcp:toport=3678"),
    Setup("firewalld", "firewalld-direct", "firewall-cmd --zone=public --change-interface=eth0; firewall-cmd --direct --add-rule ipv4 filter INPUT 0 -p tcp --dport 3678 -s 192.168.10.9 -j ACCEPT; firewall-cmd --direct --add-rule ipv4 filter INPUT 1 -p udp --dport 5353 -j DROP"),
    Setup("docker", "docker-published", "docker run -d --name one -p 8080:80 box /bin/busybox sleep 60 >/dev/null"),
    Setup("docker", "docker-loopback-and-udp", "docker run -d --name one -p 127.0.0.1:9999:80 -p 5353:5353/udp box /bin/busybox sleep 60 >/dev/null; docker run -d --name two -p 192.168.10.2:443:443 box /bin/busybox sleep 60 >/dev/null", ""),
    Setup("docker", "docker-user-chain", "docker run -d --name one -p 8080:80 box /bin/busybox sleep 60 >/dev/null; iptables -I DOCKER-USER -i eth0 ! -s 192.168.10.0/25 -j DROP"),
)  # fmt: skip


def missing(tool: str) -> str:
    """Why the rules of a tool can't be generated here, or ""."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for command, package in NEEDS[tool].items():
        if shutil.which(command, path=path) is None:
            return f"`{command}` is missing (Debian package {package})"
    if tool in _READS and not os.access(_READS[tool], os.R_OK):
        return f"{_READS[tool]} can be read by root alone"
    if tool == "docker" and (
        os.geteuid() != 0 or Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2] != "4294967295"
    ):
        return "Docker's daemons need root itself, not root of a user namespace"
    return ""


def generate(setup: Setup) -> str:
    """What the tool leaves in the kernel: sections of text for nft, iptables-nft-restore and ip6tables-nft-restore."""
    if setup.tool == "docker":
        script = _DOCKER.replace("DOCKERD_OPTIONS", setup.options)
        if "192.168.10.2" in setup.commands:
            script = script.replace("ip link set lo up", "ip link set lo up; ip address add 192.168.10.2/32 dev lo")
        script += f"{setup.commands}\n{_SAVE}"
        # the end of the PID namespace is the end of the daemons
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        return _text(setup, done)
    with Sandbox() as box:
        host, other = box.host("target"), box.host("other")
        box.link(host, "eth0", other, "p0")
        box.link(host, "eth1", other, "p1")
        if setup.tool == "ufw":
            script = f"{MOUNTS}ufw --force enable >/dev/null\n({setup.commands}) >/dev/null\n{_SAVE}"
        else:
            script = (
                f"{MOUNTS}{FIREWALLD}({setup.commands}) >/dev/null\n"
                f"echo '{_SECTION}nft'; nft -s list table inet firewalld\n{_SAVE}kill $! $(cat /run/dbus.pid)\n"
            )
        return _text(setup, host.run(["unshare", "--mount", "sh", "-c", script], timeout=120))


def _text(setup: Setup, done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode != 0 or _SECTION not in done.stdout:
        raise AssertionError(f"{setup.name}: {done.stdout[-500:]}\n{done.stderr[-1500:]}")
    return done.stdout[done.stdout.index(_SECTION) :]


def sections(text: str) -> dict[str, str]:
    """The parts of a recorded ruleset, by the tool that loads them."""
    out = {}
    for part in text.split(_SECTION)[1:]:
        name, _, rules = part.partition("\n")
        out[name.strip()] = rules
    return out


def main() -> None:
    """Record every ruleset that the tools of this machine can write."""
    FOLDER.mkdir(exist_ok=True)
    for setup in SETUPS:
        if why := missing(setup.tool):
            print(f"{setup.name}: not recorded: {why}")
            continue
        setup.file.write_text(generate(setup), encoding="utf-8")
        print(f"{setup.name}: {len(setup.file.read_text(encoding='utf-8').splitlines())} lines")


if __name__ == "__main__":
    main()
