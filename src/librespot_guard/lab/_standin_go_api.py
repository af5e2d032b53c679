"""The API half of the stand-in for go-librespot 0.9.0: its routes, what it refuses, and its CORS and WebSocket rules, without a session."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

from librespot_guard.lab import _standin_wire
from librespot_guard.lab._standin_nethttp import Answer, converse, redirect
from librespot_guard.lab._standin_wire import Request, rendered

PREFLIGHT_VARY = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
)
_GET, _POST = "GET", "POST"

# the fields of each body: by name, the type it must have
_TEXT, _INT, _BOOL = str, int, bool
ROUTES: dict[tuple[str, str], dict[str, type]] = {
    (_GET, "/"): {},
    (_GET, "/status"): {},
    (_GET, "/player/volume"): {},
    (_GET, "/events"): {},
    (_POST, "/token"): {},
    (_POST, "/player/resume"): {},
    (_POST, "/player/pause"): {},
    (_POST, "/player/playpause"): {},
    (_POST, "/player/stop"): {},
    (_POST, "/player/prev"): {},
    (_POST, "/player/next"): {"uri": _TEXT},
    (_POST, "/player/seek"): {"position": _INT, "relative": _BOOL},
    (_POST, "/player/volume"): {"volume": _INT, "relative": _BOOL},
    (_POST, "/player/repeat_context"): {"repeat_context": _BOOL},
    (_POST, "/player/repeat_track"): {"repeat_track": _BOOL},
    (_POST, "/player/shuffle_context"): {"shuffle_context": _BOOL},
    (_POST, "/player/add_to_queue"): {"uri": _TEXT},
    (_POST, "/player/play"): {"uri": _TEXT, "skip_to_uri": _TEXT, "paused": _BOOL, "position": _INT},
    (_POST, "/player/output"): {"device": _TEXT},
    (_POST, "/set_device_name"): {"name": _TEXT},
}
# what must be there, and not empty or negative
_MUST: dict[str, Callable[[dict[str, Any]], bool]] = {
    "/player/play": lambda body: bool(body.get("uri")),
    "/player/add_to_queue": lambda body: bool(body.get("uri")),
    "/set_device_name": lambda body: bool(body.get("name")),
    "/player/seek": lambda body: bool(body.get("relative")) or (body.get("position") or 0) >= 0,
    "/player/volume": lambda body: bool(body.get("relative")) or (body.get("volume") or 0) >= 0,
}


class Named(Protocol):
    """Whose name the API changes."""

    def rename(self, name: str) -> None:
        """Announce another name from now on."""


class Api:
    """The API of one speaker. `allow_origin` is `server.allow_origin`."""

    def __init__(self, speaker: Named, allow_origin: str) -> None:
        self.speaker = speaker
        self.allow_origin = allow_origin

    def converse(self, connection: socket.socket) -> None:
        """Serve one connection."""
        converse(connection, self.answer, self.cors)

    def answer(self, request: Request, connection: socket.socket) -> Answer | None:
        """An answer with its CORS headers; None once it has become a WebSocket that has ended."""
        if request.method == "OPTIONS" and request.headers.get("access-control-request-method"):
            return "204 No Content", {"Vary": PREFLIGHT_VARY, **self._preflight(request)}, b""
        cors = self.cors(request)
        if request.path == "/events" and request.method == _GET:
            return self._events(request, connection, cors)
        status, headers, body = self._routed(request)
        return status, {**cors, **headers}, body

    def _routed(self, request: Request) -> Answer:
        if request.path.startswith("/web-api/"):
            return "204 No Content", {}, b""
        if request.path == "/web-api":
            return redirect("/web-api/", request.method)
        methods = [method for method, path in ROUTES if path == request.path]
        if not methods:
            return _plain("404 Not Found", "404 page not found\n")
        method = _GET if request.method == "HEAD" else request.method
        if method not in methods:
            allowed = sorted({*methods, *(["HEAD"] if _GET in methods else [])})
            status, headers, body = _plain("405 Method Not Allowed", "Method Not Allowed\n")
            return status, {"Allow": ", ".join(allowed), **headers}, body
        return self._done(method, request)

    def _done(self, method: str, request: Request) -> Answer:
        try:
            body = parse_body(request.body if method == _POST else b"", ROUTES[method, request.path])
        except ValueError:
            return "400 Bad Request", {}, b""
        if method == _POST and request.path in _MUST and not _MUST[request.path](body):
            return "400 Bad Request", {}, b""
        kind = {"Content-Type": "application/json"}
        if request.path == "/":
            return "200 OK", kind, b'{"playback_ready":false}\n'
        if request.path == "/set_device_name":
            self.speaker.rename(body["name"])
            return "200 OK", kind, b"null\n"
        return "204 No Content", {}, b""

    def _allows(self, origin: str) -> bool:
        return bool(origin) and bool(self.allow_origin) and self.allow_origin in ("*", origin)

    def cors(self, request: Request) -> dict[str, str]:
        """The headers of every answer that is no preflight's."""
        return {"Vary": "Origin", **self._allowed(request)}

    def _allowed(self, request: Request) -> dict[str, str]:
        origin = request.headers.get("origin", "")
        if not self._allows(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": "*" if self.allow_origin == "*" else origin,
            "Access-Control-Allow-Credentials": "true",
        }

    def _preflight(self, request: Request) -> dict[str, str]:
        method = request.headers["access-control-request-method"]
        if not self._allows(request.headers.get("origin", "")) or method not in ("GET", "HEAD", "POST"):
            return {}
        asked = request.headers.get("access-control-request-headers", "")
        return {
            **self._allowed(request),
            "Access-Control-Allow-Methods": method,
            **({"Access-Control-Allow-Headers": asked} if asked else {}),
            **(
                {"Access-Control-Allow-Private-Network": "true"}
                if request.headers.get("access-control-request-private-network") == "true"
                else {}
            ),
        }

    def _events(self, request: Request, connection: socket.socket, cors: dict[str, str]) -> Answer | None:
        refusal = self._refusal(request)
        if refusal is not None:
            status, extra, text = refusal
            plain_status, plain, body = _plain(status, text)
            return plain_status, {**cors, **plain, **extra}, body
        accept = _standin_wire.websocket_accept(request.headers["sec-websocket-key"])
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": accept, **cors}
        connection.sendall(rendered("101 Switching Protocols", {**headers, "Date": _standin_wire.date()}))
        # nothing plays, so no event is sent until the client goes
        with suppress(OSError):
            _standin_wire.await_end_of_websocket(connection)
        return None

    def _refusal(self, request: Request) -> tuple[str, dict[str, str], str] | None:
        """Why this is no WebSocket for us: status, headers, text."""
        said = request.headers
        for name, wanted in (("Connection", "Upgrade"), ("Upgrade", "websocket")):
            given = said.get(name.lower(), "")
            if wanted.lower() not in given.lower():
                text = f'WebSocket protocol violation: {name} header "{given}" does not contain {wanted}\n'
                return "426 Upgrade Required", {"Connection": "Upgrade", "Upgrade": "websocket"}, text
        version = said.get("sec-websocket-version", "")
        if version != "13":
            text = f'unsupported WebSocket protocol version (only 13 is supported): "{version}"\n'
            return "400 Bad Request", {"Sec-WebSocket-Version": "13"}, text
        if not said.get("sec-websocket-key"):
            return "400 Bad Request", {}, "WebSocket protocol violation: missing Sec-WebSocket-Key\n"
        origin = urlsplit(said.get("origin", "")).netloc
        pattern = self.allow_origin.removeprefix("http://").removeprefix("https://").removesuffix("/")
        if origin and origin.lower() != said.get("host", "").lower() and not (pattern and fnmatchcase(origin, pattern)):
            text = f'request Origin "{origin}" is not authorized for Host "{said.get("host", "")}"\n'
            return "403 Forbidden", {}, text
        return None


def parse_body(body: bytes, fields: dict[str, type]) -> dict[str, Any]:
    """A JSON body as encoding/json reads it into a struct: names in any case, others ignored, null leaves a field. Raises ValueError.

    The content type does not matter, and no body is as good as `{}`.
    """
    document = json.loads(body, parse_constant=_no_number) if body else {}
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what a peer sent
    found: dict[str, Any] = {}
    for name, value in document.items():
        kind = fields.get(name.lower())
        if kind is None or value is None:
            continue
        if type(value) is not kind:
            raise ValueError(f"{name}: not a {kind.__name__}")
        found[name.lower()] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _plain(status: str, text: str) -> Answer:
    return status, {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}, text.encode()
