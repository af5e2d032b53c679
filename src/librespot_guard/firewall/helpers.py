"""Which conntrack helpers rules assign to flows, and what a helper then lets in.

A helper reads an address and a port out of the payload of a flow and expects a flow there, which conntrack calls related. Only those are
named here whose port the far end chooses, in text that it sends or makes somebody send: net/netfilter/nf_conntrack_NAME.c
(`nf_ct_expect_init`). Those that expect an answer to a port of their own flow (tftp, netbios-ns, snmp) open nothing else.
"""

from collections.abc import Iterator

from librespot_guard.firewall.attributes import Attributes, Malformed
from librespot_guard.firewall.model import Cmp, Ct, Rule, Table, Unknown, Xt

OPENS: dict[str, tuple[str, ...]] = {
    "ftp": ("tcp",),
    "irc": ("tcp",),
    "amanda": ("tcp",),
    "sip": ("udp", "tcp"),
    "RAS": ("tcp",),
    "Q.931": ("tcp", "udp"),
    "H.245": ("tcp", "udp"),
}
"""The protocols of the flows that a helper expects, by the kernel's name of it."""

_OBJECT = "objref ct helper"
_OBJECT_NAME = 2  # NFTA_OBJREF_IMM_NAME
_XT_NAME = slice(12, 28)  # xt_ct_target_info.helper


def assigned(table: Table, rule: Rule, byteorder: str) -> tuple[str, ...]:
    """The helpers that a rule gives to flows; where the rule does not tell which, those of its table."""
    return tuple(dict.fromkeys(name for name in _assigned(table, rule, byteorder) if name))


def _assigned(table: Table, rule: Rule, byteorder: str) -> Iterator[str]:
    known = dict(table.helpers)
    for expr in rule.exprs:
        if isinstance(expr, Unknown) and expr.name == _OBJECT and (wanted := _named(expr.raw, byteorder)):
            yield known.get(wanted, "")
        elif isinstance(expr, Unknown) and expr.name in (_OBJECT, "objref map ct helper"):
            yield from known.values()
        elif isinstance(expr, Xt) and (expr.kind, expr.name) == ("target", "CT"):
            yield _text(expr.info[_XT_NAME])


def _named(raw: bytes, byteorder: str) -> str:
    try:
        return Attributes(raw, byteorder).text(_OBJECT_NAME, "")
    except Malformed:
        return ""


def asked(rule: Rule) -> str | None:
    """The helper that a rule asks for (`ct helper "ftp"`); None if it does not ask, or asks in another way."""
    at = None
    for expr in rule.exprs:
        if isinstance(expr, Ct) and expr.key == "helper":
            at = expr.dreg
        elif isinstance(expr, Cmp) and expr.op == "eq" and expr.sreg == at:
            return _text(expr.data)
        elif isinstance(expr, Xt) and (expr.kind, expr.name) == ("match", "helper"):
            return _text(expr.info[4:])  # xt_helper_info: an int, and the name
    return None


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii", "replace")
