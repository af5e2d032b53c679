"""What a doctor says: a cause, how sure it is, what was seen, what to do, and how to check."""

from dataclasses import dataclass

CERTAINTIES = ("sure", "likely", "possible")
"""From what was seen to be so, to what may well be so."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A known cause. `keeps` is what it keeps a phone from: "discovery", "connection" or both."""

    id: str
    title: str
    keeps: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause that was found.

    Attributes:
        cause: the id of one of `CAUSES`.
        service: name of the service, None if it concerns the host. Chosen by the service: untrusted text.
        certainty: one of `CERTAINTIES`.
        evidence: what was seen, at least one line; may contain untrusted text.
        fix: what to do, one step each, at least one.
        check: how to see that it is cured.
    """

    cause: str
    service: str | None
    certainty: str
    evidence: tuple[str, ...]
    fix: tuple[str, ...]
    check: str = "librespot-guard doctor"

    def __post_init__(self) -> None:
        if self.cause not in CAUSES or self.certainty not in CERTAINTIES or not self.evidence or not self.fix:
            raise ValueError(f"{self.cause}: a diagnosis needs a known cause, a certainty, evidence and a fix")


_BOTH = ("discovery", "connection")
CAUSES = {
    cause.id: cause
    for cause in (
        Cause(
            "not-running",
            "no speaker runs here",
            _BOTH,
            "Nothing of the librespot family runs on this host, so there is nothing to find. It may have ended at its start.",
        ),
        Cause(
            "discovery-off",
            "discovery is switched off by configuration",
            _BOTH,
            "The program was told not to be discovered: it opens no Spotify Connect listener and announces nothing.",
        ),
        Cause(
            "no-ipv6",
            "the kernel has no IPv6, and the program wants it",
            _BOTH,
            "librespot since 0.5.0 opens its listener on [::]. Where the kernel gives no IPv6 sockets, discovery does not start.",
        ),
        Cause(
            "responder-conflict",
            "two programs want UDP 5353",
            ("discovery",),
            "Multicast DNS is answered on UDP 5353. Where another program holds the port and does not share it, the speaker's own "
            "responder cannot start: librespot then ends, librespot-python goes on unannounced.",
        ),
        Cause(
            "not-announced",
            "nobody announces it",
            ("discovery",),
            "It listens, but no answer to the question for Spotify Connect speakers names it, so no app can know of it.",
        ),
        Cause(
            "wrong-address",
            "it announces an address that phones cannot use",
            ("connection",),
            "An app connects to the address that was announced. One of loopback, of a container bridge or of a VPN leads it nowhere.",
        ),
        Cause(
            "wrong-port",
            "it announces a port on which it does not listen",
            ("connection",),
            "An app connects to the port that was announced, which may come from a stale or foreign announcement of the same name.",
        ),
        Cause(
            "port-blocked",
            "the firewall lets discovery in, but not the connection",
            ("connection",),
            "The speaker shows up in the app, and choosing it fails: questions on UDP 5353 pass, the TCP port is closed.",
        ),
        Cause(
            "random-port",
            "a rule is for a fixed port, but the port is random",
            ("connection",),
            "Without a pinned port the program takes another one at every start, and a rule that names a port fits once at most.",
        ),
        Cause(
            "multicast-filtered",
            "questions for speakers do not get in",
            ("discovery",),
            "The question goes to 224.0.0.251 or ff02::fb, UDP 5353. Where the firewall stops it, nobody hears it and nobody answers.",
        ),
        Cause(
            "not-joined",
            "it does not listen for questions on this interface",
            ("discovery",),
            "A responder joins the multicast group on the interfaces that are there when it starts. One that comes up later stays deaf.",
        ),
        Cause(
            "closed",
            "the firewall lets nothing in",
            _BOTH,
            "Neither questions for speakers nor connections pass from any network that this host is in.",
        ),
        Cause(
            "bridged-container",
            "it runs in a container on a bridge",
            _BOTH,
            "Multicast does not cross a container's bridge, and the address that is announced is the container's own.",
        ),
        Cause(
            "other-namespace",
            "it runs in a network namespace that the network does not reach",
            _BOTH,
            "What it announces and where it listens is seen inside its namespace only.",
        ),
        Cause(
            "no-network",
            "the host is in no network",
            _BOTH,
            "No interface but loopback is up with an address, so nobody can come.",
        ),
    )
}
"""Every cause that `diagnose` knows, by id."""
