"""What an audit says: findings, what it could not look at, and the grade of both.

Values only. `registry` knows the checks, `run` applies them to a snapshot.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from librespot_guard.audit.context import Context

SEVERITIES = ("low", "medium", "high", "critical")
"""From the mildest to the worst."""

THREATS = {
    "unauthorised-access": "somebody who was never meant to uses the service or its account",
    "remote-exploitation": "somebody on the network makes the service do what its owner did not start it for",
    "denial-of-service": "somebody on the network stops or disturbs the service",
    "network-attack": "the network itself is used: spoofed, relayed or off-link packets, another segment, another host on the way",
    "information-disclosure": "somebody learns who uses the service, what it is, or where it is",
    "credential-theft": "somebody gets a secret with which the account can be used elsewhere",
}
"""Every threat that a finding may name, with one line on it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, seen on this host.

    Attributes:
        id: the check that saw it, "LG101"; stable over versions.
        severity: one of `SEVERITIES`.
        service: name of the service, or None if it concerns the whole host. Chosen by the service: untrusted text.
        threats: keys of `THREATS`.
        title: one line.
        evidence: what was seen, at least one line; may contain untrusted text.
        why: why it matters here.
        fix: what to do, one step each.
        verify: a command that shows whether it is fixed.
        place: where to look (a rule, a setting, a socket), if there is one such place.
    """

    id: str
    severity: str
    service: str | None
    threats: tuple[str, ...]
    title: str
    evidence: tuple[str, ...]
    why: str
    fix: tuple[str, ...]
    verify: str
    place: str | None = None

    def __post_init__(self) -> None:
        if not self.evidence or not self.fix or not self.verify:
            raise ValueError(f"{self.id}: a finding needs evidence, a fix and a way to verify")


@dataclass(frozen=True, slots=True)
class Unable:
    """Something that could not be looked at, so that its absence from the findings means nothing.

    `check` is the id of the check that could not run, or None for a gap in the facts themselves; `what` is what could not
    be looked at, `why` the reason and `hint` what to do about it.
    """

    check: str | None
    service: str | None
    what: str
    why: str
    hint: str = ""


Look = Callable[["Check", "Context"], Iterable[Finding | Unable]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check with all its texts: `explain`, the documentation and the findings take theirs from here.

    Attributes:
        id: "LG" and three digits; the hundreds are the family (1 reach, 2 the service itself, 3 the packet filter, 4 its rules, 5 ways
            round it, 6 what tools say of it, 7 the flavour).
        title: one line, as the title of a finding.
        severity: the usual one; `look` may give another.
        threats: keys of `THREATS`.
        what: what the check looks at and when it finds something, in prose.
        why: why it matters.
        fix: how to fix it, in general.
        verify: how to check, in general.
        look: the check itself: a pure function of the context.
    """

    id: str
    title: str
    severity: str
    threats: tuple[str, ...]
    what: str
    why: str
    fix: tuple[str, ...]
    verify: str
    look: Look

    def finding(
        self,
        service: str | None,
        evidence: Iterable[str],
        *,
        here: str = "",
        title: str | None = None,
        severity: str | None = None,
        fix: Iterable[str] | None = None,
        verify: str | None = None,
        place: str | None = None,
    ) -> Finding:
        """A finding of this check; `here` is added to the reason: what makes it matter on this host."""
        return Finding(
            id=self.id,
            severity=severity or self.severity,
            service=service,
            threats=self.threats,
            title=title or self.title,
            evidence=tuple(evidence),
            why=f"{self.why} {here}".strip(),
            fix=self.fix if fix is None else tuple(fix),
            verify=verify or self.verify,
            place=place,
        )

    def unable(self, service: str | None, what: str, why: str, hint: str = "") -> Unable:
        """Say that this check could not be made."""
        return Unable(self.id, service, what, why, hint)


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit, findings sorted by severity (worst first), service and id.

    `checks` are the ids that were run, `ignored` those that the user switched off, `services` the names that were looked at.
    """

    grade: str
    findings: tuple[Finding, ...] = ()
    incomplete: tuple[Unable, ...] = ()
    checks: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    def at_least(self, severity: str) -> tuple[Finding, ...]:
        """The findings of this severity or a worse one."""
        threshold = SEVERITIES.index(severity)
        return tuple(f for f in self.findings if SEVERITIES.index(f.severity) >= threshold)
