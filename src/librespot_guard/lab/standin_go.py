"""A STAND-IN for go-librespot 0.9.0, which no package registry has: not the program, but what it was seen to do, without an account.

`python -m librespot_guard.lab.standin_go --config_dir DIR` reads DIR/config.yml as go-librespot does and opens what it opens: Spotify
Connect on all addresses, the API by `server.*`, mDNS. It plays nothing and logs nobody in: every login is refused, as without internet.
`ps` calls it `standin-go`. Source: go-librespot 0.9.0, built, run and asked; tests/family runs the same questions against both.
"""

import argparse
import hashlib
import json
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from librespot_guard.lab import _standin_go_api, _standin_mdns, _standin_wire
from librespot_guard.lab._standin_nethttp import Answer, converse, parse_form
from librespot_guard.lab._standin_wire import Exchange, Request

VERSION = "0.9.0"
TXT = ("CPath=/", "VERSION=1.0", "Stack=SP")


class Speaker:
    """What the Spotify Connect listener and the API share: the name, and who is logged in (nobody)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.exchange = Exchange()
        self.responder: _standin_mdns.Responder | None = None

    def rename(self, name: str) -> None:
        """Announce another name from now on."""
        self.name = name
        if self.responder is not None:
            self.responder.name = name
            self.responder.announce()

    def info(self) -> dict[str, Any]:
        """The answer to `getInfo`, in the original's order."""
        return {
            "status": 101,
            "statusString": "OK",
            "spotifyError": 0,
            "version": "2.7.1",
            "libraryVersion": VERSION,
            "accountReq": "PREMIUM",
            "brandDisplayName": "devgianlu",
            "modelDisplayName": "go-librespot",
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
            "activeUser": "",
        }

    def connect(self, request: Request) -> Answer:
        """A request to the Spotify Connect listener: any method, any path."""
        try:
            form = parse_form(request)
        except ValueError:
            return "400 Bad Request", {}, b""
        kind = {"Content-Type": "application/json"}
        action = form.get("action", "")
        if action == "getInfo":
            return "200 OK", kind, json.dumps(self.info(), separators=(",", ":")).encode() + b"\n"
        return (self.add_user(form) if action == "addUser" else "400 Bad Request"), kind, b""

    def add_user(self, form: Mapping[str, str]) -> str:
        """500 for what is missing or can't be decoded, 400 for a wrong MAC, 403 for the login, which fails without internet."""
        if not all(form.get(key) for key in ("userName", "blob", "clientKey", "deviceName")):
            return "500 Internal Server Error"
        try:
            blob = _standin_wire.base64_bytes(form["blob"])
            client_key = _standin_wire.base64_bytes(form["clientKey"])
        except ValueError:
            return "500 Internal Server Error"
        if len(blob) < 16 + 1 + 20:
            return "500 Internal Server Error"
        return "403 Forbidden" if self.exchange.holds(blob, client_key) else "400 Bad Request"


def read_configuration(text: str) -> dict[str, str]:
    """`key: value` and sections of them, by dotted name: as much of YAML as the examples need. Raises ValueError on anything else."""
    found: dict[str, str] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.partition(" #")[0].rstrip() if not line.lstrip().startswith("#") else ""
        if not plain:
            continue
        name, colon, value = plain.strip().partition(":")
        if not colon or plain.strip().startswith(("-", "{", "[", "&", "*", "|")):
            raise ValueError(f"line {number}: the stand-in reads `key: value` and sections of them only")
        indented = plain.startswith(" ")
        if not value.strip() and not indented:
            section = name
        else:
            found[f"{section}.{name}" if indented and section else name] = value.strip().strip("\"'")
    return found


def api_address(given: str | None) -> str:
    """Where `server.address` binds: unset is localhost, empty and 0.0.0.0 are every address of both families. Raises ValueError."""
    if given is None or given == "localhost":
        return "127.0.0.1"
    if given in ("", "0.0.0.0", "[::]"):  # noqa: S104 - what the original does
        return "::"
    if given.startswith("["):
        return given.strip("[]")
    if ":" in given:
        raise ValueError(f"listen tcp: address {given}:0: too many colons in address")
    return given


def main(argv: list[str] | None = None) -> int:
    """Serve until it is ended. Returns 1 where the original ends with an error."""
    parser = argparse.ArgumentParser(prog="standin_go", description="A stand-in for go-librespot 0.9.0.")
    parser.add_argument("--config_dir", default=str(Path.home() / ".config" / "go-librespot"))
    parser.add_argument("-c", "--conf", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(argv)
    _standin_wire.call_myself("standin-go")
    print(f"running a stand-in for go-librespot {VERSION}", file=sys.stderr, flush=True)
    try:
        settings = _settings(Path(given.config_dir), given.conf)
        speaker = Speaker(settings.get("device_name", "go-librespot"))
        if settings.get("server.enabled", "false") == "true":
            address = api_address(settings.get("server.address"))
            listener = _standin_wire.listen(address, int(settings.get("server.port", "0")))
            api = _standin_go_api.Api(speaker, settings.get("server.allow_origin", ""))
            threading.Thread(target=_standin_wire.serve, args=(listener, api.converse), daemon=True).start()
        if (
            settings.get("zeroconf_enabled", "true") == "true"
            or settings.get("credentials.type", "zeroconf") == "zeroconf"
        ):
            _zeroconf(speaker, int(settings.get("zeroconf_port", "0")))
    except (OSError, ValueError) as error:
        print(f"level=fatal msg={json.dumps(str(error))}", file=sys.stderr)
        return 1
    threading.Event().wait()
    return 0


def _settings(folder: Path, overrides: list[str]) -> dict[str, str]:
    file = next((folder / name for name in ("config.yaml", "config.yml") if (folder / name).is_file()), None)
    settings = read_configuration(file.read_text(encoding="utf-8")) if file else {}
    return {**settings, **dict(pair.partition("=")[::2] for pair in overrides)}


def _zeroconf(speaker: Speaker, port: int) -> None:
    listener = _standin_wire.listen("::", port)
    speaker.responder = _standin_mdns.Responder(speaker.name, listener.getsockname()[1], TXT, ("ipv4", "ipv6"))
    speaker.responder.start()

    def handle(connection: socket.socket) -> None:
        converse(connection, lambda request, _connection: speaker.connect(request))

    threading.Thread(target=_standin_wire.serve, args=(listener, handle), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
