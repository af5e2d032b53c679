"""Whose rule is it? The program that wrote a rule, told by the names it gives, and how that program changes it.

Names: ufw (src/backend_iptables.py, /etc/ufw/*.rules), firewalld (src/firewall/core/nftables.py), Docker (libnetwork,
iptables and nftables drivers), netavark (Podman), libvirt, Kubernetes, Calico, fail2ban, miniupnpd, Tailscale, foomuuri, Shorewall.
"""

import re
from dataclasses import dataclass

from librespot_guard.firewall.legacy import SUFFIX as LEGACY

OWN_TABLE = "librespot_guard"

_FIREWALLD = re.compile(
    r"(?:filter|nat|mangle|raw)_(?:IN|OUT|FWD[IO]?|PRE|POST)_(?P<policy>policy_)?(?P<zone>.+?)(?:_(?P<part>allow|deny|log|pre|post))?$"
)
_UFW = re.compile(r"ufw6?-(?P<part>before|after|reject|track|user|skip|not|docker)(?:-|$)")
_IPTABLES_TABLES = ("filter", "nat", "mangle", "raw", "security")
_BY_CHAIN = (
    (re.compile(r"DOCKER(-|$)"), "Docker"),
    (re.compile(r"NETAVARK|CNI-"), "Podman"),
    (re.compile(r"LIBVIRT_"), "libvirt"),
    (re.compile(r"KUBE-"), "Kubernetes"),
    (re.compile(r"cali-"), "Calico"),
    (re.compile(r"f2b-"), "fail2ban"),
    (re.compile(r"MINIUPNPD|(prerouting_|postrouting_)?miniupnpd$"), "miniupnpd"),
    (re.compile(r"ts-(input|forward|postrouting)$"), "Tailscale"),
)
_BY_TABLE = {
    "docker-bridges": "Docker",
    "firewalld": "firewalld",
    "foomuuri": "foomuuri",
    "fw4": "OpenWrt fw4",
    "shorewall": "Shorewall",
    "miniupnpd": "miniupnpd",
    "netavark": "Podman",
    "fail2ban": "fail2ban",
    "f2b-table": "fail2ban",
    OWN_TABLE: "librespot-guard",
}
_CHANGES = {
    "Docker": "publish the port for one address only (`-p 192.168.10.2:8080:80`), or put a rule of your own into `DOCKER-USER`",
    "Podman": "publish the port for one address only (`-p 192.168.10.2:8080:80`)",
    "libvirt": "`virsh net-edit NETWORK`",
    "Kubernetes": "a NetworkPolicy, or the Service that opens it",
    "Calico": "`calicoctl get globalnetworkpolicy -o yaml`",
    "fail2ban": "`fail2ban-client status`, then `fail2ban-client set JAIL unbanip ADDRESS`",
    "miniupnpd": "switch UPnP off, or its `allow` lines in /etc/miniupnpd/miniupnpd.conf",
    "Tailscale": "the access rules of the tailnet, or `tailscale set --netfilter-mode=off`",
    "foomuuri": "the rule in /etc/foomuuri/*.conf, then `foomuuri reload`",
    "OpenWrt fw4": "the rule in /etc/config/firewall, then `fw4 reload`",
    "Shorewall": "the rule in /etc/shorewall/rules, then `shorewall reload`",
    "librespot-guard": "the policy file, then `librespot-guard apply POLICY`",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose rule it is.

    Attributes:
        manager: "ufw", "firewalld", "Docker", …; "iptables" or "nftables" where no other program is known.
        place: where that program keeps it, in its words.
        words: the rule as its command would say it, "" if that can't be told.
        change: how to change or remove it.
    """

    manager: str
    place: str
    words: str
    change: str


def origin(family: str, table: str, chain: str, *, handle: int = 0, text: str = "") -> Origin:
    """Tell whose rule it is, by family, table and chain, and (for its words) by its nft text."""
    if found := _UFW.match(chain):
        return _ufw(chain, found["part"], text)
    if table == "firewalld" or (table.startswith("firewalld") and family in ("ip", "ip6")):
        return _firewalld(chain, text)
    manager = _BY_TABLE.get(table) or next((name for pattern, name in _BY_CHAIN if pattern.match(chain)), "")
    if manager:
        return Origin(manager, f"{manager}'s chain {chain}", "", _CHANGES[manager])
    name = table.removesuffix(LEGACY)
    if family in ("ip", "ip6") and name in _IPTABLES_TABLES:
        command = ("iptables" if family == "ip" else "ip6tables") + ("-legacy" if name != table else "")
        return Origin(
            "iptables",
            f"{command} table {name}, chain {chain}",
            "",
            f"`{command} -t {name} -L {chain} --line-numbers`, then `{command} -t {name} -D {chain} NUMBER`; "
            "and where it is loaded at boot (/etc/iptables/rules.v4 or rules.v6)",
        )
    where = f"rule {family} {table} {chain} handle {handle}" if handle else f"chain {family} {table} {chain}"
    return Origin(
        "nftables",
        f"table {family} {table}, chain {chain}",
        "",
        f"`nft delete {where}`; and where it is loaded at boot (/etc/nftables.conf)",
    )


def _ufw(chain: str, part: str, text: str) -> Origin:
    six = chain.startswith("ufw6-")
    if part == "user":
        words = _ufw_words(chain, text)
        change = (
            f"`ufw delete {words.removeprefix('ufw ')}`" if words else "`ufw status numbered`, then `ufw delete NUMBER`"
        )
        return Origin("ufw", f"a rule given to ufw ({chain})", words, change)
    if part in ("before", "after"):
        file = f"/etc/ufw/{part}{'6' * six}.rules"
        return Origin("ufw", f"{file} ({chain})", "", f"edit {file}, then `ufw reload`")
    return Origin("ufw", f"ufw's own frame ({chain})", "", "`ufw default deny incoming`, `ufw status verbose`")


_PART = re.compile(
    r"(?:(?P<ip>ip6?) saddr (?P<src>\S+)|ip6? daddr (?P<dst>\S+)|(?P<proto>tcp|udp) dport (?P<port>[\d-]+)|iifname \"?(?P<iif>[^\" ]+)\"?"
    r"|counter(?: packets \d+ bytes \d+)?|(?P<verdict>accept|drop|reject(?: with .+)?|jump ufw6?-user-limit-accept))(?:\s+|$)"
)


def _parts(text: str) -> dict[str, str] | None:
    """What a simple rule matches, or None if it holds anything else."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            return None
        found |= {k: v for k, v in part.groupdict().items() if v}
        at = part.end()
    return found if "verdict" in found else None


def _ufw_words(chain: str, text: str) -> str:
    """The `ufw` command that made a rule of a user chain, "" if it can't be told."""
    parts = _parts(text)
    if parts is None:
        return ""
    verdict = parts["verdict"]
    action = {"accept": "allow", "drop": "deny"}.get(verdict, "limit" if verdict.startswith("jump") else "reject")
    route = "route " if chain.endswith("-forward") else ""
    out = "out " if chain.endswith("-output") else ""
    iif = f"in on {parts['iif']} " if "iif" in parts else ""
    port = parts.get("port", "").replace("-", ":")
    if "src" not in parts and "dst" not in parts:
        if port and not iif:
            return f"ufw {route}{action} {out}{port}/{parts['proto']}"
        where = f"to any port {port} proto {parts['proto']}" if port else "from any"
        return f"ufw {route}{action} {out}{iif}{where}"
    where = f"from {parts.get('src', 'any')}"
    if port or "dst" in parts:
        where += f" to {parts.get('dst', 'any')}"
    if port:
        where += f" port {port} proto {parts['proto']}"
    return f"ufw {route}{action} {out}{iif}{where}"


def _firewalld(chain: str, text: str) -> Origin:
    found = _FIREWALLD.match(chain)
    if found is None:
        return Origin(
            "firewalld",
            f"firewalld's own frame ({chain})",
            "",
            "`firewall-cmd --list-all-zones`, `firewall-cmd --get-active-zones`",
        )
    kind = "policy" if found["policy"] else "zone"
    name, option = found["zone"], f"--{kind}={found['zone']}"
    parts = _parts(text)
    words, change = "", f"`firewall-cmd {option} --list-all` shows it; remove it there, and with `--permanent` too"
    if parts and parts["verdict"] == "accept" and found["part"] == "allow" and "port" in parts:
        port = f"{parts['port']}/{parts['proto']}"
        if "src" not in parts and "dst" not in parts:
            words = f"firewall-cmd {option} --add-port={port}"
            change = f"`firewall-cmd {option} --remove-port={port}`, or the service that holds it (`--list-services`); with `--permanent` too"
        elif "src" in parts:
            family = "ipv6" if parts["ip"] == "ip6" else "ipv4"
            words = (
                f"firewall-cmd {option} --add-rich-rule='rule family={family} source address={parts['src']} "
                f"port port={parts['port']} protocol={parts['proto']} accept'"
            )
            change = f"`{words.replace('--add-', '--remove-')}`; with `--permanent` too"
    if found["part"] is None:
        change = f"`firewall-cmd --permanent {option} --set-target=TARGET`, then `firewall-cmd --reload`"
    return Origin("firewalld", f"firewalld's {kind} {name} ({found['part'] or 'its target'})", words, change)
