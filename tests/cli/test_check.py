"""`check` as a person and a program use it."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from librespot_guard.snapshot import dumps
from policy.factory import host, service
from support import SOURCE, Guard, Schema

POLICY = """\
policy: 1
title: Living-room speaker
owner: ops@example.org
review: every 3 months
sources:
  home: {networks: [192.168.10.0/24, "fd00:10::/64"], interface: eth0, why: family phones}
  app: {hosts: [192.168.20.5], why: booking, expires: 2099-06-30, owner: booking@example.org}
  vpn: {interface: wg0, why: administrators}
services:
  living-room:
    match: {flavour: librespot, name: Living Room}
    allow:
      discovery: [home]
      connect: [home, app, vpn]
      api: []
"""
FAULTY = """\
policy: 1
sources:
  home: {networks: [192.168.10.5/24]}
services:
  a: {match: {name: a}, allow: {conect: [hom]}}
"""
SPEAKER, KITCHEN = service("living-room", title="Living Room"), service("kitchen", pid=2)


def write(path: Path, text: str) -> Path:
    """A file of this text."""
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy without faults or warnings."""
    return write(tmp_path / "policy.yaml", POLICY)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A policy with four faults."""
    return write(tmp_path / "faulty.yaml", FAULTY)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The snapshot of a host with two services."""
    return write(tmp_path / "host.json", dumps(host(SPEAKER, KITCHEN)))


def test_a_valid_policy_is_summed_up(guard: Guard, policy: Path) -> None:
    """Sources, services and what is allowed are on stdout, nothing on stderr."""
    done = guard("check", policy)
    lines = [re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines() if line]

    assert (done.returncode, done.stderr) == (0, "")
    assert [f"{policy}: valid"] in lines
    assert ["home", "192.168.10.0/24, fd00:10::/64 on eth0", "family phones"] in lines
    assert ["app", "192.168.20.5", "booking, until 2099-06-30, owner booking@example.org"] in lines
    assert ["vpn", "everybody on wg0", "administrators"] in lines
    assert ["living-room", "discovery", "home"] in lines
    assert ["flavour=librespot name=Living Room", "connect", "home, app, vpn"] in lines
    assert ["api", "nobody"] in lines
    assert "Everybody else is denied" in done.stdout


def test_every_fault_is_told(guard: Guard, faulty: Path) -> None:
    """Each fault is a line of stderr that begins with its place; nothing is on stdout; the status is 2."""
    done = guard("check", faulty)
    lines = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(" ")[0] for line in lines] == [
        f"{faulty}:3:3:",
        f"{faulty}:3:21:",
        f"{faulty}:5:33:",
        f"{faulty}:5:42:",
        f"{faulty}:",
    ]
    assert lines[-1] == f"{faulty}: 4 faults"


def test_json_is_what_the_schema_says(guard: Guard, schema: Schema, policy: Path, faulty: Path, snapshot: Path) -> None:
    """With and without faults, with and without a host, for a file that is not there: every document validates."""
    cases: list[list[str | Path]] = [
        [policy],
        [faulty],
        [policy, "--snapshot", snapshot],
        [faulty, "--snapshot", snapshot],
        ["nowhere.yaml"],
    ]
    documents = []
    for arguments in cases:
        done = guard("check", *arguments, "--format", "json")
        documents.append(json.loads(done.stdout))
        schema("check").validate(documents[-1])
        assert done.returncode == (0 if documents[-1]["valid"] else 2)
        assert done.stderr == ""

    assert [d["valid"] for d in documents] == [True, False, True, False, False]
    assert [(e["line"], e["column"]) for e in documents[1]["errors"]] == [(3, 3), (3, 21), (5, 33), (5, 42)]
    assert documents[0]["policy"]["sources"]["app"]["networks"] == ["192.168.20.5/32"]
    assert documents[2]["matches"] == {"living-room": ["living-room"]}
    assert documents[4]["errors"][0]["line"] is None
    assert "nowhere.yaml" in documents[4]["errors"][0]["message"]


def test_several_files(guard: Guard, policy: Path, faulty: Path) -> None:
    """Each file is checked whatever the others are, and one fault makes the status 2; JSON is one document for each."""
    done = guard("check", faulty, "nowhere.yaml", policy)
    decoder, rest, found = json.JSONDecoder(), guard("check", faulty, policy, "--format", "json").stdout, []
    while rest.strip():
        document, end = decoder.raw_decode(rest.lstrip())
        found.append(document["valid"])
        rest = rest.lstrip()[end:]

    assert done.returncode == 2
    assert f"{policy}: valid" in done.stdout
    assert "error: nowhere.yaml: No such file or directory" in done.stderr
    assert f"{faulty}: 4 faults" in done.stderr
    assert found == [False, True]


def test_standard_input(guard: Guard) -> None:
    """`-` is standard input, and is called so."""
    assert "stdin: valid" in guard("check", "-", stdin=POLICY).stdout
    assert guard("check", "-", stdin="x: 1").stderr.startswith("stdin:1:1: ")


def test_warnings_do_not_make_it_wrong(guard: Guard, policy: Path) -> None:
    """What nothing enforces and what has expired are warnings with their place; the status stays 0."""
    yesterday = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    write(policy, POLICY.replace("2099-06-30", yesterday) + "    egress: spotify\n    bind: {api: localhost}\n")
    done = guard("check", policy)

    assert done.returncode == 0
    assert f"source `app` expired on {yesterday}" in done.stderr
    assert f"{policy}:16:5: warning: nothing enforces `egress` yet: `plan` will refuse" in done.stderr
    assert f"{policy}:17:5: warning: nothing enforces `bind` yet: `plan` will refuse" in done.stderr
    assert len(done.stderr.splitlines()) == 3


def test_a_host_shows_what_the_entries_speak_of(guard: Guard, policy: Path, snapshot: Path) -> None:
    """With a snapshot: the services of each entry, entries without one, and services that nobody speaks of."""
    write(policy, POLICY + "  attic:\n    match: {unit: attic}\n")
    done = guard("check", policy, "--snapshot", snapshot)

    assert done.returncode == 0
    assert "matches: living-room" in done.stdout
    assert "matches: no service" in done.stdout
    assert f"{policy}:16:3: warning: `attic` matches no service" in done.stderr
    assert "no entry speaks of the service `kitchen` (librespot, pid 2): it stays as open as it is" in done.stderr


def test_an_ambiguous_policy_is_wrong_on_that_host(guard: Guard, policy: Path, snapshot: Path) -> None:
    """Two entries for one service are a fault, which the file alone does not show."""
    write(policy, POLICY + "  all:\n    match: {flavour: librespot}\n")
    done = guard("check", policy, "--snapshot", snapshot)

    assert guard("check", policy).returncode == 0
    assert done.returncode == 2
    assert f"{policy}:16:3: the service `living-room` (pid 812) is matched by `living-room` " in done.stderr
    assert "and `all` " in done.stderr


def test_this_host(guard: Guard, policy: Path, snapshot: Path) -> None:
    """--here reads this host, and can't be given together with a snapshot."""
    here = guard("check", policy, "--here", "--format", "json")
    both = guard("check", policy, "--here", "--snapshot", snapshot)

    assert here.returncode == 0
    assert set(json.loads(here.stdout)["matches"]) == {"living-room"}
    assert both.returncode == 2
    assert "can't be given together" in both.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        (b"", "the file is empty"),
        (b"policy: 1\x00", "U+0000"),
        (b"{a: 1", "goes on without"),
    ],
)
def test_what_is_no_policy(guard: Guard, tmp_path: Path, content: bytes, words: str) -> None:
    """A file of anything is an error with status 2 and words, never a traceback."""
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    done = guard("check", path)

    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_is_no_policy(guard: Guard, tmp_path: Path) -> None:
    """A folder is an error that names it."""
    done = guard("check", tmp_path)

    assert done.returncode == 2
    assert f"{tmp_path}: Is a directory" in done.stderr


def test_without_libyaml(policy: Path, faulty: Path) -> None:
    """Where PyYAML has no libyaml (there is no wheel for armv7l), the same policies pass and the same faults are told."""
    program = (
        "import sys; sys.modules['yaml._yaml'] = None; import yaml; assert not yaml.__with_libyaml__; "
        "from librespot_guard.cli.entry import main; sys.exit(main(sys.argv[1:]))"
    )
    outputs = []
    for start in (["-c", program], ["-m", "librespot_guard"]):
        done = subprocess.run(
            [sys.executable, *start, "check", str(policy), str(faulty)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
        )
        outputs.append((done.returncode, done.stdout, done.stderr))

    assert outputs[0] == outputs[1]
    assert outputs[0][0] == 2
    assert "4 faults" in outputs[0][2]
