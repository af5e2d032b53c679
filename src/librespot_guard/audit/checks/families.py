"""IPv4 is restricted and IPv6 is forgotten."""

from collections.abc import Iterator

from librespot_guard.audit.checks._words import RESTRICT, reach_command, socket_name, ways
from librespot_guard.audit.checks.exposure import unread_filter
from librespot_guard.audit.context import Context, Exposure
from librespot_guard.audit.model import Check, Finding, Unable

SURFACES = ("connect", "api", "login", "stream", "control", "metadata", "unknown")


def _look(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if not any(s.listener.family == "ipv6" and s.surface in SURFACES for s in service.listeners):
            continue
        if unable := unread_filter(check, context, service):
            yield unable
            continue
        forgotten = list(_forgotten(context.exposures(service, *SURFACES)))
        if not forgotten:
            continue
        open_ways = [e for e in forgotten if e.family == "ipv6"]
        yield check.finding(
            service.name,
            ways(forgotten),
            here=f"Here the rules that hold for IPv4 on {open_ways[0].link.name} have no counterpart for IPv6.",
            fix=(
                *RESTRICT,
                (
                    "or write the IPv4 rules in a table of family `inet`, and sources as IPv6 networks beside the IPv4 ones; "
                    "with iptables, repeat each rule with `ip6tables`"
                ),
            ),
            verify=reach_command(open_ways),
            place=socket_name(open_ways[0].listener.listener),
        )


def _forgotten(exposures: tuple[Exposure, ...]) -> Iterator[Exposure]:
    """The exposures of each socket and interface where the filter takes something from IPv4 and nothing from IPv6."""
    places: dict[tuple[str, str, int], list[Exposure]] = {}
    for exposure in exposures:
        listener = exposure.listener.listener
        places.setdefault((exposure.link.name, listener.proto, listener.port), []).append(exposure)
    for together in places.values():
        restricted = [e for e in together if e.family == "ipv4" and e.filtered]
        untouched = [e for e in together if e.family == "ipv6" and e.untouched and e.answer.may]
        if restricted and untouched:
            yield from (*restricted, *untouched)


CHECKS = (
    Check(
        id="LG103",
        title="reachable by IPv6, although the packet filter restricts IPv4",
        severity="high",
        threats=("unauthorised-access", "network-attack"),
        what=(
            "Compares, for each interface, what the packet filter takes away from IPv4 and from IPv6. Reports a listener if some IPv4 sources "
            "are kept out and not a single IPv6 source is."
        ),
        why=(
            "One socket serves both families. Rules for IPv4 alone do not close it: every host on the same link has an IPv6 address without "
            "anybody's doing (link-local), and with a global prefix hosts beyond the link get through as well."
        ),
        fix=RESTRICT,
        verify="librespot-guard reach",
        look=_look,
    ),
)
