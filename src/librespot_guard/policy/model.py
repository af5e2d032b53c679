"""A policy after reading: who may reach what, as values without file positions to worry about.

`policy.load` makes it from a file; `init` and tests make it directly. `Where` points back into the file for messages.
"""

from dataclasses import dataclass, field
from datetime import date
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network
SURFACES = ("discovery", "connect", "api", "login", "stream", "control", "metadata")
FLAVOURS = (
    "librespot",
    "raspotify",
    "spotifyd",
    "go-librespot",
    "librespot-java",
    "librespot-python",
    "snapserver",
    "owntone",
    "soloist",
)


@dataclass(frozen=True, slots=True)
class Where:
    """A position in a policy file, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Source:
    """Who: hosts and networks (any of them; hosts are /32 and /128), arriving on `interface` if given.

    No networks and an interface means everybody behind that interface. `expires` is the last day on which it holds.
    """

    name: str
    why: str
    networks: tuple[Network, ...] = ()
    interface: str | None = None
    expires: date | None = None
    owner: str | None = None
    where: Where | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Which service an entry speaks of: every given key must agree. `name` is the service's own (announced) name."""

    flavour: str | None = None
    unit: str | None = None
    name: str | None = None
    container: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What the policy says of one service. `allow` maps a surface to names of sources; what is absent is denied.

    `unenforced` names keys (with their place) that the policy may hold and that no target of this version can hold:
    accounts, takeover, through, bind, egress, limits. A plan refuses them.
    """

    name: str
    match: Match
    allow: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unenforced: tuple[tuple[str, Where], ...] = ()
    where: Where | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. `review` is the text of the file, e.g. "every 3 months"."""

    title: str
    owner: str
    review: str
    sources: dict[str, Source]
    services: dict[str, Entry]
    file: str = "policy.yaml"
    warnings: tuple[str, ...] = ()
