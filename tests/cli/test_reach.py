"""`reach` as a person and a program use it, on a snapshot of a small host."""

import json
from pathlib import Path

import pytest

from librespot_guard.snapshot import Listener, NftDump, Service, ServiceListener, Snapshot, dumps
from reach.hosts import namespace
from support import Guard, Schema


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The file of a snapshot: one speaker, no packet filter."""
    import dataclasses  # noqa: PLC0415 - only here

    listener = Listener("tcp", "ipv6", "::", 37123, v6only=False)
    home = dataclasses.replace(namespace(), listeners=(listener,), nft=NftDump(0, b""))
    service = Service(
        "living-room",
        "librespot",
        "0.8.0",
        812,
        998,
        "/usr/bin/librespot",
        "1",
        (ServiceListener(listener, "connect", pinned=False),),
    )
    snapshot = Snapshot("2026-11-24T12:00:00Z", "0.1.0", "speaker", "6.1.0", "little", (home,), (service,))
    path = tmp_path / "host.json"
    path.write_text(dumps(snapshot), encoding="utf-8")
    return path


def test_json_is_what_the_schema_says(guard: Guard, schema: Schema, host: Path) -> None:
    """The document validates, and an open speaker is open to everybody on both families, exactly."""
    done = guard("reach", "--snapshot", host, "--format", "json")
    document = json.loads(done.stdout)
    schema("reach").validate(document)
    lan = {
        a["family"]: a
        for a in document["answers"]
        if a["interface"] == "eth0" and a["destination"] in ("192.168.10.2", "fd00:10::2")
    }

    assert done.returncode == 0
    assert lan["ipv4"]["may"] == lan["ipv4"]["must"] == ["0.0.0.0/0"]
    assert lan["ipv6"]["may"] == ["::/0"]
    assert lan["ipv4"]["exact"]


def test_text_says_anybody(guard: Guard, host: Path) -> None:
    """A person reads at once that anybody gets in."""
    done = guard("reach", "living-room", "--snapshot", host)

    assert "living-room: tcp [::]:37123 connect" in done.stdout
    assert "ANYBODY" in done.stdout
    assert "this host itself" in done.stdout


def test_text_says_what_keeps_people_out(guard: Guard, host: Path) -> None:
    """Where routing lets nobody in, it is routing that is named; a broadcast is no address of another interface."""
    shown = guard("reach", "--to", "udp/5353", "--snapshot", host, "--all").stdout

    assert "to 224.0.0.251; kept out by routing: nobody has joined 224.0.0.251 on `eth0`" in shown
    assert "to 255.255.255.255 (sent to everybody); no packet filter is in the way" in shown
    assert "to 192.168.30.2 (of another interface)" in shown


def test_a_port_without_a_listener_can_be_asked(guard: Guard, host: Path) -> None:
    """--to works whether or not something listens."""
    done = guard("reach", "--to", "udp/5353@192.168.10.2", "--snapshot", host, "--format", "json")

    assert {a["interface"] for a in json.loads(done.stdout)["answers"]} == {"lo", "eth0", "eth1"}


def test_one_source_is_answered_with_its_trail(guard: Guard, host: Path) -> None:
    """--from says yes for a stranger and no for an address that routing refuses."""
    yes = json.loads(
        guard("reach", "--from", "203.0.113.9", "--interface", "eth1", "--snapshot", host, "--format", "json").stdout
    )
    no = json.loads(
        guard("reach", "--from", "192.168.10.2", "--interface", "eth1", "--snapshot", host, "--format", "json").stdout
    )

    assert {a["from"]["reaches"] for a in yes["answers"]} == {"yes"}
    assert {a["from"]["verdict"] for a in yes["answers"]} == {"delivered"}
    assert {a["from"]["reaches"] for a in no["answers"]} == {"no"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--to", "tcp/99999"), "PROTO/PORT"),
        (("--to", "sctp/80"), "PROTO/PORT"),
        (("--from", "somebody"), "not an IP address"),
        (("--interface", "eth7"), "there is no `eth7`"),
        (("kitchen",), "no service `kitchen`"),
        (("--prove", "/nonexistent/policy.yaml"), "No such file"),
    ],
)
def test_wrong_input_is_said_plainly(guard: Guard, host: Path, arguments: tuple[str, ...], text: str) -> None:
    """Each wrong input ends with status 2 and one message that names it, and nothing on stdout."""
    done = guard("reach", *arguments, "--snapshot", host)

    assert done.returncode == 2
    assert text in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr


def test_a_truncated_snapshot_is_no_answer(guard: Guard, host: Path, tmp_path: Path) -> None:
    """Half a snapshot is refused by name, with what to do."""
    half = tmp_path / "half.json"
    half.write_text(host.read_text(encoding="utf-8")[:900], encoding="utf-8")
    done = guard("reach", "--snapshot", half)

    assert done.returncode == 2
    assert "half.json" in done.stderr
    assert "hint" in done.stderr
