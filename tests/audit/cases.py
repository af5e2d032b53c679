"""For each check: hosts that have what it looks for, and hosts that have not. A test is data."""

from dataclasses import replace

from audit.case import OPEN, SAFE, api, clean, has, speaker
from audit.cases_boot import CASES as BOOT
from audit.cases_cgroups import CASES as CGROUPS
from audit.cases_created import CASES as CREATED
from audit.cases_family import FAMILY
from audit.cases_forwards import CASES as FORWARDS
from audit.cases_helpers import CASES as HELPERS
from audit.cases_listing import CASES as LISTING
from audit.cases_paths import PATHS
from audit.cases_quality import CASES as QUALITY
from audit.cases_rebinding import CASES as REBINDING
from audit.cases_structure import CASES as STRUCTURE
from audit.hosts import (
    ACCEPT,
    DISCOVERY,
    DROP,
    LAN,
    PORT,
    connect,
    filters,
    home_only,
    host,
    ipv4_only,
    librespot,
    limited,
    table,
    tcp,
    to,
    udp,
    v4,
)
from librespot_guard.firewall.model import Chain, Hook, Table
from librespot_guard.snapshot import Info, Listener, OtherFilter, Secret, ServiceListener

DOCKER = {**LAN, "docker0": ("172.17.0.1/16",)}
PUBLIC = {"eth0": ("100.128.0.2/24",)}


def guard_table(port: int) -> Table:
    """Our own table with a rule for one port."""
    return table((*to("tcp", port), DROP), name="librespot_guard", policy="accept")


_INLINE = ("LIBRESPOT_ZEROCONF_INTERFACE", "192.168.10.2")
_UFW = Table("ip", "filter", (Chain("INPUT", 1, (), Hook("input", 0, "drop")), Chain("ufw-user-input", 2, ())))
_FIREWALLD = table(policy="drop", name="firewalld")
_NAT = Table("ip", "nat", (Chain("PREROUTING", 1, (), Hook("prerouting", -100, "accept", "nat")),))
_FAIL2BAN = table((*to("tcp", 22), DROP), name="f2b-table", chain="f2b-chain", policy="accept")

CASES = (
    has(
        "LG101",
        "no filter",
        "high",
        "eth0, IPv4 to 192.168.10.2: any IPv4 address (exact)",
        "IPv6 to fd00:10::2: any IPv6 address (exact)",
    ),
    has("LG101", "public address", "critical", "100.128.0.2", "whole internet", of=host(librespot(), networks=PUBLIC)),
    has("LG101", "one port open to all", "high", "any IPv4 address", rules=filters(table((*to("tcp", PORT), ACCEPT)))),
    has(
        "LG101",
        "only at a low rate",
        "high",
        "may be reachable",
        "certainly nobody, at most any IPv4",
        rules=filters(table((*limited(), ACCEPT))),
    ),
    has(
        "LG101",
        "IPv4 socket of 0.4.2",
        "high",
        "tcp 0.0.0.0:37878",
        of=speaker(listeners=(connect(address="0.0.0.0"),)),
    ),
    clean("LG101", "home only"),
    clean("LG101", "no Spotify Connect listener", of=speaker(listeners=(DISCOVERY,)), rules=OPEN),
    clean("LG101", "loopback listener", of=speaker(listeners=(connect(address="127.0.0.1"),)), rules=OPEN),
    has(
        "LG102",
        "docker",
        "medium",
        "over docker0, IPv4",
        "containers",
        of=host(librespot(), networks=DOCKER, kinds={"docker0": "bridge"}),
    ),
    has(
        "LG102",
        "wireguard",
        "medium",
        "a tunnel behind wg0",
        of=host(librespot(), networks={**LAN, "wg0": ("10.8.0.1/24",)}, kinds={"wg0": "wireguard"}),
    ),
    clean("LG102", "docker closed", of=host(librespot(), networks=DOCKER, kinds={"docker0": "bridge"})),
    clean(
        "LG102",
        "an ordinary bridge",
        of=host(librespot(), networks={**LAN, "br0": ("10.0.0.1/24",)}, kinds={"br0": "bridge"}),
        rules=OPEN,
    ),
    has(
        "LG103",
        "iptables without ip6tables",
        "high",
        "IPv4 to 192.168.10.2: 192.168.10.0/24 (exact)",
        "IPv6 to fd00:10::2 and fe80::10: any IPv6 address (exact)",
        rules=filters(table((*v4(), ACCEPT), (*ipv4_only(), DROP), policy="accept")),
    ),
    clean("LG103", "both families"),
    clean("LG103", "neither family", rules=OPEN),
    clean(
        "LG103",
        "no IPv6 address",
        of=host(librespot(), networks={"eth0": ("192.168.10.2/24",)}),
        rules=filters(table((*v4(), ACCEPT))),
    ),
    has(
        "LG104", "go-librespot on every address", "critical", "tcp [::]:3678", "server.address: localhost", of=api("::")
    ),
    has(
        "LG104",
        "from home only",
        "high",
        "Every host on the local network",
        of=api("::"),
        rules=filters(home_only((("tcp", 3678),))),
    ),
    clean("LG104", "localhost", of=api("127.0.0.1"), rules=OPEN),
    clean("LG104", "closed", of=api("::"), rules=filters(table())),
    has("LG105", "no filter", "low", "udp [::]:5353 over eth0, IPv4 to 192.168.10.2: any IPv4 address"),
    clean("LG105", "home only"),
    clean("LG105", "avahi answers", of=speaker(listeners=(connect(),)), rules=OPEN),
    has(
        "LG201",
        "random",
        "medium",
        "tcp [::]:40001 (connect): random port",
        "--zeroconf-port 37878",
        of=speaker(listeners=(connect(40001, pinned=False),)),
    ),
    clean("LG201", "pinned", rules=OPEN),
    clean(
        "LG201",
        "a socket that only asks",
        of=speaker(listeners=(ServiceListener(udp(50123), "unknown", pinned=False),)),
        rules=OPEN,
    ),
    has("LG202", "no filter", "high", "ends the service", "`Restart=always`", "StartLimitBurst"),
    has("LG202", "home only", "low", "librespot 0.8.0", rules=SAFE),
    has(
        "LG202",
        "nobody restarts it",
        "high",
        "no unit and no container",
        "lasting outage",
        of=speaker(unit=None, restart=None),
    ),
    has(
        "LG202",
        "version unknown",
        "high",
        "version unknown",
        "Every version since 0.4.0",
        of=speaker(version=None, info=Info()),
    ),
    has(
        "LG202",
        "python is taken over",
        "high",
        "takes the device over",
        of=speaker(flavour="librespot-python", version="0.0.10", info=None),
    ),
    has("LG202", "before 0.4.0 too", "high", "takes the device over", of=speaker(version="0.3.1", info=None)),
    clean("LG202", "closed", rules=filters(table())),
    has(
        "LG203",
        "cache",
        "high",
        "/var/cache/librespot",
        "--disable-credential-cache",
        of=speaker(cache_dir="/var/cache/librespot", argv=("librespot",)),
    ),
    has(
        "LG203",
        "home only",
        "medium",
        "credentials.json",
        of=speaker(cache_dir="/var/cache/librespot", argv=("librespot",)),
        rules=SAFE,
    ),
    has(
        "LG203",
        "spotifyd by default",
        "high",
        "default cache folder",
        of=speaker(flavour="spotifyd", argv=("spotifyd", "--no-daemon")),
    ),
    clean("LG203", "switched off", of=speaker(cache_dir="/var/cache/librespot"), rules=OPEN),
    clean("LG203", "switched off by a letter", of=speaker(cache_dir="/c", argv=("librespot", "-qH")), rules=OPEN),
    clean(
        "LG203",
        "switched off by a variable",
        of=speaker(
            flavour="raspotify",
            cache_dir="/c",
            argv=("librespot",),
            environment={"LIBRESPOT_DISABLE_CREDENTIAL_CACHE": ""},
        ),
        rules=OPEN,
    ),
    clean("LG203", "no cache", of=speaker(argv=("librespot",)), rules=OPEN),
    has(
        "LG204",
        "logged in",
        "medium",
        "activeUser is 'alice'",
        of=speaker(info=Info(account="alice", library_version="0.8.0")),
    ),
    has(
        "LG204",
        "home only",
        "low",
        "alice",
        of=speaker(info=Info(account="alice", library_version="0.8.0")),
        rules=SAFE,
    ),
    clean("LG204", "nobody logged in", rules=OPEN),
    clean("LG204", "closed", of=speaker(info=Info(account="alice")), rules=filters(table())),
    has(
        "LG205",
        "long option",
        "medium",
        "`--zeroconf-interface` is '192.168.10.2'",
        of=speaker(argv=("librespot", "--zeroconf-interface", "192.168.10.2")),
    ),
    has("LG205", "short option", "medium", "`-i` is '127.0.0.1'", of=speaker(argv=("librespot", "-i127.0.0.1"))),
    has("LG205", "variable", "medium", _INLINE[0], of=speaker(flavour="raspotify", environment=dict([_INLINE]))),
    clean("LG205", "not set", rules=OPEN),
    clean(
        "LG205",
        "no such listener",
        of=speaker(argv=("librespot", "-i", "10.0.0.1"), listeners=(DISCOVERY,)),
        rules=OPEN,
    ),
    has(
        "LG206",
        "discovery",
        "low",
        "LIBRESPOT_DISABLE_DISCOVERY",
        "'off'",
        of=speaker(environment={"LIBRESPOT_DISABLE_DISCOVERY": "off"}),
    ),
    has(
        "LG206",
        "login opened",
        "medium",
        "LIBRESPOT_ENABLE_OAUTH",
        of=speaker(environment={"LIBRESPOT_ENABLE_OAUTH": "False"}),
    ),
    has(
        "LG206",
        "word behind the option",
        "low",
        "`--disable-discovery`",
        of=speaker(argv=("librespot", "--disable-discovery", "off")),
    ),
    clean(
        "LG206", "on", of=speaker(environment={"LIBRESPOT_DISABLE_DISCOVERY": "on", "LIBRESPOT_QUIET": ""}), rules=OPEN
    ),
    clean("LG206", "an option with a value", of=speaker(environment={"LIBRESPOT_AUTOPLAY": "off"}), rules=OPEN),
    has(
        "LG207",
        "argv",
        "high",
        "--access-token",
        "process 812",
        of=speaker(secrets=(Secret("argv", "--access-token"),)),
    ),
    has(
        "LG207",
        "environment",
        "medium",
        "LIBRESPOT_PASSWORD",
        of=speaker(secrets=(Secret("environment", "LIBRESPOT_PASSWORD"),)),
    ),
    clean("LG207", "none", rules=OPEN),
    has("LG208", "root", "high", "uid 0", "systemctl edit librespot.service", of=speaker(uid=0)),
    clean("LG208", "a user", rules=OPEN),
    has(
        "LG209",
        "0.4.2",
        "medium",
        "librespot 0.4.2 (asked by getInfo)",
        of=speaker(version="0.4.2", info=Info(library_version="0.4.2")),
    ),
    has("LG209", "0.3.1", "high", "RUSTSEC-2021-0078", of=speaker(version="0.3.1", info=None)),
    has(
        "LG209",
        "spotifyd",
        "medium",
        "spotifyd with librespot 0.4.2",
        of=speaker(flavour="spotifyd", info=Info(library_version="0.4.2")),
    ),
    has(
        "LG209",
        "snapserver",
        "high",
        "CVE-2023-36177",
        of=speaker(flavour="snapserver", version="0.26.0", listeners=(), info=None),
    ),
    clean("LG209", "0.8.0", rules=OPEN),
    clean("LG209", "0.5.0", of=speaker(info=Info(library_version="0.5.0")), rules=OPEN),
    clean("LG209", "python has no such list", of=speaker(flavour="librespot-python", version="0.0.10"), rules=OPEN),
    has(
        "LG301",
        "legacy iptables",
        "medium",
        "iptables-legacy filter",
        of=host(librespot(), other_filters=(OtherFilter("iptables-legacy", "filter"),)),
    ),
    has("LG301", "rate limit", "medium", "limit", rules=filters(table((*to("tcp", PORT), *limited(), ACCEPT)))),
    clean("LG301", "understood"),
    has("LG302", "ufw and firewalld", "medium", "ufw denies", "firewalld denies", rules=filters(_UFW, _FIREWALLD)),
    has(
        "LG302",
        "legacy beside nftables",
        "medium",
        "iptables (legacy)",
        of=host(librespot(), other_filters=(OtherFilter("iptables-legacy", "filter"),)),
        rules=SAFE,
    ),
    has(
        "LG302",
        "legacy tables that were read",
        "medium",
        "iptables (legacy) denies packets in table ip filter (legacy)",
        rules=filters(home_only(), Table("ip", "filter (legacy)", (Chain("INPUT", 1, (), Hook("input", 0, "drop")),))),
    ),
    clean("LG302", "one and ours, NAT and fail2ban", rules=filters(home_only(), guard_table(PORT), _NAT, _FAIL2BAN)),
    clean("LG302", "one is dormant", rules=filters(_UFW, replace(_FIREWALLD, flags=1))),
    has(
        "LG303",
        "moved",
        "high",
        "tcp 40001, and nothing listens",
        "tcp 37878, for which",
        rules=filters(guard_table(40001)),
    ),
    has("LG303", "gone", "low", "tcp 40001", of=host(), rules=filters(guard_table(40001))),
    clean("LG303", "covered", rules=filters(guard_table(PORT))),
    clean("LG303", "no table of ours"),
    has(
        "LG304",
        "avahi beside",
        "low",
        "process 400",
        "living-room (pid 812)",
        of=host(librespot(), listeners=(tcp(), udp(), udp(pid=400))),
    ),
    clean(
        "LG304",
        "several sockets of one",
        of=host(librespot(), listeners=(tcp(), udp(), Listener("udp", "ipv4", "0.0.0.0", 5353, pids=(812,)))),
        rules=OPEN,
    ),
    *STRUCTURE,
    *QUALITY,
    *FAMILY,
    *PATHS,
    *BOOT,
    *CGROUPS,
    *CREATED,
    *FORWARDS,
    *REBINDING,
    *HELPERS,
    *LISTING,
)
