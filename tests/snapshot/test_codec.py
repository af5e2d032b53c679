"""A snapshot survives its JSON form, and anything else is refused with its place."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.snapshot import (
    Address,
    Info,
    Link,
    Listener,
    Namespace,
    NftDump,
    Route,
    Secret,
    Service,
    ServiceListener,
    Snapshot,
    dumps,
    loads,
)

LISTENER = Listener("tcp", "ipv6", "::", 37123, v6only=False, pids=(812,))
HOST = Snapshot(
    "2026-11-24T12:00:00Z",
    "0.1.0",
    "speaker",
    "6.1.0",
    "little",
    (Namespace("1", home=True, links=(Link(1, "lo", up=True),), addresses=(Address("ipv4", "127.0.0.1", 8, "lo"),), listeners=(LISTENER,), routes=(Route("ipv4", 254, "192.168.10.0/24", "unicast", ("eth0",)),), nft=NftDump(3, b"\0\xff")),),
    (
        Service(
            "living-room", "librespot", None, 812, 998, "/usr/bin/librespot", "1", (ServiceListener(LISTENER, "connect", pinned=False),),
            ("librespot", "-k", "***"), {"HOME": "/"}, (Secret("argv", "-k"),), started=1.5, info=Info(account="alice"),
        ),
    ),
)  # fmt: skip


def test_round_trip() -> None:
    """Writing and reading gives the same facts."""
    assert loads(dumps(HOST)) == HOST


@given(st.integers(0, len(dumps(HOST)) - 2))
def test_a_truncated_document_is_refused(length: int) -> None:
    """No prefix of a snapshot passes for a snapshot."""
    with pytest.raises(InputError, match=r"host\.json"):
        loads(dumps(HOST)[:length], source="host.json")


def edited(path: str, value: Any) -> str:
    """The document with the value at a dotted path replaced (or removed if the value is Ellipsis)."""
    document = json.loads(dumps(HOST))
    *parents, last = path.split(".")
    at = document
    for part in parents:
        at = at[int(part)] if part.isdigit() else at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", "librespot-guard/snapshot/2", "expected the schema"),
        ("hostname", 7, "hostname: expected text"),
        ("hostname", ..., "`hostname` is missing"),
        ("colour", "red", "unknown key `colour`"),
        ("namespaces.0.links.0.up", 1, r"links\[0\]\.up: expected true or false"),
        ("namespaces.0.home", False, "exactly one must be `home`"),
        ("namespaces.0.nft.data", "!", "not base64"),
        ("services.0.netns", "9", "namespace 9, which the snapshot does not hold"),
        ("services.0.started", "then", "expected a number"),
        ("services", {}, "expected a list"),
        ("services.0.pid", 1 << 64, "pid: expected a number of at most 64 bits"),
        ("services.0.started", 10**400, "started: expected a number"),
        ("byteorder", "middle", "byteorder: expected little or big"),
        ("namespaces.0.links.0.mac", "lo", r"links\[0\]\.mac: expected a hardware address"),
        ("namespaces.0.addresses.0.address", "banana", r"addresses\[0\]\.address: expected an address"),
        ("namespaces.0.addresses.0.address", "fd00::1", r"addresses\[0\]\.address: expected an address \(ipv4\)"),
        ("namespaces.0.addresses.0.prefixlen", 33, "prefixlen: expected the length of a prefix"),
        ("namespaces.0.routes.0.dst", "-1", r"routes\[0\]\.dst: expected a network"),
        (
            "namespaces.0.links.0.name",
            "lo\nnetns exec twin0 id",
            r"links\[0\]\.name: expected the name of an interface",
        ),
        ("namespaces.0.addresses.0.dev", "a b", "dev: expected the name of an interface"),
        ("namespaces.0.addresses.0.broadcast", "192.0.2.1\nnetns exec twin0 id", "broadcast: expected an address"),
        ("namespaces.0.routes.0.devs", ["eth0", ".."], "devs: expected names of interfaces"),
        ("namespaces.0.routes.0.kind", "unicast\nnetns exec twin0 id", "kind: expected a kind of route"),
        ("namespaces.0.sysctls", {"kernel.core_pattern": "|/x"}, "sysctls: expected names of sysctls below net"),
        ("namespaces.0.sysctls", {"net/../../etc/passwd": "x"}, "sysctls: expected names of sysctls below net"),
        ("namespaces.0.sysctls", {"net.ipv4.ip_forward": "1\n0"}, "sysctls: expected values of one line"),
        ("namespaces.0.listeners.0.port", 65536, "port: expected a port, found 65536"),
        ("services.0.listeners.0.listener.port", 0, "listeners: expected ports from 1 to 65535"),
        ("namespaces.0.listeners.0.proto", "sctp", "proto: expected tcp or udp"),
        ("namespaces.0.listeners.0.address", "300.1.1.1", "address: expected an address"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, message: str) -> None:
    """Each fault is reported with its place."""
    with pytest.raises(InputError, match=message):
        loads(edited(path, value))


def test_deep_nesting_is_refused() -> None:
    """A document made to exhaust the stack is refused."""
    with pytest.raises(InputError):
        loads("[" * 100_000)


def test_a_path_need_not_be_unicode() -> None:
    """A program may stand at a path whose bytes are no UTF-8: its snapshot is written and read as it is."""
    odd = replace(HOST, services=(replace(HOST.services[0], executable="/opt/\udcff\udcfe/librespot"),))

    assert loads(dumps(odd)) == odd
