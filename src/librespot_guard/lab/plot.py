"""What differs between the daemons in the story of the demo: how each is started, and what one request of a stranger does to it."""

import time
from typing import TYPE_CHECKING

from librespot_guard.lab import stage as on
from librespot_guard.lab import stranger
from librespot_guard.lab.daemons import Daemon, Running

if TYPE_CHECKING:
    from librespot_guard.lab.story import Story

# libmdns before 0.8 joins its group on the interface of the multicast route alone
ONE_NETWORK = ("librespot-0.4.2",)
_API = 3678


def speaks(daemon: Daemon) -> str:
    """The flavour that answers on the network: of a snapserver it is the librespot that it starts."""
    return "librespot" if daemon.flavour == "snapserver" else daemon.flavour


def logins_last(daemon: Daemon) -> bool:
    """Whether a login that is under way shows, and keeps the daemon alive."""
    return daemon.flavour in ("librespot-python", "librespot-java")


def options(daemon: Daemon) -> dict[str, str]:
    """The settings that the story needs: the API of go-librespot open to the network, as its users do for their home automation."""
    return {"server.address": "0.0.0.0"} if daemon.flavour == "go-librespot" else {}  # noqa: S104 - that is the story


def consequence(story: "Story", running: Running, victim: str) -> str:
    """Observe and claim what the stranger's request did; returns it in a few words."""
    daemon = running.daemon
    if logins_last(daemon):
        story.claim(
            f"the session of {victim} is dropped and replaced: the speaker now belongs to mallory",
            _user(story, running) == "mallory",
        )
        return "reads name and account, takes the speaker over"
    if daemon.flavour == "spotifyd":
        story.claim(
            "the speaker now says that it belongs to mallory; the login that can't succeed is tried for 75 s, and then it ends",
            _user(story, running) == "mallory",
        )
        return "reads its name, takes the speaker over"
    if daemon.flavour == "snapserver":
        return _restarted(story, running)
    if daemon.flavour == "go-librespot":
        return _renamed(story)
    status = running.wait(15)
    last = (running.log().strip().splitlines() or [""])[-1]
    story.narrator.command("speaker", f"the end of the log of {daemon.name}", last, 0)
    story.claim(
        f"the daemon has ended (exit status {status}): one request from a stranger, and the music is over", status == 1
    )
    return "reads its name, ends the daemon"


def _user(story: "Story", running: Running) -> str:
    after = on.ask(story.stage.stranger, on.GUEST4, running.port)
    story.sent("stranger", f"GET http://{on.GUEST4}:{running.port}/?action=getInfo", after)
    return str(after.got.get("activeUser")) if after.got is not None else ""


def _restarted(story: "Story", running: Running) -> str:
    old, deadline = running.port, time.monotonic() + 15
    while (now := running.connect_ports()) in ({old}, set()) and time.monotonic() < deadline:
        time.sleep(0.05)
    moved = bool(now) and old not in now
    if moved:
        running.await_listener(5)
    story.claim(
        f"its speaker has ended and was started again, on another port ({old}, now {running.port}): a rule for the old one is void",
        moved,
    )
    return "reads its name, ends the speaker, which comes back on another port"


def _renamed(story: "Story") -> str:
    def request() -> int:
        return stranger.rename(on.GUEST4, _API, "mallory's").status

    seen = on.seen(story.stage.stranger, request)
    story.narrator.command(
        "stranger", f"POST http://{on.GUEST4}:{_API}/set_device_name name=mallory's", f"HTTP {seen.got or seen.why}", 0
    )
    running = story.alive()
    after = on.ask(story.stage.stranger, on.GUEST4, running.port)
    story.claim(
        "the stranger gave the speaker another name, by its API, without any session",
        after.got is not None and after.got.get("remoteName") == "mallory's",
    )
    return "reads its name, changes it"
