"""The process itself: whose rights it has and how old it is."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.settings import RUST, library_version, version
from librespot_guard.snapshot import Service


def _root(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if service.uid != 0:
            continue
        unit = service.unit
        how = (
            f"`systemctl edit {shlex.quote(unit)}`: add `[Service]`, `DynamicUser=yes`, `SupplementaryGroups=audio`; then restart it"
            if unit
            else "start the container with a user of its own (`--user`)"
            if service.container
            else "start it as a user of its own that is in the group audio"
        )
        yield check.finding(
            service.name,
            [f"process {service.pid} ({service.executable}) has uid 0", *([f"unit {unit}"] if unit else [])],
            fix=(how, "give its cache folder to that user: stored logins are read from there"),
            verify=f"ps -o user= -p {service.pid}",
            place=unit,
        )


ROOT = Check(
    id="LG208",
    title="the service runs as root",
    severity="high",
    threats=("remote-exploitation",),
    what="Reports a service whose process has the user id 0.",
    why=(
        "A parser of network data without a limit on its input runs with every right there is. An error in it, or a program it starts for player "
        "events, is then an error of the whole host. No member of the family needs root."
    ),
    fix=("run it as a user of its own: `User=` or `DynamicUser=yes` in its unit",),
    verify="ps -o user,args -C librespot",
    look=_root,
)


@dataclass(frozen=True, slots=True)
class Outdated:
    """Versions that should not run any more: those `below` of some flavours, with severity, reason and a version to go to."""

    flavours: frozenset[str]
    below: tuple[int, ...]
    severity: str
    reason: str
    instead: str


# facts/librespot-network.md 3.1, 4.1, 6, 9.2, 12, 14, 17; the first that holds is reported
OUTDATED = (
    Outdated(
        RUST,
        (0, 4, 0),
        "high",
        "librespot before 0.4.0 was built with versions of hyper that have known request smuggling errors (RUSTSEC-2021-0078, RUSTSEC-2021-0079)",
        "librespot 0.8.0 or newer",
    ),
    Outdated(
        RUST,
        (0, 5, 0),
        "medium",
        "librespot 0.4.2 and older finds its access points by plain http, takes a password on the command line, "
        "and its login by password has not been accepted since 2024",
        "librespot 0.8.0 or newer",
    ),
    Outdated(
        frozenset({"go-librespot"}),
        (0, 1, 0),
        "high",
        "go-librespot before 0.1.0 opens its API on every interface unless an address is set, and before 0.0.15 always",
        "go-librespot 0.9.0 or newer",
    ),
    Outdated(
        frozenset({"snapserver"}),
        (0, 30, 0),
        "high",
        "snapserver before 0.30.0 runs commands for anybody who reaches its control port (CVE-2023-36177), unless its packager removed "
        "Stream.AddStream, as Debian did in 0.26.0+dfsg1-1+deb12u1",
        "snapserver 0.34.0 or newer",
    ),
)


def _version_of(service: Service) -> str | None:
    return library_version(service) if service.flavour in RUST else service.version


def _outdated(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        entries = [o for o in OUTDATED if service.flavour in o.flavours]
        if not entries:
            continue
        shown = _version_of(service)
        known = version(shown)
        if known is None:
            yield check.unable(
                service.name,
                "whether the version is outdated",
                f"the version of this {service.flavour} could not be told",
                f"ask the program itself: `{shlex.quote(service.executable)} --version`",
            )
            continue
        hit = next((o for o in entries if known < o.below), None)
        if hit is None:
            continue
        told = (
            "asked by getInfo"
            if service.info is not None and service.info.library_version == shown
            else "told by the program"
        )
        embedded = (
            f"{service.flavour} with librespot"
            if service.flavour not in ("librespot", "go-librespot", "snapserver")
            else service.flavour
        )
        yield check.finding(
            service.name,
            [f"{embedded} {shown} ({told}), {service.executable}"],
            here=f"{hit.reason}.",
            severity=hit.severity,
            fix=(f"upgrade to {hit.instead}, and restart the service",),
            verify="librespot-guard scan",
            place=service.executable,
        )


VERSION = Check(
    id="LG209",
    title="the version is outdated",
    severity="medium",
    threats=("remote-exploitation", "denial-of-service"),
    what=(
        "Compares the version of a service (what it answers to getInfo, or its own) with those that have known weaknesses: "
        + "; ".join(o.reason for o in OUTDATED)
        + "."
    ),
    why="Errors that are corrected upstream stay open here.",
    fix=("upgrade the service",),
    verify="librespot-guard scan",
    look=_outdated,
)

CHECKS = (ROOT, VERSION)
