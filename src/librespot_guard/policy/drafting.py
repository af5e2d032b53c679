"""The commented policy that `init` writes: what was found, closed to all but the local networks, ready to be narrowed."""

from collections.abc import Iterator, Mapping, Sequence

from librespot_guard import catalog
from librespot_guard.policy import _draft_match, _draft_sources
from librespot_guard.policy._draft_sources import Proposal
from librespot_guard.policy._yaml_text import comment, text
from librespot_guard.policy.model import SURFACES, Match
from librespot_guard.policy.resolve import slug
from librespot_guard.policy.values import yaml_address
from librespot_guard.snapshot import Service, Snapshot

_OPEN = ("discovery", "connect")
_SURFACES = {
    "discovery": "mDNS (UDP 5353), by which apps find the speaker. Denied: it no longer shows up in the app of whoever is left out.",
    "connect": "Spotify Connect, by which an app takes the speaker over and logs in. Denied: whoever is left out gets no answer.",
    "api": "the control API: play, pause, volume, and more. Denied: only programs on this host use it.",
    "login": "the answer of a login in a browser. Denied: log in from a browser on this host.",
    "stream": "the audio for Snapcast clients. Denied: no sound on other hosts.",
    "control": "the control of Snapcast. Denied: only programs on this host use it.",
    "metadata": "what is playing, for other programs. Denied: only programs on this host learn it.",
}
_HEAD = """\
# Who may reach the librespot services of this host. `librespot-guard init` wrote it from what it found; edit it.
#
# - What is not allowed here is denied: packets of everybody else are dropped. The order means nothing.
# - The host itself (loopback) is always allowed, and ports of other programs are never touched.
# - Nothing changes before `librespot-guard apply`. `librespot-guard check` says whether the file is right,
#   `librespot-guard plan` what it would change.
"""
_SOURCES = """\
# Who: each source has a name, at least one of `hosts`, `networks` and `interface`, and a `why`.
#   hosts       single addresses: [192.168.10.9, "fd00:10::9"]
#   networks    whole networks: [192.168.10.0/24, "fd00:10::/64"]; an IPv6 address always goes in quotes
#   interface   only packets that come in there; alone, it means everybody behind that interface
#   why         why they may come in; it stands beside the rule for as long as the rule does
#   expires     the last day on which it holds, such as {year}-12-31 (may be left out)
#   owner       whom to ask about it (may be left out)
"""
_SERVICES = """\
# To what: each entry says which service it speaks of, and which sources may reach which surface of it.
#   match       every key given must agree: flavour, unit, name, container, port
#   allow       for each surface a list of sources; [] and what is not named are nobody
"""
_EXAMPLE = """\
  living-room:
    match:
      flavour: librespot
      unit: librespot.service
    allow:
      discovery: [{names}]
      connect: [{names}]
"""


def draft(snapshot: Snapshot) -> str:
    """The text of a policy for this host: it loads without a fault, and speaks of every service of the snapshot.

    Every local network may discover and use each service; other surfaces are closed; tunnels and networks of containers
    are there as comments.
    """
    wanted = {service.netns for service in snapshot.services} | {snapshot.home.id}
    namespaces = sorted((n for n in snapshot.namespaces if n.id in wanted), key=lambda n: not n.home)
    sources = _draft_sources.proposals(namespaces)
    host = text(snapshot.hostname.encode("utf-8", "replace").decode() or "this host")
    plain = host if not host.startswith('"') else "this host"
    lines = [
        *_HEAD.splitlines(),
        "",
        "policy: 1                # the version of this format",
        f"title: Spotify Connect on {plain}",
        f"owner: the administrator of {plain}",
        "review: every 3 months   # every N days, weeks, months or years: when to look at it again",
        "",
        *_SOURCES.format(year=_next_year(snapshot.taken)).splitlines(),
        *_sources(sources),
        "",
        *_SERVICES.splitlines(),
        *_services(snapshot, sources),
    ]
    return "\n".join(lines) + "\n"


def _next_year(taken: str) -> int:
    return (
        int(taken[:4]) + 1
        if taken[:4].isdecimal() and taken[:4].isascii() and len(taken) >= 4 and int(taken[:4]) < 9999
        else 2030
    )


def _sources(sources: Sequence[Proposal]) -> Iterator[str]:
    if any(p.active for p in sources):
        yield "sources:"
    else:
        yield "# No local network was found that suggests a source: name one, and take the {} away."
        yield "sources: {}"
    for proposal in sources:
        yield ""
        hidden = "" if proposal.active else "# "
        if proposal.note:
            yield from comment(proposal.note, indent=2)
        yield from (f"  {hidden}{line}" for line in _source(proposal))


def _source(proposal: Proposal) -> Iterator[str]:
    yield f"{text(proposal.name)}:"
    if proposal.networks:
        yield "  networks:"
        for network in proposal.networks:
            note = (
                "    # the same network, for devices that use only a link-local address"
                if network.is_link_local
                else ""
            )
            yield f"    - {yaml_address(network)}{note}"
    yield f"  interface: {text(proposal.interface)}"
    yield f"  why: {text(proposal.why)}"


def _services(snapshot: Snapshot, sources: Sequence[Proposal]) -> Iterator[str]:
    active = [p for p in sources if p.active]
    groups = _draft_match.groups(snapshot.services)
    lost = len(snapshot.services) - sum(len(g.services) for g in groups)
    if lost:
        yield from comment(
            f"{lost} service{'s' if lost > 1 else ''} can't be named in a policy: nothing lasting is known about them."
        )
    if not groups:
        names = ", ".join(text(p.name) for p in active)
        yield "services: {}"
        yield from comment("No service was found. Start one and run `librespot-guard init` again, or write an entry.")
        yield from comment("It looks like this; to use it, take away the {} above and the # in front:")
        yield from (f"# {line}" for line in _EXAMPLE.format(names=names).splitlines())
        return
    yield "services:"
    taken: set[str] = set()
    for group in groups:
        first = group.services[0]
        base = slug(first.name) or slug(first.flavour) or "service"
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        yield ""
        yield f"  {text(name)}:"
        yield from _about(group.services)
        yield from _match(group.match)
        yield from _allow(group.services, [p.name for p in active if p.netns in {s.netns for s in group.services}])


def _about(services: Sequence[Service]) -> Iterator[str]:
    if len(services) > 1:
        yield from comment(
            f"{len(services)} services that nothing lasting tells apart: give them names, units or fixed ports of their own.",
            indent=4,
        )
    for service in services:
        version = f" {service.version}" if service.version else ""
        user = f", run by {service.user}" if service.user else ""
        yield from comment(f"{service.flavour}{version} ({service.executable}{user})", indent=4)
        for item in service.listeners:
            at = f"[{item.listener.address}]" if ":" in item.listener.address else item.listener.address
            yield from comment(f"{item.surface} on {item.listener.proto} {at}:{item.listener.port}", indent=4)
        ports = {
            item.surface: item.listener.port
            for item in service.listeners
            if item.surface != "unknown" and not item.pinned
        }
        if ports:
            yield from comment(
                f"Its port is another one after each restart, and rules are by port: {_pin(service, ports)}.", indent=4
            )


def _pin(service: Service, ports: Mapping[str, int]) -> str:
    try:
        flavour = catalog.load().flavour(service.flavour)
    except KeyError:
        return "fix it in its settings"
    # the sentences of the catalogue speak of port 37878
    return f"pin it first ({flavour.pin.replace('37878', str(ports.get('connect', 37878)))})"


def _match(match: Match) -> Iterator[str]:
    yield "    match:"
    for key in ("flavour", "unit", "container", "name"):
        value = getattr(match, key)
        if value is not None:
            yield f"      {key}: {text(value)}"
    if match.port is not None:
        yield f"      port: {match.port}"


def _allow(services: Sequence[Service], names: Sequence[str]) -> Iterator[str]:
    seen = {item.surface for service in services for item in service.listeners}
    yield "    allow:"
    for surface in SURFACES:
        if surface in _OPEN or surface in seen:
            yield from comment(f"{surface}: {_SURFACES[surface]}", indent=6)
            yield f"      {surface}: [{', '.join(text(n) for n in names) if surface in _OPEN else ''}]"
