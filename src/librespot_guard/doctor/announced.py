"""Causes in what is announced: nobody announces it, a wrong address, a wrong port."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from librespot_guard.doctor.model import Diagnosis
from librespot_guard.doctor.subject import Subject, Way
from librespot_guard.reach.questions import families
from librespot_guard.snapshot import Announcement, Link, Listener

_TUNNELS = ("tun", "wireguard", "gre", "ipip", "sit", "vti", "xfrm", "ppp")


def look(subject: Subject) -> Iterable[Diagnosis]:
    """What is wrong with the announcements of a service; nothing if nobody asked for them."""
    own = subject.announcements()
    if own is None or not subject.ports or not subject.ways():
        return
    yield from _wrong_port(subject, own)
    right = [a for a in own if a.port in subject.ports]
    if not own:
        yield from _silent(subject)
    chosen = _chosen(subject)
    for way in subject.ways():
        heard = [a for a in right if a.dev == way.iface]
        if chosen and chosen.isdisjoint(a.address for a in subject.space.addresses if a.dev == way.iface):
            continue  # it was told not to announce there
        if heard and way.family == min(a.family for a in heard):
            yield from _wrong_address(subject, way, heard)


def _chosen(subject: Subject) -> set[str]:
    """The addresses of its host that it was told to announce alone (librespot `--zeroconf-interface`); empty if it was not, or to no avail."""
    given = [s.value for s in subject.service.settings if s.name == "zeroconf-interface" and s.wins]
    wanted = {part.strip() for value in given for part in value.split(",")}
    ways = {way.iface for way in subject.ways()}
    return wanted & {a.address for a in subject.space.addresses if a.dev in ways}


def _silent(subject: Subject) -> Iterable[Diagnosis]:
    """Nobody announces it: because its responder could not start, or because there is none."""
    # where nobody has joined the group no question gets in whatever the rules say, because of this very fault
    joined = [way for way in subject.ways() if subject.joined(way)]
    if joined and all(not subject.discovery(way).may for way in joined):
        return  # the questions do not get in: that is said elsewhere
    holders = _holders(subject)
    if subject.space.mdns_unshared and not subject.listeners("discovery"):
        yield Diagnosis(
            "responder-conflict",
            subject.name,
            "sure",
            (
                f"UDP 5353 is held by {_named(holders)}, which shares it with nobody",
                f"{subject.name} listens on tcp/{subject.ports[0]}, but has no socket on UDP 5353 and nobody announces it",
            ),
            (
                "stop that program, or make it share the port (avahi-daemon: `disallow-other-stacks=no`)",
                "or let one responder answer for both: build or configure the speaker to announce through avahi",
                "then start the speaker again",
            ),
            "ss -lnup 'sport = :5353'",
        )
        return
    if subject.listeners("discovery"):
        told = "it has a socket on UDP 5353, but did not answer for itself"
        steps: tuple[str, ...] = ("start it again; if it stays silent, look into its log for `mdns` or `zeroconf`",)
    elif holders:
        told = f"it has no responder of its own, and {_named(holders)} on UDP 5353 does not announce it"
        steps = (
            "if it announces through avahi: see that avahi-daemon runs and publishes (`disable-publishing=no`)",
            "or start it with a responder of its own",
        )
    else:
        told = "no program on this host answers on UDP 5353"
        steps = ("if it announces through avahi: start avahi-daemon", "or start it with a responder of its own")
    yield Diagnosis(
        "not-announced",
        subject.name,
        "likely",
        (f"asked on {', '.join(dict.fromkeys(w.iface for w in subject.ways()))}: no answer names it", told),
        steps,
        "librespot-guard scan --network",
    )


def _holders(subject: Subject) -> list[Listener]:
    """Sockets on UDP 5353 in its namespace that are not its own."""
    mine = {one.listener.inode for one in subject.service.listeners}
    return [one for one in subject.space.listeners if (one.proto, one.port) == ("udp", 5353) and one.inode not in mine]


def _named(holders: list[Listener]) -> str:
    pids = sorted({pid for one in holders for pid in one.pids})
    if not pids:
        return "another program"
    return f"process{'es' * (len(pids) > 1)} {', '.join(map(str, pids))}"


def _wrong_port(subject: Subject, own: list[Announcement]) -> Iterable[Diagnosis]:
    wrong = [a for a in own if a.port and a.port not in subject.ports]
    if not wrong:
        return
    first = wrong[0]
    listens = " and ".join(f"tcp/{port}" for port in subject.ports)
    yield Diagnosis(
        "wrong-port",
        subject.name,
        "sure",
        (f"{first.sender} announces `{first.name}` on tcp/{first.port}; it listens on {listens}",),
        (
            "remove the stale announcement: a file in /etc/avahi/services, or a second responder that announces the same name",
            "pin the port of the speaker, so that what was announced once stays true",
        ),
        "librespot-guard scan --network",
    )


def _wrong_address(subject: Subject, way: Way, heard: list[Announcement]) -> Iterable[Diagnosis]:
    served = {f for one in subject.listeners("connect") for f in families(one.listener)}
    space = subject.space
    here = {a.address for a in space.addresses if a.dev == way.iface}
    near = [ip_network(f"{a.address}/{a.prefixlen}", strict=False) for a in space.addresses if a.dev == way.iface]
    said = list(dict.fromkeys(address for a in heard for address in a.addresses))
    # of another card in the same network: it can be reached as well
    own = {a.address for a in space.addresses if not _link_local(a.address) and any(_in(a.address, n) for n in near)}
    usable = [address for address in said if address in here | own and _family(address) in served]
    bad = [address for address in said if address not in here | own and not (usable and _link_local(address))]
    if usable and not bad:
        return
    links = {link.name: link for link in space.links}
    devs = {a.address: a.dev for a in space.addresses}
    told = [f"{address}, which is {_whose(address, links.get(devs.get(address, '')))}" for address in bad]
    first = (
        "; ".join(told) if told else "no address at all" if not said else f"{', '.join(said)}, where it does not listen"
    )
    yield Diagnosis(
        "wrong-address",
        subject.name,
        "possible" if usable else "sure",
        (
            f"on {way.iface} it announces {first}",
            f"its own address there is {', '.join(sorted(here))}"
            + (f"; announced as well: {', '.join(usable)}" if usable else ""),
        ),
        _address_steps(bad),
        "librespot-guard scan --network",
    )


def _in(address: str, network: IPv4Network | IPv6Network) -> bool:
    parsed = ip_address(address)
    return parsed.version == network.version and parsed in network


def _link_local(address: str) -> bool:
    """Whether it is a link-local address of IPv6: that of another card does no harm beside a right one, for no app leaves its link for it."""
    return ip_address(address).version == 6 and ip_address(address).is_link_local


def _address_steps(bad: list[str]) -> tuple[str, ...]:
    if any(ip_address(address).is_loopback for address in bad):
        return (
            "let the host name resolve to the address of the network: in /etc/hosts, replace `127.0.1.1` on the line of the host name",
            "then start the speaker again",
        )
    return (
        (
            "announce one interface only: librespot `--zeroconf-interface ADDRESS`, go-librespot `zeroconf_interfaces_to_advertise`, "
            "librespot-java `zeroconf.interfaces`, avahi `allow-interfaces`"
        ),
        "then start the speaker again",
    )


def _whose(address: str, link: Link | None) -> str:
    parsed = ip_address(address)
    if parsed.is_loopback:
        return "loopback: a phone that connects there finds itself"
    if link is None:
        return "no address of this host"
    if link.kind == "bridge":
        return f"the address of {link.name}, a bridge (as of containers)"
    if link.kind in _TUNNELS or link.arp_type == 65534:
        return f"the address of {link.name}, a tunnel (as of a VPN)"
    return f"the address of {link.name}, another interface"


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"
