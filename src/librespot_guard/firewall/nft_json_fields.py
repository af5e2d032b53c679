"""What can be loaded from a packet, by the names that `nft -j` gives it: headers, meta and ct keys, and the guards nft leaves unsaid.

Encodes src/proto.c, src/meta.c, src/ct.c of nftables, and the dependencies that src/payload.c adds to a rule without printing them.
"""

from typing import NamedTuple

from librespot_guard.firewall.nft_json_types import TYPES, Type, integer

_T = TYPES


class Field(NamedTuple):
    """Bits of a header: `offset` and width in bits, from the start of the header."""

    offset: int
    kind: Type


def _ports() -> dict[str, Field]:
    return {"sport": Field(0, _T["inet_service"]), "dport": Field(16, _T["inet_service"])}


_SUM = integer(16)
# each protocol's base, and its fields by name
HEADERS: dict[str, tuple[str, dict[str, Field]]] = {
    "ether": (
        "link",
        {"daddr": Field(0, _T["ether_addr"]), "saddr": Field(48, _T["ether_addr"]), "type": Field(96, _T["ether_type"])},
    ),
    "ip": (
        "network",
        {
            "version": Field(0, integer(4)), "hdrlength": Field(4, integer(4)), "dscp": Field(8, _T["dscp"]),
            "ecn": Field(14, _T["ecn"]), "length": Field(16, integer(16)), "id": Field(32, integer(16)),
            "frag-off": Field(48, integer(16)), "ttl": Field(64, integer(8)), "protocol": Field(72, _T["inet_proto"]),
            "checksum": Field(80, _SUM), "saddr": Field(96, _T["ipv4_addr"]), "daddr": Field(128, _T["ipv4_addr"]),
        },
    ),
    "ip6": (
        "network",
        {
            "version": Field(0, integer(4)), "dscp": Field(4, _T["dscp"]), "ecn": Field(10, _T["ecn"]),
            "flowlabel": Field(12, integer(20)), "length": Field(32, integer(16)), "nexthdr": Field(48, _T["inet_proto"]),
            "hoplimit": Field(56, integer(8)), "saddr": Field(64, _T["ipv6_addr"]), "daddr": Field(192, _T["ipv6_addr"]),
        },
    ),
    "icmp": (
        "transport",
        {"type": Field(0, _T["icmp_type"]), "code": Field(8, _T["icmp_code"]), "checksum": Field(16, _SUM)},
    ),
    "icmpv6": (
        "transport",
        {"type": Field(0, _T["icmpv6_type"]), "code": Field(8, _T["icmpv6_code"]), "checksum": Field(16, _SUM)},
    ),
    "igmp": ("transport", {"type": Field(0, integer(8)), "mrt": Field(8, integer(8)), "checksum": Field(16, _SUM)}),
    "tcp": (
        "transport",
        {
            **_ports(), "sequence": Field(32, integer(32)), "ackseq": Field(64, integer(32)), "doff": Field(96, integer(4)),
            "reserved": Field(100, integer(4)), "flags": Field(104, _T["tcp_flag"]), "window": Field(112, integer(16)),
            "checksum": Field(128, _SUM), "urgptr": Field(144, integer(16)),
        },
    ),
    "udp": ("transport", {**_ports(), "length": Field(32, integer(16)), "checksum": Field(48, _SUM)}),
    "udplite": ("transport", {**_ports(), "csumcov": Field(32, integer(16)), "checksum": Field(48, _SUM)}),
    "dccp": ("transport", _ports()),
    "sctp": ("transport", {**_ports(), "vtag": Field(32, integer(32)), "checksum": Field(64, integer(32))}),
    "ah": (
        "transport",
        {
            "nexthdr": Field(0, _T["inet_proto"]), "hdrlength": Field(8, integer(8)), "reserved": Field(16, integer(16)),
            "spi": Field(32, integer(32)), "sequence": Field(64, integer(32)),
        },
    ),
    "esp": ("transport", {"spi": Field(0, integer(32)), "sequence": Field(32, integer(32))}),
    "comp": (
        "transport",
        {"nexthdr": Field(0, _T["inet_proto"]), "flags": Field(8, integer(8)), "cpi": Field(16, integer(16))},
    ),
    "th": ("transport", _ports()),
}  # fmt: skip
# IPPROTO_* that a rule on this header asks for without saying so
L4PROTO = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "esp": 50, "ah": 51, "icmpv6": 58, "comp": 108, "sctp": 132,
    "udplite": 136,
}  # fmt: skip
# headers that exist in one network protocol only
NETWORK = {"ip": "ip", "ip6": "ip6", "icmp": "ip", "igmp": "ip", "icmpv6": "ip6"}
NFPROTO = {"ip": 2, "ip6": 10}
ETHERTYPE = {"ip": 0x0800, "ip6": 0x86DD}
RAW_BASES = {"ll": "link", "nh": "network", "th": "transport", "ih": "inner"}

# key as printed: (key of the kernel, type)
META: dict[str, tuple[str, Type]] = {
    "length": ("len", _T["host_32"]),
    "protocol": ("protocol", _T["ether_type"]),
    "priority": ("priority", _T["tc_handle"]),
    "mark": ("mark", _T["mark"]),
    "iif": ("iif", _T["iface_index"]),
    "oif": ("oif", _T["iface_index"]),
    "iifname": ("iifname", _T["ifname"]),
    "oifname": ("oifname", _T["ifname"]),
    "iiftype": ("iiftype", _T["iface_type"]),
    "oiftype": ("oiftype", _T["iface_type"]),
    "skuid": ("skuid", _T["uid"]),
    "skgid": ("skgid", _T["gid"]),
    "nftrace": ("nftrace", _T["boolean"]),
    "rtclassid": ("rtclassid", _T["host_32"]),
    "secmark": ("secmark", _T["host_32"]),
    "nfproto": ("nfproto", _T["nf_proto"]),
    "l4proto": ("l4proto", _T["inet_proto"]),
    "ibrname": ("bri_iifname", _T["ifname"]),
    "ibridgename": ("bri_iifname", _T["ifname"]),
    "obrname": ("bri_oifname", _T["ifname"]),
    "obridgename": ("bri_oifname", _T["ifname"]),
    "pkttype": ("pkttype", _T["pkt_type"]),
    "cpu": ("cpu", _T["host_32"]),
    "iifgroup": ("iifgroup", _T["devgroup"]),
    "oifgroup": ("oifgroup", _T["devgroup"]),
    "cgroup": ("cgroup", _T["host_32"]),
    "random": ("prandom", _T["host_32"]),
    "ipsec": ("secpath", _T["boolean"]),
    "secpath": ("secpath", _T["boolean"]),
    "iifkind": ("iifkind", _T["ifname"]),
    "oifkind": ("oifkind", _T["ifname"]),
    "sdif": ("sdif", _T["iface_index"]),
    "sdifname": ("sdifname", _T["ifname"]),
    "broute": ("bri_broute", _T["boolean"]),
}
CT: dict[str, tuple[str, Type]] = {
    "state": ("state", _T["ct_state"]),
    "direction": ("direction", _T["ct_dir"]),
    "status": ("status", _T["ct_status"]),
    "mark": ("mark", _T["mark"]),
    "secmark": ("secmark", _T["host_32"]),
    "helper": ("helper", _T["string"]),
    "l3proto": ("l3protocol", _T["nf_proto"]),
    "protocol": ("protocol", _T["inet_proto"]),
    "proto-src": ("proto_src", _T["inet_service"]),
    "proto-dst": ("proto_dst", _T["inet_service"]),
    "packets": ("pkts", _T["host_64"]),
    "bytes": ("bytes", _T["host_64"]),
    "avgpkt": ("avgpkt", _T["host_64"]),
    "zone": ("zone", _T["host_16"]),
    "id": ("id", _T["host_32"]),
}
FIB_FLAGS = {"saddr": 1, "daddr": 2, "mark": 4, "iif": 8, "oif": 16}
FIB_PRESENT = 32
