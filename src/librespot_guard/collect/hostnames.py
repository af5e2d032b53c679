"""Whether an HTTP interface answers whoever calls it by a name that is not its own, as a page that rebinds its DNS name does.

Two requests each, over loopback where that is up: one under its own name, one under a name that nobody has (RFC 6761 6.4). A control
interface is asked by `GET /`, a Spotify Connect listener by `getInfo`. Only where it was asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from librespot_guard.collect import getinfo
from librespot_guard.collect.http import exchange, status_of
from librespot_guard.collect.namespaces import in_namespace
from librespot_guard.collect.services import reached_at
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Gap, Info, Listener, Namespace, Service, ServiceListener

FOREIGN = "rebinding.invalid"


def any_host(address: str, port: int) -> bool | None:
    """Whether a control interface gives a foreign name the same answer as its own; None if it does not answer by HTTP.

    Raises OSError when nothing accepts a connection there.
    """
    own = _status(address, port, "localhost")
    return None if own is None else _status(address, port, FOREIGN) == own


def any_speaker(address: str, port: int) -> bool | None:
    """Whether a Spotify Connect listener tells a page under a foreign name who it is; None if it tells nobody.

    Raises OSError when nothing accepts a connection there.
    """
    own = getinfo.ask(address, port)
    return same_speaker(own, address, port) if isinstance(own, Info) else None


def same_speaker(own: Info, address: str, port: int) -> bool:
    """Whether the speaker that answered `own` gives the same answer to a foreign name: one more `getInfo`. Raises OSError as `ask`."""
    told = getinfo.ask(address, port, host=FOREIGN)
    return isinstance(told, Info) and told.device_id == own.device_id


def _status(address: str, port: int, host: str) -> int | None:
    request = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    return status_of(exchange(address, port, request).data)


_ASKED_BY = {"api": any_host, "connect": any_speaker}


def ask_all(
    services: Iterable[Service], namespaces: Mapping[str, Namespace]
) -> tuple[tuple[Service, ...], tuple[Gap, ...]]:
    """The services with what their HTTP interfaces were found to do; each is asked from inside its network namespace."""
    done, gaps = [], []
    for service in services:
        wanted = [s for s in service.listeners if s.surface in _ASKED_BY and s.listener.proto == "tcp"]
        space = namespaces.get(service.netns)
        if not wanted or space is None:
            done.append(service)
            continue
        work = partial(_ask, wanted, space)
        try:
            found = work() if space.home else in_namespace(service.pid, work)
        except MachineError as error:
            gaps.append(Gap(f"the names that {service.name} answers to", str(error), error.hint))
            found = {}
        told = (replace(s, any_host=found.get(s.listener)) for s in service.listeners)
        done.append(replace(service, listeners=tuple(told)))
    return tuple(done), tuple(gaps)


def _ask(listeners: Iterable[ServiceListener], space: Namespace) -> dict[Listener, bool | None]:
    found: dict[Listener, bool | None] = {}
    for one in listeners:
        for address in reached_at(one.listener, space.addresses):
            try:
                found[one.listener] = _ASKED_BY[one.surface](address, one.listener.port)
            except OSError:
                continue
            break
    return found
