"""Hosts for the check of interfaces that are created later."""

from audit.case import SAFE, clean, has, speaker
from audit.hosts import ACCEPT, DROP, PORT, connect, filters, home_only, table, tcp, to, v4
from librespot_guard.firewall.model import Cmp, Expr, Meta
from librespot_guard.snapshot import ServiceListener


def iifname(name: str, op: str = "eq") -> tuple[Expr, ...]:
    """`iifname NAME`, or `iifname != NAME`; a beginning of names ends with "*"."""
    data = name[:-1].encode() if name.endswith("*") else name.encode().ljust(16, b"\0")
    return (Meta("iifname", 0), Cmp(op, 0, data))


CASES = (
    has("LG408", "a wildcard", "medium", "a name like `wg*` (asked as `wg0`): any IPv4 address except 192.168.10.0/24 would get in",
        rules=filters(table((*v4(), *to("tcp", PORT), ACCEPT), (*iifname("wg*"), ACCEPT)))),
    has("LG408", "everything but one", "medium", "any other name (asked as `usb0`): any IPv4 address",
        rules=filters(table((*iifname("eth0", "neq"), *to("tcp", PORT), ACCEPT)))),
    has("LG408", "one that is gone", "low", "an interface `docker0`: any IPv4 address", "by inet filter input:",
        rules=filters(table((*iifname("docker0"), ACCEPT)))),
    clean("LG408", "one that is there", rules=filters(table((*iifname("eth0"), ACCEPT)))),
    clean("LG408", "another port", rules=filters(table((*iifname("wg*"), *to("tcp", PORT + 1), ACCEPT)))),
    clean("LG408", "denied before", rules=filters(table((*to("tcp", PORT), DROP), (*iifname("wg*"), ACCEPT)))),
    clean("LG408", "a rule that says no more", rules=filters(table((*iifname("wg*"), *v4(), ACCEPT), (*v4(), ACCEPT)))),
    clean("LG408", "our own, which the policy explains", rules=filters(table((*iifname("wg0"), ACCEPT), name="librespot_guard"))),
    clean("LG408", "on loopback", of=speaker(listeners=(ServiceListener(tcp(3678, "127.0.0.1"), "api", pinned=True, any_host=False), connect(address="127.0.0.1"))),
          rules=filters(table((*iifname("wg*"), ACCEPT)))),
    clean("LG408", "no names at all", rules=filters(home_only())),
    clean("LG408", "safe", rules=SAFE),
)  # fmt: skip
