"""All causes, looked for in one snapshot."""

from collections.abc import Iterator

from librespot_guard.doctor import announced, filtered, placed
from librespot_guard.doctor.model import CERTAINTIES, Diagnosis
from librespot_guard.doctor.subject import Subject
from librespot_guard.errors import InputError
from librespot_guard.snapshot import Snapshot


def diagnose(facts: Snapshot, service: str | None = None) -> tuple[Diagnosis, ...]:
    """What is wrong with the services of a snapshot, or with the one of that name; the surest first, service by service.

    The snapshot should hold announcements (`collect.speakers.with_announcements`): without them causes in what is announced
    are not looked for. Raises InputError if there is no service of that name.
    """
    chosen = [s for s in facts.services if service in (None, s.name)]
    if service is not None and not chosen:
        known = ", ".join(f"`{s.name}`" for s in facts.services) or "none runs here"
        raise InputError(f"no service is called `{service}`", hint=f"services found: {known}")
    if not chosen:
        return tuple(_nothing(facts))
    found = []
    for one in chosen:
        subject = Subject(facts, one)
        here = [d for look in (placed.look, filtered.look, announced.look) for d in look(subject)]
        found += sorted(here, key=lambda d: CERTAINTIES.index(d.certainty))
    return tuple(found)


def _nothing(facts: Snapshot) -> Iterator[Diagnosis]:
    """No service runs: that, and what may have ended one at its start."""
    yield Diagnosis(
        "not-running",
        None,
        "sure",
        (
            f"no service of the librespot family runs on {facts.hostname}",
            *(f"{s.name} is installed and does not run" + (f" ({s.unit})" if s.unit else "") for s in facts.stopped),
        ),
        ("start it, and look into its log if it ends: `journalctl -u SERVICE -e`",),
        "librespot-guard scan",
    )
    for stopped in facts.stopped:
        if setting := placed.discovery_off(Subject(facts, stopped)):
            yield Diagnosis(
                "discovery-off",
                None,
                "possible",
                (
                    f"{stopped.name}: {setting}",
                    "without discovery and without a stored login it ends at its start (librespot: `Credentials are required`)",
                ),
                ("take that setting away and start it again",),
                "librespot-guard scan",
            )
    home = facts.home
    if home.mdns_unshared:
        pids = sorted({p for one in home.listeners if (one.proto, one.port) == ("udp", 5353) for p in one.pids})
        yield Diagnosis(
            "responder-conflict",
            None,
            "possible",
            (
                f"UDP 5353 is held by {'process ' + ', '.join(map(str, pids)) if pids else 'a program'}, which shares it with nobody",
                "librespot with a responder of its own ends at its start then (`Discovery stopped unexpectedly`)",
            ),
            ("stop that program, or let it share the port (avahi-daemon: `disallow-other-stacks=no`)",),
            "ss -lnup 'sport = :5353'",
        )
    if not home.ipv6:
        # one that ends and is started again is mostly seen between two starts
        hit = [s.name for s in facts.stopped if placed.needs_ipv6(s)]
        yield Diagnosis(
            "no-ipv6",
            None,
            "likely" if hit else "possible",
            (
                *(f"{name} opens its listener on [::]" for name in hit),
                "the kernel gives no IPv6 sockets (`ipv6.disable=1`?)",
                "librespot since 0.5.0 opens its listener on [::] only, and ends without it unless it can log in by itself",
            ),
            ("take `ipv6.disable=1` off the kernel's command line, or use another version",),
            "python3 -c 'import socket; socket.socket(socket.AF_INET6)'",
        )
