"""The workload of the engine's benchmarks: first-match rules on source, protocol and port, with a fixed seed, as an nftables ruleset.

Sources are prefixes of /12 to /32, mostly /24 and /32 (and as much longer in IPv6); protocol tcp, udp or any; ports one, a range or
any; 28 % of the rules drop a source whole, 3 % name no source, 4 % repeat a rule or narrow one. The default is drop.
"""

import sys
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random

from librespot_guard.firewall.model import (
    VERDICT,
    Bitwise,
    Chain,
    Cmp,
    Ct,
    Expr,
    Hook,
    Immediate,
    Meta,
    Payload,
    Range,
    Rule,
    Ruleset,
    Table,
    Verdict,
)

_PROTOS = {"tcp": 6, "udp": 17}
_INVALID = (1).to_bytes(4, sys.byteorder)  # NF_CT_STATE_INVALID_BIT
_PORTS = (22, 53, 80, 443, 3678, 5353, 8080)
ASKED = 3678


@dataclass(frozen=True, slots=True)
class Line:
    """One rule: source prefix, protocol (None: any), ports (None: any), verdict."""

    address: int
    prefix: int
    proto: str | None
    ports: tuple[int, int] | None
    accept: bool


def lines(number: int, family: str, *, seed: int = 1) -> list[Line]:
    """So many rules for "ipv4" or "ipv6"; the same ones each time."""
    random = Random(f"{seed}/{number}/{family}")
    size = 32 if family == "ipv4" else 128
    out: list[Line] = []
    for _ in range(number):
        if out and random.random() < 0.04:
            old = random.choice(out)
            prefix = random.choice([p for p in (old.prefix, 24 * size // 32, size) if p >= old.prefix])
            out.append(Line(old.address, prefix, old.proto, old.ports, accept=random.random() < 0.5))
            continue
        if random.random() < 0.03:
            port = random.randrange(1, 65536)
            out.append(Line(0, 0, random.choice(["tcp", "udp"]), (port, port), accept=random.random() < 0.7))
            continue
        (prefix,) = random.choices([12, 16, 20, 24, 32], [1, 4, 10, 45, 40])
        prefix = prefix * size // 32
        # in an eighth of the addresses, so that rules meet
        address = (1 << (size - 3)) + ((random.getrandbits(size - 3) >> (size - prefix)) << (size - prefix))
        if random.random() < 0.28:
            out.append(Line(address, prefix, None, None, accept=False))
            continue
        proto = random.choice(["tcp", "tcp", "udp", None])
        ports = None
        if proto is not None and random.random() < 0.85:
            low = random.choice([*_PORTS, random.randrange(1, 65536)])
            high = low if random.random() < 0.8 else min(65535, low + random.choice([10, 100, 1000, 30000]))
            ports = (low, high)
        out.append(Line(address, prefix, proto, ports, accept=random.random() < 0.7))
    return out


def ruleset(rules: list[Line], family: str) -> Ruleset:
    """The rules as the input chain of an inet table; equal expressions are one object, as `decode` makes them.

    A rule on the way out asks for tracking, so that fragments are put together before the input chain: the diagrams know none.
    """
    known: dict[Expr, Expr] = {}
    out = []
    for handle, line in enumerate(rules, 2):
        out.append(Rule(handle, tuple(known.setdefault(e, e) for e in _expressions(line, family))))
    chain = Chain("input", 1, tuple(out), Hook("input", 0, "drop"))
    tracked = (Ct("state", 0), Bitwise("mask-xor", 0, 0, 4, _INVALID, bytes(4)), Cmp("neq", 0, bytes(4)))
    out_rules = (Rule(1, (*tracked, Immediate(VERDICT, Verdict("drop")))),)
    return Ruleset((Table("inet", "filter", (chain, Chain("output", 2, out_rules, Hook("output", 0, "accept")))),))


def _expressions(line: Line, family: str) -> list[Expr]:
    """One rule as nft 1.0.6 compiles it."""
    size, offset = (4, 12) if family == "ipv4" else (16, 8)
    out: list[Expr] = []
    if line.prefix:
        out += [Meta("nfproto", 0), Cmp("eq", 0, b"\x02" if family == "ipv4" else b"\x0a")]
        data = line.address.to_bytes(size, "big")
        if line.prefix % 8 == 0:
            out += [Payload("network", offset, line.prefix // 8, 0), Cmp("eq", 0, data[: line.prefix // 8])]
        else:
            mask = ((1 << line.prefix) - 1) << (8 * size - line.prefix)
            out += [Payload("network", offset, size, 0)]
            out += [Bitwise("mask-xor", 0, 0, size, mask.to_bytes(size, "big"), bytes(size)), Cmp("eq", 0, data)]
    if line.proto:
        out += [Meta("l4proto", 0), Cmp("eq", 0, bytes((_PROTOS[line.proto],)))]
    if line.ports:
        low, high = (p.to_bytes(2, "big") for p in line.ports)
        out.append(Payload("transport", 2, 2, 0))
        out.append(Cmp("eq", 0, low) if low == high else Range("eq", 0, low, high))
    out.append(Immediate(VERDICT, Verdict("accept" if line.accept else "drop")))
    return out


def text(rules: list[Line], family: str) -> str:
    """The same rules in nft's language."""
    word, size = ("ip", 32) if family == "ipv4" else ("ip6", 128)
    out = ["table inet filter {\n chain input {\n  type filter hook input priority 0; policy drop;\n"]
    for line in rules:
        parts = []
        if line.prefix:
            address = ip_address(line.address.to_bytes(size // 8, "big"))
            parts.append(f"{word} saddr {address}/{line.prefix}")
        if line.ports:
            low, high = line.ports
            parts.append(f"{line.proto} dport {low}" + (f"-{high}" if high != low else ""))
        elif line.proto:
            parts.append(f"meta l4proto {line.proto}")
        parts.append("accept" if line.accept else "drop")
        out.append(f"  {' '.join(parts)}\n")
    return "".join([*out, " }\n}\n"])
