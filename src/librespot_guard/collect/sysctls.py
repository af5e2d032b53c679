"""The sysctls that change which packets are delivered, of the calling thread's network namespace.

Documentation/networking/ip-sysctl.rst and nf_conntrack-sysctl.rst name them. /proc/sys/net shows the namespace of the thread
that opens a file.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

_ROOT = Path("/proc/sys")
_GLOBAL = (
    "net.ipv4.ip_forward",
    "net.ipv6.bindv6only",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_helper",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
)
_IPV4 = (
    "rp_filter", "accept_local", "route_localnet", "forwarding", "src_valid_mark", "accept_source_route", "send_redirects",
    "bc_forwarding",
)  # fmt: skip
_IPV6 = ("forwarding", "force_forwarding", "disable_ipv6", "accept_ra")


def read_sysctls(interfaces: Iterable[str]) -> dict[str, str]:
    """The values by name, such as "net.ipv4.conf.eth0.rp_filter"; what this kernel does not have is left out."""
    found: dict[str, str] = {}
    for name, path in _paths(interfaces):
        try:
            found[name] = path.read_text().strip()
        except OSError:  # IPv6 or a module is not there, or the interface went away
            continue
    return found


def _paths(interfaces: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for name in _GLOBAL:
        yield name, _ROOT / name.replace(".", "/")
    for interface in ("all", "default", *interfaces):
        for family, keys in (("ipv4", _IPV4), ("ipv6", _IPV6)):
            for key in keys:
                # the name of an interface may contain dots, so the path is not made from the name
                yield f"net.{family}.conf.{interface}.{key}", _ROOT / "net" / family / "conf" / interface / key
