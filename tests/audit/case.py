"""A host and what one check must say of it, as one value; and the short ways to write it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.hosts import filters, home_only, host, librespot, tcp
from librespot_guard.firewall.model import Ruleset
from librespot_guard.snapshot import ServiceListener, Snapshot

SAFE = filters(home_only())
OPEN: dict[str, Ruleset] = {}


@dataclass(frozen=True)
class Case:
    """A host and what one check must say of it: `severity` None means nothing; `seen` are texts that the finding must hold."""

    check: str
    name: str
    snapshot: Snapshot
    severity: str | None = None
    seen: tuple[str, ...] = ()
    rulesets: Mapping[str, Ruleset] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """How pytest calls it."""
        return f"{self.check}-{self.name}"


def has(
    check: str, name: str, severity: str, *seen: str, of: Snapshot | None = None, rules: Mapping[str, Ruleset] = OPEN
) -> Case:
    """A host that has it."""
    return Case(check, name, of or host(librespot()), severity, seen, rules)


def clean(check: str, name: str, *, of: Snapshot | None = None, rules: Mapping[str, Ruleset] = SAFE) -> Case:
    """A host that has it not."""
    return Case(check, name, of or host(librespot()), None, (), rules)


def speaker(**changes: Any) -> Snapshot:
    """A host with one changed librespot."""
    return host(librespot(**changes))


def api(address: str, flavour: str = "go-librespot", *, any_host: bool | None = None) -> Snapshot:
    """A service with a control API."""
    listener = ServiceListener(tcp(3678, address), "api", pinned=True, any_host=any_host)
    return speaker(flavour=flavour, version="0.9.0", info=None, listeners=(listener,))
