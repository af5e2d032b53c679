"""Targets of iptables rules as instructions of the neutral model.

The semantics are those of net/netfilter/xt_NAME.c and net/ipv4/netfilter/ipt_REJECT.c. A target that is not understood may do anything.
"""

from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from librespot_guard.firewall.data import ALL_SLOTS
from librespot_guard.firewall.ipset_save import KEY
from librespot_guard.firewall.iptables_save import Module
from librespot_guard.firewall.iptables_values import masked
from librespot_guard.firewall.model import (
    VERDICT,
    Bitwise,
    Ct,
    CtSet,
    Dynset,
    Expr,
    Immediate,
    Masquerade,
    Meta,
    MetaSet,
    Nat,
    Notrack,
    Pass,
    Redirect,
    Reject,
    Unknown,
    Verdict,
)
from librespot_guard.firewall.nft_json_types import Unsupported

_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "RETURN": "return", "QUEUE": "queue"}
# they do something beside the packet and never decide
_ASIDE = (
    "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "LED", "IDLETIMER", "RATEEST", "TCPMSS", "CHECKSUM", "TEE", "SECMARK", "CONNSECMARK",
)  # fmt: skip
# they change what a later condition may read, and never decide
_HARMLESS = ("CLASSIFY",)
_REJECTS = {
    "icmp-net-unreachable": 0, "icmp-host-unreachable": 1, "icmp-proto-unreachable": 2, "icmp-port-unreachable": 3,
    "icmp-net-prohibited": 9, "icmp-host-prohibited": 10, "icmp-admin-prohibited": 13, "icmp6-no-route": 0,
    "icmp6-adm-prohibited": 1, "icmp6-addr-unreachable": 3, "icmp6-port-unreachable": 4,
}  # fmt: skip
_PORT_SLOT = 12
_ADDRESS_END = 4
_SET_SLOT = 0
_OPTION = Callable[[Module, str], list[Expr]]


def target(module: Module, family: str) -> list[Expr]:
    """The instructions of a target that is no chain. Never raises: what is not understood may do anything."""
    if module.name in _VERDICTS and not module.options:
        return [Immediate(VERDICT, Verdict(_VERDICTS[module.name]))]
    if module.name in _ASIDE:
        return [Pass(module.name.lower())]
    if module.name in _HARMLESS:
        return [Unknown(f"xt target {module.name}", b"")]
    try:
        return _READERS.get(module.name, _foreign)(module, family)
    except Unsupported as error:
        return [Unknown(str(error), b"", terminal=True, writes=ALL_SLOTS)]


def _foreign(module: Module, _: str) -> list[Expr]:
    raise Unsupported(f"xt target {module.name}")


def _options(module: Module, *known: str) -> dict[str, tuple[str, ...]]:
    out = {}
    for inverted, name, values in module.options:
        if inverted or name not in known:
            raise Unsupported(f"{module.name} {name}")
        out[name] = values
    return out


def _one(options: Mapping[str, tuple[str, ...]], name: str) -> str | None:
    values = options.get(name)
    if values is None:
        return None
    if len(values) != 1:
        raise Unsupported(f"{name} {' '.join(values)}")
    return values[0]


def _reject(module: Module, _: str) -> list[Expr]:
    kind = _one(_options(module, "--reject-with"), "--reject-with")
    if kind is None:
        return [Reject("icmp", 3)]
    if kind in ("tcp-reset", "tcp-rst"):
        return [Reject("tcp-reset")]
    if kind not in _REJECTS:
        raise Unsupported(f"REJECT {kind}")
    return [Reject("icmp", _REJECTS[kind])]


def _mark(module: Module, _: str) -> list[Expr]:
    options = _options(module, "--set-xmark", "--set-mark", "--and-mark", "--or-mark", "--xor-mark")
    if len(options) != 1:
        raise Unsupported("MARK")
    name, text = next(iter(options)), _one(options, next(iter(options))) or ""
    return [Meta("mark", 0), *_xmark(name, text), MetaSet("mark", 0)]


def _xmark(name: str, text: str) -> list[Expr]:
    """Reg = (reg & ~mask) ^ value."""
    value, mask = masked(text)
    if name == "--set-mark":
        mask |= value
    elif name == "--and-mark":
        value, mask = 0, value ^ 0xFFFFFFFF
    elif name == "--or-mark":
        mask = value
    elif name == "--xor-mark":
        mask = 0
    keep = mask ^ 0xFFFFFFFF
    return [Bitwise("mask-xor", 0, 0, 4, keep.to_bytes(4, "little"), value.to_bytes(4, "little"))]


def _connmark(module: Module, _: str) -> list[Expr]:
    options = _options(
        module, "--set-xmark", "--set-mark", "--and-mark", "--or-mark", "--xor-mark", "--restore-mark", "--save-mark",
        "--nfmask", "--ctmask", "--mask",
    )  # fmt: skip
    masks = [masked(_one(options, n) or "")[0] for n in ("--nfmask", "--ctmask", "--mask") if n in options]
    whole = all(m == 0xFFFFFFFF for m in masks)
    lost = [] if whole else [Unknown("CONNMARK with masks", b"", writes=(0,))]
    if "--restore-mark" in options:
        return [Ct("mark", 0), *lost, MetaSet("mark", 0)]
    if "--save-mark" in options:
        return [Meta("mark", 0), *lost, CtSet("mark", 0)]
    names = [n for n in options if n.startswith("--")]
    if len(names) != 1:
        raise Unsupported("CONNMARK")
    return [Ct("mark", 0), *_xmark(names[0], _one(options, names[0]) or ""), CtSet("mark", 0)]


def _hmark(_module: Module, _: str) -> list[Expr]:
    """The mark becomes a hash with a seed of its own."""
    return [Unknown("xt target HMARK", b"", writes=(0,)), MetaSet("mark", 0)]


def _set(module: Module, _: str) -> list[Expr]:
    """Entries that packets add to ipsets, or take out: what these hold is then not known for long."""
    options = _options(module, "--add-set", "--del-set", "--exist", "--timeout")
    found: list[Expr] = [
        Dynset(KEY + options[name][0], operation, _SET_SLOT)
        for name, operation in (("--add-set", "add"), ("--del-set", "delete"))
        if options.get(name)
    ]
    if not found:
        raise Unsupported("SET of no set")
    # adding may fail and the next rule has its turn all the same (set_target_v3 of xt_set.c)
    return found[:1] if len(found) == 1 else [found[1], found[0]]


def _ct(module: Module, _: str) -> list[Expr]:
    options = _options(
        module, "--notrack", "--helper", "--ctevents", "--expevents", "--zone", "--zone-orig", "--timeout"
    )
    if set(options) == {"--notrack"}:
        return [Notrack()]
    return [Unknown("xt target CT", b"")]


def _nat(module: Module, family: str) -> list[Expr]:
    name = "--to-destination" if module.name == "DNAT" else "--to-source"
    options = _options(module, name, "--random", "--persistent", "--random-fully")
    text = _one(options, name)
    if text is None:
        raise Unsupported(module.name)
    host, port = _split(text, family)
    out: list[Expr] = []
    low = high = port_low = port_high = None
    if host:
        first, _, last = host.partition("-")
        low = high = 0
        out.append(Immediate(0, _address(first, family)))
        if last and last != first:
            high = _ADDRESS_END
            out.append(Immediate(high, _address(last, family)))
    if port:
        loads, port_low, port_high = _ports(port)
        out += loads
    flags = (low is not None) | (port_low is not None) << 1
    return [*out, Nat(module.name.lower(), family, low, high, port_low, port_high, flags)]


def _split(text: str, family: str) -> tuple[str, str]:
    """Address (or range) and port (or range) of `a[-b][:p[-q]]`, IPv6 in brackets where there is a port."""
    if family == "ip":
        host, _, port = text.partition(":")
        return host, port
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        more = ""
        if rest.startswith("-["):
            more, _, rest = rest[2:].partition("]")
        return host + (f"-{more}" if more else ""), rest.removeprefix(":")
    return text, ""


def _address(text: str, family: str) -> bytes:
    try:
        return IPv4Address(text).packed if family == "ip" else IPv6Address(text).packed
    except AddressValueError:
        raise Unsupported(f"the address {text}") from None


def _ports(text: str) -> tuple[list[Expr], int, int]:
    low, _, high = text.partition("-")
    try:
        ends = int(low), int(high or low)
        data = [n.to_bytes(2, "big") for n in ends]
    except (ValueError, OverflowError):
        raise Unsupported(f"the port {text}") from None
    out: list[Expr] = [Immediate(_PORT_SLOT, data[0])]
    if ends[0] == ends[1]:
        return out, _PORT_SLOT, _PORT_SLOT
    return [*out, Immediate(_PORT_SLOT + 1, data[1])], _PORT_SLOT, _PORT_SLOT + 1


def _redirect(module: Module, _: str) -> list[Expr]:
    text = _one(_options(module, "--to-ports", "--random"), "--to-ports")
    if text is None:
        return [Redirect()]
    loads, low, high = _ports(text)
    return [*loads, Redirect(low, high, 2)]


def _masquerade(module: Module, _: str) -> list[Expr]:
    _options(module, "--to-ports", "--random", "--random-fully")
    return [Masquerade()]


_READERS: Mapping[str, _OPTION] = {
    "REJECT": _reject,
    "MARK": _mark,
    "CONNMARK": _connmark,
    "HMARK": _hmark,
    "SET": _set,
    "CT": _ct,
    "NOTRACK": lambda _m, _f: [Notrack()],
    "DNAT": _nat,
    "SNAT": _nat,
    "REDIRECT": _redirect,
    "MASQUERADE": _masquerade,
}
