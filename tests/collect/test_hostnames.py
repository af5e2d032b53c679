"""Whether HTTP interfaces answer to any name (14 of docs/bypasses.md): real daemons, a server that looks at the name, and what is no HTTP."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from collect.test_getinfo import server
from librespot_guard import audit, collect
from librespot_guard.collect.hostnames import FOREIGN, any_host
from librespot_guard.lab import daemons
from librespot_guard.lab.sandbox import Sandbox
from support import Guard


class Careful(BaseHTTPRequestHandler):
    """What a reverse proxy with named servers does: it answers its own names only (RFC 9110 15.5.20)."""

    def do_GET(self) -> None:
        """Answer."""
        own = (self.headers["Host"] or "").partition(":")[0] in ("localhost", "127.0.0.1")
        self.send_response(200 if own else 421)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Careless(Careful):
    """It answers to any name."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """An HTTP server on loopback; gives its port."""
    with HTTPServer(("127.0.0.1", 0), handler) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield one.server_port
        finally:
            one.shutdown()
            thread.join(10)


@pytest.mark.parametrize(("handler", "answer"), [(Careful, False), (Careless, True)])
def test_a_server_that_looks_at_the_name(handler: type[BaseHTTPRequestHandler], answer: bool) -> None:
    """The one that refuses a foreign name is told from the one that does not."""
    with serving(handler) as port:
        assert any_host("127.0.0.1", port) is answer


def test_what_is_no_http() -> None:
    """Something else that listens gives no answer, and does not hold the audit up."""
    started = time.monotonic()
    with server(lambda connection: connection.sendall(b"220 ready\r\n")) as port:
        assert any_host("127.0.0.1", port) is None
    assert time.monotonic() - started < 5


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize(
    ("name", "port"), [("go-librespot", 3678), ("librespot-java-api", 24879), ("snapserver", 1780)]
)
def test_daemons_answer_to_any_name(record_property: Callable[[str, object], None], name: str, port: int) -> None:
    """No member of the family looks at the name it is called by: LG106, also where it is bound to localhost; unasked, nothing is claimed."""
    daemon = daemons.available(name)
    if daemon is None:
        pytest.skip(
            f"{name} is not installed; `python -m librespot_guard.lab.daemons obtain {name}` gets it or says why not"
        )
    record_property("daemon", f"{name}: {daemon.title}")
    with Sandbox(hostname="speaker") as box:
        host, other = box.host("one"), box.host("other")
        box.link(host, "eth0", other, "eth0")
        host.address("eth0", "192.168.10.2/24")
        host.multicast("eth0")
        with daemon.start(host, name="Kitchen"):
            asked = host.call(lambda: collect.snapshot(probe=True))
            unasked = host.call(collect.snapshot)
    found = [
        s for service in asked.services for s in service.listeners if s.surface == "api" and s.listener.port == port
    ]

    assert [s.any_host for s in found] == [True]
    assert any(f.id == "LG106" and FOREIGN in f.evidence[0] for f in audit.run(asked).findings)
    report = audit.run(unasked)
    assert not any(f.id == "LG106" for f in report.findings)
    assert any(u.check == "LG106" and "--probe" in u.hint for u in report.incomplete)


def test_a_snapshot_cannot_be_probed(guard: Guard) -> None:
    """`--probe` asks this host; with a file it is a mistake that is told."""
    done = guard("audit", "--probe", "--snapshot", "host.json")

    assert done.returncode == 2
    assert "--probe asks this host now" in done.stderr
