"""Programs that call themselves docker-proxy."""

import pytest

from librespot_guard.collect.processes import Process
from librespot_guard.collect.relays import find_relays
from librespot_guard.snapshot import Relay

USUAL = {
    "proto": "tcp",
    "host-ip": "0.0.0.0",
    "host-port": "8080",
    "container-ip": "172.17.0.2",
    "container-port": "80",
}


def proxy(**arguments: str) -> Process:
    """A process with the arguments of a docker-proxy."""
    words = [word for key, value in {**USUAL, **arguments}.items() for word in (f"-{key}", value)]
    return Process(
        7, 1, "docker-proxy", "/usr/bin/docker-proxy", ("docker-proxy", *words), 0, None, "", None, None, "1", 1
    )


def test_a_relay_is_what_its_arguments_say() -> None:
    """Protocol, and both ends."""
    assert find_relays([proxy()]) == (Relay("docker-proxy", 7, "tcp", "0.0.0.0", 8080, "172.17.0.2", 80),)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host-port", "99999999999999999999"),
        ("host-port", "0x50"),
        ("container-port", "0"),
        ("container-port", "٨٠"),
        ("proto", "sctp"),
        ("host-ip", "x"),
    ],
)
def test_arguments_that_can_not_be_are_no_relay(key: str, value: str) -> None:
    """Anybody may call a program docker-proxy: what it says is no fact, and a snapshot of it can be read again."""
    assert find_relays([proxy(**{key: value})]) == ()
