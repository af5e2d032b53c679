"""Hosts for the check of ports that a router forwards."""

from typing import Any

from audit.case import SAFE, clean, has
from audit.hosts import PORT, filters, host, librespot, table
from librespot_guard.snapshot import PortMapping, Router, Snapshot


def routed(outside: str = "1.2.3.4", dev: str = "eth0", **changes: Any) -> Snapshot:
    """A host whose router forwards a port to it."""
    mapping = {"proto": "tcp", "port": 4070, "client": "192.168.10.2", "client_port": PORT, "description": "sp'k"}
    router = Router(dev, "192.168.10.1", "WANIPConnection:1", outside, (PortMapping(**{**mapping, **changes}),))
    return host(librespot(), routers=(router,))


CASES = (
    has("LG505", "open to the internet", "critical",
        "router 192.168.10.1 on eth0 forwards tcp port 4070 of 1.2.3.4 to 192.168.10.2:37878", "lets it in", "sp'k", of=routed()),
    has("LG505", "kept out here", "low", "the packet filter here keeps it out", of=routed(), rules=SAFE),
    has("LG505", "for one sender", "critical", "for 203.0.113.9", of=routed(remote="203.0.113.9")),
    has("LG505", "discovery", "critical", "udp port 5353", of=routed(proto="udp", port=5353, client_port=5353)),
    has("LG505", "a private network outside", "critical", "of 10.0.0.2", of=routed("10.0.0.2")),
    clean("LG505", "another port", of=routed(client_port=22), rules={}),
    clean("LG505", "another host", of=routed(client="192.168.10.3"), rules={}),
    clean("LG505", "another protocol", of=routed(proto="udp"), rules={}),
    clean("LG505", "switched off", of=routed(enabled=False), rules={}),
    clean("LG505", "over an interface it is not on", of=routed(dev="eth1"), rules={}),
    clean("LG505", "no router forwards", rules=filters(table())),
)  # fmt: skip
