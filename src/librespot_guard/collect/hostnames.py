"""Whether an HTTP interface answers whoever calls it by a name that is not its own, as a page that rebinds its DNS name does.

Two `GET /` each, over loopback where that is up: one for `localhost`, one for a name that nobody has (RFC 6761 6.4). Only where it was asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from librespot_guard.collect import getinfo
from librespot_guard.collect.namespaces import in_namespace
from librespot_guard.collect.services import reached_at
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Gap, Listener, Namespace, Service

FOREIGN = "rebinding.invalid"
_HTTP = ("api",)


def any_host(address: str, port: int) -> bool | None:
    """Whether a listener gives a foreign name the same answer as its own; None if it does not answer by HTTP.

    Raises OSError when nothing accepts a connection there.
    """
    own = _status(address, port, "localhost")
    return None if own is None else _status(address, port, FOREIGN) == own


def _status(address: str, port: int, host: str) -> int | None:
    request = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    words = getinfo.exchange(address, port, request).data.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return None
    return int(words[1])


def ask_all(
    services: Iterable[Service], namespaces: Mapping[str, Namespace]
) -> tuple[tuple[Service, ...], tuple[Gap, ...]]:
    """The services with what their HTTP interfaces were found to do; each is asked from inside its network namespace."""
    done, gaps = [], []
    for service in services:
        wanted = [s.listener for s in service.listeners if s.surface in _HTTP and s.listener.proto == "tcp"]
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


def _ask(listeners: Iterable[Listener], space: Namespace) -> dict[Listener, bool | None]:
    found: dict[Listener, bool | None] = {}
    for listener in listeners:
        for address in reached_at(listener, space.addresses):
            try:
                found[listener] = any_host(address, listener.port)
            except OSError:
                continue
            break
    return found
