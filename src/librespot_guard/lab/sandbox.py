"""Throw-away namespaces without root: hosts, cables between them, and nothing left behind.

A `Sandbox` is one set of user, mount, PID, UTS and IPC namespaces in which any number of network namespaces (`Host`) live::

    with Sandbox() as box:
        speaker, phone = box.host("speaker"), box.host("phone")
        box.link(speaker, "eth0", phone, "eth0")
        speaker.address("eth0", "192.168.10.2/24", "fd00:10::2/64")
        speaker.run(["nft", "list", "ruleset"])
        speaker.call(lambda: collect.read_nft())

Everything inside hangs on one process, PID 1 of the PID namespace, which does nothing but wait for the end of a pipe that only
the owner of the `Sandbox` holds open. However the owner ends (return, exception, SIGINT, SIGTERM, SIGHUP, SIGKILL), the pipe ends,
PID 1 ends, and the kernel kills all that runs inside and takes the namespaces away. /run, and with it /run/netns, is a tmpfs of the
sandbox's own; the machine's state and boot folders are hidden; IPv6 addresses are usable at once (no duplicate address detection).
"""

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from librespot_guard.errors import MachineError
from librespot_guard.lab import _enter, _kernel, _stage
from librespot_guard.lab._enter import Doors, Process
from librespot_guard.lab._stage import ETC, STATE, hardware_address, write_sysctls

T = TypeVar("T")

_SPACES = (
    ("user", _kernel.CLONE_NEWUSER),
    ("mnt", _kernel.CLONE_NEWNS),
    ("uts", _kernel.CLONE_NEWUTS),
    ("ipc", _kernel.CLONE_NEWIPC),
    ("net", _kernel.CLONE_NEWNET),
    ("pid", _kernel.CLONE_NEWPID),
)
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")

__all__ = ["ETC", "STATE", "Host", "Process", "Sandbox", "hardware_address", "one_line", "why_not", "write_sysctls"]


def one_line(text: str) -> bool:
    """Whether a text is one line for `ip -batch`, in which a second one could run any program (`netns exec`)."""
    return not any(ord(c) < 32 or c in "\x7f\x85\u2028\u2029" for c in text)


class Sandbox:
    """A context manager; see the module. `names` are lines of its /etc/hosts (name -> address), `hostname` its host name.

    Raises MachineError on entering where the kernel or the container does not allow it, saying what to do.
    """

    def __init__(self, *, hostname: str = "sandbox", names: Mapping[str, str] | None = None) -> None:
        self.hostname = hostname
        self.names = {hostname: "127.0.0.1", **(names or {})}
        self.hosts: dict[str, Host] = {}
        self._doors: Doors | None = None
        self._lifeline = -1
        self._keeper = 0
        self._owner = 0
        path = [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p]
        self.env: dict[str, str] = {
            # inside nobody has come by ssh or sudo: who did outside must not be taken for the administrator there
            **{k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "SUDO_"))},
            "PATH": os.pathsep.join([*path, *(p for p in _SBIN if p not in path)]),
            "LIBRESPOT_GUARD_STATE": STATE,
            "LIBRESPOT_GUARD_ETC": ETC,
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything inside. Safe to call twice."""
        if self._owner != os.getpid():
            return
        if self._lifeline >= 0:
            _enter.lifelines.discard(self._lifeline)
            os.close(self._lifeline)
            self._lifeline = -1
        if self._doors is not None:
            self._doors.close()
            self._doors = None
        if self._keeper:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._keeper, 0)
            self._keeper = 0

    @property
    def doors(self) -> Doors:
        """The namespaces to enter. Raises MachineError after the end."""
        if self._doors is None:
            raise MachineError("the sandbox is not running", hint="use it as `with Sandbox() as box:`")
        return self._doors

    def _start(self) -> None:
        self._owner = os.getpid()
        waiting, self._lifeline = os.pipe()
        _enter.lifelines.add(self._lifeline)
        reading, writing = os.pipe()
        maps_wanted, maps_done = os.pipe()
        self._keeper = _enter.fork()
        if self._keeper == 0:
            try:
                _stage.keep((waiting, writing, maps_wanted, maps_done), self.hostname, self.names)
            finally:
                os._exit(1)  # a forked child must not run on as its parent would
        for fd in (waiting, writing, maps_wanted):
            os.close(fd)
        pid, ready = 0, False
        failure = ""
        with os.fdopen(reading, encoding="utf-8") as pipe:
            for line in pipe:
                word, _, rest = line.rstrip("\n").partition(" ")
                if word == "maps":
                    os.write(maps_done, b"w" if _stage.write_maps(self._keeper) else b"x")
                elif word == "init":
                    pid = int(rest)
                elif word == "failed":
                    failure = rest
                ready = ready or word == "ready"
                if pid and ready:
                    break
            else:
                failure = failure or "0 : its first process ended without a word"
        os.close(maps_done)
        if failure:
            raise _refusal(failure)
        self._doors = _open_doors(pid)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function inside (in a forked copy of this process); see `Host.call`. `Host.inside` works there."""
        return _enter.call(self.doors, None, function)

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside, in no host in particular; options as `Host.run`."""
        return _enter.run(self.doors, None, argv, **{"env": self.env, **options})

    def ip(self, *lines: str, host: str | None = None) -> None:
        """Make changes with iproute2, all in one process. Raises MachineError naming what failed."""
        if not all(map(one_line, lines)):
            raise MachineError("`ip` is not given a line with a control character in it")
        argv = ["ip", *(("-netns", host) if host else ()), "-batch", "-"]
        done = self.run(argv, input="\n".join(lines) + "\n")
        if done.returncode != 0:
            raise MachineError(
                f"`ip` failed in the sandbox: {done.stderr.strip()}", hint="the kernel may lack veth or bridge devices"
            )

    def host(self, name: str) -> "Host":
        """A new network namespace with `lo` up, known by `name` inside the sandbox (/run/netns)."""
        if not name.isidentifier() and not name.replace("-", "_").isidentifier():
            raise ValueError(f"not a host name: {name!r}")
        self.call(lambda: _stage.new_network(name))
        host = Host(self, name)
        self.hosts[name] = host
        return host

    def link(
        self,
        one: "Host",
        one_dev: str,
        other: "Host",
        other_dev: str,
        *,
        one_index: int | None = None,
        other_index: int | None = None,
        up: bool = True,
    ) -> None:
        """A cable (veth pair) between two hosts, with both ends up. With `one_index`, the interface gets that index."""
        first = f"index {one_index} " if one_index else ""
        second = f"index {other_index} " if other_index else ""
        self.ip(
            f"link add name {one_dev} {first}netns {one.name} type veth peer name {other_dev} {second}netns {other.name}",
        )
        if up:
            self.ip(f"link set {one_dev} up", host=one.name)
            self.ip(f"link set {other_dev} up", host=other.name)

    def lan(self, name: str, *ends: tuple["Host", str]) -> "Host":
        """A common network: a switch (a host of its own with a bridge `br0`) with a cable to each (host, interface)."""
        switch = self.host(name)
        switch.ip("link add br0 type bridge", "link set br0 up")
        for number, (host, dev) in enumerate(ends):
            self.link(switch, f"p{number}", host, dev)
            switch.ip(f"link set p{number} master br0")
        return switch


class Host:
    """A network namespace of a sandbox."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.sandbox = sandbox
        self.name = name

    def __repr__(self) -> str:
        return f"Host({self.name!r})"

    def ip(self, *lines: str) -> None:
        """Make changes in this host with iproute2, e.g. `"link set eth0 up"`. Raises MachineError."""
        self.sandbox.ip(*lines, host=self.name)

    def address(self, dev: str, *addresses: str) -> None:
        """Give an interface addresses such as "192.168.10.2/24" and "fd00:10::2/64", usable at once."""
        self.ip(*(f"address add {a} dev {dev}{' nodad' if ':' in a else ''}" for a in addresses))

    def route(self, destination: str, *, via: str | None = None, dev: str | None = None) -> None:
        """Add a route; "default" and "224.0.0.0/4" are destinations too."""
        family = "-6 " if ":" in destination or (via and ":" in via) else ""
        if family:
            done = self.run(
                [
                    "ip",
                    "-6",
                    "route",
                    "add",
                    destination,
                    *(("via", via) if via else ()),
                    *(("dev", dev) if dev else ()),
                ]
            )
            if done.returncode != 0:
                raise MachineError(f"route {destination} in {self.name}: {done.stderr.strip()}")
            return
        self.ip(f"route add {destination}{f' via {via}' if via else ''}{f' dev {dev}' if dev else ''}")

    def multicast(self, dev: str) -> None:
        """A route for IPv4 multicast, without which the mDNS part of a daemon does not start."""
        self.route("224.0.0.0/4", dev=dev)

    def sysctl(self, values: Mapping[str, str | int]) -> None:
        """Set sysctls by name ("net.ipv4.conf.eth0.rp_filter"; "/" in place of "." works too). Raises OSError."""
        self.call(lambda: write_sysctls(values))

    def mac(self, dev: str) -> bytes:
        """The hardware address of an interface."""
        return self.call(lambda: hardware_address(dev))

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in this host and return what it returns (pickled), or raise what it raises.

        It runs in a forked copy of this process: a closure is fine, changes to objects are not seen here afterwards.
        """
        return _enter.call(self.sandbox.doors, self.name, function)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float | None = 60,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in this host to its end. `env` is added to the sandbox's environment.

        Raises subprocess.TimeoutExpired, and with `check` MachineError when it fails.
        """
        full = {**self.sandbox.env, **(env or {})}
        done = _enter.run(self.sandbox.doors, self.name, argv, input=input, env=full, cwd=cwd, timeout=timeout)
        if check and done.returncode != 0:
            raise MachineError(f"`{' '.join(argv)}` in {self.name} ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.DEVNULL,
        stderr: int | IO[Any] | None = subprocess.DEVNULL,
        text: bool = True,
    ) -> Process:
        """Start a command in this host; it ends with the sandbox at the latest. `env` is added to the sandbox's environment."""
        full = {**self.sandbox.env, **(env or {})}
        return _enter.popen(
            self.sandbox.doors, self.name, argv, env=full, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, text=text
        )

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread into this host for the time of the block; only in a function that runs inside (`Sandbox.call`).

        Sockets opened in the block stay in this host afterwards.
        """
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter.join_network(self.name)
            yield
        finally:
            _kernel.setns(back, _kernel.CLONE_NEWNET)
            os.close(back)


def why_not() -> str:
    """Why sandboxes can't be made here, or "" if they can."""
    try:
        with Sandbox() as box:
            box.host("probe")
    except MachineError as error:
        return f"{error}; {error.hint}" if error.hint else str(error)
    return ""


def _open_doors(pid: int) -> Doors:
    """Open the namespaces of a process that are not our own."""
    opened = []
    for name, kind in _SPACES:
        if Path(f"/proc/{pid}/ns/{name}").readlink() != Path(f"/proc/self/ns/{name}").readlink():
            opened.append((os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind))
    return Doors(tuple(opened))


def _in_a_chroot() -> bool:
    """Whether our root is a folder on which nothing is mounted: proc(5), the fifth field of mountinfo."""
    with contextlib.suppress(OSError):
        return all(
            line.split()[4] != "/" for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        )
    return False


def _refusal(failure: str) -> MachineError:
    number, _, text = failure.partition(" ")
    code = int(number) if number.isdigit() else 0
    where, _, reason = text.partition(": ")
    switches = {
        "user.max_user_namespaces": (Path("/proc/sys/user/max_user_namespaces"), "0", "15000"),
        "kernel.unprivileged_userns_clone": (Path("/proc/sys/kernel/unprivileged_userns_clone"), "0", "1"),
        "kernel.apparmor_restrict_unprivileged_userns": (
            Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            "1",
            "0",
        ),
    }
    for name, (path, bad, good) in switches.items():
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii").strip() == bad:
                return MachineError(
                    f"no throw-away namespace: the kernel forbids user namespaces ({name} = {bad})",
                    hint=f"allow them with `sysctl -w {name}={good}`, or run this as root",
                )
    if _in_a_chroot():
        hint = "this is a chroot, where the kernel gives no namespace of one's own; run this outside, or in a container (`systemd-nspawn -D FOLDER`)"
    elif where == "/proc":
        hint = "this container masks parts of /proc; start it with unmasked paths (Docker: `--security-opt systempaths=unconfined`) or run this on the host"
    elif code in (errno.EINVAL, errno.ENOSYS):
        hint = "this kernel was built without user or network namespaces; run this on another machine"
    elif code == errno.ENOSPC:
        hint = "too many namespaces; raise `sysctl user.max_user_namespaces` and `user.max_net_namespaces`"
    else:
        hint = "a container's seccomp or AppArmor profile may forbid it: run this on the host, or as root with the capability SYS_ADMIN"
    return MachineError(f"no throw-away namespace: {where or 'the kernel'}: {reason or text or failure}", hint=hint)
