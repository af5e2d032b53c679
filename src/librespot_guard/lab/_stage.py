"""The inside of a sandbox: the processes that make its namespaces and hold them, its mounts, its networks."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from librespot_guard.lab import _enter, _kernel

STATE = "/run/librespot-guard/state"
ETC = "/run/librespot-guard/root"
_HIDDEN = ("/var/lib/librespot-guard", "/etc/librespot-guard")


def write_sysctls(values: Mapping[str, str | int]) -> None:
    """Write sysctls of the calling thread's network namespace. Raises OSError naming the file, also for what is none of these."""
    for name, value in values.items():
        parts = sysctl_parts(name)
        # root of a sandbox may write what belongs to the whole machine, and names may come from a file of somebody else
        if parts[0] != "net" or ".." in parts or any("/" in part for part in parts):
            raise OSError(errno.EPERM, "no sysctl of a network namespace", name)
        Path("/proc/sys", *parts).write_text(f"{value}\n", encoding="ascii")


def sysctl_parts(name: str) -> list[str]:
    """The path below /proc/sys of a sysctl; in "net.ipv4.conf.eth0.10.rp_filter" the interface is eth0.10."""
    if "/" in name:
        return name.split("/")
    parts = name.split(".")
    if len(parts) > 5 and parts[2] in ("conf", "neigh"):
        return [*parts[:3], ".".join(parts[3:-1]), parts[-1]]
    return parts


def hardware_address(dev: str) -> bytes:
    """The hardware address of an interface of the calling thread's network namespace (SIOCGIFHWADDR). Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer: bytes = fcntl.ioctl(sock, 0x8927, dev.encode().ljust(40, b"\0"))
    return answer[18:24]


def keep(pipes: tuple[int, int, int, int], hostname: str, names: Mapping[str, str]) -> None:
    """The first child: makes the namespaces, starts PID 1 and waits for its end. Never returns."""
    waiting, writing, maps_wanted, maps_done = pipes
    status = 1
    try:
        os.close(maps_done)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _unshare(writing, maps_wanted)
        child = os.fork()
        if child == 0:
            _init(waiting, writing, hostname, names)
        os.write(writing, f"init {child}\n".encode())
        os.write(writing, b"go\n")
        _enter.leave_terminal()
        os.waitpid(child, 0)
        status = 0
    except OSError as error:
        _fail(writing, error)
    finally:
        os._exit(status)


def _fail(writing: int, error: OSError) -> None:
    with contextlib.suppress(OSError):
        os.write(writing, f"failed {error.errno} {error.filename or ''}: {error.strerror}\n".encode())


def _unshare(writing: int, maps_wanted: int) -> None:
    rest = (
        _kernel.CLONE_NEWNS | _kernel.CLONE_NEWUTS | _kernel.CLONE_NEWIPC | _kernel.CLONE_NEWNET | _kernel.CLONE_NEWPID
    )
    uid, gid = os.geteuid(), os.getegid()
    try:
        _kernel.unshare(_kernel.CLONE_NEWUSER)
    except OSError:
        if uid != 0:
            raise
        _kernel.unshare(rest)  # root of a container without user namespaces
        return
    os.write(writing, b"maps\n")
    if os.read(maps_wanted, 1) != b"w":
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
    _kernel.unshare(rest)


def write_maps(pid: int) -> bool:
    """Give a new user namespace every id that this process knows, if this process may (root)."""
    if os.geteuid() != 0:
        return False
    try:
        for kind in ("uid_map", "gid_map"):
            lines = [line.split() for line in Path("/proc/self", kind).read_text(encoding="ascii").splitlines()]
            Path(f"/proc/{pid}/{kind}").write_text(
                "".join(f"{inner} {inner} {count}\n" for inner, _, count in lines), encoding="ascii"
            )
    except OSError:
        return False
    return True


def _init(waiting: int, writing: int, hostname: str, names: Mapping[str, str]) -> None:
    """PID 1 of the sandbox: sets the stage, then waits for the end of the lifeline. Never returns."""
    try:
        _kernel.die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries orphans
        _kernel.sethostname(hostname)
        _mounts(names, hostname)
        write_sysctls({"net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0})
        os.write(writing, b"ready\n")
        os.dup2(waiting, 3)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(4, 65536)
        os.read(3, 1)
    except OSError as error:
        _fail(writing, error)
    finally:
        os._exit(0)


def _mounts(names: Mapping[str, str], hostname: str) -> None:
    _kernel.mount("none", "/", None, _kernel.MS_REC | _kernel.MS_PRIVATE)
    _kernel.mount("proc", "/proc", "proc", _kernel.MS_NOSUID | _kernel.MS_NODEV | _kernel.MS_NOEXEC)
    _kernel.mount("tmpfs", "/run", "tmpfs", _kernel.MS_NOSUID | _kernel.MS_NODEV, "mode=755")
    for folder in ("/run/netns", STATE, ETC, "/run/lock"):
        Path(folder).mkdir(parents=True)
    for hidden in _HIDDEN:
        if Path(hidden).is_dir():
            _kernel.mount("tmpfs", hidden, "tmpfs", _kernel.MS_NOSUID | _kernel.MS_NODEV, "mode=755")
    lines = [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost",
        *(f"{address} {name}" for name, address in names.items()),
    ]
    files = {
        "hosts": "\n".join(lines) + "\n",
        # nothing answers there: name resolution fails at once and does not wait
        "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        "hostname": f"{hostname}\n",
    }
    for name, text in files.items():
        ours = Path("/run/librespot-guard") / name
        ours.write_text(text, encoding="ascii")
        if Path("/etc", name).exists():
            _kernel.mount(str(ours), f"/etc/{name}", None, _kernel.MS_BIND)


def new_network(name: str) -> None:
    """Make a network namespace, hold it by a bind mount at /run/netns, and set it up."""
    place = Path("/run/netns", name)
    place.touch(exist_ok=False)
    _kernel.unshare(_kernel.CLONE_NEWNET)
    _kernel.mount("/proc/thread-self/ns/net", str(place), None, _kernel.MS_BIND)
    write_sysctls(
        {
            "net.ipv6.conf.all.accept_dad": 0,
            "net.ipv6.conf.default.accept_dad": 0,
            "net.ipv6.conf.all.disable_ipv6": 0,
            "net.ipv6.conf.default.disable_ipv6": 0,
        }
    )
    subprocess.run(
        ["ip", "link", "set", "lo", "up"],
        check=True,
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
    )
