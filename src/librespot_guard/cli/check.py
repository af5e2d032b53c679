"""`check`: whether a policy is right, and what it says; every fault with its line and column."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from librespot_guard.cli import common
from librespot_guard.cli._check_text import given, summary
from librespot_guard.errors import InputError
from librespot_guard.policy import Where, read
from librespot_guard.policy.faults import Fault, ordered

if TYPE_CHECKING:
    from librespot_guard.policy import Policy, Reading
    from librespot_guard.snapshot import Snapshot

SCHEMA = "librespot-guard/check/1"


@click.command(
    epilog="""\b
Examples:
  librespot-guard check policy.yaml
  librespot-guard check policy.yaml --here                    also: which services it speaks of
  librespot-guard check *.yaml --format json                  one JSON document for each file
  librespot-guard check policy.yaml --snapshot host.json      the same for another machine

\b
Exit status 2 if a file has a fault. Warnings do not change it.
"""
)
@click.argument("policy_files", metavar="POLICY...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--here", is_flag=True, help="Also say which services of this host each entry speaks of.")
@common.snapshot_option
@common.format_option()
def check(policy_files: tuple[Path, ...], here: bool, snapshot_file: Path | None, output: str) -> int:
    """Validate policies: every fault at once, as FILE:LINE:COLUMN, and a summary of what is allowed.

    Nothing on this host is read but the files, unless --here is given.
    """
    if here and snapshot_file is not None:
        raise InputError("--here and --snapshot can't be given together", hint="leave one out")
    snapshot = common.load_snapshot(snapshot_file) if here or snapshot_file is not None else None
    status = 0
    for number, path in enumerate(policy_files):
        result = _Result(path, snapshot)
        status = status if result.valid else InputError.status
        if output == "json":
            common.print_json(result.to_json())
            continue
        if result.policy is not None and result.valid:
            click.echo(("\n" if number else "") + "\n".join(summary(result.policy, result.matches)))
        result.show()
    return status


class _Result:
    """What is to be said of one file."""

    def __init__(self, path: Path, snapshot: "Snapshot | None") -> None:
        self.file = "stdin" if str(path) == "-" else str(path)
        self.unreadable: InputError | None = None
        self.policy: Policy | None = None
        self.errors: tuple[Fault, ...] = ()
        self.warnings: tuple[Fault, ...] = ()
        self.matches: dict[str, list[str]] | None = None
        try:
            reading = read(common.read_policy(path), file=self.file)
        except InputError as error:
            self.unreadable = error
            return
        self.policy, self.errors = reading.policy, reading.errors
        self.warnings = _warnings(reading)
        if self.policy is not None and snapshot is not None:
            self.matches, faults, remarks = _on_host(self.policy, snapshot)
            self.errors, self.warnings = (*self.errors, *faults), (*self.warnings, *remarks)

    @property
    def valid(self) -> bool:
        return not self.errors and self.unreadable is None

    def show(self) -> None:
        """Faults, else warnings, to stderr."""
        if self.unreadable is not None:
            common.show_error(self.unreadable)
        for fault in self.errors:
            common.note(str(fault))
        if self.errors:
            common.note(f"{self.file}: {len(self.errors)} fault{'s' if len(self.errors) > 1 else ''}")
            return
        for warning in self.warnings:
            common.note(f"{warning.where}: {click.style('warning', fg='yellow')}: {warning.text}")

    def to_json(self) -> dict[str, Any]:
        errors = [_json(fault) for fault in self.errors]
        if self.unreadable is not None:
            errors = [{"line": None, "column": None, "message": str(self.unreadable)}]
        document = {"schema": SCHEMA, "valid": self.valid, "file": self.file, "errors": errors}
        document["warnings"] = [_json(w) for w in self.warnings]
        if self.policy is not None and self.valid:
            document["policy"] = _content(self.policy)
        if self.matches is not None:
            document["matches"] = self.matches
        return document


def _json(fault: "Fault") -> dict[str, Any]:
    return {"line": fault.where.line, "column": fault.where.column, "message": fault.text}


def _warnings(reading: "Reading") -> "tuple[Fault, ...]":
    """What the file itself says, what nothing enforces yet, and what has expired, in the order of the file."""
    policy = reading.policy
    if policy is None:
        return ()
    found = list(reading.warnings)
    for entry in policy.services.values():
        found += [
            Fault(
                where, f"nothing enforces `{key}` yet: `plan` will refuse (take it out until a later version holds it)"
            )
            for key, where in entry.unenforced
        ]
    today = datetime.now(UTC).astimezone().date()
    for source in policy.sources.values():
        if source.expires is not None and source.expires < today and source.where is not None:
            found.append(
                Fault(
                    source.where,
                    f"source `{source.name}` expired on {source.expires}: it allows nothing any more (renew it or take it out)",
                )
            )
    return ordered(found)


def _on_host(policy: "Policy", snapshot: "Snapshot") -> "tuple[dict[str, list[str]], list[Fault], list[Fault]]":
    """Which services each entry speaks of, the services that two entries speak of, and what is left over."""
    from librespot_guard.policy.resolve import ambiguous, matching  # noqa: PLC0415 - only where a host is looked at

    start = Where(policy.file, 1, 1)
    found: dict[str, list[str]] = {name: [] for name in policy.services}
    faults, remarks = [], []
    for service in snapshot.services:
        entries = matching(policy, service)
        for entry in entries:
            found[entry.name].append(service.name)
        if len(entries) > 1:
            at = entries[-1].where or start
            faults.append(
                Fault(at, ambiguous(policy, service, entries).removeprefix(f"{at}: ") + " (add a key to one `match`)")
            )
        elif not entries:
            remarks.append(
                Fault(
                    start,
                    f"no entry speaks of the service `{service.name}` ({service.flavour}, pid {service.pid}): it stays as open as it is",
                )
            )
    for name, services in found.items():
        if not services:
            remarks.append(Fault(policy.services[name].where or start, f"`{name}` matches no service that runs there"))
    return found, faults, remarks


def _content(policy: "Policy") -> dict[str, Any]:
    """The policy as values, with defaults filled in."""
    return {
        "title": policy.title,
        "owner": policy.owner,
        "review": policy.review,
        "sources": {
            s.name: {
                "networks": [str(n) for n in s.networks],
                "interface": s.interface,
                "why": s.why,
                "expires": s.expires.isoformat() if s.expires else None,
                "owner": s.owner,
            }
            for s in policy.sources.values()
        },
        "services": {
            e.name: {
                "match": given(e.match),
                "allow": {k: list(v) for k, v in e.allow.items()},
                "unenforced": sorted({key for key, _ in e.unenforced}),
            }
            for e in policy.services.values()
        },
    }
