"""Phrases that several checks need, so that the same fact is always said in the same words."""

from collections.abc import Iterable

from librespot_guard.audit.context import Exposure
from librespot_guard.audit.sources import FAMILY_NAMES, in_words, listed
from librespot_guard.snapshot import Listener

RESTRICT = (
    (
        "restrict it by a policy: `librespot-guard init -o policy.yaml`, keep under `sources` only who needs it, then `plan policy.yaml`, "
        "`apply policy.yaml`, and `confirm` from a second session"
    ),
)
"""How a listener is closed to everybody else by the packet filter."""


def socket_name(listener: Listener) -> str:
    """A socket as `ss` prints it, with its protocol: "tcp [::]:37123"."""
    address = f"[{listener.address}]" if ":" in listener.address else listener.address
    return f"{listener.proto} {address}:{listener.port}"


def who(exposure: Exposure) -> str:
    """Who gets through one way, and how sure that is."""
    answer = exposure.answer
    # a set that holds only what routing refuses anyway (the host's own address) lets nobody in
    may = in_words(exposure.family, answer.shown_may) if answer.may else "nobody"
    if answer.exact:
        return f"{may} (exact)"
    must = in_words(exposure.family, answer.shown_must) if answer.must else "nobody"
    because = f" (not exact: {'; '.join(answer.because)})" if answer.because else " (not exact)"
    return f"certainly {must}, at most {may}{because}"


def ways(exposures: Iterable[Exposure]) -> list[str]:
    """Lines of evidence: one for each socket, interface, family and answer, with all destinations that share it."""
    together: dict[tuple[str, str, str, str], list[str]] = {}
    for exposure in exposures:
        key = (
            socket_name(exposure.listener.listener),
            exposure.link.name,
            FAMILY_NAMES[exposure.family],
            who(exposure),
        )
        together.setdefault(key, []).append(exposure.destination)
    return [
        f"{socket} over {iface}, {family} to {listed(to)}: {sources}"
        for (socket, iface, family, sources), to in together.items()
    ]


def reach_command(exposures: Iterable[Exposure]) -> str:
    """The command that shows who reaches these listeners; it names ports, not the (untrusted) name of the service."""
    first = next(iter(exposures)).listener.listener
    return f"librespot-guard reach --to {first.proto}/{first.port}"
