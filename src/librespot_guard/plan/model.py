"""A plan as a value: what a policy would change on a host, why, and what speaks against it."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from librespot_guard.firewall.model import Ruleset
from librespot_guard.plan.minimise import Review
from librespot_guard.reach import Packet, Trace
from librespot_guard.targets.steps import Change
from librespot_guard.targets.syntax import GuardTable

SCHEMA = "librespot-guard/plan/1"


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """One line of what the policy means here: this source may reach this surface of this service, and why.

    `source` is None, with everything after it empty, for a surface that nobody may reach. `interface` None means every interface;
    `networks` empty means every address.
    """

    service: str
    entry: str
    surface: str
    proto: str
    port: int
    address: str
    source: str | None = None
    why: str = ""
    owner: str | None = None
    expires: date | None = None
    interface: str | None = None
    networks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The rule as one JSON object."""
        return {
            "service": self.service,
            "entry": self.entry,
            "surface": self.surface,
            "listener": {"proto": self.proto, "port": self.port, "address": self.address},
            "source": self.source,
            "why": self.why,
            "owner": self.owner,
            "expires": self.expires.isoformat() if self.expires else None,
            "interface": self.interface,
            "networks": list(self.networks),
        }


@dataclass(frozen=True, slots=True)
class Lockout:
    """A packet of the user's own way to this host that the new rules would drop."""

    packet: Packet
    trace: Trace
    why: str

    def to_json(self) -> dict[str, Any]:
        """Packet and trail as `trace` prints them."""
        return {"packet": self.packet.to_json(), "why": self.why, **self.trace.to_json()}


@dataclass(frozen=True, slots=True)
class Plan:
    """What `apply` would do.

    Attributes:
        title: of the policy.
        file: of the policy.
        id: of the wanted rules; "" if they could not be made.
        change: the steps, None if there is nothing to change or the plan is refused.
        rules: what the policy means here.
        refusals: why it can't be applied; empty if it can.
        warnings: what the user should know.
        lockouts: packets of the user's own connections that would be dropped; each is also a refusal.
        diff: unified diff of the nft texts, with ids taken out of the names.
        timeout: seconds of the gate.
        wanted: the wanted table.
        current: the table as it is, None if there is none.
        ruleset_before: the packet filter of this host now.
        ruleset_after: the packet filter of this host after confirmation.
        settings: the feature reviews of the services whose entry states a use.
        settings_diff: the lines of configuration files that change, "" if none do.
        proof: the verdict of the proof on that: "proved", "undecided", "refuted", or "" if it was not made.
    """

    title: str
    file: str
    id: str
    change: Change | None
    rules: tuple[EffectiveRule, ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    lockouts: tuple[Lockout, ...]
    diff: str
    timeout: int
    wanted: GuardTable | None
    current: GuardTable | None
    ruleset_before: Ruleset
    ruleset_after: Ruleset
    proof: str = ""
    settings: tuple[Review, ...] = ()
    settings_diff: str = ""

    @property
    def unchanged(self) -> bool:
        """Whether the host is already as the policy wants it."""
        return self.change is None and not self.refusals

    def to_json(self) -> dict[str, Any]:
        """The plan as one JSON document."""
        return {
            "schema": SCHEMA,
            "title": self.title,
            "policy": self.file,
            "id": self.id or None,
            "in_force": self.current.confirmed.id if self.current and self.current.confirmed else None,
            "unchanged": self.unchanged,
            "proof": self.proof or None,
            "rules": [rule.to_json() for rule in self.rules],
            "refusals": list(self.refusals),
            "warnings": list(self.warnings),
            "lockouts": [lockout.to_json() for lockout in self.lockouts],
            "diff": self.diff,
            "settings": [review.to_json() for review in self.settings],
            "settings_diff": self.settings_diff,
            "confirm_within": self.timeout,
            "change": self.change.to_json() if self.change else None,
        }
