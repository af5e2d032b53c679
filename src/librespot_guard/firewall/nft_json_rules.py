"""One rule of `nft -j`, statement by statement, to the model.

A condition that is not understood becomes an `Unknown` that may match or not; a statement that is not understood one that may do
anything. Neither is ever left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

from librespot_guard.firewall import nft_json_sets as sets
from librespot_guard.firewall.data import ALL_SLOTS
from librespot_guard.firewall.model import (
    VERDICT,
    Bitwise,
    Cmp,
    Expr,
    Immediate,
    Range,
    Unknown,
)
from librespot_guard.firewall.nft_json_code import Code, Loaded, keys, only, ordered, shown
from librespot_guard.firewall.nft_json_load import load, presence
from librespot_guard.firewall.nft_json_place import Place, Reading, look_up, look_up_anonymous, look_up_map
from librespot_guard.firewall.nft_json_statements import STATEMENTS
from librespot_guard.firewall.nft_json_types import (
    Unsupported,
    number,
    wildcard,
)

_OPS = {"==": "eq", "!=": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def rule(place: Place, statements: Any, xt: Callable[[int, str, str], Sequence[Expr] | None]) -> list[tuple[Expr, ...]]:
    """The instructions of a rule, and of the rules that it might be as well.

    `xt(position, kind, name)` gives the instructions of an iptables extension if another listing shows its parameters; `position`
    counts the extensions of this kind and name within the rule.
    """
    reading = Reading(place, Code(place.family, place.interfaces))
    code = reading.code
    if not isinstance(statements, list):
        return [(Unknown(f"nft -j: {shown(statements)}", b"", terminal=True, writes=ALL_SLOTS),)]
    seen: dict[tuple[str, str], int] = {}
    for statement in statements:
        if isinstance(statement, dict) and list(statement) == ["xt"]:
            code.exprs += _xt(statement["xt"], seen, xt)
            continue
        _statement(reading, statement)
        if place.old and code.lost:
            code.exprs += [Unknown(f"nft -j: {reason}", b"") for reason in dict.fromkeys(code.lost)]
        code.lost.clear()
    return [tuple(code.exprs), *reading.variants]


def _xt(
    body: Any, seen: dict[tuple[str, str], int], xt: Callable[[int, str, str], Sequence[Expr] | None]
) -> Sequence[Expr]:
    kind, name = "?", "?"
    if isinstance(body, dict):
        kind, name = str(body.get("type", "?")), str(body.get("name", "?"))
    position = seen.get((kind, name), 0)
    seen[kind, name] = position + 1
    found = xt(position, kind, name)
    if found is not None:
        return found
    # nft prints no parameters of an extension, in no version
    match_only = kind == "match"
    return [Unknown(f"xt {kind} {name}", b"", terminal=not match_only, writes=() if match_only else ALL_SLOTS)]


def _statement(reading: Reading, statement: Any) -> None:
    code = reading.code
    before = len(code.exprs)
    try:
        name, body = only(statement)
        if (decided := sets.verdict(statement)) is not None and name != "queue":
            code.exprs.append(Immediate(VERDICT, decided))
        else:
            _STATEMENTS.get(name, _foreign(name))(reading, body)
    except Unsupported as error:
        match_only = isinstance(statement, dict) and list(statement) == ["match"]
        # guards stay: they were found before what was not understood, and nft puts them into the rule as well
        del code.exprs[before + _guards(code.exprs[before:]) :]
        code.exprs.append(
            Unknown(f"nft -j: {error}", b"", terminal=not match_only, writes=() if match_only else ALL_SLOTS)
        )


def _foreign(name: str) -> Callable[[Reading, Any], None]:
    def read(_reading: Reading, _body: Any) -> None:
        raise Unsupported(f"the statement `{name}`")

    return read


def _guards(exprs: list[Expr]) -> int:
    """How many of the instructions are whole guards (a load and its comparison)."""
    count = 0
    while count + 1 < len(exprs) and isinstance(exprs[count + 1], Cmp) and getattr(exprs[count], "key", "") in (
        "nfproto", "protocol", "l4proto", "iiftype",
    ):  # fmt: skip
        count += 2
    return count


def _match(reading: Reading, body: Any) -> None:
    body = keys(body, ("left", "right"), ("op",))
    code, op, right = reading.code, body.get("op", "=="), body["right"]
    left = body["left"]
    if isinstance(right, str) and right.startswith("@") and len(right) > 1:
        look_up(reading, left, right[1:], None, inverted=op == "!=")
    elif isinstance(right, dict) and list(right) == ["set"]:
        look_up_anonymous(reading, left, sets.set_body(right), inverted=op == "!=")
    elif isinstance(left, dict) and list(left) == ["concat"]:
        look_up_anonymous(reading, left, [right], inverted=op == "!=")
    else:
        value = load(code, left)
        asked = isinstance(left, dict) and list(left) in (["fib"], ["tcp option"])
        if isinstance(right, bool) and asked and value.kind.name != "boolean":
            value = presence(code, value)
        _compare(code, value, op, right)


def _compare(code: Code, value: Loaded, op: str, right: Any) -> None:
    slot = value.slot
    if op in ("in", "!") and value.kind.flags:
        bits = value.constant(number(value.kind, right, code.interfaces))
        code.exprs.append(Bitwise("mask-xor", slot, slot, value.size, bits, bytes(value.size)))
        code.exprs.append(Cmp("neq" if op == "in" else "eq", slot, bytes(value.size)))
        return
    if op == "in":
        op = "=="
    if op not in _OPS:
        raise Unsupported(f"the operator `{op}`")
    if value.kind.name == "ifname" and (start := wildcard(right)) is not None:
        if op not in ("==", "!="):
            raise Unsupported(f"`{op}` with a wildcard")
        code.exprs.append(Cmp(_OPS[op], slot, start))
        return
    low, high = sets.bounds(value.kind, right, code.interfaces)
    if low == high and op in ("==", "!="):
        code.exprs.append(Cmp(_OPS[op], slot, value.constant(low)))
        return
    ordered(code, value)
    first, last = _network_order(value, low), _network_order(value, high)
    if op in ("==", "!="):
        code.exprs.append(Range(_OPS[op], slot, first, last))
    elif low != high:
        raise Unsupported(f"`{op}` with a range")
    else:
        code.exprs.append(Cmp(_OPS[op], slot, first))


def _network_order(value: Loaded, constant: int) -> bytes:
    return value.constant(constant) if value.length else constant.to_bytes(value.kind.length, "big")


def _vmap(reading: Reading, body: Any) -> None:
    look_up_map(reading, body, VERDICT, None)


_STATEMENTS: dict[str, Callable[[Reading, Any], None]] = {"match": _match, "vmap": _vmap, **STATEMENTS}
