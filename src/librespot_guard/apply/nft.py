"""Run `nft` without a shell and without `subprocess` (which doubles the start of `confirm`)."""

import os

from librespot_guard.errors import MachineError


def find() -> str:
    """The path of nft. Raises MachineError if there is none.

    Debian keeps it in /usr/sbin, which is not on the PATH after `su` without `-`.
    """
    for folder in (*os.get_exec_path(), "/usr/sbin", "/sbin"):
        candidate = f"{folder or '.'}/nft"
        if os.access(candidate, os.X_OK):
            return candidate
    raise MachineError("`nft` is not on the PATH, nor in /usr/sbin", hint="install the package nftables")


def run(text: str) -> tuple[int, str, str]:
    """Feed `text` to `nft -f -`: one transaction. Returns its exit status, standard output and standard error.

    The child inherits the descriptor of the state's lock (see `journal`): if we are killed while it works, nobody else begins
    before it has ended.
    """
    path = find()
    fds = [os.memfd_create(name) for name in ("nft-input", "nft-output", "nft-errors")]
    try:
        rest = memoryview(text.encode())
        while rest:
            rest = rest[os.write(fds[0], rest) :]
        os.lseek(fds[0], 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
        # nft's messages are matched below: they must not be translated
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            # a group of its own: Ctrl-C or a hang-up of the terminal is for us, not for a transaction half way
            child = os.posix_spawn(path, ["nft", "-f", "-"], environment, file_actions=actions, setpgroup=0)
        except OSError as error:
            raise MachineError(f"{path}: {error.strerror}") from None
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status, _content(fds[1]), _content(fds[2])
    finally:
        for fd in fds:
            os.close(fd)


def load(text: str) -> None:
    """Load a transaction: all of it, or nothing. Raises MachineError with nft's own words."""
    status, _, errors = run(text)
    if status:
        raise failure(errors, status)


def failure(errors: str, status: int) -> MachineError:
    """The error for what nft printed."""
    if "Operation not permitted" in errors:
        return MachineError(
            "no privilege over the packet filter of this network namespace", hint="run it as root, with `sudo`"
        )
    for words, meaning in (
        ("Cannot allocate memory", "the kernel has no memory left"),
        ("No space left", "no space is left"),
    ):
        if words in errors:
            return MachineError(f"nft: {meaning}", hint="nothing was changed; free some and try again")
    shown = "\n  ".join(line for line in errors.splitlines()[:6] if line.strip())
    return MachineError(
        f"nft refused the rules (exit status {status}):\n  {shown}" if shown else f"nft ended with status {status}",
        hint="nothing was changed",
    )


def _content(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0).decode("utf-8", "replace")
