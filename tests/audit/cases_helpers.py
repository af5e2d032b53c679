"""Hosts whose rules give flows a conntrack helper, with and without a rule that lets in what it announces."""

from dataclasses import replace

from audit.case import Case, clean, has
from audit.hosts import ACCEPT, filters, home_only, host, librespot, to
from librespot_guard.firewall.model import Bitwise, Chain, Cmp, Ct, Expr, Hook, Rule, Ruleset, Table, Unknown

RELATED = (Ct("state", 0), Bitwise("mask-xor", 0, 0, 4, b"\4\0\0\0", bytes(4)), Cmp("neq", 0, bytes(4)))
# the attributes of `ct helper set "one"`: type (3) and name of the object
_ONE = b"\x08\0\1\0\0\0\0\3" + b"\x08\0\2\0one\0"


def _asks(name: str) -> tuple[Expr, ...]:
    return (Ct("helper", 0), Cmp("eq", 0, name.encode().ljust(16, b"\0")))


def _rules(*related: Expr, helper: str = "ftp", raw: bytes = _ONE) -> dict[str, Ruleset]:
    """The home network's rules, one more of these expressions, and a rule on the way out that gives flows a helper."""
    table = home_only()
    chain = table.chains[0]
    more = replace(chain, rules=(*chain.rules, Rule(99, (*RELATED, *related, ACCEPT))))
    out = Chain("output", 7, (Rule(98, (*to("tcp", 21), Unknown("objref ct helper", raw))),), Hook("output", 0))
    return filters(replace(table, chains=(more, out), helpers=(("one", helper),) if helper else ()))


CASES: tuple[Case, ...] = (
    has("LG504", "ftp", "medium", "inet filter output", "the helper ftp", "tcp [::]:37878 over eth0", rules=_rules()),
    has("LG504", "asked for by name", "medium", rules=_rules(*_asks("ftp"))),
    has("LG504", "which object is not known", "medium", rules=_rules(raw=b"")),
    has(
        "LG504",
        "the old sysctl",
        "medium",
        "nf_conntrack_helper = 1",
        of=host(librespot(), sysctls={"net.netfilter.nf_conntrack_helper": "1"}),
        rules=filters(Table("inet", "f", (Chain("in", 1, (Rule(9, (*RELATED, ACCEPT)),), Hook("input", 0, "drop")),))),
    ),
    clean("LG504", "no helper", rules=_rules(helper="")),
    clean("LG504", "a helper for UDP's own answers", rules=_rules(helper="netbios-ns")),
    clean("LG504", "another helper is asked for", rules=_rules(*_asks("sip"))),
    clean("LG504", "other ports", rules=_rules(*to("tcp", 50000))),
    clean("LG504", "nothing related gets in"),
)
