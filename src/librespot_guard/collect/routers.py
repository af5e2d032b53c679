"""Which ports the routers of these networks forward here: asked of those that answer on the links of each namespace. Only where it was asked for."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from librespot_guard.collect import igd, ssdp
from librespot_guard.collect.namespaces import in_namespace
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Gap, Namespace, Router, Service

_AT_ONCE = 8
_SILENT = "it does not answer by UPnP; forwards that were set by hand, by NAT-PMP or by PCP, nobody can be asked for"


def ask_all(
    spaces: Mapping[str, Namespace], services: Iterable[Service]
) -> tuple[dict[str, Namespace], tuple[Gap, ...]]:
    """The namespaces with what routers told in each that has a service, or is the reader's own; asked from inside of it."""
    pids = {service.netns: service.pid for service in services}
    wanted = [space for name, space in spaces.items() if space.home or name in pids]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        asked = list(pool.map(lambda space: _ask_inside(space, pids.get(space.id, 0)), wanted))
    return {**spaces, **{space.id: space for space, _ in asked}}, tuple(gap for _, gaps in asked for gap in gaps)


def _ask_inside(space: Namespace, pid: int) -> tuple[Namespace, tuple[Gap, ...]]:
    work = partial(_ask, space)
    try:
        routers, gaps = work() if space.home else in_namespace(pid, work)
    except MachineError as error:
        return space, (Gap(f"routers of network namespace {space.name or space.id}", str(error), error.hint),)
    return replace(space, routers=routers), gaps


def _ask(space: Namespace) -> tuple[tuple[Router, ...], tuple[Gap, ...]]:
    gateways = {
        dev: route.gateway
        for route in space.routes
        if route.dst == "0.0.0.0/0" and route.kind == "unicast" and route.gateway
        for dev in route.devs
    }
    heard = ssdp.find(space.links, space.addresses, gateways)
    silent = [
        Gap(f"port forwards of the router {gateway} on {dev}", _SILENT, "look at its own pages")
        for dev, gateway in gateways.items()
        if gateway not in heard.answered
    ]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        told = list(pool.map(igd.ask, heard.places))
    found = tuple(router for routers, _ in told for router in routers)
    return found, (*heard.gaps, *(gap for _, gaps in told for gap in gaps), *silent)
