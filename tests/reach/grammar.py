"""Random rulesets in nft's language, from a grammar over the expressions that the engine claims to know.

Every ruleset loads on nft 1.0.6. Numbers come from a small world (two networks, a few ports), so that rules meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

_NETS4 = [
    "192.168.10.0/24",
    "192.168.10.64/26",
    "192.168.30.0/24",
    "10.0.0.0/8",
    "10.1.2.3",
    "192.168.10.9",
    "203.0.113.0/24",
    "0.0.0.0/1",
]
_NETS6 = ["fd00:10::/64", "fd00:10::9", "fd00:30::/64", "2001:db8::/32", "2001:db8:1::5", "fe80::/10", "8000::/1"]
PORTS = [3678, 5353, 80, 8080]


class Grammar:
    """One random ruleset: call `text()`."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.chains: list[str] = []

    def pick(self, *options: str) -> str:
        """One of the options."""
        return self.random.choice(options)

    def some(self, options: list[str], most: int = 4) -> list[str]:
        """A few of the options, none twice."""
        return self.random.sample(options, self.random.randint(1, min(most, len(options))))

    def ports(self) -> str:
        """Ports as one, a set or a range."""
        port = str(self.random.choice(PORTS))
        return self.pick(port, port, "{ " + ", ".join(self.some([str(p) for p in PORTS])) + " }", "1024-5000", "!= 80")

    def addresses(self, networks: list[str]) -> str:
        """Addresses as one, a set, a range, or negated."""
        hosts = [n for n in networks if "/" not in n]
        apart = [n for n in self.some(networks, 3) if not n.endswith("/1")] or [hosts[0]]
        kept = [
            n
            for n in apart
            if not any(
                n != m and n.split(":")[:2] == m.split(":")[:2] and n.split(".")[:3] == m.split(".")[:3] for m in apart
            )
        ] or [apart[0]]
        if any(n.startswith("10.") for n in kept):
            kept = [n for n in kept if not n.startswith("10.")] + ["10.1.2.3"]
        low, high = ("192.168.10.20", "192.168.10.77") if "." in networks[0] else ("fd00:10::20", "fd00:10::77")
        return self.pick(
            self.random.choice(networks),
            self.random.choice(networks),
            "!= " + self.random.choice(networks),
            "{ " + ", ".join(kept) + " }",
            f"{low}-{high}",
        )

    def match(self) -> str:
        """One condition."""
        kind = self.random.randrange(23)
        matches: list[Callable[[], str]] = [
            lambda: f"ip saddr {self.addresses(_NETS4)}",
            lambda: f"ip saddr {self.addresses(_NETS4)}",
            lambda: f"ip6 saddr {self.addresses(_NETS6)}",
            lambda: f"ip6 saddr {self.addresses(_NETS6)}",
            lambda: f"tcp dport {self.ports()}",
            lambda: f"tcp dport {self.ports()}",
            lambda: f"udp dport {self.ports()}",
            lambda: f"tcp sport {self.pick('443', '1-1023', '!= 443')}",
            lambda: (
                f"iifname {self.pick(chr(34) + 'eth0' + chr(34), chr(34) + 'eth1' + chr(34), chr(34) + 'eth*' + chr(34), '!= ' + chr(34) + 'lo' + chr(34), '{ ' + chr(34) + 'eth0' + chr(34) + ', ' + chr(34) + 'wlan0' + chr(34) + ' }')}"
            ),
            lambda: f"meta l4proto {self.pick('tcp', 'udp', '{ tcp, udp }', '!= tcp')}",
            lambda: f"meta nfproto {self.pick('ipv4', 'ipv6')}",
            lambda: f"ct state {self.pick('new', 'established,related', '{ new, untracked }', 'invalid', '!= new')}",
            lambda: f"ip daddr {self.pick('192.168.10.2', '192.168.30.2', '192.168.10.0/24')}",
            lambda: f"ip6 daddr {self.pick('fd00:10::2', 'fd00:30::2')}",
            lambda: f"meta mark {self.pick('0', '1', '!= 1', '1-3', 'and 2 == 2')}",
            lambda: f"tcp flags {self.pick('syn', '& (fin|syn|rst|ack) == syn', '& ack == 0', '& (ack|rst) != 0')}",
            lambda: f"ip ttl {self.pick('64', '< 5', '> 200')}",
            lambda: f"fib daddr type {self.pick('local', 'unicast')}",
            lambda: f"fib saddr . iif oif {self.pick('missing', 'exists')}",
            lambda: "ip saddr . tcp dport { 192.168.10.9 . 3678, 10.0.0.0/8 . 80-90 }",
            lambda: "ip saddr . ip daddr { 192.168.10.9 . 192.168.10.2, 10.1.2.3 . 192.168.30.2 }",
            lambda: f"{self.pick('ip', 'ip6')} saddr @{{family}}",
            lambda: f"iif {self.pick('eth0', 'eth1')} tcp sport 1000-2000",
        ]
        text = matches[kind]()
        if "{family}" in text:
            text = "ip saddr @four" if text.startswith("ip ") else "ip6 saddr @six"
        return text

    def statement(self, *, depth: int, hook: str | None) -> str:
        """What a rule does."""
        options = [
            "accept",
            "accept",
            "drop",
            "drop",
            "counter",
            "return",
            "meta mark set 1",
            "meta mark set 2",
            "reject" if hook == "input" else "drop",
        ]
        below = [c for c in self.chains if c > f"c{depth}"]
        if below:
            options += [f"jump {self.random.choice(below)}", f"goto {self.random.choice(below)}"]
        return self.random.choice(options)

    def rule(self, *, depth: int, hook: str | None) -> str:
        """One rule."""
        special = self.random.random()
        if special < 0.06:
            return "ip saddr vmap { 192.168.10.0/26 : accept, 10.0.0.0/8 : drop, 192.168.30.9 : continue }"
        if special < 0.1:
            return "tcp dport vmap { 3678 : accept, 80-90 : drop }"
        if special < 0.13:
            return "meta mark set ip saddr map { 192.168.10.9 : 1, 10.1.2.3 : 2 }" if hook != "raw" else "counter"
        parts = [self.match() for _ in range(self.random.choice([0, 1, 1, 2, 2, 3]))]
        # nft refuses contradictions of families and protocols within one rule
        if any(p.startswith(("ip ", "meta nfproto ipv4")) for p in parts):
            parts = [p for p in parts if not p.startswith(("ip6", "meta nfproto ipv6"))]
        if any("tcp " in p and not p.startswith("meta") for p in parts):
            parts = [p for p in parts if not p.startswith(("udp", "meta l4proto"))]
        parts = list(dict.fromkeys(parts))
        return " ".join([*parts, self.statement(depth=depth, hook=hook)])

    def chain(self, name: str, depth: int, hook: str | None, head: str = "") -> str:
        """One chain."""
        rules = [self.rule(depth=depth, hook=hook) for _ in range(self.random.randint(1, 6))]
        return (
            f"  chain {name} {{\n" + (f"    {head}\n" if head else "") + "".join(f"    {r}\n" for r in rules) + "  }\n"
        )

    def text(self) -> str:
        """A whole ruleset."""
        self.chains = [f"c{n}" for n in range(1, self.random.randint(1, 4))]
        policy = self.pick("accept", "drop")
        out = "table inet t {\n"
        out += "  set four { type ipv4_addr; flags interval; elements = { 192.168.10.128/25, 10.1.0.0/16 }; }\n"
        out += "  set six { type ipv6_addr; flags interval; elements = { fd00:10::/96, 2001:db8::/40 }; }\n"
        for number in range(len(self.chains), 0, -1):
            out += self.chain(f"c{number}", number, None)
        if self.random.random() < 0.3:
            prerouting = self.chain("pre", 0, "pre", "type filter hook prerouting priority -150; policy accept;")
            out += prerouting
        if self.random.random() < 0.2:
            out += "  chain raw {\n    type filter hook prerouting priority -300; policy accept;\n"
            out += f"    {self.match_raw()} notrack\n  }}\n"
        if self.random.random() < 0.35:
            out += "  chain nat {\n    type nat hook prerouting priority " + self.pick("-100", "-100", "-190", "50")
            out += "; policy accept;\n"
            out += f"    {self.pick('tcp dport 8080 redirect to :3678', 'tcp dport { 80, 8080 } redirect to :3678', 'ip saddr 192.168.10.0/24 udp dport 80 redirect to :5353')}\n  }}\n"
        out += self.chain("input", 0, "input", f"type filter hook input priority 0; policy {policy};")
        if self.random.random() < 0.3:
            out += self.chain("second", 0, "input", "type filter hook input priority 10; policy accept;")
        return out + "}\n"

    def match_raw(self) -> str:
        """A condition that makes sense before connection tracking."""
        return self.pick("tcp dport 3678", "ip saddr 192.168.10.0/24", 'iifname "eth0"', "udp dport 5353")
