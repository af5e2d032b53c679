"""Sandboxes: they need no root, hosts in them talk to each other, and nothing is left behind however they end."""

import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from librespot_guard.errors import MachineError
from librespot_guard.lab import sandbox
from librespot_guard.lab.sandbox import Host, Sandbox
from support import SOURCE

pytestmark = pytest.mark.kernel


@pytest.fixture
def pair() -> Iterator[tuple[Sandbox, Host, Host]]:
    """Two hosts with a cable between them and addresses of both families."""
    with Sandbox(hostname="speaker", names={"speaker": "192.168.10.2"}) as box:
        one, other = box.host("one"), box.host("other")
        box.link(one, "eth0", other, "eth0")
        one.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        other.address("eth0", "192.168.10.9/24", "fd00:10::9/64")
        yield box, one, other


def _serve_once(host: Host, address: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(f"""
        import socket
        family = socket.AF_INET6 if ":" in {address!r} else socket.AF_INET
        server = socket.create_server(({address!r}, 7000), family=family)
        print("ready", flush=True)
        connection, _ = server.accept()
        connection.sendall(b"hello")
        connection.close()
    """)
    process = host.popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.popen.stdout is not None
    assert process.popen.stdout.readline() == "ready\n"
    return process.popen


@pytest.mark.parametrize("address", ["192.168.10.2", "fd00:10::2"])
def test_hosts_talk_over_both_families_at_once(pair: tuple[Sandbox, Host, Host], address: str) -> None:
    """An address is usable the moment it was given: no duplicate address detection is waited for."""
    _, one, other = pair
    server = _serve_once(one, address)

    def greet() -> bytes:
        with socket.create_connection((address, 7000), 2) as sock:
            return sock.recv(16)

    assert other.call(greet) == b"hello"
    assert server.stdout is not None
    server.stdout.close()
    assert server.wait(5) == 0


def test_three_hosts_on_a_switch_see_each_other() -> None:
    """A common LAN connects more than two hosts."""
    with Sandbox() as box:
        hosts = [box.host(f"h{i}") for i in range(3)]
        box.lan("switch", *((host, "eth0") for host in hosts))
        for number, host in enumerate(hosts, start=1):
            host.address("eth0", f"10.1.0.{number}/24")
        server = _serve_once(hosts[2], "10.1.0.3")
        assert hosts[0].call(lambda: socket.create_connection(("10.1.0.3", 7000), 2).recv(5)) == b"hello"
        assert server.stdout is not None
        server.stdout.close()
        server.wait(5)


def test_packet_filter_and_sysctls_are_its_own(pair: tuple[Sandbox, Host, Host]) -> None:
    """Rules and sysctls that are set in one host are not seen in another, nor outside."""
    _, one, other = pair
    one.run(["nft", "add", "table", "inet", "mine"], check=True)
    one.sysctl({"net.ipv4.conf.eth0.rp_filter": 2, "net.ipv4.ip_forward": 1})
    assert "mine" in one.run(["nft", "list", "ruleset"]).stdout
    assert "mine" not in other.run(["nft", "list", "ruleset"]).stdout
    read = Path("/proc/sys/net/ipv4/conf/eth0/rp_filter").read_text
    assert (one.call(read).strip(), other.call(read).strip() == "2") == ("2", False)


def test_a_name_of_a_host_is_seen_inside_only(pair: tuple[Sandbox, Host, Host]) -> None:
    """/run/netns holds the hosts for what runs inside, and nothing of them is on the machine."""
    box, one, _ = pair
    assert set(one.run(["ls", "/run/netns"]).stdout.split()) == {"one", "other"}
    assert not Path("/run/netns/one").exists()
    assert set(box.hosts) == {"one", "other"}


def test_names_resolve_and_others_fail_at_once(pair: tuple[Sandbox, Host, Host]) -> None:
    """The sandbox's own names resolve; any other name fails without waiting for a server."""
    _, one, _ = pair
    assert one.call(lambda: socket.gethostbyname(socket.gethostname())) == "192.168.10.2"
    begun = time.monotonic()
    with pytest.raises(OSError, match=r"."):
        one.call(lambda: socket.gethostbyname("ap.spotify.example"))
    assert time.monotonic() - begun < 3


def test_what_a_function_returns_or_raises_comes_back(pair: tuple[Sandbox, Host, Host]) -> None:
    """Values and exceptions cross the border; one that can't be pickled comes back as its text."""
    _, one, _ = pair
    assert one.call(lambda: {"uid": os.getuid()}) == {"uid": 0}
    with pytest.raises(ZeroDivisionError):
        one.call(lambda: 1 // 0)

    class Local(Exception):  # noqa: N818 - what matters is that it can't be pickled
        """An exception that no other module knows."""

    def fail() -> None:
        raise Local("strange")

    with pytest.raises(RuntimeError, match="Local: strange"):
        one.call(fail)


class Left:
    """Garbage in a circle, that says in which process it was collected."""

    ends: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Left.ends.append(os.getpid())


def test_garbage_of_the_caller_is_not_collected_inside(pair: tuple[Sandbox, Host, Host]) -> None:
    """It may belong to a library whose threads do not survive a fork."""

    def collected() -> list[int]:
        gc.collect()
        return Left.ends

    gc.collect()
    Left.ends.clear()
    gc.disable()
    try:
        Left()
        inside = pair[1].call(collected)
    finally:
        gc.enable()

    assert inside == []
    assert collected() == [os.getpid()]


def test_exit_status_and_signals_pass_through(pair: tuple[Sandbox, Host, Host]) -> None:
    """A command's status is its own, and stopping it reaches it, though it lives in another PID namespace."""
    _, one, _ = pair
    assert one.run(["sh", "-c", "cat; exit 7"], input="text").returncode == 7
    process = one.popen(["sleep", "600"])
    assert process.poll() is None
    assert process.stop() == -signal.SIGTERM
    stubborn = one.popen(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], stdout=subprocess.PIPE)
    assert stubborn.popen.stdout is not None
    stubborn.popen.stdout.readline()
    assert stubborn.stop(timeout=0.2) == -signal.SIGKILL


def test_missing_command_is_an_error_that_names_it(pair: tuple[Sandbox, Host, Host]) -> None:
    """A command that does not exist is a MachineError with its name."""
    _, one, _ = pair
    with pytest.raises(MachineError, match="no-such-command"):
        one.run(["no-such-command"])


def test_everything_ends_with_the_block() -> None:
    """What still runs inside when the block ends is killed."""
    with Sandbox() as box:
        process = box.host("one").popen(["sleep", "600"])
    assert process.wait(5) == -signal.SIGKILL
    with pytest.raises(MachineError, match="not running"):
        _ = box.doors


OWNER = """
import signal, sys, time
from librespot_guard.lab.sandbox import Sandbox
with Sandbox() as box:
    host = box.host("one")
    for command in (["sleep", "600"], ["sh", "-c", "setsid sleep 601 & wait"], ["sh", "-c", "trap '' TERM INT HUP; sleep 602"]):
        host.popen(command)
    print("ready", flush=True)
    host.call(lambda: time.sleep(600))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_when_the_owner_is_ended(number: signal.Signals) -> None:
    """Interrupted, terminated, hung up or killed: no process of the sandbox outlives its owner, not even a daemonised one."""
    mark = f"mark-{uuid.uuid4()}"
    env = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "SANDBOX_TEST_MARK": mark}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == "ready\n"
        assert len(marked(mark)) >= 6
        owner.send_signal(number)
        owner.wait(10)
    deadline = time.monotonic() + 5
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marked(mark) == []


CARELESS = """
import subprocess, sys
# the first process of a PID namespace, which buries nobody but the one child that it waits for
raise SystemExit(subprocess.Popen([sys.executable, "-c", sys.argv[1]]).wait(30))
"""
KILLER = """
import signal, subprocess, time
from librespot_guard.lab.sandbox import Sandbox
class Enough(Exception): pass
def enough(*_): raise Enough
signal.signal(signal.SIGALRM, enough)
with Sandbox() as box:
    host = box.host("one")
    stubborn = host.popen(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], stdout=subprocess.PIPE)
    stubborn.popen.stdout.readline()
    assert stubborn.stop(timeout=0.1) == -signal.SIGKILL
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        host.call(lambda: time.sleep(600))
    except Enough:
        pass
    try:
        host.run(["sleep", "600"], timeout=0.3)
    except subprocess.TimeoutExpired:
        print("ended", flush=True)
"""


def test_it_ends_where_nobody_buries_the_dead() -> None:
    """In a container whose first process reaps no orphans, killed commands and interrupted functions do not keep a sandbox open."""
    argv = [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        sys.executable,
        "-c",
        CARELESS,
        KILLER,
    ]
    env = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def marked(mark: str) -> list[str]:
    """The command lines of living processes that carry a mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def test_a_kernel_that_refuses_is_named_with_what_to_do() -> None:
    """Without user namespaces, and without root's capabilities, the error says which switch it is and how to turn it."""
    code = "from librespot_guard.lab.sandbox import why_not; print(why_not())"
    with Sandbox() as box:
        shell = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all "$0" -c "$1"'
        done = box.host("one").run(["sh", "-c", shell, sys.executable, code], env={"PYTHONPATH": str(SOURCE.parent)})
    assert "user namespaces (user.max_user_namespaces = 0)" in done.stdout, done.stderr
    assert "sysctl -w user.max_user_namespaces" in done.stdout


CHROOT = """
mount -t tmpfs none /mnt && mkdir /mnt/root && cd /mnt/root
for each in /*; do
    if [ -L "$each" ]; then cp -a "$each" .
    elif [ -d "$each" ] && [ "$each" != /mnt ]; then mkdir ".$each" && mount --rbind "$each" ".$each"; fi
done
exec chroot . "$0" -c "$1"
"""


def test_a_chroot_is_named_for_what_it_is() -> None:
    """In a chroot the kernel refuses in ways that look like a kernel without namespaces."""
    code = "from librespot_guard.lab.sandbox import why_not; print(why_not())"
    with Sandbox() as box:
        env = {"PYTHONPATH": str(SOURCE.parent)}
        done = box.host("one").run(["unshare", "-m", "sh", "-ec", CHROOT, sys.executable, code], env=env)
    assert "this is a chroot" in done.stdout, done.stderr


def test_ssh_session_of_the_user_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside nobody has come by ssh: the caller's own session must not be taken for the administrator's."""
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
    with Sandbox() as box:
        assert "SSH_CONNECTION" not in box.host("one").run(["env"]).stdout


def test_dotted_interface_in_a_sysctl_name() -> None:
    """The interface in a sysctl's name may hold dots."""
    from librespot_guard.lab._stage import sysctl_parts  # noqa: PLC0415

    assert sysctl_parts("net.ipv4.conf.eth0.10.rp_filter") == ["net", "ipv4", "conf", "eth0.10", "rp_filter"]
    assert sysctl_parts("net/ipv4/conf/a.b/rp_filter")[-2] == "a.b"


def test_why_not_is_empty_where_it_works() -> None:
    """Where sandboxes work, there is no reason against them."""
    assert sandbox.why_not() == ""


def test_nothing_of_the_machine_itself_is_written() -> None:
    """Names that come from a file of somebody else lead to no other sysctl, no other file, and no other program."""
    with Sandbox() as box:
        host = box.host("host")
        for name in (
            "kernel.printk_ratelimit",
            "net/../kernel/printk_ratelimit",
            "net/../../../tmp/x",
            "net.ipv4.conf../../x",
        ):
            with pytest.raises(OSError, match="no sysctl of a network namespace"):
                host.sysctl({name: 5})
        with pytest.raises(MachineError, match="control character"):
            host.ip("link set lo up\nnetns exec host touch /tmp/x")
        host.sysctl({"net/ipv4/ip_forward": 1, "net.ipv4.conf.lo.rp_filter": 1})


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands in a folder that was removed can use a sandbox all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with Sandbox() as box:
        assert box.host("host").call(lambda: os.getcwd()) == "/"  # noqa: PTH109, PLW0108 - os is what is asked
