"""Rulesets and packets for the comparison of the interpreter with the kernel: every expression it supports, at the boundaries.

A ruleset is written as base chains with their rules; packets are the common pool, and what a ruleset's own boundaries need.
"""

from kernel_judge import Case
from librespot_guard.reach.packet import FLAGS, Packet


def tcp4(
    src: str = "192.168.10.9",
    dport: int = 3678,
    dst: str = "192.168.10.2",
    *,
    iface: str = "eth0",
    sport: int = 40000,
    flags: str = "syn",
) -> Packet:
    """A TCP packet over IPv4."""
    return Packet(iface, src, dst, "tcp", sport=sport, dport=dport, flags=sum(FLAGS[f] for f in flags.split(",") if f))


def tcp6(
    src: str = "fd00:10::9", dport: int = 3678, dst: str = "fd00:10::2", *, iface: str = "eth0", sport: int = 40000
) -> Packet:
    """A TCP packet over IPv6."""
    return Packet(iface, src, dst, "tcp", sport=sport, dport=dport)


def udp4(
    src: str = "192.168.10.9",
    dport: int = 5353,
    dst: str = "192.168.10.2",
    *,
    iface: str = "eth0",
    sport: int = 40000,
    state: str = "new",
) -> Packet:
    """A UDP packet over IPv4."""
    return Packet(iface, src, dst, "udp", sport=sport, dport=dport, state=state)


def udp6(
    src: str = "fd00:10::9",
    dport: int = 5353,
    dst: str = "fd00:10::2",
    *,
    iface: str = "eth0",
    sport: int = 40000,
    state: str = "new",
) -> Packet:
    """A UDP packet over IPv6."""
    return Packet(iface, src, dst, "udp", sport=sport, dport=dport, state=state)


def icmp4(kind: int = 8, code: int = 0, src: str = "192.168.10.9", dst: str = "192.168.10.2") -> Packet:
    """An ICMP packet."""
    return Packet("eth0", src, dst, "icmp", icmp_type=kind, icmp_code=code)


def icmp6(kind: int = 128, code: int = 0, src: str = "fd00:10::9", dst: str = "fd00:10::2") -> Packet:
    """An ICMPv6 packet."""
    return Packet("eth0", src, dst, "icmpv6", icmp_type=kind, icmp_code=code)


POOL = (
    tcp4(),
    tcp4("192.168.10.127"),
    tcp4("192.168.10.128"),
    tcp4(dport=80),
    tcp4(sport=443),
    udp4(),
    tcp6(),
    tcp6("fd00:10::1:9"),
    udp6(),
    icmp4(),
    icmp6(),
    tcp4("10.9.0.7", iface="eth1", dst="10.9.0.2"),
    tcp4(dst="10.9.0.7"),
    udp6(dst="fd00:9::7"),
)


def base(
    rules: str,
    *,
    hook: str = "input",
    priority: int | str = 0,
    policy: str = "drop",
    kind: str = "filter",
    name: str = "c",
) -> str:
    """A base chain."""
    lines = "\n".join("\t\t" + line.strip() for line in rules.strip().splitlines())
    return f"\tchain {name} {{\n\t\ttype {kind} hook {hook} priority {priority}; policy {policy};\n{lines}\n\t}}\n"


def chain(name: str, rules: str) -> str:
    """A chain that is jumped to."""
    lines = "\n".join("\t\t" + line.strip() for line in rules.strip().splitlines())
    return f"\tchain {name} {{\n{lines}\n\t}}\n"


def table(*parts: str, family: str = "inet", name: str = "t", flags: str = "") -> str:
    """A table."""
    return f"table {family} {name} {{\n{flags}{''.join(parts)}}}\n"


def declare(kind: str, name: str, body: str) -> str:
    """A set or map; `body` holds its statements, one a line."""
    lines = "\n".join("\t\t" + line.strip() for line in body.strip().splitlines())
    return f"\t{kind} {name} {{\n{lines}\n\t}}\n"


def simple(name: str, rules: str, *more: Packet, policy: str = "drop") -> Case:
    """One inet input chain, the pool and further packets."""
    return Case(name, table(base(rules, policy=policy)), (*POOL, *more))


_GATE = table(
    declare("map", "gate", "type nf_proto : verdict\nflags timeout\nelements = { ipv4 timeout 1h : goto four }"),
    chain("four", "ip saddr 192.168.10.0/25 return\ntcp dport 3678 drop"),
    chain("old", "tcp dport 3678 drop"),
    base("iifname lo accept\nmeta nfproto vmap @gate\ngoto old", policy="accept", priority=-10),
)

CASES: tuple[Case, ...] = (
    # addresses, ports, protocols
    simple("prefix", "ip saddr 192.168.10.0/25 accept"),
    simple("prefix of six", "ip6 saddr fd00:10::/112 accept"),
    simple("not equal misses the other family", "ip saddr != 192.168.10.9 accept"),
    simple("not equal of six", "ip6 saddr != fd00:10::9 accept"),
    simple(
        "odd prefix",
        "ip saddr 192.168.10.0/29 drop\nip saddr 192.168.8.0/22 accept",
        tcp4("192.168.10.7"),
        tcp4("192.168.10.8"),
    ),
    simple(
        "range of addresses",
        "ip saddr 192.168.10.9-192.168.10.127 accept",
        tcp4("192.168.10.8"),
        tcp4("192.168.10.128"),
    ),
    simple("not in a range", "ip saddr != 192.168.10.10-192.168.10.127 accept", tcp4("192.168.10.10")),
    simple("range of ports", "tcp dport 3678-3680 accept", tcp4(dport=3677), tcp4(dport=3680), tcp4(dport=3681)),
    simple(
        "port below",
        "tcp dport < 3678 accept\nudp dport >= 5353 accept",
        tcp4(dport=3677),
        udp4(dport=5352),
        udp4(dport=65535),
    ),
    simple(
        "port above",
        "tcp dport > 3678 accept\nudp dport <= 5353 accept",
        tcp4(dport=3679),
        udp4(dport=5354),
        udp4(dport=0),
    ),
    simple("source port", "tcp sport 443 accept"),
    simple("port of either protocol", "meta l4proto { tcp, udp } th dport { 3678, 5353 } accept"),
    simple("port without protocol", "th dport 3678 accept"),
    simple("negated port", "tcp dport != 3678 accept"),
    simple("protocol of the first header", "ip6 nexthdr tcp accept\nip protocol udp accept"),
    simple("address mask", "ip saddr & 0.0.0.255 == 0.0.0.9 accept", tcp4("192.168.10.8")),
    simple("bits of an address of six", "ip6 saddr & ::ffff == ::9 accept"),
    simple("destination", "ip daddr 192.168.10.3 accept\nip6 daddr fd00:10::2 accept", tcp4(dst="192.168.10.3")),
    simple("tcp flags exact", "tcp flags syn accept", tcp4(flags="syn,ack"), tcp4(flags="ack"), tcp4(flags="syn,psh")),
    simple(
        "tcp flags by mask",
        "tcp flags & (syn|ack|rst|fin) == syn accept",
        tcp4(flags="syn,ack"),
        tcp4(flags="syn,ece,cwr"),
        tcp4(flags="rst"),
    ),
    simple("tcp flags any of", "tcp flags & (fin|rst) != 0 accept", tcp4(flags="fin,ack"), tcp4(flags="rst")),
    simple("tcp flags short form", "tcp flags syn / syn,ack accept", tcp4(flags="syn,ack")),
    simple("header length", "tcp doff 5 accept\nip hdrlength 4 accept"),
    simple("version and dscp", "ip dscp cs0 ip version 4 accept\nip6 dscp cs0 accept"),
    simple("dscp of the other", "ip dscp != cs0 accept\nip6 dscp cs1 accept"),
    simple("ttl", "ip ttl 64 accept\nip6 hoplimit > 63 accept"),
    simple("ttl below", "ip ttl < 64 accept\nip6 hoplimit != 64 accept"),
    simple("fragments", "ip frag-off & 0x1fff != 0 drop\naccept"),
    simple(
        "icmp",
        "icmp type echo-request accept\nicmpv6 type { echo-request, nd-neighbor-solicit } accept",
        icmp4(13),
        icmp4(8, 1),
        icmp6(129),
    ),
    simple("icmp codes", "icmp code 0 accept\nicmpv6 code 1 accept", icmp4(8, 1), icmp6(128, 1)),
    simple(
        "length of tcp",
        "meta l4proto tcp meta length 40 accept\nip length 40 accept\nip6 length 20 accept",
        policy="drop",
    ),
    simple("raw payload", "@nh,96,32 0xc0a80a09 accept\n@th,16,16 80 accept"),
    simple("raw bits", "@nh,72,4 1 accept\n@th,20,12 0x65e accept"),
    simple("beyond the packet", "@th,800,8 0 accept\n@nh,1600,32 != 1 accept\ntcp dport 80 accept"),
    simple("inner of nothing", "@ih,0,8 0 tcp dport 3678 accept\ntcp dport 80 accept"),
    Case("ether", table(base("ether type ip accept\nether saddr 00:00:00:00:00:01 drop")), POOL, trails=False),
    simple("ether destination", "ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 tcp dport 80 accept"),
    # sets and maps
    simple("anonymous set", "ip saddr { 192.168.10.9, 192.168.10.128 } accept\ntcp dport { 80, 443 } accept"),
    simple(
        "anonymous intervals",
        "ip saddr { 192.168.10.0/25, 192.168.10.200-192.168.10.210 } accept",
        tcp4("192.168.10.199"),
        tcp4("192.168.10.200"),
        tcp4("192.168.10.210"),
        tcp4("192.168.10.211"),
    ),
    simple("not in a set", "ip saddr != { 192.168.10.9, 192.168.10.128 } accept"),
    simple(
        "adjacent intervals",
        "tcp dport { 1-79, 80-3677, 3679-4000 } accept",
        tcp4(dport=79),
        tcp4(dport=1),
        tcp4(dport=0),
        tcp4(dport=3677),
        tcp4(dport=3679),
        tcp4(dport=4001),
    ),
    simple(
        "interval to the top",
        "ip saddr { 192.168.10.128-255.255.255.255 } accept\ntcp dport { 60000-65535 } accept",
        tcp4(dport=65535),
        tcp4(dport=59999),
    ),
    simple("interval from zero", "ip saddr { 0.0.0.0/1 } accept\nudp dport { 0-5353 } accept", udp4(dport=5354)),
    simple(
        "concatenation",
        "ip saddr . tcp dport { 192.168.10.9 . 3678, 192.168.10.127 . 80 } accept",
        tcp4("192.168.10.127", 80),
    ),
    simple(
        "three fields",
        "ip saddr . ip daddr . udp dport { 192.168.10.9 . 192.168.10.2 . 5353 } accept\nip6 saddr . tcp dport { fd00:10::9 . 3678 } accept",
    ),
    Case(
        "concatenated intervals",
        table(
            declare(
                "set",
                "s",
                "type ipv4_addr . inet_service\nflags interval\nelements = { 192.168.10.0/25 . 3678-3680, 192.168.10.128 . 80-90 }",
            ),
            base("ip saddr . tcp dport @s accept"),
        ),
        (*POOL, tcp4(dport=3680), tcp4(dport=3681), tcp4("192.168.10.128", 90), tcp4("192.168.10.128", 91)),
    ),
    Case(
        "concatenated intervals of six with interface",
        table(
            declare(
                "set",
                "s",
                'type ifname . ipv6_addr . inet_proto . inet_service\nflags interval\nelements = { "eth0" . fd00:10::/112 . tcp . 1-4000 }',
            ),
            base("iifname . ip6 saddr . meta l4proto . th dport @s accept"),
        ),
        (*POOL, tcp6(dport=4000), tcp6(dport=4001)),
    ),
    Case(
        "named sets with timeouts",
        table(
            declare(
                "set", "s", "type ipv4_addr\nflags timeout\nelements = { 192.168.10.9 timeout 1h, 192.168.10.128 }"
            ),
            declare(
                "set",
                "n",
                "type ipv4_addr\nflags interval,timeout\nauto-merge\nelements = { 192.168.10.0/28 timeout 1h, 10.0.0.0/8 }",
            ),
            base("tcp dport 80 ip saddr @n accept\ntcp dport 3678 ip saddr @s accept"),
        ),
        (*POOL, tcp4("192.168.10.15", 80), tcp4("192.168.10.16", 80)),
    ),
    Case(
        "empty set",
        table(declare("set", "s", "type ipv4_addr"), base("ip saddr @s accept\nip saddr != @s tcp dport 80 accept")),
        POOL,
    ),
    Case(
        "empty interval set",
        table(
            declare("set", "s", "type ipv4_addr\nflags interval"),
            base("ip saddr @s accept\nip saddr != @s tcp dport 80 accept"),
        ),
        POOL,
    ),
    Case(
        "catch-all",
        table(
            declare("map", "m", "type ipv4_addr : verdict\nelements = { 192.168.10.9 : drop, * : accept }"),
            base("ip saddr vmap @m\ntcp dport 80 accept"),
        ),
        POOL,
    ),
    Case(
        "catch-all of intervals",
        table(
            declare(
                "map", "m", "type inet_service : verdict\nflags interval\nelements = { 3000-4000 : drop, * : accept }"
            ),
            base("tcp dport vmap @m"),
        ),
        (*POOL, tcp4(dport=2999), tcp4(dport=3000), tcp4(dport=4001)),
    ),
    simple("verdict map", "tcp dport vmap { 80 : drop, 3678 : accept }\nmeta l4proto udp accept"),
    simple("verdict map over protocols", "meta l4proto vmap { tcp : accept, icmp : drop, ipv6-icmp : accept }"),
    Case(
        "verdict map that jumps",
        table(
            chain("a", "ip saddr 192.168.10.9 accept"),
            chain("b", "ip6 saddr fd00:10::9 accept\nreturn"),
            base("meta nfproto vmap { ipv4 : jump a, ipv6 : goto b }\ntcp dport 3678 accept"),
        ),
        POOL,
    ),
    Case(
        "verdict map of a concatenation",
        table(
            base(
                "ip saddr . meta l4proto vmap { 192.168.10.9 . tcp : accept, 192.168.10.127 . tcp : drop }\ntcp dport 3678 accept"
            )
        ),
        POOL,
    ),
    Case(
        "value map to a mark",
        table(
            declare("map", "m", "type ipv4_addr : mark\nelements = { 192.168.10.9 : 0x10, 192.168.10.127 : 0x20 }"),
            base(
                "meta mark set ip saddr map @m\nmeta mark & 0xf0 == 0x10 accept\nmeta mark 0x20 tcp dport 3678 accept"
            ),
        ),
        POOL,
    ),
    Case("gate", _GATE, POOL),
    Case(
        "set filled by packets, not read",
        table(
            declare("set", "seen", "type ipv4_addr\nflags dynamic,timeout\ntimeout 1m\nsize 128"),
            base("add @seen { ip saddr }\nupdate @seen { ip saddr timeout 2m } counter", policy="accept"),
        ),
        POOL,
    ),
    # chains
    Case(
        "jump and return",
        table(chain("a", "tcp dport 80 return\nip saddr 192.168.10.9 accept"), base("jump a\ntcp dport 80 accept")),
        POOL,
    ),
    Case("goto ends at the policy", table(chain("a", "tcp dport 80 accept\nreturn"), base("goto a\naccept")), POOL),
    Case(
        "goto in a jump",
        table(chain("b", "tcp dport 80 return"), chain("a", "goto b\naccept"), base("jump a\ntcp dport 3678 accept")),
        POOL,
    ),
    Case("return in a base chain", table(base("tcp dport 3678 return\naccept")), POOL),
    Case("continue", table(base("tcp dport 3678 continue\ncounter\ntcp dport 3678 accept")), POOL),
    Case(
        "deep",
        table(
            chain("c3", "tcp dport 3678 accept"),
            chain("c2", "jump c3\nudp dport 5353 accept"),
            chain("c1", "jump c2\nreturn"),
            base("jump c1\nip saddr 192.168.10.9 accept"),
        ),
        POOL,
    ),
    Case(
        "accept is final for one chain only",
        table(
            base("tcp dport 3678 accept", policy="accept", name="a"),
            base("ip saddr 192.168.10.9 drop", priority=10, policy="accept", name="b"),
        ),
        POOL,
    ),
    Case(
        "drop in another table",
        table(base("accept", policy="accept"))
        + table(base("tcp dport 3678 drop", policy="accept", priority=5), family="ip", name="u"),
        POOL,
    ),
    Case("six only", table(base("tcp dport 80 accept"), family="ip6"), POOL),
    Case("four only", table(base("tcp dport 80 accept"), family="ip"), POOL),
    Case("dormant", table(base("drop"), flags="\tflags dormant\n"), POOL),
    Case(
        "prerouting early", table(base("tcp dport 3678 drop", hook="prerouting", priority=-450, policy="accept")), POOL
    ),
    Case(
        "forward",
        table(base("ip saddr 192.168.10.9 tcp dport 3678 accept\nudp dport 5353 oifname eth1 accept", hook="forward")),
        POOL,
    ),
    Case("forward by output", table(base("oif eth1 iif eth0 meta l4proto tcp accept", hook="forward")), POOL),
    Case("postrouting", table(base("oifname eth1 meta l4proto tcp drop", hook="postrouting", policy="accept")), POOL),
    Case(
        "ingress",
        'table netdev n {\n\tchain i {\n\t\ttype filter hook ingress device "eth0" priority 0; policy accept;\n\t\tip saddr 192.168.10.9 tcp dport 3678 drop\n\t\tmeta protocol ip6 meta l4proto tcp drop\n\t\tip6 saddr fd00:10::9 udp dport 5353 drop\n\t}\n}\n',
        POOL,
    ),
    Case(
        "inet ingress",
        'table inet n {\n\tchain i {\n\t\ttype filter hook ingress device "eth0" priority 0; policy accept;\n\t\tmeta nfproto ipv6 meta l4proto tcp drop\n\t\tiifname "eth0" tcp dport 80 drop\n\t}\n}\n',
        POOL,
    ),
    Case(
        "two devices at ingress",
        "table netdev n {\n\tchain i {\n\t\ttype filter hook ingress devices = { eth0, eth1 } priority 5; policy drop;\n\t\tip protocol icmp accept\n\t\tether type ip6 accept\n\t}\n}\n",
        POOL,
    ),
    # meta
    simple("interface", "iifname eth1 accept\niif eth0 tcp dport 80 accept"),
    simple("interface wildcard", 'iifname "eth*" tcp dport 3678 accept\niifname "et*" udp dport 5353 accept'),
    simple("not this interface", 'iifname != "eth0" accept'),
    simple(
        "no output yet",
        'oifname != "eth1" tcp dport 3678 accept\noif != 1 tcp dport 80 accept\noifname eth1 accept\noif 1 accept',
    ),
    simple("interface type and group", "iiftype ether tcp dport 3678 accept\niifgroup 0 tcp dport 80 accept"),
    simple("no output group", "oifgroup 0 accept\noiftype != loopback accept\nudp dport 5353 accept"),
    simple("interface kind", 'meta iifkind "veth" tcp dport 3678 accept\nmeta oifkind != "veth" accept'),
    simple("protocol", "meta protocol ip6 accept\nmeta protocol ip tcp dport 80 accept"),
    simple("packet type", "meta pkttype host tcp dport 3678 accept\npkttype { broadcast, multicast } accept"),
    simple(
        "no socket for a new connection",
        "meta l4proto tcp meta skuid 0 accept\nmeta l4proto tcp meta skuid != 0 accept\nmeta l4proto icmp accept",
    ),
    simple(
        "priority and mark are zero",
        "meta priority 0 tcp dport 3678 accept\nmeta mark 0 tcp dport 80 accept\nmeta mark != 0 accept",
    ),
    simple(
        "set mark",
        "tcp dport 3678 meta mark set 0x12\nmeta mark set mark or 0x100\nmeta mark & 0x112 == 0x112 accept\nmeta mark 0x100 udp dport 5353 accept",
    ),
    simple(
        "mark arithmetic",
        "meta mark set 0x1234\nmeta mark set mark and 0xff0\nmeta mark 0x230 tcp dport 3678 accept\nmeta mark set mark and 0x30 or 0x1\nmeta mark 0x31 udp dport 5353 accept\nmeta mark != 0x31 accept",
    ),
    simple(
        "mark shift",
        "meta mark set 3\nmeta mark set meta mark lshift 4\nmeta mark 0x30 tcp dport 3678 accept\nmeta mark set mark rshift 5\nmeta mark 1 tcp dport 80 accept",
    ),
    simple(
        "mark xor and ranges",
        "meta mark set 0xff00\nmeta mark set mark xor 0x0ff0\nmeta mark 0xf0e0-0xf0ff tcp dport 3678 accept\nmeta mark > 0xf0f0 accept\nmeta mark { 0xf000-0xf100 } tcp dport 80 accept",
    ),
    simple(
        "marks compare as numbers",
        "meta mark set 0x1ff\nmeta mark < 0x200 tcp dport 3678 accept\nmeta mark >= 0x200 accept",
    ),
    simple("not ipsec", "meta ipsec missing tcp dport 3678 accept\nmeta secpath exists accept"),
    Case(
        "mark crosses hooks",
        table(
            base("ip saddr 192.168.10.9 meta mark set 7", hook="prerouting", priority=-150, policy="accept", name="p"),
            base("meta mark 7 accept"),
        ),
        POOL,
    ),
    # connection tracking
    simple("new", "ct state new tcp dport 3678 accept"),
    simple("established only", "ct state established,related accept"),
    simple(
        "new and invalid",
        "ct state invalid drop\nct state new accept",
        tcp4(flags="rst"),
        tcp4(flags="ack"),
        tcp4(flags="syn,ack"),
        tcp4(flags=""),
        tcp4(flags="fin"),
        tcp4(flags="syn,fin"),
        tcp4(flags="fin,ack"),
        icmp4(0),
        icmp4(13),
        icmp6(129),
        icmp6(135),
    ),
    simple("exact state", "ct state { new, untracked } accept", tcp4(flags="rst"), icmp6(135)),
    simple(
        "state by map",
        "ct state vmap { established : accept, new : continue, invalid : drop }\ntcp dport 3678 accept",
        tcp4(flags="rst"),
    ),
    simple("not new", "ct state != new accept\ntcp dport 80 accept", tcp4(flags="rst")),
    Case(
        "state of a reply",
        table(base("ct state established accept\nct state new counter", name="c")),
        (udp4(state="established"), udp4(), udp6(state="established"), udp4(state="established", dport=999)),
    ),
    Case(
        "before tracking",
        table(
            base(
                "ct state new drop\nct state invalid tcp dport 3678 drop",
                hook="prerouting",
                priority=-300,
                policy="accept",
            )
        ),
        POOL,
    ),
    Case(
        "notrack",
        table(
            base("tcp dport 3678 notrack", hook="prerouting", priority=-300, policy="accept", name="r"),
            base("ct state untracked accept\nct state new tcp dport 80 accept"),
        ),
        POOL,
    ),
    Case(
        "notrack too late",
        table(
            base("notrack", hook="prerouting", priority=-150, policy="accept", name="r"),
            base("ct state untracked drop\nct state new accept"),
        ),
        POOL,
    ),
    Case(
        "ct of an untracked packet",
        table(
            base("tcp dport 3678 notrack", hook="prerouting", priority=-300, policy="accept", name="r"),
            base("ct direction original accept\nct mark != 5 accept\ntcp dport 3678 ip saddr 192.168.10.9 accept"),
        ),
        POOL,
    ),
    simple(
        "ct keys",
        "ct direction original ct protocol tcp ct l3proto ipv4 accept\nct direction reply accept\nct status snat accept\nct protocol udp ct mark 0 accept",
    ),
    simple(
        "ct tuple",
        "meta l4proto tcp ct original ip saddr 192.168.10.9 ct original proto-dst 80 accept\nmeta l4proto tcp ct reply ip saddr 192.168.10.2 ct reply proto-dst 443 accept\nct original ip6 saddr fd00:10::9 accept",
    ),
    simple(
        "ct mark",
        "ct mark set 0x5\nct mark 5 tcp dport 3678 accept\nct mark set meta mark\nct mark 0 tcp dport 80 accept",
    ),
    simple("ct helper and zone", 'ct helper "ftp" accept\nct zone 0 tcp dport 3678 accept\nct label 1 accept'),
    Case(
        "ct zone",
        table(
            base("ip saddr 192.168.10.9 ct zone set 7", hook="prerouting", priority=-300, policy="accept", name="r"),
            base("ct zone 7 accept\nct zone 0 tcp dport 3678 ip saddr 192.168.10.127 accept"),
        ),
        POOL,
    ),
    simple("unconfirmed", "ct status confirmed accept\nct status & dnat == dnat accept\ntcp dport 80 accept"),
    # translation
    Case(
        "redirect",
        table(
            base(
                "tcp dport 80 redirect to :3678",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("tcp dport 3678 ct status dnat accept"),
        ),
        (*POOL, tcp4(dport=80, dst="192.168.10.3"), tcp6(dport=80)),
    ),
    Case(
        "redirect without port",
        table(
            base("udp dport 5353 redirect", hook="prerouting", priority=-100, policy="accept", kind="nat", name="n"),
            base("ip daddr 192.168.10.2 udp dport 5353 accept\nip6 daddr fd00:10::2 accept"),
        ),
        (*POOL, udp4(dst="192.168.10.3"), udp4(dst="10.9.0.2"), udp6(dst="fd00:9::2")),
    ),
    Case(
        "dnat to another host",
        table(
            base(
                "tcp dport 3678 dnat ip to 10.9.0.7:80",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("tcp dport 80 ip daddr 10.9.0.7 ct original proto-dst 3678 accept", hook="forward", name="f"),
        ),
        POOL,
    ),
    Case(
        "dnat to this host",
        table(
            base(
                "ip daddr 192.168.10.3 dnat ip to 192.168.10.2",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("ct status dnat accept\nct original ip daddr 192.168.10.3 drop"),
        ),
        (*POOL, tcp4(dst="192.168.10.3"), icmp4(dst="192.168.10.3")),
    ),
    Case(
        "dnat of six",
        table(
            base(
                "tcp dport 80 dnat to [fd00:10::2]:3678",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("tcp dport 3678 accept"),
            family="ip6",
        ),
        (*POOL, tcp6(dport=80), tcp6(dport=80, dst="fd00:9::2")),
    ),
    Case(
        "dnat by map",
        table(
            base(
                "dnat to tcp dport map { 80 : 192.168.10.3, 3678 : 10.9.0.7 }",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("ip daddr 192.168.10.3 accept"),
            family="ip",
        ),
        POOL,
    ),
    Case(
        "dnat to a range of ports",
        table(
            base(
                "tcp dport 80 dnat to 192.168.10.3:3000-4000\ntcp dport 3678 dnat to 192.168.10.3:3000-4000",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("tcp dport { 3000, 3678 } accept"),
            family="ip",
        ),
        POOL,
    ),
    Case(
        "netmap",
        table(
            base(
                "ip daddr 192.168.10.3 dnat ip prefix to ip daddr map { 192.168.10.0/24 : 10.9.0.0/24 }",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("ct status dnat accept", hook="forward", name="f"),
        ),
        (*POOL, tcp4(dst="192.168.10.3")),
    ),
    Case(
        "the first translation wins",
        table(
            base(
                "tcp dport 80 redirect to :81", hook="prerouting", priority=-100, policy="accept", kind="nat", name="n"
            ),
            base(
                "tcp dport 80 redirect to :82", hook="prerouting", priority=-90, policy="accept", kind="nat", name="m"
            ),
            base("tcp dport 81 accept"),
        ),
        POOL,
    ),
    Case(
        "translation runs at its own priority",
        table(
            base(
                "tcp dport 80 redirect to :3678",
                hook="prerouting",
                priority=-180,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("tcp dport 80 drop", hook="prerouting", priority=-150, policy="accept", name="m"),
            base("tcp dport 3678 accept"),
        ),
        POOL,
    ),
    Case(
        "drop in a nat chain",
        table(
            base(
                "tcp dport 80 drop\nudp dport 5353 accept",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("ct state new accept"),
        ),
        POOL,
    ),
    Case(
        "translation and untracked",
        table(
            base("tcp dport 80 notrack", hook="prerouting", priority=-300, policy="accept", name="r"),
            base(
                "tcp dport 80 redirect to :3678",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("tcp dport 3678 accept"),
        ),
        POOL,
    ),
    Case(
        "masquerade",
        table(base("oifname eth1 masquerade", hook="postrouting", priority=100, policy="accept", kind="nat", name="n")),
        POOL,
    ),
    Case(
        "source translation on input",
        table(
            base(
                "tcp dport 3678 snat ip to 192.168.10.77",
                hook="input",
                priority=100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("ip saddr 192.168.10.77 accept\nip saddr 192.168.10.127 accept", priority=200),
        ),
        POOL,
    ),
    Case(
        "packets rewritten",
        table(
            base(
                "tcp dport 80 tcp dport set 3678\nip daddr 192.168.10.3 ip daddr set 192.168.10.2\nip saddr 192.168.10.127 ip saddr set 192.168.10.9",
                hook="prerouting",
                priority=-310,
                policy="accept",
                name="r",
            ),
            base("tcp dport 3678 ip saddr 192.168.10.9 ip daddr 192.168.10.2 accept"),
        ),
        (*POOL, tcp4(dport=80, dst="192.168.10.3")),
    ),
    Case(
        "dscp rewritten",
        table(
            base(
                "ip dscp set cs3\nip6 dscp set ef\nip ttl set 9",
                hook="prerouting",
                priority=-150,
                policy="accept",
                name="r",
            ),
            base("ip dscp cs3 ip ttl 9 accept\nip6 dscp ef accept"),
        ),
        POOL,
    ),
    Case(
        "mark after translation",
        table(
            base(
                "tcp dport 80 redirect to :3678",
                hook="prerouting",
                priority=-100,
                policy="accept",
                kind="nat",
                name="n",
            ),
            base("tcp dport 3678 meta mark set 9", hook="prerouting", priority=-50, policy="accept", name="p"),
            base("meta mark 9 accept"),
        ),
        POOL,
    ),
    # routing look-ups
    simple(
        "fib type",
        "fib daddr type local tcp dport 3678 accept\nfib daddr type { broadcast, multicast } accept\nfib saddr type unicast udp dport 5353 accept",
        tcp4(dst="192.168.10.3"),
        udp4(dst="192.168.10.255"),
        udp4(dst="224.0.0.1"),
    ),
    Case(
        "fib type in prerouting",
        table(
            base(
                "fib daddr type local tcp dport 3678 drop\nfib daddr type unicast drop\nfib daddr . iif type != local drop",
                hook="prerouting",
                priority=-150,
                policy="accept",
            )
        ),
        (
            *POOL,
            tcp4(dst="10.9.0.2", dport=80),
            tcp4(dst="198.51.100.1", dport=80),
            tcp6(dst="fd00:9::2"),
            tcp6(dst="2001:db8::1"),
        ),
    ),
    Case(
        "strict reverse path",
        table(base("fib saddr . iif oif missing drop", hook="prerouting", priority=-300, policy="accept")),
        (
            *POOL,
            tcp4("10.9.0.7"),
            tcp4("172.16.0.1"),
            tcp4("172.16.0.1", iface="eth1", dst="10.9.0.2"),
            tcp6("fd00:9::7"),
            tcp6("2001:db8::1"),
            tcp6("2001:db8::1", iface="eth1", dst="fd00:9::2"),
            udp6("fe80::9", dst="fe80::2"),
            tcp4("198.51.100.7"),
            tcp4("203.0.113.7"),
        ),
        {"net.ipv4.conf.eth0.rp_filter": "0", "net.ipv4.conf.eth1.rp_filter": "0", "net.ipv4.conf.all.rp_filter": "0"},
    ),
    Case(
        "loose reverse path",
        table(
            base(
                "fib saddr oif exists accept\nfib saddr oifname eth1 accept",
                hook="prerouting",
                priority=-300,
                policy="drop",
            )
        ),
        (*POOL, tcp4("198.51.100.7"), tcp4("203.0.113.7"), tcp6("fd00:9::7")),
        {"net.ipv4.conf.eth0.rp_filter": "0", "net.ipv4.conf.all.rp_filter": "0"},
    ),
    Case(
        "fib name",
        table(
            base(
                'fib saddr oifname "eth0" tcp dport 3678 accept\nfib daddr oif 0 udp dport 5353 accept',
                hook="prerouting",
                priority=-300,
                policy="drop",
            )
        ),
        (*POOL, tcp4("172.16.0.1")),
    ),
    # what ends otherwise
    simple(
        "reject",
        "tcp dport 3678 reject with tcp reset\nudp dport 5353 reject\nmeta l4proto icmp reject with icmp admin-prohibited\nmeta l4proto ipv6-icmp reject with icmpv6 no-route\naccept",
        policy="accept",
    ),
    simple("reject with guards", "reject with icmpv6 no-route\nip saddr 192.168.10.9 accept", policy="drop"),
    simple("log and count", 'log prefix "x " counter\ntcp dport 3678 log counter accept'),
    Case(
        "limit for the log alone",
        table(base('limit rate 1/second burst 1 packets log prefix "x " counter\ntcp dport 3678 accept')),
        POOL,
        trails=False,
    ),
    Case(
        "no tracking, no translation",
        table(
            base("snat ip to 192.168.10.77\ndrop", hook="input", priority=100, policy="accept", kind="nat", name="n"),
            base("tcp dport 3678 accept"),
        ),
        POOL,
    ),
    simple("limit that makes no difference", "tcp dport 3678 limit rate 1000/second accept\ntcp dport 3678 accept"),
    simple("comment", 'tcp dport 3678 accept comment "for the phones"'),
    Case(
        "counter objects",
        table("\tcounter seen {\n\t}\n", base("counter name seen\ntcp dport 3678 counter name seen accept")),
        POOL,
    ),
    # routing and addresses around the filter
    Case(
        "spoofed sources",
        table(base("accept")),
        (
            tcp4("172.16.0.1"),
            tcp4("192.168.10.2"),
            tcp4("127.0.0.1"),
            tcp4("224.0.0.5"),
            tcp4("0.0.0.0"),
            tcp4(dst="127.0.0.1"),
            tcp4("10.9.0.7"),
            tcp6("fd00:10::2"),
            tcp6("::1"),
            udp4(dst="255.255.255.255"),
            udp4(dst="192.168.10.255"),
            udp4(dst="224.0.0.1"),
            udp4(dst="224.0.0.251"),
            udp6("fe80::9", dst="ff02::1"),
            udp6("fe80::9", dst="ff02::fb"),
        ),
    ),
    Case(
        "strict rp_filter",
        table(base("accept")),
        (tcp4("172.16.0.1"), tcp4("10.9.0.7"), tcp4(), tcp4("198.51.100.9")),
        {"net.ipv4.conf.eth0.rp_filter": "1"},
    ),
    Case(
        "loose rp_filter",
        table(base("accept")),
        (tcp4("172.16.0.1"), tcp4("10.9.0.7"), tcp4("198.51.100.9"), tcp4("203.0.113.9")),
        {"net.ipv4.conf.eth0.rp_filter": "2"},
    ),
    Case(
        "route_localnet",
        table(base("accept")),
        (tcp4(dst="127.0.0.1"), tcp4("127.0.0.1")),
        {"net.ipv4.conf.eth0.route_localnet": "1"},
    ),
    Case(
        "no forwarding", table(base("accept")), POOL, {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}
    ),
    Case(
        "tcp_loose off",
        table(base("ct state new accept")),
        (*POOL, tcp4(flags="ack")),
        {"net.netfilter.nf_conntrack_tcp_loose": "0"},
    ),
)

_INPUT = "iptables-nft -A INPUT"
_INPUT6 = "ip6tables-nft -A INPUT"


def extension(name: str, *commands: str, more: tuple[Packet, ...] = ()) -> Case:
    """Rules of iptables-nft, whose extensions the kernel runs by nft_compat, in front of a policy that drops."""
    last = ("iptables-nft -P INPUT DROP", "ip6tables-nft -P INPUT DROP")
    return Case(name, "", (*POOL, *more), iptables=(*commands, *last))


# only where iptables-nft is installed
IPTABLES: tuple[Case, ...] = (
    extension(
        "multiport",
        f"{_INPUT} -p tcp -m multiport --dports 80,3670:3678,9999 -j ACCEPT",
        f"{_INPUT} -p udp -m multiport ! --ports 80:90 -j ACCEPT",
        f"{_INPUT6} -p tcp -m multiport --sports 40000 -j ACCEPT",
        more=(tcp4(dport=3669), tcp4(dport=3670), tcp4(dport=9999), udp4(dport=85), udp4(sport=80)),
    ),
    extension(
        "conntrack",
        f"{_INPUT} -m conntrack --ctstate INVALID -j DROP",
        f"{_INPUT} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"{_INPUT} -p tcp -m conntrack --ctstate NEW -j ACCEPT",
        f"{_INPUT6} -m state --state NEW -j ACCEPT",
        f"{_INPUT} -m conntrack ! --ctstate NEW -j ACCEPT",
        more=(tcp4(flags="rst"), udp4(state="established"), icmp6(135)),
    ),
    extension(
        "conntrack and translation",
        "iptables-nft -t raw -A PREROUTING -p udp -j CT --notrack",
        "iptables-nft -t nat -A PREROUTING -p icmp -j ACCEPT",
        f"{_INPUT} -m conntrack --ctstate UNTRACKED -j ACCEPT",
        f"{_INPUT} -m conntrack --ctstate DNAT -j ACCEPT",
    ),
    extension(
        "addrtype",
        f"{_INPUT} -m addrtype --dst-type LOCAL ! --src-type LOCAL -p tcp -j ACCEPT",
        f"{_INPUT} -m addrtype --dst-type MULTICAST,BROADCAST -j ACCEPT",
        more=(udp4(dst="192.168.10.255"), udp4(dst="224.0.0.1")),
    ),
    extension(
        "tcp flags of iptables",
        f"{_INPUT} -p tcp --tcp-flags SYN,ACK,RST SYN -j ACCEPT",
        f"{_INPUT} -p tcp ! --syn -j DROP",
        f"{_INPUT6} -p tcp -m tcp --dport 3678 --syn -j ACCEPT",
        more=(tcp4(flags="syn,ack"), tcp4(flags="ack")),
    ),
    extension(
        "ports of iptables",
        f"{_INPUT} -p tcp -m tcp --sport 400:500 --dport 3000:4000 -j ACCEPT",
        f"{_INPUT} -p udp -m udp ! --dport 5000:5352 -j ACCEPT",
        more=(udp4(dport=5352), tcp4(sport=400), tcp4(sport=501)),
    ),
    extension(
        "comment and targets",
        f"{_INPUT} -p tcp --dport 80 -m comment --comment phones -j LOG",
        f"{_INPUT} -p tcp --dport 80 -j REJECT --reject-with tcp-reset",
        f"{_INPUT} -p udp -j REJECT",
        f"{_INPUT6} -p udp -j REJECT",
        f"{_INPUT} -s 192.168.10.0/25 -j ACCEPT",
    ),
    extension(
        "marks of iptables",
        "iptables-nft -t mangle -A PREROUTING -p tcp --dport 80 -j MARK --set-mark 0x12",
        "iptables-nft -t mangle -A PREROUTING -p tcp -j MARK --or-mark 0x100",
        "iptables-nft -t mangle -A PREROUTING -p udp -j MARK --set-xmark 0xff/0x0f",
        f"{_INPUT} -m mark --mark 0x112 -j ACCEPT",
        f"{_INPUT} -p udp -m mark --mark 0xff -j ACCEPT",
    ),
    extension(
        "published port",
        "iptables-nft -t nat -N DOCKER",
        "iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "iptables-nft -t nat -A DOCKER -i docker0 -j RETURN",
        "iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 3678 -j DNAT --to-destination 10.9.0.7:80",
        "iptables-nft -A FORWARD -d 10.9.0.7/32 ! -i docker0 -o eth1 -p tcp -m tcp --dport 80 -j ACCEPT",
        "iptables-nft -t nat -A POSTROUTING -s 10.9.0.0/24 ! -o docker0 -j MASQUERADE",
        "iptables-nft -P FORWARD DROP",
    ),
    extension(
        "redirect of iptables",
        "iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3678",
        "ip6tables-nft -t nat -A PREROUTING -p udp --dport 5353 -j REDIRECT --to-ports 3678",
        f"{_INPUT} -p tcp -m tcp --dport 3678 -m conntrack --ctstate DNAT -j ACCEPT",
        f"{_INPUT6} -p udp -m udp --dport 3678 -j ACCEPT",
    ),
    extension(
        "dnat of iptables over six",
        "ip6tables-nft -t nat -A PREROUTING -p tcp --dport 3678 -j DNAT --to-destination [fd00:9::7]:80",
        "ip6tables-nft -P FORWARD DROP",
        "ip6tables-nft -A FORWARD -d fd00:9::7 -p tcp -j ACCEPT",
    ),
    extension(
        "snat of iptables",
        "iptables-nft -t nat -A INPUT -p tcp --dport 80 -j SNAT --to-source 192.168.10.99",
        "iptables-nft -t nat -A POSTROUTING -o eth1 -j SNAT --to-source 10.9.0.2",
        f"{_INPUT} -s 192.168.10.9 -j ACCEPT",
    ),
    extension(
        "zones of iptables",
        "iptables-nft -t raw -A PREROUTING -p tcp -j CT --zone 7",
        f"{_INPUT} -m conntrack --ctstate NEW -j ACCEPT",
    ),
)
