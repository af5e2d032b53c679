"""The speakers of the network: who announces himself in the namespaces of a snapshot, and what each answers when asked.

What speakers announce is not trusted: an address is asked only where it lies in a network of the very interface on which the
announcement came, so that nobody can make this host send requests elsewhere.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network

from librespot_guard.collect import getinfo, hostnames, mdns, namespaces
from librespot_guard.collect.links import read_addresses, read_links
from librespot_guard.collect.netlink import NETLINK_ROUTE, Netlink
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Address, Announcement, Gap, Info, Namespace, Snapshot, Speaker

_AT_ONCE = 8
_MOST_ASKED = 256


def with_announcements(
    facts: Snapshot, *, seconds: float = mdns.SECONDS, progress: Callable[[str], None] = lambda _: None
) -> Snapshot:
    """The snapshot with what was announced in each of its namespaces, asked now and at the same time."""

    def heard(space: Namespace) -> tuple[Namespace, tuple[Gap, ...]]:
        work = partial(mdns.browse, space.links, space.addresses, seconds=seconds, progress=progress)
        pid = next((s.pid for s in facts.services if s.netns == space.id), 0)
        try:
            found = work() if space.home else namespaces.in_namespace(pid, work)
        except MachineError as error:
            return space, (Gap(f"speakers in network namespace {space.name or space.id}", str(error), error.hint),)
        return replace(space, announcements=found.announcements, mdns_unshared=found.unshared), found.gaps

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        results = list(pool.map(heard, facts.namespaces))
    return replace(
        facts,
        namespaces=tuple(space for space, _ in results),
        incomplete=(*facts.incomplete, *(gap for _, gaps in results for gap in gaps)),
    )


def find_speakers(
    *,
    ask: bool = True,
    probe: bool = False,
    seconds: float = mdns.SECONDS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[Speaker, ...], tuple[Gap, ...]]:
    """Every speaker that answers on an interface of the calling thread's network namespace, asked who it is.

    With `ask`, each speaker (a name, host and port) is asked once, by one `getInfo`; with `probe`, who answered is asked
    once more, under a name that is not its own. Raises MachineError if the interfaces can't be read.
    """
    with Netlink(NETLINK_ROUTE) as link:
        links = read_links(link)[0]
        addresses = read_addresses(link, {one.index: one.name for one in links})
    heard = mdns.browse(links, addresses, seconds=seconds, progress=progress)
    ways: dict[tuple[str, int, str], list[Announcement]] = {}
    for one in heard.announcements:
        ways.setdefault((one.name, one.port, one.host), []).append(one)
    chosen = list(ways.values())[:_MOST_ASKED]
    if not ask:
        return tuple(Speaker(min(w, key=lambda a: (a.family, a.dev)), why="not asked") for w in chosen), heard.gaps
    progress(f"asking {len(chosen)} speaker{'s' * (len(chosen) != 1)} who they are")
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        found = tuple(pool.map(partial(_asked, addresses, probe=probe), chosen))
    more = (
        [Gap(f"{len(ways) - len(chosen)} more speakers", "too many announcements")] if len(ways) > len(chosen) else []
    )
    if heard.unshared:
        more.append(
            Gap(
                "speakers that answer to everybody only",
                "another program holds UDP 5353 here and shares it with nobody",
            )
        )
    return found, (*heard.gaps, *more)


def _asked(own: tuple[Address, ...], ways: list[Announcement], *, probe: bool) -> Speaker:
    """A speaker, asked at the first of its addresses that lies on the link it was heard on, IPv4 first."""
    first = min(ways, key=lambda a: (a.family, a.dev))
    targets = list(dict.fromkeys((a, w.dev) for w in sorted(ways, key=lambda a: a.family) for a in _on_link(own, w)))
    if not first.port:
        return Speaker(first, why="it did not say on which port it listens")
    if not targets:
        return Speaker(
            first, why="none of its addresses lies in a network of the interface it was heard on, so it was not asked"
        )
    address, dev = targets[0]
    target = f"{address}%{dev}" if ip_address(address).is_link_local and ":" in address else address
    try:
        info = getinfo.ask(target, first.port)
    except OSError as error:
        return Speaker(first, address, None, f"no connection: {error.strerror or error}")
    if isinstance(info, getinfo.NoInfo):
        return Speaker(first, address, None, f"no Spotify Connect speaker answers there: {info.why}")
    return Speaker(first, address, info, any_host=_any_host(info, target, first.port) if probe else None)


def _any_host(info: Info, target: str, port: int) -> bool | None:
    try:
        return hostnames.same_speaker(info, target, port)
    except OSError:
        return None


def _on_link(own: tuple[Address, ...], one: Announcement) -> Iterable[str]:
    """Its announced addresses, and the one that answered, that lie in a network of the interface."""
    networks = [
        ip_network(f"{a.address}/{a.prefixlen}", strict=False)
        for a in own
        if a.dev == one.dev and not ip_address(a.address).is_loopback
    ]
    for text in sorted({*one.addresses, one.sender}, key=lambda t: (":" in t, t)):
        address = ip_address(text)
        if any(address in n for n in networks if n.version == address.version) and not address.is_multicast:
            yield text
