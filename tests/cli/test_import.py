"""`snapshot import`: a host from what other tools print, asked like any other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.snapshot import loads
from librespot_guard.snapshot.routes_json import read_routes_json
from support import Guard, Schema

ADDRESSES = ("--address", "eth0=192.168.10.2/24", "--address", "eth0=fd00:10::2/64", "--address", "wlan0=10.0.0.2/8")
LISTING = json.dumps(
    {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "f", "handle": 1}},
            {"set": {"family": "inet", "table": "f", "name": "ok", "type": "ipv4_addr", "handle": 2, "flags": ["interval"], "elem": [{"prefix": {"addr": "192.168.10.0", "len": 25}}]}},
            {"chain": {"family": "inet", "table": "f", "name": "in", "handle": 3, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
            {
                "rule": {
                    "family": "inet", "table": "f", "chain": "in", "handle": 4,
                    "expr": [
                        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 3678}},
                        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@ok"}},
                        {"accept": None},
                    ],
                }
            },
        ]
    }
)  # fmt: skip
SAVE = "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 192.168.10.0/25 -p tcp -m tcp --dport 3678 -j ACCEPT\nCOMMIT\n"


def answers(guard: Guard, path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Who reaches tcp/3678, by interface and family."""
    done = guard("reach", "--snapshot", path, "--to", "tcp/3678", "--format", "json")
    assert done.returncode == 0, done.stderr
    return {(a["interface"], a["family"]): a for a in json.loads(done.stdout)["answers"]}


@pytest.mark.parametrize(
    ("option", "text"), [("--nft-json", LISTING), ("--iptables-save", SAVE), ("--iptables-legacy-save", SAVE)]
)
def test_a_listing_from_standard_input(guard: Guard, schema: Schema, tmp_path: Path, option: str, text: str) -> None:
    """The snapshot validates, keeps the text as it was, and `reach` and `trace` answer exactly on every interface that was given."""
    path = tmp_path / "s.json"
    done = guard("snapshot", "import", "-o", path, option, "-", *ADDRESSES, stdin=text)
    assert done.returncode == 0, done.stderr
    assert "incomplete: listening sockets" in done.stderr
    document = path.read_text(encoding="utf-8")
    schema("snapshot").validate(json.loads(document))
    (kept,) = loads(document).home.texts
    assert (kept.kind, kept.text, kept.source) == (option[2:], text, "standard input")

    found = answers(guard, path)
    assert {("eth0", "ipv4"), ("eth0", "ipv6"), ("wlan0", "ipv4"), ("lo", "ipv4")} <= set(found)
    for interface in ("eth0", "wlan0"):
        assert found[interface, "ipv4"]["exact"] is True
        assert found[interface, "ipv4"]["may"] == ["192.168.10.0/25"]
    packets = tmp_path / "packets.jsonl"
    packet = {
        "iface": "eth0",
        "src": "192.168.10.9",
        "dst": "192.168.10.2",
        "proto": "tcp",
        "sport": 40000,
        "dport": 3678,
    }
    packets.write_text(json.dumps(packet) + "\n" + json.dumps(packet | {"src": "192.168.10.200"}), encoding="utf-8")
    traced = guard("trace", "--snapshot", path, "--packets", packets, "--format", "jsonl")
    assert [json.loads(line)["verdict"] for line in traced.stdout.splitlines()] == ["delivered", "dropped"]


def test_routes(guard: Guard, tmp_path: Path) -> None:
    """Interfaces and addresses come from the routes where they are given; rp_filter then judges by them."""
    routes = [
        {"dst": "default", "gateway": "192.168.10.1", "dev": "eth0", "flags": []},
        {"dst": "192.168.10.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link", "prefsrc": "192.168.10.2"},
        {"type": "local", "dst": "192.168.10.2", "dev": "eth0", "table": "local", "protocol": "kernel"},
        {"dst": "10.0.0.0/8", "dev": "wlan0"},
        {"type": "local", "dst": "10.0.0.2", "dev": "wlan0", "table": "local"},
        {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "metric": 1024, "pref": "medium"},
    ]
    file, path = tmp_path / "routes.json", tmp_path / "s.json"
    file.write_text(json.dumps(routes), encoding="utf-8")
    done = guard("snapshot", "import", "-o", path, "--routes", file, "--sysctl", "net.ipv4.conf.all.rp_filter=1")
    assert done.returncode == 0, done.stderr
    facts = loads(path.read_text(encoding="utf-8")).home
    assert {(a.dev, a.address, a.prefixlen) for a in facts.addresses} >= {
        ("eth0", "192.168.10.2", 24),
        ("wlan0", "10.0.0.2", 8),
    }
    assert any(r.dst == "::/0" and r.family == "ipv6" for r in facts.routes)
    found = answers(guard, path)
    assert "10.0.0.0/8" in found["wlan0", "ipv4"]["may"]
    assert "10.0.0.0/8" not in found["eth0", "ipv4"]["may"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        ((), "", "nothing to import"),
        (("--nft-json", "-", "--iptables-save", "-"), "", "once only"),
        (("--nft-json", "-"), LISTING[:100], "standard input:1:"),
        (("--nft-json", "-"), "[]", "no listing of nft"),
        (("--iptables-save", "-"), "*filter\n-A INPUT stray\n", "standard input:2:10"),
        (("--routes", "-"), "[{}]", "standard input[0]"),
        (("--routes", "-"), "{", "standard input:1:"),
        (("--address", "eth0"), "", "--address eth0"),
        (("--address", "eth0=300.1.1.1/24"), "", "300.1.1.1"),
        (("--sysctl", "kernel.hostname=1", "--address", "eth0=10.0.0.1/8"), "", "--sysctl"),
        (("--nft-json", "/no/such/file"), "", "/no/such/file"),
    ],
)
def test_wrong_input(guard: Guard, tmp_path: Path, arguments: tuple[str, ...], stdin: str, said: str) -> None:
    """What is wrong is told with its place and what to do, status 2, and nothing is written."""
    done = guard("snapshot", "import", "-o", tmp_path / "s.json", *arguments, stdin=stdin)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s.json").exists()


def test_options_belong_to_the_subcommand(guard: Guard) -> None:
    """`snapshot -o FILE import` would write elsewhere than expected, so it is refused."""
    done = guard("snapshot", "-o", "x", "import", "--address", "eth0=10.0.0.1/8")
    assert done.returncode == 2
    assert "import" in done.stderr


def test_a_doubt_is_told(guard: Guard, tmp_path: Path) -> None:
    """What a listing leaves out is said when it is imported, and makes every answer a bound."""
    text = LISTING.replace('"handle": 1}', '"handle": 1, "flags": "dorm"}')
    path = tmp_path / "s.json"
    done = guard("snapshot", "import", "-o", path, "--nft-json", "-", *ADDRESSES, stdin=text)
    assert done.returncode == 0
    assert "not exact: table inet f: the flag 'dorm'" in done.stderr
    found = answers(guard, path)["eth0", "ipv4"]
    assert found["exact"] is False
    assert found["must"] == []
    assert found["may"] == ["0.0.0.0/0"]


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["default", "10.0.0.0/8", "eth0", "local"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dst", "dev", "gateway", "table", "type", "metric", "nexthops", "via", "host", "prefsrc"]),
            inner,
            max_size=5,
        )
    ),
)


@settings(max_examples=300, deadline=None)
@given(_VALUES)
def test_no_routes_make_it_fall_over(value: Any) -> None:
    """Any JSON is read as routes, or refused with its place."""
    said = ""
    try:
        read_routes_json(json.dumps([value]), source="r")
    except InputError as error:
        said = str(error)
    assert not said or re.match(r"r(\[\d+\])?: ", said)


def test_memberships_are_not_known(guard: Guard, tmp_path: Path) -> None:
    """Who has joined a group no listing tells: such packets are undecided, but the groups that every host joins are taken in."""
    path = tmp_path / "s.json"
    guard("snapshot", "import", "-o", path, "--nft-json", "-", *ADDRESSES, stdin='{"nftables": []}')
    verdicts = {}
    for dst in ("224.0.0.251", "ff02::fb", "224.0.0.1", "ff02::1"):
        src = "fd00:10::9" if ":" in dst else "192.168.10.9"
        done = guard(
            "trace",
            "--snapshot",
            path,
            "--iface",
            "eth0",
            "--from",
            src,
            "--to",
            f"udp/5353@{dst}",
            "--format",
            "jsonl",
        )
        verdicts[dst] = json.loads(done.stdout)
    assert {dst: v["verdict"] for dst, v in verdicts.items()} == {
        "224.0.0.251": "undecided", "ff02::fb": "undecided", "224.0.0.1": "delivered", "ff02::1": "delivered",
    }  # fmt: skip
    assert "who has joined 224.0.0.251 on `eth0` is not known" in verdicts["224.0.0.251"]["because"][0]


def test_tables_of_routes_that_only_rules_lead_to(guard: Guard, tmp_path: Path) -> None:
    """Routing rules can't be given: where the routes show that there are some, nothing that they may decide is exact."""
    path, routes = tmp_path / "s.json", tmp_path / "routes.json"
    routes.write_text(
        json.dumps(
            [
                {"dst": "192.168.10.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link"},
                {"dst": "default", "gateway": "192.168.10.1", "dev": "eth0"},
                {"type": "local", "dst": "192.168.10.2", "dev": "eth0", "table": "local"},
                {"dst": "default", "dev": "wg0", "table": "vpn", "scope": "link"},
            ]
        ),
        encoding="utf-8",
    )
    for strict, exact in (("0", True), ("1", False)):
        given = ("--routes", routes, "--sysctl", f"net.ipv4.conf.all.rp_filter={strict}")
        done = guard("snapshot", "import", "-o", path, "--nft-json", "-", *given, stdin='{"nftables": []}')
        assert done.returncode == 0, done.stderr
        assert "the routes have tables that only such rules lead to" in done.stderr
        answer = answers(guard, path)["eth0", "ipv4"]
        assert answer["exact"] == exact
        assert (not exact) == any("which routing rules lead to a routing table" in b for b in answer["inexact_because"])


@pytest.mark.parametrize("dev", ["..", "a b"])
def test_an_interface_that_can_not_be_is_refused_at_once(dev: str, guard: Guard, tmp_path: Path) -> None:
    """What `--snapshot` would refuse is not written: it is said when it is given."""
    routes = tmp_path / "routes.json"
    routes.write_text(json.dumps([{"dst": "10.0.0.0/8", "dev": dev, "flags": []}]), encoding="utf-8")

    done = guard(
        "snapshot", "import", "--routes", routes, "--address", "eth0=192.168.10.2/24", "-o", tmp_path / "s.json"
    )

    assert done.returncode == 2
    assert "what was given." in done.stderr
    assert not (tmp_path / "s.json").exists()
