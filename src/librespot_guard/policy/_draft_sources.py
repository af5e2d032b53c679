"""Which sources a host suggests: the networks behind its interfaces."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from librespot_guard.policy import values
from librespot_guard.policy.model import Network
from librespot_guard.policy.resolve import slug
from librespot_guard.snapshot import Link, Namespace

# how container engines, hypervisors and Kubernetes name their interfaces
_CONTAINERS = re.compile(
    r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}|podman\d+|cni\d+|cni-.*|nerdctl\d+|virbr\d+(-nic)?|vnet\d+|lxcbr\d+|lxdbr\d+|incusbr\d+"
    r"|veth.*|cali.*|flannel.*|cilium.*|lxc.*|kube-.*|nodelocaldns|dummy\d+"
)
_TUNNELS = re.compile(r"(wg|tun|tap|tailscale|zt|ppp|ipsec|vti|gre|sit|ip6tnl|nordlynx|proton|utun|nebula)[-\w.]*")
# ARPHRD_* of what has no neighbours: none, PPP, tunnels, SIT and GRE of both families (include/uapi/linux/if_arp.h)
_TUNNEL_TYPES = {65534, 512, 768, 769, 776, 778, 823}
_TUNNEL_KINDS = {"wireguard", "tun", "ipip", "sit", "gre", "ip6gre", "ip6tnl", "vti", "vti6", "xfrm"}
_VIRTUAL_KINDS = {"veth", "tun", "tap", "dummy"}
# RFC 1918 and RFC 6598; RFC 4193
_PRIVATE4 = tuple(IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
_PRIVATE6 = IPv6Network("fc00::/7")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A source for the draft. `active` is false for one that is only shown as a comment; `note` says what to think about."""

    name: str
    interface: str
    why: str
    networks: tuple[Network, ...] = ()
    note: str = ""
    active: bool = True
    netns: str = field(default="", compare=False)


def proposals(namespaces: Sequence[Namespace]) -> tuple[Proposal, ...]:
    """One proposal for each interface that somebody may come in by, those to use first."""
    found = [
        made for namespace in namespaces for link in namespace.links if (made := _proposal(namespace, link)) is not None
    ]
    if any(p.active and _private(p) for p in found):
        # beside a private network, a public one is the side of the strangers
        found = [p if _private(p) or not p.active else replace(p, active=False) for p in found]
    counts = {kind: sum(p.name == kind for p in found) for kind in ("lan", "vpn", "containers")}
    taken: set[str] = set()
    named = []
    for proposal in sorted(found, key=lambda p: not p.active):
        alone = counts.get(proposal.name, 0) == 1
        base = proposal.name if alone else f"{proposal.name}-{slug(proposal.interface) or 'x'}"
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        named.append(replace(proposal, name=name))
    return tuple(named)


def _private(proposal: Proposal) -> bool:
    """Whether an interface is a private network: by its IPv4 networks, where it has any."""
    fours = [n for n in proposal.networks if isinstance(n, IPv4Network)]
    sixes = [n for n in proposal.networks if isinstance(n, IPv6Network)]
    return (
        any(n.subnet_of(p) for n in fours for p in _PRIVATE4) if fours else any(n.subnet_of(_PRIVATE6) for n in sixes)
    )


def _proposal(namespace: Namespace, link: Link) -> Proposal | None:
    """What one interface suggests, or None: loopback, or nobody can have an address behind it."""
    if link.loopback or not _nameable(link.name):
        return None
    networks = _networks(namespace, link.name)
    tunnel = link.arp_type in _TUNNEL_TYPES or link.kind in _TUNNEL_KINDS or bool(_TUNNELS.fullmatch(link.name))
    if tunnel:
        return Proposal(
            "vpn",
            link.name,
            "everybody behind this tunnel: narrow it",
            note="a tunnel, such as a VPN: everybody who is let into it",
            active=False,
            netns=namespace.id,
        )
    if not any(not n.is_link_local for n in networks):
        return None
    if _CONTAINERS.fullmatch(link.name) or (link.kind == "bridge" and _only_virtual(namespace, link)):
        return Proposal(
            "containers",
            link.name,
            "the containers and virtual machines on this bridge",
            networks,
            "containers or virtual machines of this host",
            False,
            namespace.id,
        )
    proposal = Proposal("lan", link.name, "everybody on this network: narrow it", networks, netns=namespace.id)
    if not link.up:
        return replace(proposal, note="down when this was written", active=False)
    if not _private(proposal):
        return replace(proposal, note="public addresses: your neighbours there may be strangers")
    return proposal


def _nameable(name: str) -> bool:
    try:
        return values.interface(name) == name
    except ValueError:
        return False


def _only_virtual(namespace: Namespace, bridge: Link) -> bool:
    """Whether nothing physical (or the far side of it, in a container of its own) is on the bridge."""
    members = [link for link in namespace.links if link.master == bridge.name]
    return all(link.kind in _VIRTUAL_KINDS for link in members)


def _networks(namespace: Namespace, dev: str) -> tuple[Network, ...]:
    """The connected networks of an interface: IPv4 first, link-local last, each once."""
    found: list[Network] = []
    for address in namespace.addresses:
        network = ip_network(f"{address.address}/{address.prefixlen}", strict=False)
        host_only = network.prefixlen == network.max_prefixlen
        if address.dev == dev and not host_only and not (network.version == 4 and network.is_link_local):
            found.append(network)
    return tuple(
        sorted(dict.fromkeys(found), key=lambda n: (n.version, n.is_link_local, int(n.network_address), n.prefixlen))
    )
