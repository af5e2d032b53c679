"""Programs that stand in for a published port and pass connections on: docker-proxy, told by its arguments.

Source: cmd/docker-proxy/main_linux.go of moby (-proto, -host-ip, -host-port, -container-ip, -container-port).
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from itertools import pairwise

from librespot_guard.collect.processes import Process
from librespot_guard.snapshot import Relay


def find_relays(processes: Iterable[Process]) -> tuple[Relay, ...]:
    """The relays among these processes, by process id. Arguments that are not those of a docker-proxy are no relay."""
    found = (_docker_proxy(p) for p in processes if p.program == "docker-proxy")
    return tuple(sorted((r for r in found if r is not None), key=lambda r: r.pid))


def _docker_proxy(process: Process) -> Relay | None:
    words = [w.lstrip("-") for w in process.argv[1:]]
    given = dict(pairwise(words))
    try:
        if given["proto"] not in ("tcp", "udp"):  # it knows SCTP, too, and anybody may call a program so
            return None
        return Relay(
            "docker-proxy",
            process.pid,
            given["proto"],
            str(ip_address(given["host-ip"])),
            _port(given["host-port"]),
            str(ip_address(given["container-ip"])),
            _port(given["container-port"]),
        )
    except (KeyError, ValueError):
        return None


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError(f"no port: {text!r}")
    return int(text)
