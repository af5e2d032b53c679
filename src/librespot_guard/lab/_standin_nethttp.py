"""HTTP as Go's net/http serves it: forms, canonical paths, what it says to what is no request. For the stand-in for go-librespot."""

import posixpath
import socket
from collections.abc import Callable
from urllib.parse import unquote_plus

from librespot_guard.lab._standin_wire import Reader, RefusedRequest, Request, date, rendered

_FORM_LIMIT = 10 << 20  # net/http: ParseForm

# status line without the version, headers, body
Answer = tuple[str, dict[str, str], bytes]


def parse_form(request: Request) -> dict[str, str]:
    """The parameters as net/http merges them: of a name the first one counts, the body's before the query's. Raises ValueError."""
    parts = []
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in ("POST", "PUT", "PATCH") and kind == "application/x-www-form-urlencoded":
        if len(request.body) > _FORM_LIMIT:
            raise ValueError("http: request body too large")
        parts.append(request.body.decode("latin-1"))
    form: dict[str, str] = {}
    for part in (*parts, request.query):
        for pair in filter(None, part.split("&")):
            name, _, value = pair.partition("=")
            if ";" in pair:
                raise ValueError("invalid semicolon separator in query")
            form.setdefault(_unescape(name), _unescape(value))
    return form


def _unescape(text: str) -> str:
    pieces = text.split("%")[1:]
    if not all(len(p) >= 2 and all(c in "0123456789abcdefABCDEF" for c in p[:2]) for p in pieces):
        raise ValueError("invalid URL escape")
    return unquote_plus(text)


def converse(
    connection: socket.socket,
    answer: Callable[[Request, socket.socket], Answer | None],
    always: Callable[[Request], dict[str, str]] = lambda _request: {},
) -> None:
    """A connection as net/http serves it; `answer` returns None where it has taken the connection over.

    `always` gives headers for the answers that do not come from `answer`.
    """
    reader = Reader(connection)
    while True:
        try:
            request = reader.next()
        except (RefusedRequest, ValueError) as error:
            refusal = str(error) if isinstance(error, RefusedRequest) else "400 Bad Request"
            plain = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
            connection.sendall(rendered(refusal, plain, refusal.encode()))
            return
        if request is None:
            return
        cleaned = canonical(request.path)
        if request.target == "*":
            reply: Answer | None = ("200 OK", {}, b"")
        elif cleaned != request.path:
            status, moved, body = redirect(cleaned + (f"?{request.query}" if request.query else ""), request.method)
            reply = status, {**always(request), **moved}, body
        else:
            reply = answer(request, connection)
        if reply is None:
            return
        status, headers, body = reply
        full = {**headers, "Date": date()}
        if not status.startswith("204"):
            full["Content-Length"] = str(len(body))
        if request.closes and request.version == "HTTP/1.1":
            full["Connection"] = "close"
        connection.sendall(rendered(status, full, b"" if request.method == "HEAD" else body, version=request.version))
        if request.closes:
            return


def canonical(path: str) -> str:
    """The path that net/http's mux redirects to."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith(("/", "/.", "/..")) and cleaned != "/" else cleaned


def redirect(target: str, method: str) -> Answer:
    """To the canonical path (status 307 since Go 1.26; 301 before)."""
    body = f'<a href="{target}">Temporary Redirect</a>.\n\n' if method in ("GET", "HEAD") else ""
    return (
        "307 Temporary Redirect",
        {"Location": target, **({"Content-Type": "text/html; charset=utf-8"} if body else {})},
        body.encode(),
    )
