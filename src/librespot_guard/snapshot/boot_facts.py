"""What brings a host up: its service manager, the units that load a packet filter, those of the services, and the order between them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnitLine:
    """One assignment of a unit (systemd.syntax(7)): `origin` is its "FILE:LINE"."""

    section: str
    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedLine:
    """A line of a file that a unit loads or runs and that removes rules; `origin` is its "FILE:LINE"."""

    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class FilterStep:
    """One transaction of the packet filter that a unit makes: before it all is as it was, behind it all is as it says.

    Attributes:
        key: the Exec setting that leads to it, "ExecReload".
        text: the command.
        origin: its "FILE:LINE".
        family: "ipv4" or "ipv6" of iptables, "" of nft.
        removes: "rules" if rules go and the policies of chains stay, "tables" if these go too, "all" if all tables go, "" if nothing goes.
        loads: whether it brings rules.
        closes: whether the policy of the chain is to drop, behind it; None where it does not say.
    """

    key: str
    text: str
    origin: str
    family: str = ""
    removes: str = ""
    loads: bool = False
    closes: bool | None = None


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """A unit with its drop-ins, as far as order, confinement and packet filters go.

    Attributes:
        name: "raspotify.service", "network.target".
        lines: what its files assign, in their order; Exec lines only of units that load a packet filter.
        wanted_by: the units that have it in their `.wants` or `.requires` folder: it is enabled.
        filters: whether it loads a packet filter.
        removes: the lines of files that it loads which remove rules.
        brings: the tables ("inet filter") that are there when it has started on an empty packet filter; None where that can't be told.
        steps: what its commands do to the packet filter, in their order and key by key; None where that can't be told.
        user: the user whose manager it belongs to, "" for a unit of the system's.
    """

    name: str
    lines: tuple[UnitLine, ...] = ()
    wanted_by: tuple[str, ...] = ()
    filters: bool = False
    removes: tuple[LoadedLine, ...] = ()
    brings: tuple[str, ...] | None = None
    steps: tuple[FilterStep, ...] | None = None
    user: str = ""

    def all(self, *keys: str) -> tuple[UnitLine, ...]:
        """The lines that hold of settings that add up; an empty value forgets those of its key before it."""
        found: list[UnitLine] = []
        for line in self.lines:
            if line.key in keys:
                found = [*found, line] if line.value else [f for f in found if f.key != line.key]
        return tuple(found)

    def names(self, *keys: str) -> frozenset[str]:
        """The units that settings of order or of wants name; an empty value forgets none (systemd.unit(5): they can only be added to)."""
        return frozenset(name for line in self.lines if line.key in keys for name in line.value.split())


@dataclass(frozen=True, slots=True)
class Boot:
    """The service manager and its units.

    `version` is what the running systemd says of itself ("252 (252.38-1)"), "" where it was not asked or is not there; `features` are
    its build options ("+SECCOMP", "-BPF_FRAMEWORK").
    """

    version: str = ""
    features: tuple[str, ...] = ()
    units: tuple[UnitFacts, ...] = ()
