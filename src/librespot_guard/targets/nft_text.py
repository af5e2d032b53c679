"""Print our table as nft reads it (nft(8)). Every value is printed by its type; no text of a user gets in but checked names.

nft 1.0.6 wants a newline or `;` before every `}`, so each statement has a line of its own.
"""

from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from librespot_guard.targets.syntax import (
    BASE,
    FAMILY,
    GATE,
    PRIORITY,
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
    To,
)

TIMEOUT = "@TIMEOUT@"
_KEYWORD = {"ipv4": "ip", "ipv6": "ip6"}
_TYPE = {"ipv4": "ipv4_addr", "ipv6": "ipv6_addr"}
REMOVAL = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def condition(value: Match) -> str:
    """One match."""
    match value:
        case Iface(name):
            return f'iifname "{name}"'
        case NfProto(family):
            return f"meta nfproto {family}"
        case FromNetwork(network):
            shown = network.network_address if network.prefixlen == network.max_prefixlen else network
            return f"{'ip' if network.version == 4 else 'ip6'} saddr {shown}"
        case FromSet(family, name):
            return f"{_KEYWORD[family]} saddr @{name}"
        case To(address):
            return f"{'ip' if address.version == 4 else 'ip6'} daddr {address}"
        case Known():
            # there is no word for "known"; 255 is the number that is nobody's (IANA, protocol numbers)
            return "meta l4proto != 255"
        case _:
            return f"{value.proto} dport {value.port}"


def rule(value: GuardRule) -> str:
    """One rule, without its place."""
    words = [condition(m) for m in value.matches]
    if value.counter:
        words.append("counter")
    words.append(f"goto {value.verdict.chain}" if value.verdict.chain else value.verdict.kind)
    if value.comment is not None:
        words.append(f'comment "{value.comment}"')
    return " ".join(words)


def _set(value: GuardSet) -> list[str]:
    kind = IPv4Address if value.family == "ipv4" else IPv6Address
    shown = []
    for low, high in value.addresses:
        networks = list(summarize_address_range(kind(low), kind(high)))
        if len(networks) > 1:
            shown.append(f"{kind(low)}-{kind(high)}")
        else:
            shown.append(str(kind(low)) if low == high else str(networks[0]))
    lines = [f"set {value.name} {{", f"\ttype {_TYPE[value.family]}", "\tflags interval", "\telements = {"]
    lines += [f"\t\t{item}," for item in shown]
    return [*lines, "\t}", "}"]


def _chain(value: GuardChain) -> list[str]:
    return [f"chain {value.name} {{", *(f"\t{rule(r)}" for r in value.rules), "}"]


def _part(value: Part) -> list[str]:
    lines: list[str] = []
    for block in [*map(_set, value.sets), *map(_chain, value.chains)]:
        lines += ["", *block]
    return lines


def part(value: Part) -> str:
    """The sets and chains of one policy, for people and for its id."""
    return "\n".join(_part(value)).lstrip("\n") + "\n"


def table(value: GuardTable) -> str:
    """The whole table. Loading it into an existing table adds to it: use `replacement` to change a host."""
    lines = [f"map {GATE} {{", "\ttype nf_proto : verdict", "\tflags timeout"]
    if value.gated:
        lines.append("\telements = {")
        lines += [f"\t\t{family} timeout {TIMEOUT}s : goto {value.gated.entry}," for family in ("ipv4", "ipv6")]
        lines.append("\t}")
    lines += ["}", "", f"chain {BASE} {{", f"\ttype filter hook input priority {PRIORITY}; policy accept;"]
    lines.append(f"\tmeta nfproto vmap @{GATE}")
    if value.confirmed:
        lines.append(f"\tgoto {value.confirmed.entry}")
    lines.append("}")
    for each in value.parts:
        lines += _part(each)
    body = "\n".join(f"\t{line}" if line else "" for line in lines)
    return f"table {FAMILY} {TABLE} {{\n{body}\n}}\n"


def replacement(value: GuardTable | None) -> str:
    """A transaction after which the host has exactly this table, or none: whatever was there, it can't fail on it."""
    return REMOVAL + (table(value) if value and value.parts else "")


def confirmation(value: GuardTable) -> str:
    """The transaction that makes the pending policy the one in force.

    Deleting the elements of the gate comes first: once they have expired, that fails, and with it the whole transaction.
    """
    return f"delete element {FAMILY} {TABLE} {GATE} {{ ipv4, ipv6 }}\n{replacement(GuardTable(value.gated))}"
