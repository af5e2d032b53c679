"""Hosts that have one of the bypasses of a firewall that only a real systemd shows, and their twins that have not.

Each function changes a `Speaker` whose raspotify runs on `port`; what a test asks afterwards is its own.
"""

from guest.speaker import ALLOWED, FOLDER, UID, UNIT, USER, Speaker

# what a user might have written by hand: only half of the network
FILTER = """\
table inet filter {{
	chain input {{
		type filter hook input priority 0; policy accept;
		tcp dport {port} ip saddr != 192.168.10.0/25 drop
		tcp dport {port} meta nfproto ipv6 drop
	}}
}}
"""


def by_hand(speaker: Speaker, port: int) -> None:
    """Rules that somebody loaded, from /etc/firewall.nft."""
    speaker.guest.write("/etc/firewall.nft", FILTER.format(port=port))
    speaker.guest.shell("nft -f /etc/firewall.nft")


def flushing(speaker: Speaker) -> None:
    """Bypass 11: nftables.service is in use, and its file begins with `flush ruleset` (as Debian ships it), which takes others' rules too."""
    speaker.guest.write("/etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\n", 0o755)
    speaker.guest.shell("systemctl enable --quiet --now nftables.service")


def sparing(speaker: Speaker) -> None:
    """The twin: the file replaces its own table only, and stopping the unit flushes nothing."""
    text = "#!/usr/sbin/nft -f\ntable inet mine\ndelete table inet mine\ntable inet mine {\n}\n"
    speaker.guest.write("/etc/nftables.conf", text, 0o755)
    speaker.guest.write(f"{FOLDER}/nftables.service.d/own.conf", "[Service]\nExecStop=\n")
    speaker.guest.shell("systemctl daemon-reload; systemctl enable --quiet --now nftables.service")


def firewall(speaker: Speaker, port: int, *, late: bool) -> None:
    """Bypass 12: a firewall unit that loads its rules after the network is up (`late`), when the service is there already, or before it."""
    waits = f"ExecStartPre=sh -c 'until ss -Hltn | grep -q :{port}; do sleep 0.5; done; sleep 1'\n" if late else ""
    order = "After=network.target raspotify.service" if late else "DefaultDependencies=no\nBefore=network-pre.target"
    wants = "" if late else "Wants=network-pre.target\n"
    speaker.guest.write("/etc/firewall.nft", FILTER.format(port=port))
    speaker.guest.write(
        f"{FOLDER}/firewall.service",
        f"[Unit]\n{order}\n{wants}[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=120\n{waits}ExecStart=nft -f /etc/firewall.nft\n"
        f"[Install]\nWantedBy={'multi-user' if late else 'sysinit'}.target\n",
    )
    speaker.guest.shell("systemctl daemon-reload; systemctl enable --quiet firewall.service")


def reloading(speaker: Speaker, port: int, *, at_once: bool) -> None:
    """Bypass 12: a firewall unit whose reload is one transaction (`at_once`), or removes everything and then loads."""
    rules = FILTER.format(port=port)
    speaker.guest.write("/etc/firewall.nft", f"flush ruleset\n{rules}" if at_once else rules)
    removal = "" if at_once else "ExecReload=nft flush ruleset\n"
    speaker.guest.write(
        f"{FOLDER}/firewall.service",
        "[Unit]\nDefaultDependencies=no\nBefore=network-pre.target\nWants=network-pre.target\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=nft -f /etc/firewall.nft\n{removal}ExecReload=nft -f /etc/firewall.nft\n"
        "[Install]\nWantedBy=sysinit.target\n",
    )
    speaker.guest.shell("systemctl daemon-reload; systemctl enable --quiet --now firewall.service")


def by_cgroup(speaker: Speaker, *, slice_of_its_own: bool) -> None:
    """Bypass 22: a rule on the cgroup of the unit, which dies with its restart; or on a slice of its own, which does not."""
    match = f'level 2 "system.slice/{UNIT}"'
    if slice_of_its_own:
        match = 'level 1 "speaker.slice"'
        speaker.guest.write(f"{FOLDER}/{UNIT}.d/slice.conf", "[Service]\nSlice=speaker.slice\n")
        speaker.guest.shell(f"systemctl daemon-reload; systemctl restart {UNIT}")
        speaker.port()
    speaker.guest.run(
        ["nft", "-f", "-"],
        stdin=f"table inet mine {{\n chain input {{\n  type filter hook input priority 0; policy accept;\n"
        f"  ip saddr != {ALLOWED} meta l4proto tcp socket cgroupv2 {match} counter drop\n }}\n}}\n",
        check=True,
    )


def confined(speaker: Speaker, *settings: str) -> None:
    """Bypass 23: a drop-in with settings that this systemd may ignore (`SocketBindDeny=any`), or does not (`IPAddressDeny=…`)."""
    speaker.guest.write(f"{FOLDER}/{UNIT}.d/confined.conf", "\n".join(("[Service]", *settings, "")))
    speaker.guest.shell(f"systemctl daemon-reload; systemctl restart {UNIT}")


def of_a_user(speaker: Speaker, port: int, setting: str = "") -> None:
    """Bypass 23: a speaker that the manager of a user starts, with a setting for which that has not the rights, or with none."""
    folder = f"/home/{USER}/.config/systemd/user"
    speaker.guest.shell(
        f"id {USER} >/dev/null 2>&1 || useradd --create-home --uid {UID} {USER}; loginctl enable-linger {USER}"
    )
    speaker.guest.write(
        f"{folder}/attic.service",
        f"[Service]\n{setting}\nEnvironment=LIBRESPOT_ZEROCONF_PORT={port}\n"
        "ExecStart=/usr/bin/librespot --name Attic --backend pipe --device /dev/null\n",
    )
    manager = f"systemctl --user --machine={USER}@"
    speaker.guest.shell(
        f"chown -R {USER}: /home/{USER}/.config; until {manager} is-active --quiet basic.target; do sleep 0.5; done\n"
        f"{manager} daemon-reload; {manager} restart attic.service"
    )


def another(speaker: Speaker, port: int) -> None:
    """A server beside the speaker whose unit has `IPAddressDeny=any`, as those of systemd itself have it."""
    speaker.guest.write(
        f"{FOLDER}/other.service",
        f"[Service]\nIPAddressDeny=any\nDynamicUser=yes\nExecStart=python3 -m http.server --directory /run {port}\n",
    )
    speaker.guest.shell("systemctl daemon-reload; systemctl start other.service")
    speaker.guest.shell(f"until ss -Hltn | grep -q :{port}; do sleep 0.3; done")
