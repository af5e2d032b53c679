"""Targets of iptables out of their parameter blocks, as options: struct xt_NAME_tginfo, ipt_NAME_info, nf_nat_range."""

from collections.abc import Callable, Mapping

from librespot_guard.firewall.iptables_values import Option
from librespot_guard.firewall.nft_json_types import Unsupported
from librespot_guard.firewall.xt_block import Block

# NF_NAT_RANGE_* of linux/netfilter/nf_nat.h
_MAP_IPS, _PROTO, _RANDOM, _RANDOM_FULLY, _OFFSET, _NETMAP = 1, 2, 4, 16, 32, 64
_NO_SET = 0xFFFF  # IPSET_INVALID_ID


def _reject(block: Block) -> list[Option]:
    """Enum ipt_reject_with, ip6t_reject_with."""
    block.need(4)
    names = (
        ("icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable", "",
         "icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited")
        if block.family == "ip"
        else ("icmp6-no-route", "icmp6-adm-prohibited", "", "icmp6-addr-unreachable", "icmp6-port-unreachable", "", "tcp-reset")
    )  # fmt: skip
    kind = block.word(0)
    # every other answer stops the packet as well
    return [(False, "--reject-with", (names[kind],))] if kind < len(names) and names[kind] else []


def _mark(block: Block) -> list[Option]:
    block.need(8, 2)
    return [(False, "--set-xmark", (f"{block.word(0):#x}/{block.word(4):#x}",))]


def _connmark(block: Block) -> list[Option]:
    """Struct xt_connmark_tginfo1 and 2, the latter without shifts."""
    block.need(13 if block.xt.revision == 1 else 15, 1, 2)
    value, mask, packet = block.word(0), block.word(4), block.word(8)
    mode = block.xt.info[12] if block.xt.revision == 1 else block.xt.info[14]
    if block.xt.revision == 2 and block.xt.info[13]:
        raise Unsupported("CONNMARK with a shift")
    if mode == 0:
        return [(False, "--set-xmark", (f"{value:#x}/{mask:#x}",))]
    if mode > 2:
        raise Unsupported(f"CONNMARK mode {mode}")
    name = "--save-mark" if mode == 1 else "--restore-mark"
    return [(False, name, ()), (False, "--nfmask", (f"{packet:#x}",)), (False, "--ctmask", (f"{mask:#x}",))]


def _ct(block: Block) -> list[Option]:
    block.need(28)
    flags = block.word(0, 2)
    if flags & 3:
        return [(False, "--notrack", ())]
    return [(False, "--zone", (str(block.word(2, 2)),)), (False, "--helper", (block.text(12, 16),))]


def _span(block: Block) -> tuple[str, str]:
    """Addresses and ports of struct nf_nat_ipv4_multi_range_compat (IPv4, revision 0), nf_nat_range or nf_nat_range2."""
    old = block.family == "ip" and block.xt.revision == 0
    start, size = (4, 4) if old else (0, 16)
    block.need(start + 8 + 2 * size)
    flags, at = block.word(start), start + 4
    host = ports = ""
    if flags & _MAP_IPS:
        first, last = block.address(at), block.address(at + size)
        host = first if first == last else f"{first}-{last}"
    if flags & (_OFFSET | _NETMAP):
        raise Unsupported(f"{block.xt.name} that shifts ports or maps networks")
    if flags & _PROTO:
        low, high = (int.from_bytes(block.xt.info[a : a + 2], "big") for a in (at + 2 * size, at + 2 * size + 2))
        if low != high and flags & (_RANDOM | _RANDOM_FULLY):
            raise Unsupported(f"{block.xt.name} to a port at random")
        ports = str(low) if low == high else f"{low}-{high}"
    return host, ports


def _destination(option: str) -> Callable[[Block], list[Option]]:
    def read(block: Block) -> list[Option]:
        host, ports = _span(block)
        if block.family == "ip6" and ports:
            host = "-".join(f"[{one}]" for one in host.split("-")) if host else "[]"
        if not host:
            raise Unsupported(f"{block.xt.name} without an address")
        return [(False, option, (f"{host}:{ports}" if ports else host,))]

    return read


def target_set(block: Block, ipsets: Mapping[int, str] | None) -> list[Option]:
    """Struct xt_set_info_target_v1 to v3: the sets to add to, to take out of, and to read marks from, as in struct xt_set_info."""
    block.need(8, 1, 2, 3)
    if block.xt.revision == 3:
        block.need(20)
        if block.word(8, 2) != _NO_SET:
            raise Unsupported("SET with --map-set")
    out: list[Option] = []
    for offset, name in ((0, "--add-set"), (4, "--del-set")):
        index, dimensions, flags = block.word(offset, 2), block.xt.info[offset + 2], block.xt.info[offset + 3]
        if index == _NO_SET:
            continue
        found = (ipsets or {}).get(index)
        if found is None:
            raise Unsupported(f"the ipset number {index}, whose name is not known")
        ways = ",".join("src" if flags >> number & 1 else "dst" for number in range(1, dimensions + 1))
        out.append((False, name, (found, ways)))
    return out


def _to_ports(block: Block) -> list[Option]:
    ports = _span(block)[1]
    return [(False, "--to-ports", (ports,))] if ports else []


TARGETS: dict[str, Callable[[Block], list[Option]]] = {
    "CONNMARK": _connmark,
    "CT": _ct,
    "DNAT": _destination("--to-destination"),
    "MARK": _mark,
    "MASQUERADE": _to_ports,
    "REDIRECT": _to_ports,
    "REJECT": _reject,
    "SNAT": _destination("--to-source"),
}
