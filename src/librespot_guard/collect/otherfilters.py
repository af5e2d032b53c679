"""Packet filters that are on the path but are no nf_tables: legacy iptables, XDP, tc, IPVS, bridge-nf-call.

They are detected and named, not analysed. BPF programs on netfilter hooks and cgroups are `collect.bpf`'s; those attached as links to
tcx leave no trace in the interfaces read here.

Encodes include/uapi/linux/rtnetlink.h, pkt_sched.h and netfilter_ipv4/ip_tables.h.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from librespot_guard.collect.netlink import Netlink, attributes, text
from librespot_guard.snapshot import Link, OtherFilter

_RTM_GETQDISC, _RTM_GETTFILTER = 38, 46
_TCMSG = struct.Struct("=BxxxiIII")
_TCA_KIND = 1
_TC_H_INGRESS = 0xFFFFFFF2  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
_TC_H_EGRESS = 0xFFFFFFF3


def read_other_filters(
    link: Netlink,
    links: tuple[Link, ...],
    xdp: tuple[str, ...],
    sysctls: Mapping[str, str],
) -> tuple[OtherFilter, ...]:
    """What filters packets in the calling thread's network namespace beside nf_tables. `xdp` as from `links.read_links`."""
    return (
        *(OtherFilter("xdp", name, "an XDP program sees each packet before the packet filter") for name in xdp),
        *_tc(link, {one.index: one.name for one in links}),
        *_legacy(),
        *_ipvs(),
        *_bridges(links, sysctls),
        *ebtables(links, _modules()),
    )


def _tc(link: Netlink, names: Mapping[int, str]) -> Iterator[OtherFilter]:
    """Classifiers on the ingress and clsact hooks."""
    for _, body in link.dump(_RTM_GETQDISC, bytes(_TCMSG.size)):
        _, index, _, _, _ = _TCMSG.unpack_from(body)
        kind = text(attributes(body[_TCMSG.size :]).get(_TCA_KIND))
        if kind not in ("clsact", "ingress"):
            continue
        for parent, where in ((_TC_H_INGRESS, "ingress"), (_TC_H_EGRESS, "egress")):
            if kind == "ingress" and where == "egress":
                continue
            found = link.dump(_RTM_GETTFILTER, _TCMSG.pack(0, index, 0, parent, 0))
            kinds = sorted({text(attributes(raw[_TCMSG.size :]).get(_TCA_KIND)) for _, raw in found})
            if kinds:
                yield OtherFilter("tc", names.get(index, f"index {index}"), f"{where}: {', '.join(kinds)}")


def _legacy() -> Iterator[OtherFilter]:
    for version, file in (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")):
        for table in _lines(file):
            yield OtherFilter(f"{version}-legacy", table.strip(), f"see `{version}-legacy -t {table.strip()} -S`")


def _ipvs() -> Iterator[OtherFilter]:
    services = [line.split() for line in _lines("ip_vs") if line.startswith(("TCP", "UDP", "SCTP", "FWM"))]
    if services:
        yield OtherFilter("ipvs", "ip_vs", f"{len(services)} virtual service{'s' * (len(services) > 1)}")


def _bridges(links: tuple[Link, ...], sysctls: Mapping[str, str]) -> Iterator[OtherFilter]:
    calls = [
        n for n in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables") if sysctls.get(f"net.bridge.{n}") == "1"
    ]
    if not calls:
        return
    masters = {one.master for one in links if one.master}
    for one in links:
        if one.kind == "bridge" and one.name in masters:
            yield OtherFilter("bridge-nf-call", one.name, f"bridged packets pass the IP hooks too ({', '.join(calls)})")


def _modules() -> set[str]:
    """The kernel modules that are loaded; none where the kernel has no modules."""
    try:
        return {line.split()[0] for line in Path("/proc/modules").read_text(encoding="ascii").splitlines()}
    except OSError:
        return set()


def ebtables(links: tuple[Link, ...], modules: set[str]) -> Iterator[OtherFilter]:
    """Tables of ebtables-legacy in front of the ports of bridges.

    Which tables a namespace has can't be read without creating them (find_table_lock of net/bridge/netfilter/ebtables.c): a loaded
    module means that one may have rules. ebtables-nft is part of nf_tables, and needs none of these modules.
    """
    tables = sorted(name.removeprefix("ebtable_") for name in modules if name.startswith("ebtable_"))
    masters = {one.master for one in links if one.master}
    for one in links if tables else ():
        if one.kind == "bridge" and one.name in masters:
            yield OtherFilter(
                "ebtables", one.name, f"tables {', '.join(tables)} may have rules: see `ebtables-legacy -L`"
            )


def _lines(file: str) -> list[str]:
    """The lines of a file of /proc/net; none if this kernel or namespace does not have it."""
    try:
        return Path(f"/proc/thread-self/net/{file}").read_text().splitlines()
    except OSError:
        return []
