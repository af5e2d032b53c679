"""The words of the grammar: networks, ports, hooks, and what rules say of one another."""

from __future__ import annotations

NETS4 = [
    "192.168.10.0/24", "192.168.10.64/26", "192.168.10.9", "10.9.0.0/24", "10.9.0.7", "10.0.0.0/8", "203.0.113.0/24", "0.0.0.0/1",
    "198.51.100.7", "192.168.10.128-192.168.10.200", "10.9.0.3-10.9.0.5",
]  # fmt: skip
NETS6 = [
    "fd00:10::/64",
    "fd00:10::9",
    "fd00:9::/64",
    "2001:db8::/32",
    "fe80::/10",
    "8000::/1",
    "fd00:10::20-fd00:10::77",
]
APART4 = [
    "192.168.10.0/26",
    "192.168.10.64-192.168.10.99",
    "192.168.10.128/25",
    "10.9.0.0/24",
    "10.10.0.0/16",
    "203.0.113.7",
]
APART6 = ["fd00:10::/80", "fd00:10:0:0:1::/80", "fd00:9::/64", "2001:db8::/32", "fe80::9"]
OWN4 = ["192.168.10.2", "192.168.10.3", "10.9.0.2"]
OWN6 = ["fd00:10::2", "fd00:9::2"]
PORTS = ["22", "80", "443", "3678", "5353", "8080"]
PORT_RANGES = ["20-25", "80-90", "1024-5000", "8000-9000"]
HOOKS: dict[str, list[int]] = {
    "prerouting": [-450, -300, -290, -150, -50, 10],
    "input": [-10, 0, 0, 5, 50, 110],
    "forward": [-10, 0, 10],
    "postrouting": [-10, 0, 110],
}
OF_IPV6 = (
    "ip6", "meta nfproto ipv6", "icmpv6", "ct original ip6", "exthdr", "hbh", "frag", "dst ", "rt nexthdr", "rt hdrlength", "rt type",
    "rt seg-left", "jhash ip6",
)  # fmt: skip
# what rules set, and what asks for it: half of the rulesets have one of these often, so that the two meet
THEMES: list[tuple[list[str], list[str]]] = [
    (["ct zone set 5", "ct zone set 5", "ct zone set 7", "notrack"], ["ct zone 5", "ct zone 0", "ct zone != 5", "ct state untracked", "ct state new"]),
    (["ct mark set 1", "ct mark set meta mark", "meta mark set ct mark"], ["ct mark 1", "ct mark 0", "ct mark != 1", "meta mark 1", "ct mark and 0x1 == 0"]),
    (["meta mark set 1", "meta mark set 2", "meta mark set meta mark or 0x10"], ["meta mark 1", "meta mark != 1", "meta mark 0x11", "meta mark { 0, 2 }"]),
    (["meta mark set 1", "ip ttl set 3"], ["fib saddr . mark oif eth0", "meta mark 1", "ip ttl < 5"]),
    (["meta pkttype set broadcast"], ["meta pkttype host", "meta pkttype broadcast", "fib daddr type local", "fib daddr type broadcast"]),
    (["ip dscp set cs1", "ip ttl set 3"], ["ip dscp cs1", "ip dscp 0", "ip ttl 3", "ip ttl 64"]),
    (["ip6 hoplimit set 3"], ["ip6 hoplimit 3", "ip6 hoplimit 64", "ip6 hoplimit != 3"]),
    (["notrack", "notrack", "ct mark set 1"], ["ct state untracked", "ct state new", "ct state invalid", "ct mark 1", "ct status dnat"]),
    (["tcp sport set 443", "udp dport set 80"], ["tcp sport 443", "th dport 80", "ct original proto-dst 5353", "th sport 443"]),
    (["ct label set 1", "meta priority set 1:2"], ["ct label 1", "ct label != 1", "meta priority 1:2", "meta priority 0"]),
]  # fmt: skip
QUOTED = ['"eth0"', '"eth1"', '"eth*"', '"lo"']
