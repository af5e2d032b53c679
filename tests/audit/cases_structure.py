"""Hosts for the checks of the rules' structure."""

from dataclasses import replace

from audit.case import SAFE, clean, has
from audit.hosts import ACCEPT, DROP, PORT, filters, home_only, host, librespot, table, tcp, to
from librespot_guard.firewall.model import (
    VERDICT,
    Chain,
    Cmp,
    Ct,
    Element,
    Expr,
    Hook,
    Immediate,
    Lookup,
    Meta,
    Payload,
    Rule,
    Set,
    Table,
    Verdict,
)

JUMP = Immediate(VERDICT, Verdict("jump", "DOCKER-USER"))
USER = Chain("DOCKER-USER", 9, (Rule(10, (*to("tcp", PORT), DROP)),))
FORWARD = Chain("FORWARD", 3, (Rule(11, (JUMP,)),), Hook("forward", 0, "drop"))
ONE = ({"eth0": ("192.168.10.2/24",)}, {"eth0": ("192.168.10.2/24", "fd00:10::2/64")})


def reply(port: int, *more: Expr) -> tuple[Expr, ...]:
    """`udp sport PORT … accept`."""
    return (
        Meta("l4proto", 0),
        Cmp("eq", 0, b"\x11"),
        Payload("transport", 0, 2, 0),
        Cmp("eq", 0, port.to_bytes(2, "big")),
        *more,
        ACCEPT,
    )


NEW = (Ct("state", 0), Cmp("eq", 0, b"\x02\0\0\0"))
DPORT = (Payload("transport", 2, 2, 0), Cmp("eq", 0, b"\x14\xe9"))
BY_MAP = Set("m", 1, 2, (Element(b"\0\x16", data=Verdict("jump", "DOCKER-USER")),))

CASES = (
    has("LG401", "DOCKER-USER without its jump", "medium", "ip filter DOCKER-USER holds 1 rule, some of which deny", "Docker's chain",
        rules=filters(Table("ip", "filter", (replace(FORWARD, rules=()), USER)))),
    has("LG401", "nothing denied", "low", "holds 1 rule,",
        rules=filters(Table("inet", "x", (Chain("a", 1, (Rule(1, (ACCEPT,)),)),)))),
    clean("LG401", "jumped to", rules=filters(Table("ip", "filter", (FORWARD, USER)))),
    clean("LG401", "by a map", rules=filters(Table("ip", "filter", (replace(FORWARD, rules=(Rule(1, (Lookup("m", 1, VERDICT),)),)), USER), (BY_MAP,)))),
    clean("LG401", "empty", rules=filters(Table("ip", "filter", (FORWARD, replace(USER, rules=()), Chain("DOCKER", 4, ()))))),
    clean("LG401", "dormant", rules=filters(Table("ip", "filter", (USER,), flags=1))),
    has("LG402", "DNS replies", "high", "source port 53", "inet filter input", "established,related", rules=filters(table(reply(53)))),
    clean("LG402", "with a state", rules=filters(table(reply(53, *NEW)))),
    clean("LG402", "with a destination", rules=filters(table(reply(5353, *DPORT)))),
    clean("LG402", "not on the way in", rules=filters(Table("inet", "o", (Chain("o", 1, (Rule(1, reply(53)),), Hook("output", 0)),)))),
    clean("LG402", "safe"),
    has("LG403", "ip only", "high", f"tcp/{PORT}", "fd00:10::2", rules=filters(table((*to("tcp", PORT), DROP), family="ip", policy="accept"))),
    clean("LG403", "both", rules=filters(*(table((*to("tcp", PORT), DROP), family=f, policy="accept") for f in ("ip", "ip6")))),
    clean("LG403", "IPv6 dropped by policy",
          rules=filters(table((*to("tcp", PORT), DROP), family="ip"), table(family="ip6", policy="drop"))),
    clean("LG403", "no IPv6 address", of=host(librespot(), networks=ONE[0]),
          rules=filters(table((*to("tcp", PORT), DROP), family="ip", policy="accept"))),
    clean("LG403", "nothing listens", of=host(librespot(), listeners=(tcp(1234),)),
          rules=filters(table((*to("tcp", PORT), DROP), family="ip", policy="accept"))),
    clean("LG403", "safe", rules={**SAFE, **filters(home_only())}),
)  # fmt: skip
