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
from librespot_guard.firewall.model_beyond import (
    Connlimit,
    Exthdr,
    ExthdrSet,
    Hash,
    Numgen,
    Osf,
    Quota,
    Route,
    Socket,
    Tunnel,
    Xfrm,
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
            return _beyond_text(expr)


# the names that nft has for extension headers and options, by `Exthdr.op`
_HEADERS: dict[str, dict[int, str]] = {
    "ipv6": {0: "hbh", 43: "rt", 44: "frag", 51: "ah", 60: "dst", 135: "mh"},
    "tcp": {
        0: "eol", 1: "nop", 2: "maxseg", 3: "window", 4: "sack-perm", 5: "sack", 8: "timestamp", 30: "mptcp",
        34: "fastopen", 19: "md5sig",
    },
    "ip": {7: "rr", 131: "lsrr", 137: "ssrr", 148: "ra"},
}  # fmt: skip
_OPTIONS = {"ipv6": "exthdr", "tcp": "tcp option", "ip": "ip option", "sctp": "sctp chunk", "dccp": "dccp option"}


def _header(op: str, kind: int) -> str:
    return f"{_OPTIONS[op]} {_HEADERS.get(op, {}).get(kind, kind)}"


def _modulo(modulus: int, offset: int) -> str:
    return f"mod {modulus}" + (f" offset {offset}" if offset else "")


def _beyond_text(expr: Expr) -> str:
    match expr:
        case Exthdr(op, kind, offset, length, dreg, present):
            what = "exists" if present else f"load {length}b @ {offset}"
            return f"{_header(op, kind)} {what} => reg {dreg}"
        case ExthdrSet(op, kind, _, _, None):
            return f"reset {_header(op, kind)}"
        case ExthdrSet(op, kind, offset, length, sreg):
            return f"{_header(op, kind)} write reg {sreg} => {length}b @ {offset}"
        case Socket(key, dreg, level):
            return f"socket {key}{'' if level is None else f' level {level}'} => reg {dreg}"
        case Route(key, dreg):
            return f"rt {key} => reg {dreg}"
        case Numgen(mode, modulus, offset, dreg):
            return f"numgen {mode} {_modulo(modulus, offset)} => reg {dreg}"
        case Hash("symhash", modulus, offset, dreg):
            return f"symhash {_modulo(modulus, offset)} => reg {dreg}"
        case Hash(mode, modulus, offset, dreg, sreg, length, seed):
            drawn = "" if seed is None else f" seed {seed:#x}"
            return f"{mode} reg {sreg} {length}b {_modulo(modulus, offset)}{drawn} => reg {dreg}"
        case Osf(dreg, ttl, version):
            return f"osf{('', ' ttl loose', ' ttl skip')[min(ttl, 2)]} {'version' if version else 'name'} => reg {dreg}"
        case Quota(size, over):
            return f"quota {'over' if over else 'until'} {size} bytes"
        case Connlimit(count, over):
            return f"ct count {'over ' if over else ''}{count}"
        case Tunnel(key, dreg):
            return f"tunnel {key} => reg {dreg}"
        case Xfrm(key, direction, index, dreg):
            return f"ipsec {direction} spnum {index} {key} => reg {dreg}"
        case _:
            raise AssertionError(expr)


# references to named objects that are no more than their inline form
_NAMED = {
    "objref quota": "a named quota: how many bytes passed before",
    "objref limit": "a named rate limit: it depends on the packets before",
    "objref connlimit": "how many connections there are: a named `ct count`",
}


def depends(expr: Expr) -> str:
    """On what beside the packet it depends whether, or what, an expression matches: for people, without the rule."""
    match expr:
        case Quota():
            return "a quota: how many bytes passed before"
        case Connlimit():
            return "how many connections there are: `ct count`"
        case Numgen("random"):
            return "chance: `numgen random`"
        case Numgen():
            return "how many packets came before: `numgen inc`"
        case Hash("symhash"):
            return "chance: `symhash`, whose key the kernel keeps to itself"
        case Hash(seed=None):
            return "chance: `jhash`, whose seed the kernel keeps to itself"
        case Hash():
            return "a hash of the packet: `jhash`"
        case Osf():
            return "which operating system a SYN looks like: `osf`"
        case Socket(key):
            return f"which socket waits for the packet: `socket {key}`"
        case Route(key):
            return f"by which route the packet goes: `rt {key}`"
        case Tunnel(key):
            return f"by which tunnel the packet came: `tunnel {key}`"
        case Xfrm(_, direction):
            return f"IPsec, which is not analysed: `ipsec {direction}`"
        case Exthdr(op, kind) | ExthdrSet(op, kind):
            return f"what the sender puts into `{_header(op, kind)}`"
        case Unknown(name):
            return _NAMED.get(name, f"the expression `{name}` is not analysed")
        case _:
            raise AssertionError(expr)
