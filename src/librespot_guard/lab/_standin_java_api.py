"""The API half of the stand-in for librespot-java 1.6.3: its routes as Undertow serves them, without a session."""

import json
import re
import socket
import threading
import time
from contextlib import suppress

from librespot_guard.lab import _standin_mdns, _standin_wire, mdns
from librespot_guard.lab._standin_wire import Reader, RefusedRequest, Request, date, rendered

# by the original's routing: the method it asks for (None: any), and what a match gets without a session
_ROUTES: tuple[tuple[str | None, re.Pattern[str]], ...] = (
    ("POST", re.compile(r"/player/[^/]*")),
    ("POST", re.compile(r"/metadata/[^/]+(/[^/]+)?")),
    ("POST", re.compile(r"/search/[^/]+")),
    ("POST", re.compile(r"/token/[^/]+")),
    ("POST", re.compile(r"/profile/[^/]+/[^/]+")),
    ("GET", re.compile(r"/instance")),
    ("POST", re.compile(r"/instance/[^/]+")),
    (None, re.compile(r"/web-api(/.+)?")),
    ("POST", re.compile(r"/discovery/[^/]+")),
    ("GET", re.compile(r"/events")),
)
_ANYBODY = {"Access-Control-Allow-Origin": "*"}
_ASK_AGAIN = 10.0


class Browser:
    """The original's own look around for Spotify Connect devices: a second socket on 5353, open as long as it runs."""

    def __init__(self) -> None:
        self._found: dict[str, mdns.Found] = {}
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Ask, and listen in the background. Raises OSError."""
        self._socket = _standin_mdns.open_socket("ipv4")
        for work in (self._ask, self._listen):
            threading.Thread(target=work, args=(self._socket,), daemon=True).start()

    def _ask(self, sock: socket.socket) -> None:
        for wait in (0.2, 1.0, 3.0, *([_ASK_AGAIN] * 100_000)):
            with suppress(OSError):
                sock.sendto(mdns.question(), (mdns.GROUP["ipv4"], mdns.PORT))
            time.sleep(wait)

    def _listen(self, sock: socket.socket) -> None:
        while True:
            message, _ = sock.recvfrom(9000)
            mdns.read(message, self._found)

    def devices(self) -> list[dict[str, object]]:
        """The devices seen so far, by name, host and port."""
        complete = [f for f in list(self._found.values()) if f.port and f.host]
        return [{"name": f.name, "target": f.host.removesuffix(".local"), "port": f.port} for f in complete]


class Api:
    """The API. Nothing checks who asks, nor the Host, nor the Origin."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def converse(self, connection: socket.socket) -> None:
        """Serve one connection."""
        reader = Reader(connection)
        while True:
            try:
                request = reader.next()
            except (RefusedRequest, ValueError):
                connection.sendall(rendered("400 Bad Request", {"Content-Length": "0", "Connection": "close"}))
                return
            if request is None:
                return
            if request.path == "/events" and request.method == "GET" and _is_websocket(request):
                connection.sendall(_handshake(request))
                with suppress(OSError):
                    _standin_wire.await_end_of_websocket(connection)
                return
            status, headers, body = self.answer(request)
            full = {**_ANYBODY, **headers, "Date": date()}
            if not status.startswith("204"):
                full["Connection"] = "close" if request.closes else "keep-alive"
                full["Content-Length"] = str(len(body))
            connection.sendall(rendered(status, full, b"" if request.method == "HEAD" else body))
            if request.closes:
                return

    def answer(self, request: Request) -> tuple[str, dict[str, str], bytes]:
        """Status, headers and body of an answer, as if nobody were logged in."""
        matches = [method for method, pattern in _ROUTES if pattern.fullmatch(request.path)]
        if not matches:
            # `/web-api/` has a handler, but none of its methods
            return ("405 Method Not Allowed" if request.path == "/web-api/" else "404 Not Found"), {}, b""
        if request.method not in matches and None not in matches:
            return "405 Method Not Allowed", {}, b""
        if request.path == "/events":
            return "404 Not Found", {}, b""
        if request.path == "/discovery/list":
            devices = json.dumps(self._browser.devices(), separators=(",", ":")).encode()
            return "200 OK", {"Content-Type": "application/json"}, devices
        if request.path.startswith("/discovery/"):
            return "400 Bad Request", {}, b'{"name":"action"}'
        return "204 No Content", {}, b""


def _is_websocket(request: Request) -> bool:
    said = request.headers
    return (
        "upgrade" in said.get("connection", "").lower()
        and said.get("upgrade", "").lower() == "websocket"
        and said.get("sec-websocket-version") == "13"
        and bool(said.get("sec-websocket-key"))
    )


def _handshake(request: Request) -> bytes:
    origin = request.headers.get("origin")
    headers = {
        **_ANYBODY,
        "Connection": "Upgrade",
        "Upgrade": "WebSocket",
        "Sec-WebSocket-Location": f"ws://{request.headers.get('host', '')}{request.target}",
        "Sec-WebSocket-Accept": _standin_wire.websocket_accept(request.headers["sec-websocket-key"]),
        **({"Origin": origin} if origin else {}),
        "Date": date(),
    }
    return rendered("101 Switching Protocols", headers)
