"""A policy file to a `Policy`, or to every fault in it at once."""

from dataclasses import dataclass
from typing import Any

from librespot_guard.policy.crosscheck import CrossCheck
from librespot_guard.policy.decode import Decoder
from librespot_guard.policy.document import parse
from librespot_guard.policy.faults import Fault, error, ordered
from librespot_guard.policy.model import Entry, Match, Policy, Source, Where
from librespot_guard.policy.schema import POLICY


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says: a policy, perhaps with warnings, or None and every fault. Both are in the order of the file."""

    policy: Policy | None
    errors: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


def load(text: str, *, file: str) -> Policy:
    """The policy in a file.

    Args:
        text: the content of the file.
        file: its name, for messages and for `Policy.file`.

    Raises:
        InputError: with every fault, one a line, as `file:line:column: what (what to do)`.
    """
    reading = read(text, file=file)
    if reading.policy is None:
        raise error(reading.errors)
    return reading.policy


def read(text: str, *, file: str, loader: Any = None) -> Reading:
    """The policy in a file, with faults and warnings as values. `loader` is the PyYAML loader to use, see `document.parse`."""
    document = parse(text, file=file, loader=loader)
    if not document.whole:
        return Reading(None, ordered(document.faults))
    if document.value is None and not document.faults:
        at = document.places[()].value
        return Reading(
            None, (Fault(at, "the file is empty (`librespot-guard init` writes a policy from what runs here)"),)
        )
    decoder = Decoder(document)
    content = POLICY(decoder, (), document.value)
    check = CrossCheck(document)
    faults = ordered((*document.faults, *decoder.faults, *check.faults()))
    if faults:
        return Reading(None, faults)
    warnings = ordered(check.warnings())
    return Reading(_policy(content, check, file, warnings), (), warnings)


def _policy(content: dict[str, Any], check: CrossCheck, file: str, warnings: tuple[Fault, ...]) -> Policy:
    unenforced: dict[str, list[tuple[str, Where]]] = {}
    for service, key, at in check.unenforced():
        unenforced.setdefault(service, []).append((key, at))
    return Policy(
        title=content.get("title", file),
        owner=content.get("owner", ""),
        review=content.get("review", ""),
        sources={name: _source(name, source, check) for name, source in content.get("sources", {}).items()},
        services={
            name: _entry(name, entry, check, tuple(unenforced.get(name, ())))
            for name, entry in content["services"].items()
        },
        file=file,
        warnings=tuple(str(warning) for warning in warnings),
    )


def _source(name: str, source: dict[str, Any], check: CrossCheck) -> Source:
    return Source(
        name=name,
        why=source["why"],
        networks=tuple(dict.fromkeys((*source.get("hosts", ()), *source.get("networks", ())))),
        interface=source.get("interface"),
        expires=source.get("expires"),
        owner=source.get("owner"),
        where=check.key("sources", name),
    )


def _entry(name: str, entry: dict[str, Any], check: CrossCheck, unenforced: tuple[tuple[str, Where], ...]) -> Entry:
    allow = {
        surface: tuple(dict.fromkeys(given["from"] if isinstance(given, dict) else given))
        for surface, given in entry.get("allow", {}).items()
    }
    return Entry(name, Match(**entry["match"]), allow, unenforced, check.key("services", name), entry.get("use"))
