"""Running commands and functions inside a sandbox from a process that stands outside.

Entering a PID namespace takes effect for children only, and a process with threads can't enter a user namespace. So each
command or function costs two forks: the first child (the usher) enters the namespaces and waits outside the PID namespace; its
child does the work inside. The usher hands on signals and the exit status; if the usher is killed, the kernel ends the work.
"""

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from librespot_guard.errors import MachineError
from librespot_guard.lab import _kernel

T = TypeVar("T")

_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# tells the usher to kill its child. An usher that is killed itself leaves the child's body to PID 1 of the machine; where that
# buries nobody (a container without an init), the sandbox could never end
_KILL = signal.SIGRTMIN

# write ends of the pipes whose closing ends a sandbox: no other process may keep them open
lifelines: set[int] = set()


def _close_lifelines() -> None:
    for fd in lifelines:
        with contextlib.suppress(OSError):
            os.close(fd)
    lifelines.clear()


os.register_at_fork(after_in_child=_close_lifelines)


@dataclass(frozen=True, slots=True)
class Doors:
    """Open file descriptors of a sandbox's namespaces, with their CLONE_NEW* kinds, in the order in which they are entered."""

    fds: tuple[tuple[int, int], ...]

    def enter(self) -> None:
        """Move this (single-threaded) process into the namespaces; for the PID namespace, its children. Raises OSError."""
        try:
            folder = Path.cwd()
        except FileNotFoundError:
            folder = Path("/")  # the working directory was removed
        for fd, kind in self.fds:
            _kernel.setns(fd, kind)
        # entering a mount namespace leaves one at its root
        with contextlib.suppress(OSError):
            os.chdir(folder)

    def close(self) -> None:
        """Let go of the namespaces."""
        for fd, _ in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def fork() -> int:
    """`os.fork` without the warning about threads: the child runs only what this package does and then ends or execs."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # what the parent threw away is not for us to end: it may belong to threads that we do not have (oxidd's)
        gc.freeze()
    return child


def leave_terminal() -> None:
    """Take /dev/null for the standard streams and close everything else, so that no pipe is kept open by a waiting process."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, min(65536, os.sysconf("SC_OPEN_MAX")))


def join_network(name: str | None) -> None:
    """Move the calling thread into the network namespace that the sandbox knows by this name (None: stay)."""
    if name is not None:
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _kernel.setns(fd, _kernel.CLONE_NEWNET)
        finally:
            os.close(fd)


def split(doors: Doors, report: int | None = None) -> None:
    """Enter the sandbox in a forked process: returns in the process inside; the usher never returns.

    With `report`, two lines are written to that descriptor: the pid of the inner process as seen outside, and as it sees itself.
    """
    os.setpgid(0, 0)
    doors.enter()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, _KILL, *_HANDED_ON})
    child = fork()
    if child == 0:
        _kernel.die_with_parent(signal.SIGKILL)
        for number in _HANDED_ON:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before - {_KILL, *_HANDED_ON})
        if report is not None:
            os.write(report, f"in {os.getpid()}\n".encode())
        return
    if report is not None:
        os.write(report, f"out {child}\n".encode())
    leave_terminal()
    _usher(child)


def _usher(child: int) -> None:
    while True:
        number = signal.sigwait({signal.SIGCHLD, _KILL, *_HANDED_ON})
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL if number == _KILL else number)
            continue
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == 0:
            continue
        if os.WIFSIGNALED(status):
            # end the same way, so that the caller sees the same status
            ended = os.WTERMSIG(status)
            with contextlib.suppress(OSError, ValueError):
                signal.signal(ended, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {ended})
            os.kill(os.getpid(), ended)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def call(doors: Doors, network: str | None, function: Callable[[], T]) -> T:
    """Run a function inside and return what it returns (by pickle), or raise what it raises.

    The function sees a copy of this process's memory: what it changes there is gone afterwards.
    """
    reading, writing = os.pipe()
    # an interrupt in the middle of a fork may vanish in a hook of the interpreter, or come before anybody looks after the child
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        usher = fork()
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        raise
    if usher == 0:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            os.close(reading)
            split(doors)
            outcome = _outcome(network, function)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(outcome)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:  # noqa: BLE001 - a forked child must not run on as its parent would
            os._exit(70)
        os._exit(0)
    try:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(usher, _KILL)
        raise
    finally:
        _, status = os.waitpid(usher, 0)
    if not answer:
        raise MachineError(
            f"a function in the sandbox ended without an answer (status {os.waitstatus_to_exitcode(status)})",
            hint="the sandbox may have ended; start a new one",
        )
    worked, value = pickle.loads(answer)  # noqa: S301 - written by our own child
    if worked:
        result: T = value
        return result
    raise value


def _outcome(network: str | None, function: Callable[[], Any]) -> bytes:
    """What a function did, pickled: (True, its value) or (False, its exception)."""
    try:
        join_network(network)
        return pickle.dumps((True, function()))
    except BaseException as error:  # noqa: BLE001 - raised again in the caller
        try:
            packed = pickle.dumps((False, error))
            pickle.loads(packed)  # noqa: S301 - some exceptions pickle but can't be made again
        except Exception:  # noqa: BLE001 - then its text must do
            packed = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        return packed


@dataclass(slots=True)
class Process:
    """A command that runs inside. `pid` is as seen from outside, `inner_pid` as the sandbox's own /proc shows it."""

    popen: "subprocess.Popen[Any]"
    pid: int
    inner_pid: int

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self.popen.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        return self.popen.wait(timeout)

    def kill(self) -> None:
        """End it by SIGKILL; nothing if it has ended."""
        self.popen.send_signal(_KILL)

    def stop(self, timeout: float = 3.0) -> int:
        """End it by SIGTERM, after `timeout` seconds by SIGKILL; returns the exit status."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        status = self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()
        return status


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def popen(
    doors: Doors,
    network: str | None,
    argv: Sequence[str],
    *,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    text: bool = True,
) -> Process:
    """Start a command inside. Raises MachineError if it can't be started."""
    reading, writing = os.pipe()

    def inside() -> None:
        split(doors, writing)
        join_network(network)
        if cwd is not None:
            os.chdir(cwd)

    try:
        with _quiet():
            started = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=None if env is None else dict(env),
                text=text,
                preexec_fn=inside,  # noqa: PLW1509 - the only way into a PID namespace; see the text of the module
            )
    except (OSError, subprocess.SubprocessError) as error:
        os.close(reading)
        raise MachineError(
            f"`{argv[0]}` could not be started in the sandbox: {error}", hint=f"is `{argv[0]}` installed?"
        ) from None
    finally:
        os.close(writing)
    with os.fdopen(reading, encoding="ascii") as pipe:
        pids = dict(line.split() for line in pipe.read().splitlines())
    return Process(started, int(pids["out"]), int(pids["in"]))


def run(
    doors: Doors,
    network: str | None,
    argv: Sequence[str],
    *,
    input: str | None = None,  # noqa: A002 - as subprocess.run calls it
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    timeout: float | None = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a command inside to its end and return its status, stdout and stderr. Raises subprocess.TimeoutExpired."""
    process = popen(
        doors,
        network,
        argv,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
    )
    try:
        out, err = process.popen.communicate(input, timeout)
    except BaseException:
        process.kill()
        process.popen.communicate()
        raise
    return subprocess.CompletedProcess(list(argv), process.popen.returncode, out, err)
