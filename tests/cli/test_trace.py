"""`trace` as a person and a program use it, on a snapshot of a small host."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from firewall.messages import Writer
from librespot_guard.snapshot import Listener, NftDump, RuleText, Snapshot, dumps
from reach.hosts import namespace
from support import Guard, Schema

ONE = ("--iface", "eth0", "--from", "192.168.10.9", "--to", "tcp/3678@192.168.10.2")
LINE = {"iface": "eth0", "src": "192.168.10.9", "dst": "192.168.10.2", "proto": "tcp", "dport": 3678}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A snapshot: TCP to port 3678 is accepted, UDP too at some rate, the rest is dropped; one speaker listens."""
    w = Writer()

    def protocol(number: int) -> tuple[bytes, bytes]:
        load = w.expression("meta", w.attribute(2, 16), w.attribute(1, 1))
        return load, w.expression("cmp", w.attribute(1, 1), w.attribute(2, 0), w.value(3, bytes([number])))

    port = (
        w.expression("payload", w.attribute(1, 1), w.attribute(2, 2), w.attribute(3, 2), w.attribute(4, 2)),
        w.expression("cmp", w.attribute(1, 1), w.attribute(2, 0), w.value(3, (3678).to_bytes(2, "big"))),
    )
    limit = w.expression("limit", w.attribute(1, 5, 8), w.attribute(2, 1, 8), w.attribute(3, 5))
    data = (
        w.table("inet", "filter")
        + w.chain("inet", "filter", "input", w.hook(1, 0), policy=0)
        + w.rule("inet", "filter", "input", 4, *protocol(6), *port, w.verdict(1))
        + w.rule("inet", "filter", "input", 5, *protocol(17), limit, w.verdict(1))
    )
    text = (RuleText("inet", "filter", "input", 4, "tcp dport 3678 accept"),)
    home = dataclasses.replace(
        namespace(),
        name="den",
        nft=NftDump(1, data, text),
        listeners=(Listener("tcp", "ipv6", "::", 3678, v6only=False, pids=(812,)),),
    )
    path = tmp_path / "host.json"
    path.write_text(
        dumps(Snapshot("2026-11-24T12:00:00Z", "0.1.0", "speaker", "6.1.0", "little", (home,))), encoding="utf-8"
    )
    return path


def test_text_tells_the_way(guard: Guard, host: Path) -> None:
    """A person sees the packet, the rule that let it in, and the process that gets it."""
    done = guard("trace", *ONE, "--snapshot", host)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "tcp from 192.168.10.9:40000 to 192.168.10.2:3678 by eth0 (new) [syn]",
        "  inet filter input  tcp dport 3678 accept  (handle 4)",
        "  => DELIVERED to this host, socket tcp [::]:3678 (pid 812)",
    ]


def test_dropped_is_an_answer_too(guard: Guard, host: Path) -> None:
    """A packet that the policy drops ends with status 0 and shows the policy."""
    done = guard(
        "trace", "--iface", "eth0", "--from", "192.168.10.9", "--to", "tcp/80@192.168.10.2", "--snapshot", host
    )

    assert done.returncode == 0
    assert "policy drop" in done.stdout
    assert "=> DROPPED" in done.stdout


def test_undecided_is_status_4(guard: Guard, host: Path) -> None:
    """A packet that only a rate limit lets in is undecided: the rule is named and the status is 4."""
    done = guard("trace", "--iface", "eth0", "--from", "fd00:10::9", "--to", "udp/5353@fd00:10::2", "--snapshot", host)

    assert done.returncode == 4
    assert "=> UNDECIDED" in done.stdout
    assert "because inet filter input handle 5: a rate limit depends on earlier packets" in done.stdout


def test_json_is_what_the_schema_says(guard: Guard, schema: Schema, host: Path) -> None:
    """The document validates and repeats the packet with all that was taken for granted."""
    done = guard("trace", *ONE, "--snapshot", host, "--format", "json")
    document = json.loads(done.stdout)
    schema("trace").validate(document)

    assert document["answers"][0]["packet"] == {**LINE, "sport": 40000, "flags": "syn", "state": "new"}
    assert document["answers"][0]["listener"] == {"proto": "tcp", "address": "::", "port": 3678, "pids": [812]}


def test_one_line_in_one_line_out(guard: Guard, schema: Schema, host: Path, tmp_path: Path) -> None:
    """Packets of a file are answered one a line, in order, in the form that other programs rely on."""
    packets: list[dict[str, Any]] = [
        LINE,
        {**LINE, "dport": 80},
        {**LINE, "proto": "udp", "dport": 1},
        {"iface": "lo", "src": "127.0.0.1", "dst": "127.0.0.1", "proto": "icmp"},
    ]
    file = tmp_path / "packets.jsonl"
    file.write_text("\n".join(json.dumps(p) for p in packets) + "\n", encoding="utf-8")
    done = guard("trace", "--packets", file, "--snapshot", host)
    answers = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 4
    assert [a["verdict"] for a in answers] == ["delivered", "dropped", "undecided", "dropped"]
    assert answers[0] == {
        "verdict": "delivered",
        "trail": [{"table": "inet filter", "chain": "input", "handle": 4, "rule": "tcp dport 3678 accept"}],
        "listener": {"proto": "tcp", "address": "::", "port": 3678, "pids": [812]},
    }
    schema("trace").validate(
        {
            "schema": "librespot-guard/trace/1",
            "answers": [{"packet": {**p, "state": "new"}, **a} for p, a in zip(packets, answers, strict=True)],
        }
    )


def test_standard_input_and_other_formats(guard: Guard, host: Path) -> None:
    """`-` reads standard input, and a format that is asked for wins over lines."""
    done = guard("trace", "--packets", "-", "--snapshot", host, "--format", "text", stdin=json.dumps(LINE) + "\n\n")

    assert done.returncode == 0
    assert done.stdout.startswith("tcp from 192.168.10.9:40000")


def test_every_fault_of_every_line_at_once(guard: Guard, host: Path, tmp_path: Path) -> None:
    """Bad lines are all named with file and line, nothing is traced, and the status is 2."""
    file = tmp_path / "packets.jsonl"
    lines = [
        json.dumps(LINE),
        "{not json",
        json.dumps({**LINE, "color": "red", "dport": 70000}),
        '{"iface": "eth0", "iface": "eth1"}',
        "[1]",
        json.dumps({**LINE, "proto": ["tcp"], "src": "x"}),
        "[" * 100_000,
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    done = guard("trace", "--packets", file, "--snapshot", host)

    assert done.returncode == 2
    assert done.stdout == ""
    for number in range(2, 8):
        assert f"packets.jsonl:{number}: " in done.stderr
    assert "packets.jsonl:1:" not in done.stderr
    assert "unknown field `color`" in done.stderr
    assert "`dport` must be a whole number from 0 to 65535" in done.stderr
    assert "the key `iface` comes twice" in done.stderr


def test_unknown_interfaces_are_named_before_anything_is_answered(guard: Guard, host: Path) -> None:
    """A packet on an interface that the host has not is an input error with its line."""
    lines = f"{json.dumps(LINE)}\n{json.dumps({**LINE, 'iface': 'eth7'})}\n"
    done = guard("trace", "--packets", "-", "--snapshot", host, stdin=lines)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "standard input:2: there is no interface `eth7`" in done.stderr
    assert "lo, eth0, eth1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "a packet needs --iface, --from, --to"),
        (("--iface", "eth0", "--from", "192.168.10.9"), "a packet needs --to"),
        (("--packets", "-", "--sport", "5"), "--packets does not go with --sport"),
        ((*ONE[:-1], "tcp/3678"), "expected PROTO/PORT@ADDRESS"),
        ((*ONE[:-1], "tcp/x@192.168.10.2"), "expected PROTO/PORT@ADDRESS"),
        ((*ONE[:-1], "tcp@192.168.10.2"), "`dport` is missing"),
        ((*ONE[:-1], "sctp/1@192.168.10.2"), "`proto` must be one of"),
        ((*ONE[:-1], "tcp/1@fd00::1"), "of different families"),
        ((*ONE, "--flags", "sin"), "no flag 'sin'"),
        ((*ONE, "--netns", "attic"), "no network namespace `attic`"),
    ],
)
def test_wrong_usage(guard: Guard, host: Path, arguments: tuple[str, ...], says: str) -> None:
    """Each way to ask wrongly is told apart and ends with status 2."""
    done = guard("trace", *arguments, "--snapshot", host)

    assert done.returncode == 2
    assert says in done.stderr


def test_options_describe_the_packet(guard: Guard, host: Path) -> None:
    """Source port, flags, state, ICMP type and the namespace's name are taken from the options."""
    done = guard(
        "trace", *ONE, "--sport", "7", "--flags", "rst", "--state", "invalid", "--netns", "den", "--snapshot", host
    )
    icmp = guard(
        "trace", "--iface", "eth0", "--from", "192.168.10.9", "--to", "icmp/13@192.168.10.2", "--snapshot", host
    )

    assert done.stdout.startswith("tcp from 192.168.10.9:7 to 192.168.10.2:3678 by eth0 (invalid) [rst]")
    assert icmp.stdout.startswith("icmp type 13 from 192.168.10.9 to 192.168.10.2 by eth0 (new)")
