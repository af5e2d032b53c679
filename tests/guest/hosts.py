"""Hosts that have one of the bypasses of a firewall that only a real systemd shows, and their twins that have not.

Each function changes a `Speaker` whose raspotify runs on `port`; what a test asks afterwards is its own.
"""

from guest.speaker import ALLOWED, FOLDER, UNIT, Speaker

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
    """Bypass 12: a firewall unit that loads its rules after the network is up (`late`), or before it."""
    order = "After=network.target raspotify.service" if late else "DefaultDependencies=no\nBefore=network-pre.target"
    wants = "" if late else "Wants=network-pre.target\n"
    speaker.guest.write("/etc/firewall.nft", FILTER.format(port=port))
    speaker.guest.write(
        f"{FOLDER}/firewall.service",
        f"[Unit]\n{order}\n{wants}[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=nft -f /etc/firewall.nft\n"
        f"[Install]\nWantedBy={'multi-user' if late else 'sysinit'}.target\n",
    )
    speaker.guest.shell("systemctl daemon-reload; systemctl enable --quiet firewall.service")


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


def confined(speaker: Speaker, setting: str) -> None:
    """Bypass 23: a drop-in with a setting that this systemd may ignore (`SocketBindDeny=any`), or does not (`IPAddressDeny=…`)."""
    speaker.guest.write(f"{FOLDER}/{UNIT}.d/confined.conf", f"[Service]\n{setting}\n")
    speaker.guest.shell(f"systemctl daemon-reload; systemctl restart {UNIT}")
