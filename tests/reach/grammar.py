"""Random rulesets in nft's language, from a grammar over every expression that the model knows.

Numbers come from a small world (two cables, a few networks and ports), so that rules meet. What nft refuses (a contradiction
inside a rule, a statement in the wrong hook) is left out line by line when the ruleset is loaded. Besides what `Grammar` says in
text there is nothing that the model knows and Debian's nft can write: `test_grammar.py` holds it to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reach.grammar_words import (
    APART4,
    APART6,
    HOOKS,
    NETS4,
    NETS6,
    OF_IPV6,
    OWN4,
    OWN6,
    PORT_RANGES,
    PORTS,
    QUOTED,
    THEMES,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class Grammar:
    """One random ruleset: call `text()`."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.family = "inet"
        self.chains: list[str] = []
        self.hook = ""
        self.does, self.asks = random.choice(THEMES) if random.random() < 0.5 else ([], [])

    def pick(self, *options: str) -> str:
        """One of the options."""
        return self.random.choice(options)

    def some(self, options: list[str], most: int = 4) -> list[str]:
        """A few of the options, none twice."""
        return self.random.sample(options, self.random.randint(1, min(most, len(options))))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    # values

    def port(self) -> str:
        """Ports as one, a set, intervals or negated."""
        one = self.pick(*PORTS)
        return self.pick(
            one, one, f"!= {one}", self.pick(*PORT_RANGES), f"!= {self.pick(*PORT_RANGES)}",
            f"{self.pick('<', '>', '<=', '>=')} {one}", "{ " + ", ".join(self.some(PORTS)) + " }",
            "!= { " + ", ".join(self.some(PORTS)) + " }", "{ 22, 80-90, 3678, 8000-9000 }",
            f"and 0x{self.pick('f', 'ff', '1', 'fff0')} == 0x{self.pick('0', '1', '50', 'e')}",
        )  # fmt: skip

    def address(self, six: bool) -> str:
        """Addresses as one, a network, a range, a set, ordered or masked."""
        nets, apart = (NETS6, APART6) if six else (NETS4, APART4)
        one = self.pick(*nets)
        hosts = [n for n in nets if "/" not in n and "-" not in n]
        host = self.pick(*hosts)
        mask = (
            self.pick("::ff", "ffff::", "::1", "ffff:ff00::1")
            if six
            else self.pick("0.0.0.255", "255.0.0.1", "0.0.255.0", "0.0.0.1")
        )
        return self.pick(
            one, one, f"!= {one}", f"{self.pick('<', '>', '<=', '>=')} {host}",
            "{ " + ", ".join(self.some(apart)) + " }", "!= { " + ", ".join(self.some(apart)) + " }", "{ " + ", ".join(hosts) + " }",
            f"and {mask} == {self.pick('::9', '::', 'fd00::', '::1') if six else self.pick('0.0.0.9', '0.0.0.1', '0.0.0.0', '0.0.10.0', '192.0.0.1')}",
            "@six" if six else "@four", "!= @six" if six else "!= @four", "@six_any" if six else "@four_any",
        )  # fmt: skip

    def mark(self) -> str:
        """A condition on a 32-bit host integer."""
        return self.pick(
            "0", "1", "0x10", "!= 1", "1-3", "!= 2-17", "< 2", ">= 0x10", "{ 1, 2, 0x12 }", "{ 1-3, 0x10-0x20 }",
            "and 0x3 == 2", "and 0x10 != 0", "or 0x1 == 0x11", "xor 0x3 == 0x1", "and 0xff xor 0x10 == 0x2", ">> 4 == 1",
        )  # fmt: skip

    def iface(self) -> str:
        """An interface by name, pattern or set."""
        return self.pick(*QUOTED, "!= " + self.pick(*QUOTED), '{ "eth0", "wlan0" }', '{ "eth*", "lo" }')

    # conditions

    def match(self) -> str:
        """One condition."""
        if self.asks and self.chance(0.25):
            return self.pick(*self.asks)
        six = self.family == "ip6" or (self.family != "ip" and self.chance(0.4))
        ip = "ip6" if six else "ip"
        conditions: list[Callable[[], str]] = [
            lambda: f"{ip} saddr {self.address(six)}",
            lambda: f"{ip} saddr {self.address(six)}",
            lambda: f"{ip} saddr {self.address(six)}",
            lambda: f"{ip} daddr {self.pick(*(OWN6 if six else OWN4), *(NETS6 if six else NETS4))}",
            lambda: f"tcp dport {self.port()}",
            lambda: f"tcp dport {self.port()}",
            lambda: f"udp dport {self.port()}",
            lambda: f"th dport {self.port()}",
            lambda: f"{self.pick('tcp', 'udp')} sport {self.port()}",
            lambda: f"iifname {self.iface()}",
            lambda: f"iif {self.pick('eth0', 'eth1', '!= eth0', 'lo')}",
            lambda: f"meta l4proto {self.pick('tcp', 'udp', '{ tcp, udp }', '!= tcp', 'icmp', 'ipv6-icmp', '6-17')}",
            lambda: f"meta nfproto {self.pick('ipv4', 'ipv6')}",
            lambda: f"meta protocol {self.pick('ip', 'ip6', '!= ip')}",
            lambda: f"meta mark {self.mark()}",
            lambda: f"meta mark {self.mark()}",
            lambda: f"ct mark {self.mark()}",
            lambda: f"ct state {self.pick('new', 'established,related', '{ new, untracked }', 'invalid', '!= new', 'untracked', 'vmap { new : accept, invalid : drop }')}",
            lambda: f"ct status {self.pick('dnat', 'snat', '!= dnat', 'seen-reply')}",
            lambda: f"ct direction {self.pick('original', 'reply')}",
            lambda: f"ct original {ip} daddr {self.pick(*(OWN6 if six else OWN4))}",
            lambda: f"ct original {ip} saddr {self.pick(*(n for n in (NETS6 if six else NETS4) if '-' not in n))}",
            lambda: f"ct original proto-dst {self.pick('80', '8080', '3678')}",
            lambda: f"ct original protocol {self.pick('tcp', 'udp')}",
            lambda: f"ct l3proto {self.pick('ipv4', 'ipv6')}",
            lambda: f"ct zone {self.pick('0', '5', '!= 0')}",
            lambda: f"ct reply {ip} saddr {self.pick(*(OWN6 if six else OWN4))}",
            lambda: f"tcp flags {self.pick('syn', '& (fin|syn|rst|ack) == syn', '& ack == 0', '& (ack|rst) != 0', '!= syn', '{ syn, ack, syn|ack }')}",
            lambda: f"ip ttl {self.pick('64', '< 5', '> 200', '!= 64', '60-70')}",
            lambda: f"ip6 hoplimit {self.pick('64', '< 5', '!= 64')}",
            lambda: f"ip protocol {self.pick('tcp', 'udp', 'icmp', '!= tcp')}",
            lambda: f"ip6 nexthdr {self.pick('tcp', 'udp', '!= tcp')}",
            lambda: f"ip version {self.pick('4', '5')}",
            lambda: f"ip length {self.pick('< 24', '> 24', '20-100', '> 100')}",
            lambda: f"meta length {self.pick('< 24', '> 24', '20-100', '> 100')}",
            lambda: f"ip dscp {self.pick('0', 'cs1', '!= 0')}",
            lambda: f"meta pkttype {self.pick('host', 'broadcast', '!= host', '{ host, multicast }')}",
            lambda: f"icmp type {self.pick('echo-request', '{ echo-request, timestamp-request }', '!= echo-request')}",
            lambda: f"icmpv6 type {self.pick('echo-request', '{ echo-request, nd-neighbor-solicit }', '!= 128')}",
            lambda: f"fib daddr type {self.pick('local', 'unicast', '!= local', '{ local, broadcast }')}",
            lambda: f"fib saddr type {self.pick('local', 'unicast', 'broadcast', '!= unicast')}",
            lambda: f"fib daddr . iif type {self.pick('local', '!= local')}",
            lambda: f"fib saddr . iif oif {self.pick('missing', 'exists')}",
            lambda: f"fib saddr oifname {self.pick(*QUOTED[:2])}",
            lambda: f"fib saddr . mark oif {self.pick('eth0', 'eth1')}",
            lambda: f"ether saddr {self.pick('02:00:00:00:00:01', '!= 02:00:00:00:00:01')}",
            lambda: "ip saddr . tcp dport { 192.168.10.9 . 3678, 10.9.0.0/24 . 80-90, 0.0.0.0/1 . 443 }",
            lambda: "ip saddr . ip daddr != { 192.168.10.9 . 192.168.10.2, 10.9.0.7 . 10.9.0.2 }",
            lambda: "ip6 saddr . meta l4proto { fd00:10::9 . tcp, fd00:9::7 . udp }",
            lambda: "meta iifname . ip saddr . th dport @triple",
            lambda: "meta mark . ct mark { 0 . 0, 1 . 1, 2 . 0 }",
            lambda: f"@nh,96,{self.pick('8 10', '16 0xc0a8', '17 0x18150', '64 0xc0a80a09c0a80a02')}",
            lambda: f"@nh,{self.pick('120,8 9', '124,4 9', '8,8 0', '64,8 64')}",
            lambda: f"@th,{self.pick('16,16 3678', '0,16 443', '16,8 0x0e', '24,8 > 0x50')}",
            lambda: f"@ll,96,16 {self.pick('0x0800', '0x86dd')}",
            lambda: f"meta {self.pick('skuid 0', 'skgid != 5', 'cgroup 1', 'iifgroup 0', 'iiftype ether', 'priority 0', 'secpath missing')}",
            lambda: f"meta {self.pick('cpu 0', 'random > 1000', 'oifname != lo', 'oif eth1', 'iifkind veth', 'sdif 0')}",
            lambda: f"limit rate {self.pick('', 'over ')}{self.pick('5/minute', '3/second burst 7 packets', '10 kbytes/second')}",
            lambda: f"{self.pick('quota', 'limit')} name \"named\"",
            self.counted,
            self.counted,
            self.extension,
            self.extension,
            self.option,
            self.option,
            self.looked_up,
            self.looked_up,
        ]  # fmt: skip
        return self.random.choice(conditions)()

    def counted(self) -> str:
        """A condition on chance, on a hash, or on what passed before."""
        key = self.pick(
            "ip saddr", "ip6 saddr", "tcp dport", "ip saddr . tcp dport", "ip6 saddr . ip6 daddr . th sport"
        )
        return self.pick(
            f"numgen {self.pick('random', 'inc')} mod 4 {self.pick('0', '< 3', '<= 3', '> 3', '{ 0, 1, 2, 3 }')}",
            f"numgen {self.pick('random', 'inc')} mod 5 offset 3 {self.pick('3', '>= 3', '> 7', '{ 4, 9 }')}",
            f"numgen inc mod 2 vmap {{ 0 : {self.pick('accept', 'drop')}, 1 : {self.pick('accept', 'continue')} }}",
            f"jhash {key} mod 8 {self.pick('0', '> 2', '<= 7')}",
            f"jhash {key} mod 8 seed 0x{self.pick('0', '7', 'deadbeef')} {self.pick('0', '> 2', '1-4', 'offset 10 <= 14')}",
            f"symhash mod 4 {self.pick('0', '<= 3', '!= 3')}",
            f"quota {self.pick('', 'over ', 'until ')}5 mbytes",
            f"ct count {self.pick('', 'over ')}{self.pick('5', '1000')}",
        )

    def extension(self) -> str:
        """A condition on extension headers of IPv6."""
        header = self.pick("hbh", "rt", "frag", "dst", "mh")
        return self.pick(
            f"exthdr {header} {self.pick('missing', 'exists')}", f"exthdr {header} {self.pick('missing', 'exists')}",
            f"ip6 nexthdr {self.pick('tcp', 'udp', '!= tcp', '0', '{ tcp, udp, 0, 60 }', '!= { 0, 43, 44, 60 }', '44', '> 42')}",
            f"{self.pick('hbh', 'rt', 'frag', 'dst')} nexthdr {self.pick('tcp', 'udp', '!= tcp')}",
            f"{self.pick('hbh', 'rt', 'dst')} hdrlength {self.pick('0', '> 0')}", f"rt {self.pick('type 0', 'seg-left 0', 'seg-left > 0')}",
            f"frag {self.pick('frag-off 0', 'more-fragments 0', 'more-fragments 1', 'id 5')}",
        )  # fmt: skip

    def option(self) -> str:
        """A condition on options of TCP or IPv4, or on chunks of other protocols."""
        there = self.pick("missing", "exists")
        return self.pick(
            f"tcp option {self.pick('maxseg', 'timestamp', 'sack-perm', 'window', '254', 'nop')} {there}",
            f"tcp option {self.pick('maxseg', 'timestamp')} {there}",
            f"tcp option maxseg size {self.pick('1-500', '!= 536', '>= 0', '1460')}",
            f"tcp option timestamp tsval {self.pick('0', '> 5')}", f"tcp doff {self.pick('5', '> 5', '!= 5')}",
            f"ip option {self.pick('rr', 'ra', 'lsrr', 'ssrr')} {there}", f"ip option {self.pick('rr', 'lsrr')} ptr 4",
            f"ip hdrlength {self.pick('5', '!= 5')}", f"sctp chunk data {there}",
        )  # fmt: skip

    def looked_up(self) -> str:
        """A condition on a socket, a route, IPsec or a fingerprint."""
        return self.pick(
            f"socket {self.pick('transparent 1', 'mark 0')}", f"socket {self.pick('wildcard 1', 'wildcard 0')}", 'socket cgroupv2 level 1 "/"',
            f"rt classid {self.pick('0', '!= 0')}", f"meta {self.pick('sdif 0', 'iifkind veth')}",
            f"rt {self.pick('ip nexthop 192.168.10.1', 'ip nexthop != 10.9.0.7', 'ip6 nexthop fd00:9::7', 'ipsec exists', 'ipsec missing')}",
            f"rt ip nexthop {self.pick('192.168.10.2', '!= 192.168.10.2')}", f"rt ip6 nexthop {self.pick('fd00:10::2', '!= fd00:10::2')}",
            f"ipsec in {self.pick('reqid 1', 'reqid != 1', 'ip saddr 192.168.10.9', 'spi 7')}",
            f'osf {self.pick("", "ttl loose ")}name {self.pick("", "!= ")}"{self.pick("Linux", "unknown")}"',
        )  # fmt: skip

    # statements

    def statement(self, depth: int) -> str:
        """What a rule does at its end."""
        below = [c for c in self.chains if int(c[1:]) > depth]
        options = ["accept"] * 4 + ["drop"] * 4 + ["return", "counter", "continue", "reject"]
        if below:
            options += [f"{self.pick('jump', 'goto')} {self.pick(*below)}"] * 4
        if self.hook in ("input", "forward"):
            options += [
                "reject with tcp reset",
                "reject with icmpx type admin-prohibited",
                "reject with icmp type host-unreachable",
            ]
            options.append("reject with icmpv6 type no-route")
        return self.random.choice(options)

    def action(self) -> str:
        """A statement that lets the rule go on."""
        if self.does and self.chance(0.5):
            return self.pick(*self.does)
        ip = "ip6" if self.family == "ip6" else "ip"
        return self.pick(
            "meta mark set 1", "meta mark set 2", "meta mark set meta mark or 0x10", "meta mark set meta mark and 0xf",
            "meta mark set meta mark xor 0x3", "meta mark set meta mark << 4", "meta mark set meta mark >> 1", "ct mark set 1",
            "ct mark set meta mark", "meta mark set ct mark", "meta priority set 1:2", "meta pkttype set broadcast", "log",
            "counter", 'log prefix "x"', "ip ttl set 3", "ip6 hoplimit set 3", "ip dscp set cs1", "ct zone set 5", "ct label set 1",
            f"meta mark set {ip} saddr map {{ {self.mapping(ip == 'ip6', '1', '2', '0x12')} }}",
            "meta mark set tcp dport map { 80 : 1, 3678 : 2, 8000-9000 : 0x12 }", f"add @seen4 {{ {ip} saddr }}",
            f"update @seen4 {{ {ip} saddr timeout 10s }}", f"add @meter4 {{ {ip} saddr limit rate 3/second }}",
            "delete @seen4 { ip saddr }", "tcp sport set 443", "udp dport set 80",
            "meta mark set jhash ip saddr mod 4", "meta mark set numgen inc mod 2", "meta mark set jhash ip saddr mod 4 seed 0x7",
            "tcp option maxseg size set 1200", "reset tcp option timestamp",
        )  # fmt: skip

    def mapping(self, six: bool, *values: str) -> str:
        """Elements of a map from addresses."""
        keys = self.some(APART6 if six else APART4, len(values))
        return ", ".join(f"{k} : {v}" for k, v in zip(keys, values, strict=False))

    def verdict_map(self, depth: int) -> str:
        """A rule that looks its verdict up."""
        below = [c for c in self.chains if int(c[1:]) > depth]
        verdicts = ["accept", "drop", "continue", "return", *(f"{self.pick('jump', 'goto')} {c}" for c in below)]
        picked = [self.random.choice(verdicts) for _ in range(4)]
        return self.pick(
            f"ip saddr vmap {{ {self.mapping(False, *picked)} }}",
            f"ip6 saddr vmap {{ {self.mapping(True, *picked)} }}",
            f"tcp dport vmap {{ 3678 : {picked[0]}, 80-90 : {picked[1]}, 443 : {picked[2]} }}",
            f"th dport vmap {{ 3678 : {picked[0]}, 5353 : {picked[1]}, * : {picked[2]} }}",
            f"meta l4proto vmap {{ tcp : {picked[0]}, udp : {picked[1]} }}",
            f'iifname vmap {{ eth0 : {picked[0]}, "eth1" : {picked[1]} }}',
            f"ip saddr . th dport vmap {{ 192.168.10.9 . 3678 : {picked[0]}, 10.9.0.0/24 . 1-100 : {picked[1]}, 192.168.10.64/26 . 3678 : {picked[2]} }}",
            f"meta mark vmap {{ 0 : {picked[0]}, 1 : {picked[1]}, 0x10-0x12 : {picked[2]} }}",
            "ip saddr vmap @verdicts",
        )  # fmt: skip

    def rule(self, depth: int) -> str:
        """One rule."""
        parts = [self.match() for _ in range(self.random.choice([0, 1, 1, 1, 2, 2, 3]))]
        by_map = self.verdict_map(depth) if self.chance(0.1) else ""
        # nft refuses contradictions of families and protocols within one rule
        every = [*parts, by_map]
        if any(p.startswith(("ip ", "meta nfproto ipv4", "icmp ", "jhash ip ")) for p in every):
            parts = [p for p in parts if not p.startswith(OF_IPV6)]
        if any(p.startswith("tcp ") for p in every):
            parts = [p for p in parts if not p.startswith(("udp", "meta l4proto", "icmp"))]
        if by_map and self.chance(0.6):
            parts = parts[:1]
        if self.chance(0.35):
            # what a rule has done stays done if a later test of it fails
            parts.insert(self.random.randint(0, len(parts)), self.action())
        if by_map:
            # a look-up that finds nothing, or `continue`, goes on in the same rule, or ends it
            parts.insert(self.random.randint(0, len(parts)), by_map)
        if by_map and self.chance(0.7):
            return " ".join(dict.fromkeys(parts))
        return " ".join(dict.fromkeys([*parts, self.statement(depth)]))

    # chains, sets, tables

    def chain(self, name: str, depth: int, head: str = "", hook: str = "", most: int = 5) -> str:
        """One chain."""
        self.hook = hook
        rules = [self.rule(depth) for _ in range(self.random.randint(1, most))]
        body = [head, *rules] if head else rules
        return f"  chain {name} {{\n" + "".join(f"    {line}\n" for line in body) + "  }\n"

    def nat(self, number: int) -> str:
        """A NAT chain in prerouting, input or postrouting."""
        six = self.family == "ip6" or (self.family == "inet" and self.chance(0.4))
        ip = "ip6" if six else "ip"
        to = self.pick(*(OWN6 if six else OWN4))
        at = f"[{to}]" if six else to
        nets = self.pick(*(APART6 if six else APART4))
        hook = self.pick("prerouting", "prerouting", "prerouting", "input", "postrouting")
        inet = f" {ip}" if self.family == "inet" else ""
        rules = {
            "prerouting": [
                "tcp dport 8080 redirect to :3678", "tcp dport { 80, 8080 } redirect to :3678", "udp dport 80 redirect to :5353",
                f"{ip} saddr {nets} redirect", f"tcp dport 8080 dnat{inet} to {at}:3678", f"udp dport 80-90 dnat{inet} to {to}",
                f"{ip} daddr {to} tcp dport 443 dnat{inet} to {at}:22", "tcp dport 8000-9000 redirect to :3000-3678",
                f"tcp dport 80 dnat{inet} to {ip} saddr map {{ {self.mapping(six, *[to] * 2)} }}",
                "redirect to :tcp dport map { 80 : 3678, 443 : 22 }", "meta l4proto { tcp, udp } th dport 443 redirect to :8080",
                "tcp dport 22 accept", f"{ip} saddr {nets} return",
            ],
            "input": [f"{ip} saddr {nets} snat{inet} to {to}", "accept"],
            "postrouting": ["masquerade", f"{ip} saddr {nets} snat{inet} to {to}", "oifname eth1 masquerade"],
        }[hook]  # fmt: skip
        body = "".join(f"    {r}\n" for r in self.some(rules, 3))
        priority = self.pick("-100", "-100", "-190", "50") if hook == "prerouting" else "100"
        return f"  chain nat{number} {{\n    type nat hook {hook} priority {priority}; policy accept;\n{body}  }}\n"

    def sets(self) -> str:
        """The sets and maps that rules of this table name."""
        both = self.family in ("inet", "netdev")
        out = "  quota named { over 10 mbytes\n  }\n  limit named { rate 5/second\n  }\n"
        if both or self.family == "ip":
            out += (
                f"  set four {{ type ipv4_addr; flags interval; elements = {{ {', '.join(self.some(APART4))} }}; }}\n"
            )
            out += (
                "  set four_any { type ipv4_addr; flags timeout; elements = { 192.168.10.9, 10.9.0.7 timeout 1h }; }\n"
            )
            out += "  set triple { type ifname . ipv4_addr . inet_service; flags interval; elements = { eth0 . 192.168.10.0/24 . 1-1024, eth1 . 10.9.0.7 . 3678 }; }\n"
            out += "  set seen4 { type ipv4_addr; flags dynamic,timeout; timeout 1m; elements = { 192.168.10.9 }; }\n"
            out += "  set meter4 { type ipv4_addr; flags dynamic; }\n"
            out += "  map verdicts { type ipv4_addr : verdict; flags interval; elements = { 192.168.10.0/25 : accept, 10.9.0.7 : drop, 203.0.113.0-203.0.113.9 : continue }; }\n"
        if both or self.family == "ip6":
            out += f"  set six {{ type ipv6_addr; flags interval; elements = {{ {', '.join(self.some(APART6))} }}; }}\n"
            out += "  set six_any { type ipv6_addr; elements = { fd00:10::9, fe80::9, 2001:db8::1 }; }\n"
        return out

    def table(self, family: str, name: str, *, small: bool) -> str:
        """One table."""
        self.family = family
        self.chains = [f"c{n}" for n in range(1, self.random.randint(1, 4))]
        out = f"table {family} {name} {{\n" + self.sets()
        for number in range(len(self.chains), 0, -1):
            out += self.chain(f"c{number}", number)
        if family == "netdev":
            dev, priority = self.pick("eth0", "eth1"), self.pick("-500", "0", "20")
            head = f'type filter hook ingress device "{dev}" priority {priority}; policy {self.pick("accept", "accept", "drop")};'
            return out + self.chain("ingress", 0, head, "ingress", 3) + "}\n"
        hooks = ["input", *(h for h in ("prerouting", "forward", "postrouting") if self.chance(0.15 if small else 0.3))]
        hooks += ["input"] if self.chance(0.25) else []
        for number, hook in enumerate(hooks):
            at = self.random.choice(HOOKS[hook])
            policy = self.pick("accept", "drop") if hook in ("input", "forward") else self.pick(*["accept"] * 5, "drop")
            out += self.chain(f"{hook}{number}", 0, f"type filter hook {hook} priority {at}; policy {policy};", hook)
        if self.chance(0.2):
            raw = self.pick("tcp dport 3678", "udp dport 5353", 'iifname "eth0"', "th sport 443")
            out += f"  chain raw {{\n    type filter hook prerouting priority -300; policy accept;\n    {raw} notrack\n  }}\n"
        for number in range(self.random.choice([0, 0, 1, 2])):
            out += self.nat(number)
        return out + "}\n"

    def text(self) -> str:
        """A whole ruleset: one or several tables of several families."""
        names = [
            self.pick("inet", "inet", "inet", "ip", "ip6"),
            *(f for f in ("ip", "ip6", "netdev", "inet") if self.chance(0.15)),
        ]
        return "".join(self.table(f, f"{f}_{n}", small=n > 0) for n, f in enumerate(names))
