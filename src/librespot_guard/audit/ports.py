"""Which ports the rules of a table speak of: the destination ports they compare with, and the protocol they do that for.

Encodes how nft compiles `tcp dport 3678` and `tcp dport { … }` (src/payload.c of nftables): load `meta l4proto` and compare it with 6 or 17, load
2 bytes at offset 2 of the transport header, and compare or look them up.
"""

from collections.abc import Iterator

from librespot_guard.firewall.model import Cmp, Lookup, Meta, Payload, Rule, Set, Table

_PROTOCOLS = {6: "tcp", 17: "udp"}


def matched_ports(table: Table) -> set[tuple[str, int]]:
    """Every ("tcp" or "udp", port) that a rule of the table matches by equality or in a set."""
    return {pair for chain in table.chains for rule in chain.rules for pair in _of_rule(table, rule)}


def _of_rule(table: Table, rule: Rule) -> Iterator[tuple[str, int]]:
    protocol: str | None = None
    holds: dict[int, str] = {}
    for expr in rule.exprs:
        match expr:
            case Meta(key=key, dreg=register):
                holds[register] = key
            case Payload(base="transport", offset=2, length=2, dreg=register):
                holds[register] = "dport"
            case Payload(dreg=register):
                holds[register] = "other"
            case Cmp(op="eq", sreg=register, data=data) if holds.get(register) == "l4proto":
                protocol = _PROTOCOLS.get(data[0])
            case Cmp(op="eq", sreg=register, data=data) if holds.get(register) == "dport" and protocol:
                yield protocol, int.from_bytes(data[:2], "big")
            case Lookup(set_name=name, sreg=register, inverted=False) if holds.get(register) == "dport" and protocol:
                yield from ((protocol, port) for port in _keys(table, name))
            case _:
                pass


def _found(table: Table, name: str) -> Set | None:
    return next((s for s in table.sets if s.name == name), None)


def _keys(table: Table, name: str) -> Iterator[int]:
    found = _found(table, name)
    for element in found.elements if found else ():
        if not element.catchall and not element.interval_end:
            yield int.from_bytes(element.key[:2], "big")
