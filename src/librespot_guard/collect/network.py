"""One network namespace, read whole: what is on the way from its interfaces to its sockets."""

import errno
import socket
from collections.abc import Callable, Mapping
from typing import TypeVar

from librespot_guard.collect import namespaces
from librespot_guard.collect.bpf import read_bpf_filters, read_cgroup_filters
from librespot_guard.collect.ipset import read_ipsets
from librespot_guard.collect.legacy import read_legacy
from librespot_guard.collect.links import read_addresses, read_groups, read_links, read_neighbours
from librespot_guard.collect.netlink import NETLINK_ROUTE, Netlink
from librespot_guard.collect.nft import read_listing, read_nft, read_saves
from librespot_guard.collect.otherfilters import read_other_filters
from librespot_guard.collect.owners import cgroup2_mount, read_cgroups, read_owners
from librespot_guard.collect.routes import read_routes, read_rules
from librespot_guard.collect.sockets import read_listeners
from librespot_guard.collect.sysctls import read_sysctls
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import FilterText, Gap, LegacyTable, Namespace, OtherFilter

_LEGACY = {"iptables-legacy": "ipv4", "ip6tables-legacy": "ipv6"}
T = TypeVar("T")
D = TypeVar("D")


def read_namespace(
    *,
    home: bool = True,
    owners: Mapping[int, tuple[int, ...]] | None = None,
    cgroups: Mapping[int, str] | None = None,
    others: Mapping[str, int] | None = None,
) -> tuple[Namespace, tuple[Gap, ...]]:
    """The facts about the calling thread's network namespace, and what could not be read.

    Args:
        home: whether this is the namespace of the reader.
        owners: process ids by socket inode, as from `read_owners`; looked up if not given.
        cgroups: cgroup v2 paths by id, as from `read_cgroups`; looked up if not given.
        others: open descriptors of other namespaces by id, in which the far ends of cables are then found.

    Raises:
        MachineError: interfaces, addresses and routes can't be read; without them nothing can be said.
    """
    ns_id = namespaces.current_id()
    name = namespaces.names().get(ns_id)
    where = "" if home else f" of network namespace {name or ns_id}"
    gaps: list[Gap] = []

    def attempt(what: str, read: Callable[[], T], otherwise: D, *, whole: bool = False) -> T | D:
        """What was read, or a gap; one about the `whole` machine is the same for each namespace."""
        place = what if whole else what + where
        try:
            return read()
        except MachineError as error:
            gaps.append(Gap(place, str(error), error.hint))
        except OSError as error:
            gaps.append(Gap(place, error.strerror or str(error)))
        return otherwise

    pids = read_owners().pids if owners is None else owners
    paths = read_cgroups() if cgroups is None else cgroups
    with Netlink(NETLINK_ROUTE) as link:
        links, xdp = read_links(link, read_neighbours(link, others or {}))
        index = {one.index: one.name for one in links}
        addresses = read_addresses(link, index)
        routes, odd_routes = read_routes(link, index)
        rules = attempt("routing rules", lambda: read_rules(link), ())
        sysctls = read_sysctls(one.name for one in links)
        other = attempt(
            "packet filters of other kinds (XDP, tc, legacy iptables)",
            lambda: read_other_filters(link, links, xdp, sysctls),
            (),
        )
    legacy: tuple[LegacyTable, ...] = attempt("legacy iptables", read_legacy, ())
    read = {(one.family, one.name) for one in legacy}
    other = tuple(o for o in other if (_LEGACY.get(o.kind), o.where) not in read)
    ipsets = attempt("ipsets", read_ipsets, None)
    groups = attempt("multicast groups", read_groups, ())
    listeners, blind = attempt("sockets", lambda: read_listeners(index, pids, paths), ((), ()))

    def programs() -> tuple[OtherFilter, ...]:
        # the kernel lists links for the whole machine
        return (*read_bpf_filters(), *read_cgroup_filters((one.cgroup for one in listeners), cgroup2_mount()))

    other = (*other, *attempt("BPF programs on netfilter hooks and cgroups", programs, (), whole=True))
    nft = attempt("packet filter (nf_tables)", read_nft, None)
    printed = read_listing(nft.generation) if nft is not None and nft.data else None
    listing = None if printed is None else FilterText("nft-json", "nft -j list ruleset", printed)
    saves = read_saves(nft) if nft is not None and nft.data else ()
    gaps += [Gap(g.what + where, g.why, g.hint) for g in (*odd_routes, *blind)]
    return (
        Namespace(
            id=ns_id,
            home=home,
            name=name,
            links=links,
            addresses=addresses,
            routes=routes,
            rules=rules,
            sysctls=sysctls,
            groups=groups,
            listeners=listeners,
            nft=nft,
            other_filters=other,
            texts=(*((ipsets,) if ipsets else ()), *((listing,) if listing else ()), *saves),
            legacy=legacy,
            ipv6=_has_ipv6(),
        ),
        tuple(gaps),
    )


def _has_ipv6() -> bool:
    """Whether the kernel gives IPv6 sockets at all (ipv6.disable=1 on its command line takes them away)."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True
