"""Verdicts that lead to a chain which is not there. The kernel has none; a dump or listing that was cut or edited may."""

from collections.abc import Iterable, Iterator

from librespot_guard.errors import InputError
from librespot_guard.firewall.model import Immediate, Rule, Table, Verdict


def check(tables: Iterable[Table], source: str) -> None:
    """Raise InputError for the first verdict that leads nowhere."""
    for table in tables:
        names = {chain.name for chain in table.chains}
        for verdict in _verdicts(table):
            if verdict.chain and verdict.chain not in names:
                raise InputError(
                    f"{source}: table {table.family} {table.name} goes to the chain `{verdict.chain}`, which it does not hold",
                    hint="it may be cut: write it again",
                )


def _verdicts(table: Table) -> Iterator[Verdict]:
    for chain in table.chains:
        for rule in chain.rules:
            yield from _of_rule(rule)
    for each in table.sets:
        for element in each.elements:
            if isinstance(element.data, Verdict):
                yield element.data


def _of_rule(rule: Rule) -> Iterator[Verdict]:
    for expr in rule.exprs:
        if isinstance(expr, Immediate) and isinstance(expr.data, Verdict):
            yield expr.data
