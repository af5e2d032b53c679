"""A rule in words: as `nft` printed it, or else its bytecode on one line in the manner of `nft --debug=netlink`."""

from librespot_guard.firewall.model import (
    VERDICT,
    Bitwise,
    Byteorder,
    Cmp,
    Ct,
    CtSet,
    Dynset,
    Expr,
    Fib,
    Immediate,
    Limit,
    Lookup,
    Masquerade,
    Meta,
    MetaSet,
    Nat,
    Notrack,
    Pass,
    Payload,
    PayloadSet,
    Range,
    Redirect,
    Reject,
    Rule,
    Unknown,
    Verdict,
    Xt,
)

_FIB_FLAGS = ("saddr", "daddr", "mark", "iif", "oif", "present")


def rule_text(rule: Rule) -> str:
    """One line: the text of `nft` if it is known, else the expressions of the rule."""
    if rule.text is not None:
        return rule.text
    words = " ".join(f"[ {expression_text(e)} ]" for e in rule.exprs) or "[ ]"
    return words if rule.comment is None else f'{words} comment "{rule.comment}"'


def _hex(data: bytes) -> str:
    return "0x" + data.hex() if data else "(empty)"


def _verdict(verdict: Verdict) -> str:
    return verdict.kind if verdict.chain is None else f"{verdict.kind} {verdict.chain}"


def _register(slot: int) -> str:
    return "verdict" if slot == VERDICT else f"reg {slot}"


def _ports(low: int | None, high: int | None) -> str:
    return "" if low is None else f" port reg {low}" + ("" if high in (None, low) else f"-reg {high}")


def expression_text(expr: Expr) -> str:
    """One expression; registers are named by their 4-byte slot."""
    match expr:
        case Payload(base, offset, length, dreg):
            return f"payload load {length}b @ {base} header + {offset} => reg {dreg}"
        case PayloadSet(base, offset, length, sreg):
            return f"payload write reg {sreg} => {length}b @ {base} header + {offset}"
        case Meta(key, dreg):
            return f"meta load {key} => reg {dreg}"
        case MetaSet(key, sreg):
            return f"meta set {key} with reg {sreg}"
        case Cmp(op, sreg, data):
            return f"cmp {op} reg {sreg} {_hex(data)}"
        case Bitwise("mask-xor", sreg, dreg, _, mask, xor):
            return f"bitwise reg {dreg} = ( reg {sreg} & {_hex(mask)} ) ^ {_hex(xor)}"
        case Bitwise(op, sreg, dreg) if op in ("lshift", "rshift"):
            return f"bitwise reg {dreg} = ( reg {sreg} {'<<' if op == 'lshift' else '>>'} {expr.shift} )"
        case Bitwise(op, sreg, dreg):
            return f"bitwise reg {dreg} = ( reg {sreg} {op} {_hex(expr.mask) if expr.sreg2 is None else f'reg {expr.sreg2}'} )"
        case Byteorder(op, sreg, dreg, length, size):
            return f"byteorder reg {dreg} = {op}(reg {sreg}, {size}, {length})"
        case Range(op, sreg, low, high):
            return f"range {op} reg {sreg} {_hex(low)} {_hex(high)}"
        case Lookup(name, sreg, dreg, inverted):
            target = "" if dreg is None else f" => {_register(dreg)}"
            return f"lookup reg {sreg} set {name}{target}{' (inverted)' if inverted else ''}"
        case Immediate(_, data) if isinstance(data, Verdict):
            return f"verdict {_verdict(data)}"
        case Immediate(dreg, data) if isinstance(data, bytes):
            return f"immediate reg {dreg} {_hex(data)}"
        case Ct(key, dreg, direction):
            return f"ct load {key} => reg {dreg}{'' if direction is None else (', dir original', ', dir reply')[direction & 1]}"
        case CtSet(key, sreg):
            return f"ct set {key} with reg {sreg}"
        case Fib(flags, result, dreg):
            read = " . ".join(name for bit, name in enumerate(_FIB_FLAGS) if flags >> bit & 1)
            return f"fib {read} {result} => reg {dreg}"
        case _:
            return _statement_text(expr)


def _statement_text(expr: Expr) -> str:
    match expr:
        case Limit(rate, unit, burst, inverted, kind):
            return f"limit rate {'over ' if inverted else ''}{rate}/{unit}s burst {burst} {kind}"
        case Reject(kind, code):
            return f"reject {kind}" if kind == "tcp-reset" else f"reject {kind} code {code}"
        case Nat(kind, family, low, high, port_low, port_high, flags):
            address = "" if low is None else f" addr reg {low}" + ("" if high in (None, low) else f"-reg {high}")
            return f"nat {kind} {family}{address}{_ports(port_low, port_high)}" + (
                f" flags {flags:#x}" if flags else ""
            )
        case Redirect(low, high, flags):
            return f"redirect{_ports(low, high)}" + (f" flags {flags:#x}" if flags else "")
        case Masquerade():
            return "masquerade"
        case Notrack():
            return "notrack"
        case Pass(name):
            return name
        case Dynset(name, op, sreg, inverted):
            return f"dynset {op} reg {sreg} set {name}{' (inverted)' if inverted else ''}"
        case Xt(kind, name, revision):
            return f"{kind} name {name} rev {revision}"
        case Unknown(name):
            return f"{name} (not understood)"
        case _:
            raise AssertionError(expr)
