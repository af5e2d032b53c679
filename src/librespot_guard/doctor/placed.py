"""Causes in where and how it runs: its namespace, its interfaces, IPv6, its configuration."""

from collections.abc import Iterable

from librespot_guard import catalog
from librespot_guard.doctor.model import Diagnosis
from librespot_guard.doctor.subject import Subject, bridges_to_the_network
from librespot_guard.reach.questions import MDNS
from librespot_guard.snapshot import Service


def look(subject: Subject) -> Iterable[Diagnosis]:
    """What is wrong with where the service runs."""
    space = subject.space
    if not space.home:
        yield from _elsewhere(subject)
    elif not subject.ways():
        yield Diagnosis(
            "no-network",
            subject.name,
            "sure",
            ("no interface but loopback is up and has an address",),
            ("connect the host to the network: `ip address` shows what is missing",),
            "ip address",
        )
    if not subject.listeners("connect"):
        yield from _no_listener(subject)
    elif subject.listeners("discovery"):
        yield from _not_joined(subject)


def _elsewhere(subject: Subject) -> Iterable[Diagnosis]:
    """It runs in a namespace of its own, which only some kinds of interface connect to the network."""
    space = subject.space
    links = [link for link in space.links if link.up and not link.loopback]
    if any(link.kind != "veth" for link in links):
        return  # macvlan, ipvlan or a real card of its own: it is in the network itself
    bridged = bridges_to_the_network(subject.facts.home)
    certainty = "possible" if bridged and links else "sure"
    where = f"network namespace {space.name or space.id}"
    reached = f"its interface{'s' * (len(links) != 1)} {', '.join(f'{k.name} (veth)' for k in links)} end in this host" if links else (
        "it has no interface but loopback"
    )  # fmt: skip
    pinned = "pin its port and publish it, and let an mDNS reflector on the host repeat the announcement with the host's address"
    if subject.service.container:
        yield Diagnosis(
            "bridged-container",
            subject.name,
            certainty,
            (f"container {subject.service.container[:12]}, {where}", reached),
            ("start the container with the host's network: `--network host`", f"or {pinned}"),
        )
    else:
        yield Diagnosis(
            "other-namespace",
            subject.name,
            certainty,
            (where, reached),
            ("start it in the host's own network namespace", f"or {pinned}"),
        )


def _no_listener(subject: Subject) -> Iterable[Diagnosis]:
    setting = discovery_off(subject)
    if setting:
        yield Diagnosis(
            "discovery-off",
            subject.name,
            "sure",
            (f"{setting}", "it has no Spotify Connect listener"),
            ("take that setting away and start it again",),
            "librespot-guard scan",
        )
    elif not subject.space.ipv6 and needs_ipv6(subject.service):
        yield Diagnosis(
            "no-ipv6",
            subject.name,
            "likely",
            ("the kernel gives no IPv6 sockets (`ipv6.disable=1`?)", "it has no Spotify Connect listener"),
            (
                "start the kernel with IPv6: take `ipv6.disable=1` off its command line",
                "where IPv6 is not wanted, `sysctl net.ipv6.conf.all.disable_ipv6=1` keeps the sockets and does no harm",
            ),
            "python3 -c 'import socket; socket.socket(socket.AF_INET6)'",
        )
    elif subject.service.listeners:
        return
    else:
        yield Diagnosis(
            "not-announced",
            subject.name,
            "possible",
            ("it has no listener at all: it may have just started, or have been told to log in by itself",),
            ("look into its log", "see with `librespot-guard scan` how it was started"),
            "librespot-guard scan",
        )


def needs_ipv6(service: Service) -> bool:
    """Whether the Spotify Connect listener of a service is an IPv6 socket, which takes IPv4 along, and nothing else."""
    flavour = next((f for f in catalog.load().flavours if f.name == service.flavour), None)
    connect = flavour.surface("connect", service.version) if flavour else None
    return connect is not None and connect.bind == "::"


def discovery_off(subject: Subject) -> str:
    """The setting that switches discovery off, and where it stands; "" if none was seen."""
    service = subject.service
    flavour = next((f for f in catalog.load().flavours if f.name == service.flavour), None)
    removals = [r for r in flavour.removals if "connect" in r.surfaces and r.setting] if flavour else []
    for removal in removals:
        known = flavour.setting(removal.setting, service.version) if flavour else None
        for given in service.settings:
            if given.name != removal.setting or not given.wins or given.origin.startswith("default "):
                continue
            # a flag is on as soon as it is there, whatever its value says
            if (known is not None and known.kind == "flag") or given.value.lower() == removal.value.lower():
                return f"`{given.name}` is set ({given.origin})" + (f": {given.note}" if given.note else "")
    return ""


def _not_joined(subject: Subject) -> Iterable[Diagnosis]:
    served = {one.listener.family for one in subject.listeners("discovery")}
    for way in subject.ways():
        if way.family in served and not subject.joined(way):
            yield Diagnosis(
                "not-joined",
                subject.name,
                "sure",
                (
                    f"nobody on this host has joined {MDNS[way.family]} on {way.iface}",
                    f"{subject.name} has a socket on UDP 5353, but hears no question on that interface",
                ),
                (
                    "start it again, now that the interface is there",
                    "let its unit wait for the network: `After=network-online.target`, `Wants=network-online.target`",
                ),
                f"ip maddress show dev {way.iface}",
            )
