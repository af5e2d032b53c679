"""The words of the field as this tool uses them: the texts of `explain CONCEPT`.

`Explanation` is also the form in which a check is explained, so that there is one way to show both.
"""

from dataclasses import dataclass

from librespot_guard.audit.grade import RULE
from librespot_guard.audit.model import THREATS, Check


@dataclass(frozen=True, slots=True)
class Explanation:
    """One page of `explain`.

    `fix` and `check` are empty where there is nothing to do; `severity` and `threats` belong to checks only.
    """

    name: str
    title: str
    what: tuple[str, ...]
    why: tuple[str, ...]
    fix: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    threats: tuple[str, ...] = ()
    severity: str | None = None


def of_check(check: Check) -> Explanation:
    """The page of a check, from its own texts."""
    return Explanation(
        check.id, check.title, (check.what,), (check.why,), check.fix, (check.verify,), check.threats, check.severity
    )


_PAGES = (
    Explanation(
        "audit",
        "what an audit looks at, and what it does not",
        (
            "Each check is a pure function of the snapshot of a host: it looks at the services, their sockets, and the packet filter as the kernel holds it.",
            "A check that could not be made is named under `incomplete`, with the reason: no finding then means nothing.",
        ),
        (
            "An audit sees this host. What a router in front of it lets through, and what happens inside Spotify's own servers, it does not see.",
        ),
        (),
        ("librespot-guard audit", "librespot-guard audit --fail-on high --format json"),
    ),
    Explanation(
        "discovery",
        "how a phone finds a speaker",
        (
            (
                "The service announces `_spotify-connect._tcp` by mDNS (UDP 5353, multicast, one link only); the answer names the port of its Spotify "
                "Connect listener. `discovery` in a policy is that UDP 5353."
            ),
            "Discovery and use are two doors: without mDNS the device is not shown, but whoever knows the port still gets in.",
        ),
        ("Allow both to those who play, and neither to others. A TCP rule alone makes a speaker that nobody finds.",),
        ("in the policy: the same sources under `discovery` and `connect`",),
        ("librespot-guard reach --to udp/5353",),
    ),
    Explanation(
        "exit-status",
        "what the exit status of a command means",
        (
            "0: done, or nothing found.",
            "1: the answer is no: findings at the threshold of `--fail-on`, a proof refuted, a change refused.",
            "2: the input is wrong: usage, policy, snapshot, packets.",
            "3: this machine cannot: privilege, a missing tool, a missing kernel feature.",
            "4: undecided: the analysis is not exact where exactness was asked for.",
            "5: the change was rolled back.",
        ),
        ("It is the same for every command, so that a script need not read text.",),
    ),
    Explanation(
        "gate",
        "the switch in the kernel that puts the old rules back by itself",
        (
            (
                "`apply` loads the new rules behind a map whose elements expire. While they live, packets take the new rules; when they expire, the kernel takes "
                "the old ones again, without any process that would have to live until then."
            ),
            "`confirm` makes the change permanent; it fails as a whole if the elements have expired.",
        ),
        (
            "A firewall change over the network can cut the one who makes it. The way back must not depend on the session, on this tool, or on a timer that can be killed.",
        ),
        ("confirm from a second, new session: only that shows that the host can still be reached",),
        ("librespot-guard status", "nft list map inet librespot_guard gate"),
    ),
    Explanation(
        "grade",
        "how the letter of an audit comes about",
        (
            "The first line that holds gives the grade:",
            *(f"{letter}: {condition}" for letter, condition in RULE),
            "Ignored checks (`--ignore`) do not count, and the report names them.",
        ),
        (
            "One more finding never gives a better letter. The letter is for comparing a host with itself; the findings are what counts.",
        ),
        ("begin with the worst severity",),
        ("librespot-guard audit --fail-on high",),
    ),
    Explanation(
        "may-must",
        "upper and lower bound of who can reach a listener",
        (
            "`may` holds every source that can possibly get through, `must` every source that certainly does. If both are equal the answer is exact.",
            "What the analysis does not understand (a rate limit, another kind of filter) widens `may`, narrows `must`, and is named.",
        ),
        (
            "A tool that guesses is worse than none: what is closed must be closed in `may`, what shall work must be open in `must`.",
        ),
        (),
        ("librespot-guard reach --format json",),
    ),
    Explanation(
        "pinned",
        "a port that stays the same over a restart",
        (
            "Every member of the family takes a random port for Spotify Connect unless one is set. A port that a setting fixes is called pinned.",
            (
                "The setting is `--zeroconf-port` (librespot), `LIBRESPOT_ZEROCONF_PORT` (raspotify), `zeroconf_port` (spotifyd, go-librespot), "
                "`zeroconf.listenPort` (librespot-java). `--ap-port` is something else: the port of Spotify's server."
            ),
        ),
        ("A packet filter rule names a port. It protects a service only as long as the service stays there.",),
        ("fix the port, restart the service, and plan again",),
        ("librespot-guard scan",),
    ),
    Explanation(
        "policy",
        "the file that says who may reach what",
        (
            "One YAML file: sources (who, and why) and services (which surface allows which sources). What is not allowed is denied; order means nothing.",
        ),
        ("A rule without a reason is never removed. Every allow therefore has a source with a `why`.",),
        ("librespot-guard init -o policy.yaml",),
        ("librespot-guard check policy.yaml",),
    ),
    Explanation(
        "reach",
        "the set of sources from which a packet is delivered to a listener",
        (
            (
                "Computed from the rules that the kernel runs (nf_tables bytecode, all tables and hooks), the routing tables and the sysctls, for each ingress "
                "interface, family and destination address, for a new flow. Nothing is sent."
            ),
            "Reach ends at the socket: it does not say what the service answers.",
        ),
        (
            "A listing shows rules; whether somebody gets through is decided by all of them together, in order, for both families.",
        ),
        (),
        ("librespot-guard reach", "librespot-guard reach --from 192.168.10.9", "librespot-guard trace --packets FILE"),
    ),
    Explanation(
        "snapshot",
        "all facts about a host in one file",
        (
            (
                "Services, sockets, addresses, routes and the packet filter as they were at one moment, as one JSON document. Every command that only looks works on "
                "it with `--snapshot FILE`, on any machine."
            ),
            "Passwords and tokens are replaced before anything is kept. Account and device names are in it.",
        ),
        ("What was decided can be looked at again later, and a host can be examined where no tool may be installed.",),
        (),
        ("librespot-guard snapshot -o host.json", "librespot-guard audit --snapshot host.json"),
    ),
    Explanation(
        "surface",
        "what a service offers to the network",
        (
            "`discovery`: mDNS, UDP 5353.",
            "`connect`: Spotify Connect over HTTP; whoever reaches it can take the device over.",
            "`api`: HTTP and WebSocket control (go-librespot, librespot-java, Snapcast 1780).",
            "`control`: Snapcast's JSON-RPC (1705). `stream`: Snapcast's audio (1704).",
            "`login`: the OAuth callback, open during a sign-in. `metadata`: events about what is played.",
        ),
        ("A policy speaks of surfaces, not of ports: the port may change, the purpose does not.",),
        (),
        ("librespot-guard scan",),
    ),
    Explanation(
        "takeover",
        "how a stranger becomes the owner of a session",
        (
            (
                "Spotify Connect's local login (`addUser`) carries an encrypted login of whoever wants to play. The device accepts any account: there is no password, "
                "no list of accounts, no question to the owner."
            ),
            "librespot, raspotify and spotifyd end if the login then fails; the others have already dropped the session.",
        ),
        (
            "It is how Spotify Connect works, and no member of the family can switch it off without switching discovery off. Only who reaches the listener can be limited.",
        ),
        ("restrict the `connect` surface in the policy; do not store logins (LG203)",),
        ("librespot-guard explain LG202",),
    ),
    Explanation(
        "threats",
        "the threats that findings name",
        tuple(f"`{name}`: {text}" for name, text in THREATS.items()),
        ("They say what a fix is good for, and allow to look at one kind of danger at a time.",),
    ),
)

CONCEPTS = {page.name: page for page in _PAGES}
"""Every concept, by name."""
