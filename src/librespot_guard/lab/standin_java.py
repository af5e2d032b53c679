"""A STAND-IN for librespot-java 1.6.3 with its API, which no package registry has: not the program, but what it was seen to do.

`python -m librespot_guard.lab.standin_java --key=value…` takes the keys of config.toml as librespot-java does (deviceName,
zeroconf.listenPort, api.host, api.port) and opens what it opens: Spotify Connect and the API on all addresses, mDNS over IPv4. It
plays nothing and logs nobody in: as without internet, a login is accepted, and fails after that. `ps` calls it `standin-java`.
Source: librespot-java 1.6.3, built, run and asked; tests/family runs the same questions against both.
"""

import contextlib
import hashlib
import json
import random
import socket
import sys
import threading
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote_plus

from librespot_guard.lab import _standin_java_api, _standin_mdns, _standin_wire
from librespot_guard.lab._standin_wire import Exchange, Reader, RefusedRequest

VERSION = "1.6.3"
API_PORT = 24879
TXT = ("CPath=/", "VERSION=1.0", "Stack=SP")
RESOLVER = "apresolve.spotify.com"
_FORM = "application/x-www-form-urlencoded"
_ACCEPTED = {"status": 101, "spotifyError": 0, "statusString": "OK"}


class NoAnswer(Exception):  # noqa: N818 - it is what happens
    """The original closes the connection without a byte."""


class Hangs(Exception):  # noqa: N818 - it is what happens
    """The original's task dies and leaves the connection open, unanswered."""


class Speaker:
    """The Spotify Connect listener."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.exchange = Exchange()
        self.active_user = ""
        self._lock = threading.Lock()

    def info(self) -> dict[str, Any]:
        """The answer to `getInfo`, in the original's order."""
        return {
            "status": 101,
            "statusString": "OK",
            "spotifyError": 0,
            "version": "2.7.1",
            "libraryVersion": VERSION,
            "accountReq": "PREMIUM",
            "brandDisplayName": "librespot-org",
            "modelDisplayName": "librespot-java",
            "voiceSupport": "NO",
            "availability": "",
            "productID": 0,
            "tokenType": "default",
            "groupStatus": "NONE",
            "resolverVersion": "0",
            "scope": "streaming,client-authorization-universal",
            "deviceID": hashlib.sha1(self.name.encode()).hexdigest(),  # noqa: S324 - an identifier
            "remoteName": self.name,
            "publicKey": self.exchange.public,
            "deviceType": "COMPUTER",
            "activeUser": self.active_user,
        }

    def connect(self, connection: socket.socket) -> None:
        """One request; the connection ends with it."""
        try:
            form = _read(connection)
            connection.sendall(self.answer(form))
        except NoAnswer:
            return
        except Hangs:
            while connection.recv(65536):
                pass
        else:
            if form["action"] == "addUser" and self.active_user == form["userName"]:
                self._log_in(form["userName"])
                connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")

    def answer(self, form: dict[str, str]) -> bytes:
        """What a request with these parameters gets. Raises NoAnswer, Hangs."""
        action = form.get("action")
        if action == "getInfo":
            return _json(self.info())
        if action != "addUser" or not all(form.get(key) for key in ("userName", "blob", "clientKey")):
            raise NoAnswer
        with self._lock:
            if form["userName"] == self.active_user:  # a login of this name is under way
                return b"HTTP/1.1 403 Forbidden\r\n\r\n"
            try:
                blob = _standin_wire.base64_bytes(form["blob"])
                client_key = _standin_wire.base64_bytes(form["clientKey"])
            except ValueError:
                raise Hangs from None
            if len(blob) < 36:
                raise Hangs
            if not self.exchange.holds(blob, client_key):
                return b"HTTP/1.1 400 Bad Request\r\n\r\n"
            self.active_user = form["userName"]
        return _json(_ACCEPTED)

    def _log_in(self, user: str) -> None:
        """Wait as long as the original does for an access point: not at all where the name leads nowhere, for ever where nobody answers.

        Only this host itself is asked: a stand-in talks to nobody outside.
        """
        with contextlib.suppress(OSError):
            ways = socket.getaddrinfo(RESOLVER, 80, socket.AF_INET, socket.SOCK_STREAM)
            if ways and ip_address(str(ways[0][4][0])).is_loopback:
                with socket.create_connection(("127.0.0.1", 80)) as silent:
                    silent.recv(1)
        with self._lock:
            if self.active_user == user:
                self.active_user = ""


def _json(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body


def _read(connection: socket.socket) -> dict[str, str]:
    """The parameters of a request as the original's hand-written parser finds them. Raises NoAnswer, Hangs.

    Names of headers count by case, the content type to the letter; whatever is no POST has its parameters in the path.
    """
    reader = Reader(connection)
    try:
        words = reader.line().decode("latin-1").split(" ")
        headers: dict[str, str] = {}
        while line := reader.line().decode("latin-1"):
            name, _, value = line.partition(":")
            headers[name] = value.strip()
        if len(words) != 3:
            raise NoAnswer
        if words[0] == "POST":
            length = headers.get("Content-Length", "")
            if headers.get("Content-Type") != _FORM or not length.isdigit():
                raise NoAnswer
            # of a name the last one counts
            return dict(_pairs(reader.exactly(int(length)).decode("latin-1")))
    except RefusedRequest:
        raise NoAnswer from None
    query = words[1].partition("?")[2]
    # of a name the first one counts
    return dict(reversed(_pairs(query, strict=False)))


def _pairs(text: str, *, strict: bool = True) -> list[tuple[str, str]]:
    found = []
    for pair in filter(None, text.split("&")):
        name, equals, value = pair.partition("=")
        if not equals and strict:
            raise Hangs
        found.append((unquote_plus(name), unquote_plus(value)))
    return found


def main(argv: list[str] | None = None) -> int:
    """Serve until it is ended. Returns 1 where the original ends with an error."""
    _standin_wire.call_myself("standin-java")
    given = sys.argv[1:] if argv is None else argv
    settings = dict(word.removeprefix("--").partition("=")[::2] for word in given)
    print(f"a stand-in for librespot-java {VERSION} with its API", file=sys.stderr, flush=True)
    if settings.get("auth.strategy", "ZEROCONF") != "ZEROCONF":
        print("the stand-in has no account to log in with", file=sys.stderr)
        return 1
    speaker = Speaker(settings.get("deviceName", "librespot-java"))
    port = int(settings.get("zeroconf.listenPort", "-1"))
    listener = _standin_wire.listen("::", random.randint(1024, 65535) if port == -1 else port)  # noqa: S311 - a port
    responder = _standin_mdns.Responder(speaker.name, listener.getsockname()[1], TXT, ("ipv4",))
    responder.start()
    threading.Thread(target=_standin_wire.serve, args=(listener, speaker.connect), daemon=True).start()
    host = settings.get("api.host", "0.0.0.0")  # noqa: S104 - the original's default
    api = _standin_wire.listen("::" if host == "0.0.0.0" else host, int(settings.get("api.port", API_PORT)))  # noqa: S104
    browser = _standin_java_api.Browser()
    browser.start()
    _standin_wire.serve(api, _standin_java_api.Api(browser).converse)
    return 0


if __name__ == "__main__":
    sys.exit(main())
