"""What the Spotify Connect protocol lets a stranger do: end the service, take it over for good, read who uses it."""

from collections.abc import Iterator

from librespot_guard.audit.checks._words import RESTRICT, reach_command, socket_name, ways
from librespot_guard.audit.checks.exposure import unread_filter
from librespot_guard.audit.context import Context, Exposure
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.settings import LIBRESPOT, RUST, flag, library_version, version
from librespot_guard.snapshot import Service

_SHOWN = 3
_EXITS_SINCE = (0, 4, 0)
_DEMAND = "nobody who may reach the listener can be stopped from doing this by a setting; only fewer may reach it"


def _severity(exposures: tuple[Exposure, ...], least: str) -> str:
    """High if strangers from other networks get through; `least` if the packet filter already restricts every way; else medium."""
    if any(e.surely_beyond for e in exposures):
        return "high"
    return least if all(e.filtered for e in exposures) else "medium"


def _exits(service: Service) -> bool:
    """Whether a failed login ends the process (librespot src/main.rs since 0.4.0, spotifyd src/main_loop.rs); yes if the version is unknown."""
    known = version(library_version(service))
    return service.flavour in RUST and (known is None or known >= _EXITS_SINCE)


def _supervised(service: Service) -> tuple[str, str]:
    """How the service comes back, as evidence, and what that means here."""
    if service.unit is None and service.container is None:
        return (
            "no unit and no container starts it again",
            "Nothing starts it again here: one request is a lasting outage.",
        )
    name = service.unit or f"container {service.container}"
    if service.container is not None and service.unit is None:
        return f"{name}: whether it is started again could not be told", ""
    if service.restart in (None, "no"):
        return (
            f"{name}: no `Restart=` in its unit files",
            "systemd does not start it again here: one request is a lasting outage.",
        )
    return (
        f"{name}: `Restart={service.restart}`",
        "systemd starts it again, until its limit is reached (`StartLimitBurst=`, 5 times in 10 s if not set): a few more requests keep it down.",
    )


def _ended(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if not any(s.surface == "connect" for s in service.listeners):
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        exposures = context.reachable(service, "connect")
        if not exposures:
            continue
        evidence = [*ways(exposures)[:_SHOWN]]
        shown = library_version(service) or service.version
        evidence.append(f"{service.flavour} {shown}" if shown else f"{service.flavour}, version unknown")
        if _exits(service):
            supervision, here = _supervised(service)
            evidence.append(supervision)
            title, doubt = None, "" if shown else " Every version since 0.4.0 does this."
            here += doubt
        else:
            title = "one unauthenticated request takes the device over and drops the running session"
            here = f"{service.flavour} stays up, but it gives up the running session before the new login is verified."
        yield check.finding(
            service.name,
            evidence,
            here=here.strip(),
            title=title,
            severity=_severity(exposures, "low"),
            fix=(*RESTRICT, _DEMAND),
            verify=reach_command(exposures),
            place=socket_name(exposures[0].listener.listener),
        )


ENDED = Check(
    id="LG202",
    title="one unauthenticated request ends the service",
    severity="medium",
    threats=("denial-of-service", "unauthorised-access"),
    what=(
        "Reports a reachable Spotify Connect listener. librespot since 0.4.0, raspotify and spotifyd end when a login that arrived by `addUser` fails; "
        "the others drop the running session before they know whether the new login is good. High if sources beyond the local network get "
        "through, low if the packet filter already restricts every way to the listener: then only those whom you allow can still do it."
    ),
    why=(
        "`addUser` needs no password, and a request with an invalid login inside is accepted (status 101) before it is tried. "
        "Anybody who reaches the listener can repeat it."
    ),
    fix=(*RESTRICT, _DEMAND),
    verify="librespot-guard reach",
    look=_ended,
)


def _stored(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        folder = _folder(service)
        if folder is None or (service.flavour in LIBRESPOT and flag(service, "disable-credential-cache")):
            continue
        if not any(s.surface == "connect" for s in service.listeners):
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        exposures = context.reachable(service, "connect")
        if not exposures:
            continue
        without = ["`--disable-credential-cache` is not set"] if service.flavour in LIBRESPOT else []
        fix = [
            f"afterwards delete `credentials.json` below {folder} if a stranger's login may be in it, and restart the service"
        ]
        if service.flavour in LIBRESPOT:
            fix.insert(
                0,
                "start it with `--disable-credential-cache` (or set `LIBRESPOT_DISABLE_CREDENTIAL_CACHE=` in its environment)",
            )
        else:
            fix.insert(0, f"{service.flavour} has no setting for this: {RESTRICT[0]}")
        yield check.finding(
            service.name,
            [f"logins are stored below {folder}", *without, *ways(exposures)[:1]],
            severity="high" if any(e.surely_beyond for e in exposures) else "medium",
            fix=fix,
            verify="librespot-guard audit",
            place=folder,
        )


def _folder(service: Service) -> str | None:
    """Where a service stores logins, None if it does not."""
    if service.flavour == "spotifyd":
        return service.cache_dir or "its default cache folder (`~/.cache/spotifyd` of its user)"
    return service.cache_dir if service.flavour in RUST else None


STORED = Check(
    id="LG203",
    title="a takeover outlives a restart, because logins are stored",
    severity="medium",
    threats=("unauthorised-access",),
    what=(
        "Reports librespot, raspotify and spotifyd when they have a cache folder for logins, `--disable-credential-cache` is not set, and their "
        "Spotify Connect listener is reachable. High if sources beyond the local network get through."
    ),
    why=(
        "The login of whoever connected last is written to disk and used at the next start: after one takeover the device belongs to that account, "
        "also after a restart, and that account controls it through Spotify's servers whatever the packet filter says."
    ),
    fix=("switch the storing of logins off, where nobody needs the device to be logged in after a restart", *RESTRICT),
    verify="librespot-guard audit",
    look=_stored,
)


def _account(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if service.info is None and any(s.surface == "connect" for s in service.listeners):
            yield check.unable(
                service.name,
                "whether it tells the name of its account",
                "it was not asked (`getInfo`), or did not answer",
                "run the audit on the host itself, in the network namespace of the service",
            )
        if service.info is None or not service.info.account:
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        exposures = context.reachable(service, "connect")
        if not exposures:
            continue
        yield check.finding(
            service.name,
            [
                f"`getInfo` answered without authentication: activeUser is {service.info.account!r}",
                *ways(exposures[:1]),
            ],
            severity="medium" if any(e.surely_beyond for e in exposures) else "low",
            verify=reach_command(exposures),
            place=socket_name(exposures[0].listener.listener),
        )


ACCOUNT = Check(
    id="LG204",
    title="the name of the logged-in account is told to anybody who asks",
    severity="low",
    threats=("information-disclosure",),
    what=(
        "Reports a service whose answer to an unauthenticated `getInfo` names the logged-in account, while its listener is reachable. Medium if "
        "sources beyond the local network get through."
    ),
    why="The name identifies a person, shows when they are at home, and is the first half of an attempt to log in as them.",
    fix=("no setting hides the name: it is part of the protocol", *RESTRICT),
    verify="librespot-guard reach",
    look=_account,
)

CHECKS = (ENDED, STORED, ACCOUNT)
