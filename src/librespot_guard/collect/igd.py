"""Asking a router for its port forwards by UPnP: its description, and `GetGenericPortMappingEntry` until it says that there are no more.

Sources: WANIPConnection:1 and :2, WANPPPConnection:1 (2.4.15 of the first); UPnP Device Architecture 1.1, 2.3 and 3.1. Only reads are sent. Everything
that comes back is bounded in size, number and time, and only the address that was asked first is ever asked.
"""

import re
import time
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element

from librespot_guard.collect.getinfo import clean
from librespot_guard.collect.http import Received, exchange, status_of, whole_body
from librespot_guard.collect.ssdp import Place
from librespot_guard.collect.untrusted_xml import Refused, named, parse, text_of
from librespot_guard.snapshot import Gap, PortMapping, Router

SECONDS = 15.0
MOST = 512
_SERVICE = re.compile(r"urn:schemas-upnp-org:service:(WAN(?:IP|PPP)Connection:[12])", re.ASCII)
_CONTROL = re.compile(r"/[\w.~/%+?=&;,:@-]*", re.ASCII)
_MOST_SERVICES = 4
# SpecifiedArrayIndexInvalid, NoSuchEntryInArray
_END = ("713", "714")
_ENVELOPE = (
    '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:{action} xmlns:u="{service}">{arguments}</u:{action}></s:Body></s:Envelope>\r\n'
)


@dataclass(frozen=True, slots=True)
class _Control:
    """Where a connection service takes orders, until when it is asked."""

    place: Place
    service: str
    port: int
    path: str
    deadline: float


def ask(place: Place, *, seconds: float = SECONDS, most: int = MOST) -> tuple[tuple[Router, ...], tuple[Gap, ...]]:
    """What a router tells of its forwards, one `Router` for each of its connections; a gap for what it does not tell. Never raises."""
    deadline = time.monotonic() + seconds
    gaps: list[Gap] = []
    routers = []
    try:
        for control in _controls(place, deadline):
            mappings, why = _mappings(control, most)
            routers.append(
                Router(place.dev, place.address, _SERVICE.sub(r"\1", control.service), _outside(control), mappings)
            )
            if why:
                gaps.append(_gap(place, why))
    except (Refused, OSError) as error:
        gaps.append(
            _gap(place, str(error) if isinstance(error, Refused) else f"no connection: {error.strerror or error}")
        )
    return tuple(routers), tuple(gaps)


def _gap(place: Place, why: str) -> Gap:
    return Gap(f"port forwards of the router {place.address} on {place.dev}", why, "look at its own pages")


def _host(place: Place, port: int) -> str:
    return f"Host: {place.address}:{port}\r\nConnection: close\r\n"


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise Refused("it takes too long")
    return min(left, 3.0)


def _answer(received: Received, *expected: int) -> tuple[int, Element]:
    """The status and the document of an answer. Raises Refused."""
    if received.ended in ("late", "large"):
        raise Refused("it does not answer in time" if received.ended == "late" else "its answer is too long")
    status = status_of(received.data)
    if status not in expected:
        raise Refused(f"it answers with HTTP status {status}" if status else "what it answers is no HTTP")
    return status, parse(whole_body(received.data))


def _controls(place: Place, deadline: float) -> list[_Control]:
    """The connection services in the description of a router."""
    request = f"GET {place.path} HTTP/1.1\r\n{_host(place, place.port)}\r\n"
    _, root = _answer(exchange(place.address, place.port, request, seconds=_left(deadline)), 200)
    try:
        base = urljoin(f"http://{place.address}:{place.port}{place.path}", text_of(root, "URLBase"))
    except ValueError:  # brackets that hold no IPv6 address
        raise Refused("its description has a base that is no address") from None
    found: dict[tuple[str, int, str], _Control] = {}
    for element in named(root, "service"):
        service = text_of(element, "serviceType")
        try:
            url = urlsplit(urljoin(base, text_of(element, "controlURL")))
            port = url.port or 80
        except ValueError:
            continue
        path = url.path + (f"?{url.query}" if url.query else "")
        if not _SERVICE.fullmatch(service):
            continue
        if (url.scheme, url.hostname) != ("http", place.address) or not _CONTROL.fullmatch(path):
            raise Refused("it sends whoever asks to another address")
        found.setdefault((service, port, path), _Control(place, service, port, path, deadline))
    if not found:
        raise Refused("it describes no service that could tell")
    return list(found.values())[:_MOST_SERVICES]


def _call(control: _Control, action: str, arguments: str = "") -> tuple[int, Element]:
    body = _ENVELOPE.format(action=action, service=control.service, arguments=arguments)
    request = (
        f"POST {control.path} HTTP/1.1\r\n{_host(control.place, control.port)}"
        f'Content-Type: text/xml; charset="utf-8"\r\nContent-Length: {len(body)}\r\nSOAPAction: "{control.service}#{action}"\r\n\r\n{body}'
    )
    seconds = _left(control.deadline)
    return _answer(exchange(control.place.address, control.port, request, seconds=seconds), 200, 500)


def _outside(control: _Control) -> str:
    """The address that the router has on its outside, if it says one."""
    try:
        _, answer = _call(control, "GetExternalIPAddress")
        return str(ip_address(text_of(answer, "NewExternalIPAddress")))
    except (Refused, OSError, ValueError):
        return ""


def _mappings(control: _Control, most: int) -> tuple[tuple[PortMapping, ...], str]:
    """The forwards in their order, each once, and why there may be more than these ("": there are not)."""
    found: dict[PortMapping, None] = {}
    unread = 0
    for index in range(most):
        try:
            status, answer = _call(
                control, "GetGenericPortMappingEntry", f"<NewPortMappingIndex>{index}</NewPortMappingIndex>"
            )
        except Refused as error:
            return tuple(found), str(error)
        except OSError as error:
            return tuple(found), f"no connection: {error.strerror or error}"
        if status == 500:
            code = text_of(answer, "errorCode")
            known = code if code.isascii() and code.isdigit() and len(code) < 5 else "without a number"
            why = "" if code in _END else f"it ends its list with error {known}"
            return tuple(found), why or (f"{unread} of its entries can't be read" if unread else "")
        mapping = _mapping(answer)
        if mapping is None:
            unread += 1
        else:
            found[mapping] = None
    return tuple(found), f"its list has more than {most} entries"


def _mapping(answer: Element) -> PortMapping | None:
    """One entry; None if it is none."""
    try:
        numbers = [int(text_of(answer, f"New{name}")) for name in ("ExternalPort", "InternalPort")]
        lease = int(text_of(answer, "NewLeaseDuration") or 0)
        client = str(ip_address(text_of(answer, "NewInternalClient")))
        remote = text_of(answer, "NewRemoteHost")
        # a name in place of an address may stand for anybody
        remote = str(ip_address(remote)) if remote not in ("", "*") and remote[-1:].isdigit() else ""
    except ValueError:
        return None
    proto = text_of(answer, "NewProtocol").lower()
    if proto not in ("tcp", "udp") or not all(0 <= n < 1 << 16 for n in numbers) or not 0 <= lease < 1 << 32:
        return None
    enabled = text_of(answer, "NewEnabled").lower() not in ("0", "false", "no")
    said = clean(text_of(answer, "NewPortMappingDescription"))
    return PortMapping(proto, numbers[0], client, numbers[1], remote, enabled, said, lease)
