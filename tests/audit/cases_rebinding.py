"""Hosts for the checks of DNS rebinding."""

from audit.case import api, clean, has, speaker
from audit.hosts import PORT, connect

CASES = (
    has("LG106", "any name", "medium", "tcp 127.0.0.1:3678", "rebinding.invalid", of=api("127.0.0.1", any_host=True)),
    clean("LG106", "its own name only", of=api("127.0.0.1", any_host=False)),
    clean("LG106", "no control interface"),
    has(
        "LG107",
        "any name",
        "medium",
        f"tcp [::]:{PORT}",
        "rebinding.invalid",
        of=speaker(listeners=(connect(any_host=True),)),
    ),
    has(
        "LG107", "a random port", "medium", "random one", of=speaker(listeners=(connect(any_host=True, pinned=False),))
    ),
    clean("LG107", "its own name only"),
)
