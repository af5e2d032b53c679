"""`audit` on the command line: exit statuses, formats, faults; and on a real daemon."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from audit.hosts import host, librespot
from librespot_guard import audit
from librespot_guard.lab import daemons
from librespot_guard.lab.sandbox import Sandbox
from librespot_guard.snapshot import NftDump, dumps
from support import SOURCE, Guard, Schema


def saved(folder: Path, name: str = "living-room", **changes: object) -> Path:
    """A snapshot file of a host with one service."""
    file = folder / "host.json"
    file.write_text(dumps(host(librespot(name=name, **changes))), encoding="utf-8")
    return file


def test_the_answer_is_on_stdout_and_nothing_on_stderr(guard: Guard, tmp_path: Path) -> None:
    """Plain text without colours in a log; status 0 without --fail-on."""
    done = guard("audit", "--snapshot", saved(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("living-room\n")
    assert done.stdout.splitlines()[-1].startswith("grade ")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(("threshold", "status"), [("low", 1), ("medium", 1), ("high", 1), ("critical", 0)])
def test_fail_on(guard: Guard, tmp_path: Path, threshold: str, status: int) -> None:
    """Status 1 if a finding is that severe or worse; here the worst is high."""
    assert guard("audit", "--snapshot", saved(tmp_path), "--fail-on", threshold).returncode == status


def test_ignored_findings_do_not_fail(guard: Guard, tmp_path: Path) -> None:
    """--ignore takes a finding out of the threshold and of the grade, and is named in both formats."""
    file = saved(tmp_path)
    everything = json.loads(guard("audit", "--snapshot", file, "--format", "json").stdout)
    options = [word for f in everything["findings"] for word in ("--ignore", f["id"])]
    done = guard("audit", "--snapshot", file, "--fail-on", "low", *options)

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("grade A: no findings; ignored: LG101")


def test_json_is_the_design(guard: Guard, tmp_path: Path, schema: Schema) -> None:
    """The document is the one of the schema, and the same as the library gives."""
    done = guard("audit", "--snapshot", saved(tmp_path), "--format", "json")
    document = json.loads(done.stdout)

    schema("audit").validate(document)
    assert document["schema"] == "librespot-guard/audit/1"
    assert [f["id"] for f in document["findings"]] == [f.id for f in audit.run(host(librespot())).findings]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ignore", "LG110"], "did you mean `LG"),
        (["--ignore", "nonsense"], "there is no check `nonsense`"),
        (["--fail-on", "severe"], "severe"),
        (["--snapshot", "/nonexistent/host.json"], "/nonexistent/host.json: No such file or directory"),
    ],
)
def test_wrong_input(guard: Guard, arguments: list[str], words: str) -> None:
    """Status 2, what is wrong and what to do on stderr, nothing on stdout."""
    done = guard("audit", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_truncated_snapshot(guard: Guard, tmp_path: Path) -> None:
    """Half a file is refused with its name, not read as a host without services."""
    file = saved(tmp_path)
    file.write_text(file.read_text(encoding="utf-8")[:2000], encoding="utf-8")
    done = guard("audit", "--snapshot", file)

    assert (done.returncode, done.stdout) == (2, "")
    assert str(file) in done.stderr


def test_a_truncated_packet_filter(guard: Guard, tmp_path: Path) -> None:
    """A netlink stream that ends in the middle is wrong input, not an empty packet filter."""
    file = tmp_path / "host.json"
    whole = host(librespot())
    cut = replace(whole, namespaces=(replace(whole.home, nft=NftDump(1, b"\x40\x00\x00\x00\x00\x0a\x02\x08")),))
    file.write_text(dumps(cut), encoding="utf-8")
    done = guard("audit", "--snapshot", file)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_on_a_terminal_names_are_only_text(tmp_path: Path) -> None:
    """With colours, a name that looks like markup or like a control sequence is shown as it is."""
    name = "[bold red]a[/bold red]\x1b[2J:skull:"
    shown = on_terminal("audit", "--snapshot", str(saved(tmp_path, name)))

    assert "[bold red]a[/bold red]" in shown
    assert ":skull:" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[31m" in shown  # severities are red
    assert "\x1b" not in on_terminal("audit", "--snapshot", str(saved(tmp_path, name)), NO_COLOR="1", TERM="dumb")


def on_terminal(*arguments: str, **environment: str) -> str:
    """What a command prints on a (pseudo) terminal."""
    ours, theirs = pty.openpty()
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "librespot_guard", *arguments],
        stdout=theirs,
        stdin=subprocess.DEVNULL,
        env={**inherited, "TERM": "xterm", "PYTHONPATH": str(SOURCE.parent), **environment},
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:
        pass  # the other end was closed: how a pseudo terminal ends
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    return shown.decode()


RULES = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iif lo accept
    ip saddr 192.168.10.0/25 tcp dport 37878 accept
    ip6 saddr fd00:10::/64 tcp dport 37878 accept
    ip saddr 192.168.10.0/25 udp dport 5353 accept
  }
}
"""

# the shape of our own table (targets.nft_text), left over from a time when the service was on another port
STALE = """
table inet librespot_guard {
  map gate { type nf_proto : verdict; flags timeout; }
  chain base {
    type filter hook input priority -10; policy accept;
    meta nfproto vmap @gate
    goto policy_0
  }
  chain policy_0 {
    iifname "lo" return
    tcp dport 40001 goto connect_0
    udp dport { 5353, 40002 } counter drop
  }
  chain connect_0 {
    counter drop
  }
}
"""


@pytest.mark.kernel
@pytest.mark.family
@pytest.mark.parametrize("name", ["librespot-python", "librespot"])
def test_a_real_daemon_before_and_after_rules(name: str, schema: Schema) -> None:
    """A real daemon without a packet filter is open to anybody, on a random port; behind rules loaded into the kernel it is not."""
    try:
        daemon = daemons.obtain(name)
    except daemons.Unavailable as error:
        pytest.skip(f"{name}: {error}")
    with Sandbox(hostname="speaker") as box:
        speaker, phone = box.host("speaker"), box.host("phone")
        box.link(speaker, "eth0", phone, "eth0")
        speaker.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        phone.address("eth0", "192.168.10.3/24")
        speaker.route("default", via="192.168.10.3")
        speaker.multicast("eth0")

        def report() -> dict[str, dict[str, object]]:
            done = speaker.run(
                [sys.executable, "-m", "librespot_guard", "audit", "--format", "json"],
                env={"PYTHONPATH": str(SOURCE.parent)},
                timeout=60,
            )
            assert (done.returncode, done.stderr) == (0, "")
            document = json.loads(done.stdout)
            schema("audit").validate(document)
            assert "living-room" in document["services"]
            return {f["id"]: f for f in document["findings"]}

        with daemon.start(speaker, name="living-room") as loose:
            before = report()
            assert f":{loose.port} over eth0, IPv4 to 192.168.10.2: any IPv4 address (exact)" in str(before["LG101"])
            assert before["LG202"]["severity"] == "high"
            assert f":{loose.port} (connect)" in str(before["LG201"])
        speaker.run(["nft", "-f", "-"], input=RULES, check=True)
        with daemon.start(speaker, name="living-room", port=37878):
            after = report()
            assert not {"LG101", "LG102", "LG103", "LG105", "LG201", "LG301", "LG302"} & set(after)
            assert after["LG202"]["severity"] == "low"
            assert "IPv4 to 192.168.10.2: 192.168.10.0/25 (exact)" in str(after["LG202"])
            assert "LG303" not in after
            speaker.run(["nft", "-f", "-"], input=STALE, check=True)
            stale = report()["LG303"]
            assert stale["severity"] == "high"
            assert stale["evidence"] == [
                "table inet librespot_guard has rules for tcp 40001, and nothing listens there",
                "table inet librespot_guard has rules for udp 40002, and nothing listens there",
                "a service listens on tcp 37878, for which the table has no rule",
            ]
