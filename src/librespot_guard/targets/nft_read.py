"""Read our own table back from the kernel's form: the inverse of `nft_model`.

A table that holds anything that we would not have written is refused (`Foreign`): what is not understood is never guessed.
"""

from ipaddress import ip_address, ip_network

from librespot_guard.firewall.model import (
    VERDICT,
    Bitwise,
    Chain,
    Cmp,
    Expr,
    Immediate,
    Lookup,
    Meta,
    Pass,
    Payload,
    Rule,
    Ruleset,
    Set,
    Table,
    Verdict,
)
from librespot_guard.reach.intervals import WIDTH, IntervalSet
from librespot_guard.targets import nft_model
from librespot_guard.targets.compare import canonical
from librespot_guard.targets.syntax import (
    BASE,
    FAMILY,
    GATE,
    TABLE,
    FromNetwork,
    FromSet,
    GuardChain,
    GuardRule,
    GuardSet,
    GuardTable,
    Iface,
    Known,
    Match,
    NfProto,
    Part,
    Port,
    To,
)

_FAMILY_OF = {value: key for key, value in nft_model.NFPROTO.items()}
_PROTO_OF = {value: key for key, value in nft_model.L4PROTO.items()}


class Foreign(ValueError):  # noqa: N818 - it says what the table is
    """The table is not as this program writes it; the text says where."""


def find(ruleset: Ruleset) -> Table | None:
    """Our table in a ruleset, if it is there."""
    return next((t for t in ruleset.tables if (t.family, t.name) == (FAMILY, TABLE)), None)


def read(table: Table) -> GuardTable:
    """The policies that a table holds. Raises Foreign if it is not exactly a table of ours.

    Chains and sets of a policy that nothing goes to (left over when its gate fell) are left out.
    """
    try:
        confirmed = _goto(table)
        gated = _gated(table)
        parts = {part_id: _part(table, part_id) for part_id in _ids(table)}
        found = GuardTable(parts[confirmed] if confirmed else None, parts[gated] if gated else None)
    except KeyError as error:
        raise Foreign(f"`{error.args[0]}` is missing") from None
    except (ValueError, StopIteration) as error:
        raise Foreign(str(error) or "an unexpected end") from None
    left = {part_id for part_id in parts if part_id not in (confirmed, gated)}
    if canonical(_without(table, left)) != canonical(nft_model.table(found)):
        raise Foreign("its chains, rules or sets are not those that this program writes")
    return found


def _without(table: Table, left: set[str]) -> Table:
    """The table without the parts of these ids."""

    def kept(name: str) -> bool:
        return name.rpartition("_")[2] not in left

    chains = tuple(c for c in table.chains if kept(c.name))
    sets = tuple(s for s in table.sets if kept(s.name))
    return Table(table.family, table.name, chains, sets, table.flags, table.handle, table.flowtables)


def _goto(table: Table) -> str | None:
    base = table.chain(BASE)
    for rule in base.rules:
        match rule.exprs:
            case (Immediate(_, Verdict("goto", str(chain))),):
                return chain.removeprefix("policy_")
    return None


def _gated(table: Table) -> str | None:
    for element in table.set(GATE).elements:
        if isinstance(element.data, Verdict) and element.data.chain:
            return element.data.chain.removeprefix("policy_")
    return None


def _ids(table: Table) -> list[str]:
    return [c.name.removeprefix("policy_") for c in table.chains if c.name.startswith("policy_")]


def _part(table: Table, part_id: str) -> Part:
    chains = tuple(_chain(c) for c in table.chains if c.name.endswith(f"_{part_id}"))
    sets = tuple(_set(s) for s in table.sets if s.name.endswith(f"_{part_id}"))
    return Part(part_id, chains, sets)


def _set(value: Set) -> GuardSet:
    family = next(name for name, number in nft_model.KEY_TYPE.items() if number == value.key_type and name in WIDTH)
    pairs, start = [], None
    for element in sorted(value.elements, key=lambda e: (e.key, not e.interval_end)):
        key = int.from_bytes(element.key, "big")
        if not element.interval_end:
            start = key
        elif start is not None:
            pairs.append((start, key - 1))
            start = None
    if start is not None:
        pairs.append((start, (1 << WIDTH[family]) - 1))
    return GuardSet(value.name, family, IntervalSet.of(pairs))


def _chain(value: Chain) -> GuardChain:
    return GuardChain(value.name, tuple(map(_rule, value.rules)))


def _rule(value: Rule) -> GuardRule:
    rest = list(value.exprs)
    last = rest.pop() if rest else None
    if not isinstance(last, Immediate) or last.dreg != VERDICT or not isinstance(last.data, Verdict):
        raise ValueError("a rule without a verdict")
    counter = bool(rest) and rest[-1] == Pass("counter")
    if counter:
        rest.pop()
    matches = []
    while rest:
        found, used = _match(rest)
        matches.append(found)
        del rest[:used]
    return GuardRule(tuple(matches), last.data, counter, value.comment)


def _match(rest: list[Expr]) -> tuple[Match, int]:
    """The match at the beginning of these expressions, and how many of them it takes."""
    match rest:
        case [Meta("iifname"), Cmp("eq", _, name), *_]:
            return Iface(name.rstrip(b"\0").decode("ascii")), 2
        case [Meta("l4proto"), Cmp("neq", _, nft_model.NO_PROTO), *_]:
            return Known(), 2
        case [Meta("l4proto"), Cmp("eq", _, proto), Payload("transport", nft_model.DPORT, 2), Cmp("eq", _, port), *_]:
            return Port(_PROTO_OF[proto], int.from_bytes(port, "big")), 4
        case [Meta("nfproto"), Cmp("eq", _, raw), Payload("network", offset, _), Lookup(name), *_]:
            return FromSet(_address(raw, offset, nft_model.SOURCE), name), 4
        case [
            Meta("nfproto"),
            Cmp("eq", _, raw),
            Payload("network", offset, _),
            Bitwise(mask=mask),
            Cmp("eq", _, data),
            *_,
        ]:
            _address(raw, offset, nft_model.SOURCE)
            length = int.from_bytes(mask, "big").bit_count()
            return FromNetwork(ip_network((data, length))), 5
        case [Meta("nfproto"), Cmp("eq", _, raw), Payload("network", offset, length), Cmp("eq", _, data), *_]:
            family = _FAMILY_OF[raw]
            if (offset, length) == nft_model.DESTINATION[family]:
                return To(ip_address(data)), 4
            size = nft_model.SOURCE[_address(raw, offset, nft_model.SOURCE)][1]
            return FromNetwork(ip_network((data.ljust(size, b"\0"), 8 * length))), 4
        case [Meta("nfproto"), Cmp("eq", _, raw), *_]:
            return NfProto(_FAMILY_OF[raw]), 2
    raise ValueError(f"an expression that this program does not write: {rest[0]!r}")


def _address(raw: bytes, offset: int, where: dict[str, tuple[int, int]]) -> str:
    family = _FAMILY_OF[raw]
    if where[family][0] != offset:
        raise ValueError("a field that this program does not look at")
    return family
