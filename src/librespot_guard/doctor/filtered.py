"""Causes in the packet filter: the connection is blocked, the rule is for another port, questions do not get in."""

from collections.abc import Iterable

from librespot_guard.doctor.model import Diagnosis
from librespot_guard.doctor.subject import Bounds, Subject, Way
from librespot_guard.reach import cidrs
from librespot_guard.reach.questions import families

_OPEN = "open it for your own network only: `librespot-guard init`, then `plan` and `apply`; or one rule in your own firewall"


_FAMILY = {"ipv4": "IPv4", "ipv6": "IPv6"}


def look(subject: Subject) -> Iterable[Diagnosis]:
    """What the packet filter keeps from the service, way by way."""
    served = {f for one in subject.listeners("connect") for f in families(one.listener)}
    open_ways = [(way, subject.discovery(way), subject.connect(way)) for way in subject.ways() if way.family in served]
    if not open_ways:
        return
    if all(not found.may and not connects.may for _, found, connects in open_ways):
        yield _closed(subject, [way for way, _, _ in open_ways])
        return
    pinned = all(one.pinned for one in subject.listeners("connect"))
    for way, found, connects in open_ways:
        other = _opened_instead(subject, way) if not connects.may and not pinned else None
        if other is not None:
            yield _random_port(subject, way, other)
        elif stuck := found.must - connects.may:
            everybody = not way.neighbours - stuck
            yield _blocked(
                subject, way, "every neighbour" if everybody else _listed(cidrs(way.family, stuck)), connects
            )
        elif connects.must and not found.may and subject.joined(way):
            yield _unheard(subject, way)
        elif not pinned and connects.may and (port := _fits_once(subject, way, connects)) is not None:
            yield _fits_until_restart(subject, way, port)


def _opened_instead(subject: Subject, way: Way) -> int | None:
    """A TCP port that the packet filter opens by this way, though the service does not listen there."""
    taken = {one.port for one in subject.space.listeners if one.proto == "tcp"}
    for port in subject.rule_ports:
        if port not in taken and subject.connect(way, port).may:
            return port
    return None


def _fits_once(subject: Subject, way: Way, connects: Bounds) -> int | None:
    """The port of the service if only a rule for that very port lets neighbours in."""
    port = subject.ports[0]
    named = set(subject.rule_ports)
    if port not in named:
        return None
    another = next(p for p in range(49152, 65536) if p not in named)
    return port if connects.may - subject.connect(way, another).may else None


def _closed(subject: Subject, ways: list[Way]) -> Diagnosis:
    return Diagnosis(
        "closed",
        subject.name,
        "sure",
        (
            (
                f"no neighbour on {', '.join(dict.fromkeys(w.iface for w in ways))} gets to tcp/{subject.ports[0]} "
                "or has a question for speakers heard"
            ),
        ),
        (_OPEN,),
        f"librespot-guard reach {subject.name}",
    )


def _blocked(subject: Subject, way: Way, who: str, connects: Bounds) -> Diagnosis:
    some = "" if not connects.may else " (others do)"
    return Diagnosis(
        "port-blocked",
        subject.name,
        "sure",
        (
            f"on {way.iface}, {who} can ask for speakers on UDP 5353 (by {_FAMILY[way.family]})",
            f"but cannot connect to tcp/{subject.ports[0]}{some}",
        ),
        (_OPEN,),
        f"librespot-guard reach {subject.name}",
    )


def _unheard(subject: Subject, way: Way) -> Diagnosis:
    group = "224.0.0.251" if way.family == "ipv4" else "ff02::fb"
    return Diagnosis(
        "multicast-filtered",
        subject.name,
        "sure",
        (
            f"on {way.iface}, neighbours can connect to tcp/{subject.ports[0]}",
            f"but packets to {group}, UDP 5353 are stopped before any responder",
        ),
        (f"let UDP 5353 to {group} in from your own network: `librespot-guard init`, then `plan` and `apply`",),
        f"librespot-guard reach --to udp/5353@{group}",
    )


def _random_port(subject: Subject, way: Way, other: int) -> Diagnosis:
    return Diagnosis(
        "random-port",
        subject.name,
        "sure",
        (
            f"the packet filter opens tcp/{other} on {way.iface}, and nothing listens there",
            f"{subject.name} listens on tcp/{subject.ports[0]}, a port that is another one after every start",
        ),
        (f"pin the port to {other}: {_how(subject, other)}", "then start the speaker again"),
    )


def _fits_until_restart(subject: Subject, way: Way, port: int) -> Diagnosis:
    return Diagnosis(
        "random-port",
        subject.name,
        "likely",
        (
            f"a rule opens tcp/{port} on {way.iface}, where {subject.name} listens today",
            "its port is not pinned: at the next start it listens elsewhere, and the rule does not fit any more",
        ),
        (f"pin the port to {port}: {_how(subject, port)}",),
        "librespot-guard scan",
    )


def _how(subject: Subject, port: int) -> str:
    from librespot_guard import catalog  # noqa: PLC0415 - read only where something is to be pinned

    flavour = next((f for f in catalog.load().flavours if f.name == subject.service.flavour), None)
    # the sentences of the catalogue speak of port 37878
    return flavour.port.pin.replace("37878", str(port)) if flavour else "see the program's documentation"


def _listed(texts: list[str]) -> str:
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more networks" if len(texts) > 4 else "")
