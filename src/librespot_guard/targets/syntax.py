"""What our nftables table is made of: a small typed language that can say a policy and nothing else.

Each value has exactly one nft text (`nft_text`) and exactly one kernel form (`nft_model`); `nft_read` goes back from the kernel form.
The names are checked when a value is made, so that no later step can print what nft would read as something else.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from librespot_guard.errors import InputError
from librespot_guard.firewall.model import Verdict
from librespot_guard.reach.intervals import IntervalSet

FAMILY, TABLE, GATE, BASE = "inet", "librespot_guard", "gate", "input"
PRIORITY = -10
# before `filter` (0): our accept only means that we do not object, later chains still decide
MAX_COMMENT = 127
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,30}")
# what dev_valid_name() of the kernel allows, without what a quoted nft string can't hold literally (`"`, `\`, the wildcard `*`)
_INTERFACE = re.compile(r"[!#-)+-.0-9;-\[\]-~]{1,15}")


def identifier(name: str) -> str:
    """The name, if it is one that every nft version reads as a plain identifier; ValueError else (a fault of ours)."""
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"not an identifier of ours: {name!r}")
    return name


@dataclass(frozen=True, slots=True)
class Iface:
    """Packets that came in over the interface of this name (`iifname`)."""

    name: str

    def __post_init__(self) -> None:
        if not _INTERFACE.fullmatch(self.name) or self.name in (".", ".."):
            raise InputError(
                f"interface {self.name!r}: nft has no way to write this name exactly", hint="rename the interface"
            )


@dataclass(frozen=True, slots=True)
class NfProto:
    """Packets of one family, "ipv4" or "ipv6"."""

    family: str


@dataclass(frozen=True, slots=True)
class FromNetwork:
    """Packets whose source address is in a network shorter than "everything"."""

    network: IPv4Network | IPv6Network

    def __post_init__(self) -> None:
        if self.network.prefixlen == 0:
            raise ValueError("every address is `NfProto`, not a network")


@dataclass(frozen=True, slots=True)
class FromSet:
    """Packets whose source address is in a named set of this family."""

    family: str
    name: str

    def __post_init__(self) -> None:
        identifier(self.name)


@dataclass(frozen=True, slots=True)
class To:
    """Packets to one address of this host."""

    address: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Port:
    """Packets to a "tcp" or "udp" port."""

    proto: str
    port: int

    def __post_init__(self) -> None:
        if self.proto not in ("tcp", "udp") or not 0 < self.port < 65536:
            raise ValueError(f"not a port: {self.proto} {self.port}")


@dataclass(frozen=True, slots=True)
class Known:
    """Packets of which the kernel finds the transport header.

    It does not in an IPv6 fragment that ends before it. Such a first fragment must not be sent (RFC 8200, section 4.5), but where
    connections are not tracked, Linux puts it together with its rest behind the input hook.
    """


Match = Iface | NfProto | FromNetwork | FromSet | To | Port | Known


@dataclass(frozen=True, slots=True)
class GuardRule:
    """If all `matches` hold: count (if `counter`) and give the verdict. `comment` is for people, see `names.comment`."""

    matches: tuple[Match, ...]
    verdict: Verdict
    counter: bool = False
    comment: str | None = None

    def __post_init__(self) -> None:
        if self.verdict.kind not in ("accept", "drop", "goto") or (self.verdict.kind == "goto") != (
            self.verdict.chain is not None
        ):
            raise ValueError(f"not a verdict of ours: {self.verdict}")
        if self.comment is not None and (
            not 0 < len(self.comment.encode()) <= MAX_COMMENT
            or not self.comment.isprintable()
            or set(self.comment) & set('"\\')
        ):
            raise ValueError(f"not a comment of ours: {self.comment!r}")


@dataclass(frozen=True, slots=True)
class GuardChain:
    """A chain that only our own chains go to."""

    name: str
    rules: tuple[GuardRule, ...]

    def __post_init__(self) -> None:
        identifier(self.name)


@dataclass(frozen=True, slots=True)
class GuardSet:
    """A constant set of source addresses of one family."""

    name: str
    family: str
    addresses: IntervalSet

    def __post_init__(self) -> None:
        identifier(self.name)
        if not self.addresses:
            raise ValueError(f"set {self.name} would be empty")


@dataclass(frozen=True, slots=True)
class Part:
    """The chains and sets of one policy, all named after its `id`; the first chain is `policy_<id>`."""

    id: str
    chains: tuple[GuardChain, ...]
    sets: tuple[GuardSet, ...] = ()

    @property
    def entry(self) -> str:
        """The chain where the policy begins."""
        return f"policy_{self.id}"


@dataclass(frozen=True, slots=True)
class GuardTable:
    """Our whole table: the policy in force, and one that waits behind the gate for its confirmation.

    Attributes:
        confirmed: what the base chain goes to; None before the first confirmation.
        gated: what the gate goes to until its time is over; None while nothing is pending.
    """

    confirmed: Part | None
    gated: Part | None = None

    @property
    def id(self) -> str:
        """The id of the newest policy in the table, "" if there is none."""
        part = self.gated or self.confirmed
        return part.id if part else ""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The policies in the table, in the order in which they are listed."""
        return tuple(part for part in (self.confirmed, self.gated) if part is not None)
