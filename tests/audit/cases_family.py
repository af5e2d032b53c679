"""For each check of what a member of the family does by itself: hosts that have it, and hosts that have not."""

from audit.case import clean, has, speaker
from audit.hosts import connect, tcp
from librespot_guard.snapshot import ServiceListener, Snapshot


def api(flavour: str = "go-librespot") -> Snapshot:
    """A service with a control API on loopback."""
    listener = ServiceListener(tcp(3678, "127.0.0.1"), "api", pinned=True)
    return speaker(flavour=flavour, version="0.9.0", info=None, listeners=(listener,))


FAMILY = (
    has(
        "LG701",
        "java",
        "high",
        "every answer of the API",
        "tcp 127.0.0.1:3678",
        of=speaker(
            flavour="librespot-java",
            version="1.6.3",
            info=None,
            listeners=(ServiceListener(tcp(3678, "127.0.0.1"), "api", pinned=True),),
        ),
    ),
    has(
        "LG701",
        "owntone, not tried",
        "high",
        "not confirmed: derived from the source",
        of=speaker(
            flavour="owntone", version=None, info=None, listeners=(ServiceListener(tcp(3689), "api", pinned=True),)
        ),
    ),
    clean("LG701", "go-librespot", of=api()),
    clean(
        "LG701",
        "java before 1.3.1",
        of=speaker(
            flavour="librespot-java",
            version="1.3.0",
            info=None,
            listeners=(ServiceListener(tcp(24879), "api", pinned=True),),
        ),
    ),
    has("LG702", "on localhost", "medium", "DNS rebinding reaches an API on localhost", of=api()),
    clean("LG702", "no api", of=speaker(flavour="go-librespot", version="0.9.0", info=None, listeners=(connect(),))),
    clean("LG702", "another flavour", of=api("librespot-java")),
    has(
        "LG703",
        "go-librespot",
        "low",
        "`addUser` works by GET",
        of=speaker(flavour="go-librespot", version="0.9.0", info=None, listeners=(connect(),)),
    ),
    clean("LG703", "librespot takes POST only"),
    has(
        "LG704",
        "interactive login",
        "medium",
        "tcp [::]:40000 is not on loopback",
        of=speaker(
            flavour="go-librespot",
            version="0.9.0",
            info=None,
            listeners=(ServiceListener(tcp(40000, "::"), "login", pinned=False),),
        ),
    ),
    clean(
        "LG704",
        "on loopback",
        of=speaker(listeners=(connect(), ServiceListener(tcp(5588, "127.0.0.1"), "login", pinned=True))),
    ),
)
