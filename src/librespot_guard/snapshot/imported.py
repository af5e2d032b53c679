"""A snapshot of a host that could not be read itself, from what other tools printed on it.

The listings stay texts (docs/decisions/0005) and are interpreted at use; what was not given is named in `incomplete`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from librespot_guard.errors import InputError
from librespot_guard.snapshot.facts import (
    UNTOLD,
    Address,
    Gap,
    Link,
    Namespace,
    Route,
    RoutingRule,
    Snapshot,
)
from librespot_guard.snapshot.filter_facts import FilterText

_LOOPBACK = 772  # ARPHRD_LOOPBACK
# a real host numbers its interfaces from 1; a number in a listing is of an interface that is gone, and must not meet one of these
_FIRST_INDEX = 1_000_001
_HOST_SCOPE, _LINK_SCOPE = 254, 253


@dataclass(frozen=True, slots=True)
class Parts:
    """What a host is made of: listings, routes (None: those of its addresses), addresses as (interface, address), sysctls."""

    texts: tuple[FilterText, ...] = ()
    routes: tuple[Route, ...] | None = None
    addresses: tuple[tuple[str, IPv4Interface | IPv6Interface], ...] = ()
    sysctls: Mapping[str, str] | None = None


def parse_address(text: str) -> tuple[str, IPv4Interface | IPv6Interface]:
    """`eth0=192.168.10.2/24`. Raises InputError."""
    name, equals, address = text.partition("=")
    try:
        if not equals or not name or len(name.encode()) > 15 or "/" in name or any(c.isspace() for c in name):
            raise ValueError("no name of an interface before `=`")  # noqa: TRY301
        found = ip_interface(address)
        if "%" in address or found.ip.is_multicast:
            raise ValueError("no address of an interface")  # noqa: TRY301
    except ValueError as error:
        raise InputError(
            f"--address {text}: {error}",
            hint="an interface and its address with prefix length, such as eth0=192.168.10.2/24",
        ) from None
    return name, found


def parse_sysctl(text: str) -> tuple[str, str]:
    """`net.ipv4.ip_forward=1`. Raises InputError."""
    name, equals, value = text.partition("=")
    name = name.strip().replace("/", ".")
    if not equals or not name.startswith("net.") or not value.strip().lstrip("-").isdigit():
        raise InputError(f"--sysctl {text}: expected NAME=NUMBER", hint="such as net.ipv4.ip_forward=1")
    return name, value.strip()


def assemble(parts: Parts, *, taken: str, tool: str) -> Snapshot:
    """The snapshot of a host made of these parts, with one network namespace and unknown listeners."""
    given = [*parts.addresses]
    routes = list(parts.routes or ())
    given += [a for a in _addresses_of(routes) if a not in given and a[1].ip not in {g[1].ip for g in given}]
    names = dict.fromkeys(["lo", *(n for n, _ in given), *(d for r in routes for d in r.devs)])
    links = tuple(
        Link(_FIRST_INDEX + n, name, up=True, arp_type=_LOOPBACK)
        if name == "lo"
        else Link(_FIRST_INDEX + n, name, up=True, kind=UNTOLD)
        for n, name in enumerate(names)
    )
    for loopback in ("127.0.0.1/8", "::1/128"):
        if not any(a.ip == ip_interface(loopback).ip for _, a in given):
            given.append(("lo", ip_interface(loopback)))
    addresses = tuple(_address(name, a) for name, a in given)
    routes += _missing(routes, given, whole=parts.routes is None)
    namespace = Namespace(
        id="imported",
        home=True,
        links=links,
        addresses=addresses,
        routes=tuple(routes),
        rules=(*_default_rules(), *_rules_of_other_tables(routes)),
        groups=None,
        sysctls=dict(parts.sysctls or {}),
        texts=parts.texts,
    )
    return Snapshot(
        taken=taken,
        tool=tool,
        hostname="imported",
        kernel="unknown",
        byteorder="little",
        namespaces=(namespace,),
        incomplete=tuple(_gaps(parts)),
    )


def _addresses_of(routes: Sequence[Route]) -> list[tuple[str, IPv4Interface | IPv6Interface]]:
    """The addresses that the local table tells of, with the prefix of the connected network they are in."""
    connected = [(r.devs[0], ip_network(r.dst)) for r in routes if r.kind == "unicast" and r.gateway is None and r.devs]
    out = []
    for route in routes:
        if route.kind == "local" and route.table == 255 and route.devs and route.dst.endswith(("/32", "/128")):
            host = ip_network(route.dst).network_address
            sizes = [n.prefixlen for dev, n in connected if dev == route.devs[0] and host in n and n.prefixlen > 0]
            out.append((route.devs[0], ip_interface(f"{host}/{max(sizes, default=host.max_prefixlen)}")))
    return out


def _address(name: str, address: IPv4Interface | IPv6Interface) -> Address:
    network = address.network
    broadcast = None
    if address.version == 4 and network.prefixlen < 31 and name != "lo":
        broadcast = str(network.broadcast_address)
    scope = _HOST_SCOPE if address.ip.is_loopback else _LINK_SCOPE if address.ip.is_link_local else 0
    return Address(f"ipv{address.version}", str(address.ip), network.prefixlen, name, scope, broadcast)


def _missing(
    routes: Sequence[Route], given: Sequence[tuple[str, IPv4Interface | IPv6Interface]], *, whole: bool
) -> list[Route]:
    """The routes that the kernel makes of addresses: all of them, or those of a family that the listing does not hold."""
    known = {r.family for r in routes if r.table == 255}
    out: list[Route] = []
    for name, address in given:
        family = f"ipv{address.version}"
        if not whole and family in known:
            continue
        bits = address.ip.max_prefixlen
        source = str(address.ip) if family == "ipv4" else None
        out.append(Route(family, 255, f"{address.ip}/{bits}", "local", (name,), src=source))
        network = address.network
        if address.ip.is_loopback:
            if network.prefixlen < bits:
                out.append(Route(family, 255, str(network), "local", (name,), src=source))
            continue
        if network.prefixlen < bits:
            out.append(Route(family, 254, str(network), "unicast", (name,), src=source))
        if family == "ipv4" and network.prefixlen < 31:
            out.append(Route(family, 255, f"{network.broadcast_address}/32", "broadcast", (name,), src=source))
        if family == "ipv6":
            out.append(Route(family, 255, "ff00::/8", "multicast", (name,)))
    return list(dict.fromkeys(out))


def _default_rules() -> tuple[RoutingRule, ...]:
    return tuple(
        RoutingRule(family, priority, table)
        for family, tables in (("ipv4", ((0, 255), (32766, 254), (32767, 253))), ("ipv6", ((0, 255), (32766, 254))))
        for priority, table in tables
    )


def _rules_of_other_tables(routes: Sequence[Route]) -> tuple[RoutingRule, ...]:
    """For every table that the kernel's own rules do not ask, a rule of which nothing is known: something asks it."""
    others = dict.fromkeys((r.family, r.table) for r in routes if r.table not in (253, 254, 255))
    return tuple(RoutingRule(family, 1, table, "unknown", other=True) for family, table in others)


def _gaps(parts: Parts) -> list[Gap]:
    """What was not given, each with the option that gives it."""
    kinds = {t.kind for t in parts.texts}
    out = [Gap("listening sockets and services", "a listing does not tell them", "ask for a port with --to PROTO/PORT")]
    if not kinds & {"nft-json", "iptables-save", "ip6tables-save"}:
        out.append(
            Gap(
                "the packet filter",
                "no listing of it was given, so who gets through is not known",
                "--nft-json or --iptables-save",
            )
        )
    elif "nft-json" not in kinds:
        out.append(
            Gap("native nf_tables rules", "only iptables listings were given", "--nft-json `nft -j list ruleset`")
        )
        if "ip6tables-save" not in kinds:
            out.append(Gap("IPv6 rules", "no listing of them was given: as if there were none", "--ip6tables-save"))
        if "iptables-save" not in kinds:
            out.append(Gap("IPv4 rules", "no listing of them was given: as if there were none", "--iptables-save"))
    if not kinds & {"iptables-legacy-save", "ip6tables-legacy-save"}:
        out.append(
            Gap("legacy iptables", "no listing of it was given: as if there were none", "--iptables-legacy-save")
        )
    if parts.routes is None:
        out.append(
            Gap(
                "routes",
                "not given: the connected routes of the addresses are assumed",
                "--routes `ip -j route show table all`",
            )
        )
    if _rules_of_other_tables(parts.routes or ()):
        why = "not given, and the routes have tables that only such rules lead to: answers that routing decides are not exact"
        out.append(Gap("routing rules", why))
    else:
        out.append(Gap("routing rules", "not given: the kernel's default rules are assumed"))
    if not parts.sysctls:
        out.append(
            Gap(
                "sysctls",
                "not given: the kernel's defaults are assumed (no forwarding, no rp_filter)",
                "--sysctl NAME=NUMBER",
            )
        )
    return out
