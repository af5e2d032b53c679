"""A guest with a real systemd, for what namespaces can't show: units, restarts of the machine, power cuts.

`python -m librespot_guard.lab.guest obtain` makes its disk ahead of time; it exits with 3 where that can't be done, and the last line on
stderr says why. It runs under QEMU's emulation (a machine without working KVM is enough) on a copy of the disk, with one cable whose other
end is this process (`Guest.wire`), and takes commands over a virtio-serial port.
"""

import argparse
import io
import json
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from librespot_guard.errors import MachineError
from librespot_guard.lab import _guest_wire, _install
from librespot_guard.lab._guest_image import ADDRESS, ADDRESS6, Image, available, obtain
from librespot_guard.lab._guest_product import product
from librespot_guard.lab._install import Unavailable

__all__ = ["ADDRESS", "ADDRESS6", "Guest", "Image", "Unavailable", "available", "main", "obtain"]

_BOOT_SECONDS = 240.0
# what the kernel needs not do under emulation; eth0 keeps its name
_APPEND = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off cryptomgr.notests random.trust_cpu=on no_timer_check"
_MACHINE = (
    "-accel tcg,thread=multi -cpu Nehalem -smp 2 -m 512 -machine q35,sata=off,smbus=off,usb=off,vmport=off "
    "-no-reboot -nodefaults -no-user-config -display none -device virtio-serial-pci -device virtio-rng-pci"
)
_COMMAND = """\
#!/usr/bin/python3
import sys

sys.path.insert(0, "/opt/librespot-guard")
from librespot_guard.cli.entry import main

sys.exit(main())
"""


class Guest:
    """A guest on a disk of its own. `start` boots it, `cut` is a power cut, `end` forgets it; `with` does the first and the last.

    All commands run as root, one after the other. Each method raises MachineError, with the end of the console, when the guest is gone or
    does not answer in time.
    """

    def __init__(self, image: Image) -> None:
        # short: the path of a Unix socket has at most 107 bytes
        self.folder = Path(tempfile.mkdtemp(prefix="lg-guest-", dir="/tmp"))
        self.image = image
        self.disk = self.folder / "disk"
        self.boot_id = ""
        self._qemu: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        try:
            _install.quietly(["cp", "--sparse=always", str(image.disk), str(self.disk)], "the disk could not be copied")
            self.wire = _guest_wire.Wire(self.folder)
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    @property
    def running(self) -> bool:
        """Whether its power is on."""
        return self._qemu is not None and self._qemu.poll() is None

    def start(self, *, kernel: str = "", timeout: float = _BOOT_SECONDS) -> None:
        """Power on, with these words more on the kernel's command line, and wait until systemd has started everything."""
        if self._qemu is not None:
            raise MachineError("the guest runs already")
        control = self.folder / "control"
        control.unlink(missing_ok=True)
        self.wire.guests.unlink(missing_ok=True)
        link = f"dgram,id=wire,local.type=unix,local.path={self.wire.guests}"
        argv = [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *_MACHINE.split()),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", f"{_APPEND} {kernel}"),
            *("-drive", f"file={self.disk},format=raw,if=virtio"),
            *("-chardev", f"socket,id=control,path={control},server=on,wait=off"),
            *("-device", "virtserialport,chardev=control,name=librespot-guard"),
            *("-netdev", f"{link},remote.type=unix,remote.path={self.wire.ours}"),
            *("-device", f"virtio-net-pci,netdev=wire,mac={_guest_wire.MAC.hex(':')}"),
            *("-serial", f"file:{self.folder / 'console'}"),
        ]  # fmt: skip
        with (self.folder / "qemu.log").open("wb") as log:
            self._qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout
        self._port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                self._port.connect(str(control))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    raise self._gone("QEMU did not start") from None
                time.sleep(0.02)
        try:
            self._await_boot(deadline)
        except MachineError:
            # the next start is a new one
            self.cut()
            raise

    def _await_boot(self, deadline: float) -> None:
        before = self.boot_id
        while self.boot_id == before:
            head, _ = self._receive(deadline)
            self.boot_id = str(head.get("boot", before))
        left = deadline - time.monotonic()
        # what it waits for can still be asked when it waits for too long
        waiting = ["timeout", str(max(1, int(left) - 30)), "systemctl", "is-system-running", "--wait"]
        if self.run(waiting, timeout=left).returncode == 124:
            jobs = self.run(["systemctl", "list-jobs", "--no-pager"]).stdout
            raise self._gone(f"the guest does not come up: {jobs}")

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | str = b"",
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 120,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end. With `check`, a status other than 0 raises MachineError with what it said."""
        done = self.run_bytes(argv, stdin=stdin.encode() if isinstance(stdin, str) else stdin, env=env, timeout=timeout)
        shown = subprocess.CompletedProcess(
            list(argv), done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )
        if check and done.returncode:
            raise MachineError(
                f"in the guest `{' '.join(argv)}` exited with {done.returncode}:\n{shown.stdout}{shown.stderr}"
            )
        return shown

    def run_bytes(
        self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> "subprocess.CompletedProcess[bytes]":
        """As `run`, of bytes."""
        self._send({"argv": list(argv), "env": dict(env or {})}, stdin)
        head, body = self._receive(time.monotonic() + timeout)
        if "status" not in head:
            raise self._gone(f"the guest was restarted while `{' '.join(argv)}` ran")
        cut = int(str(head["stdout"]))
        return subprocess.CompletedProcess(list(argv), int(str(head["status"])), body[:cut], body[cut:])

    def shell(self, script: str, *, check: bool = True, timeout: float = 120) -> str:
        """Run a shell script and return what it printed."""
        return self.run(["sh", "-ec", script], check=check, timeout=timeout).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the guest, with the folders above it."""
        script = 'mkdir -p "${1%/*}" && cat >"$1" && chmod "$2" "$1"'
        self.run(["sh", "-ec", script, "sh", path, f"{mode:o}"], stdin=text, check=True)

    def read(self, path: str) -> str:
        """The text of a file in the guest."""
        return self.run(["cat", path], check=True).stdout

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        """Copy files and folders into a folder of the guest, each under its name there."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, source in files.items():
                tar.add(source, name, filter=_root)
        argv = ["tar", "-x", "--one-top-level=" + folder]
        self.run(argv, stdin=packed.getvalue(), check=True)

    def get(self, path: str, target: Path) -> None:
        """Copy a file or folder of the guest into a folder here."""
        parent, _, name = path.rstrip("/").rpartition("/")
        done = self.run_bytes(["tar", "-c", "-C", parent or "/", name])
        if done.returncode:
            raise MachineError(f"{path} of the guest could not be read: {done.stderr.decode('utf-8', 'replace')}")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            tar.extractall(target, filter="data")

    def install(self) -> None:
        """Install this very librespot-guard, with the core packages it needs, as the command `librespot-guard`."""
        self.put(product(), "/opt/librespot-guard")
        self.write("/usr/local/bin/librespot-guard", _COMMAND, 0o755)

    def guard(self, *arguments: str, check: bool = True, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run the installed `librespot-guard`."""
        return self.run(["librespot-guard", *arguments], check=check, timeout=timeout)

    def reboot(self, *, timeout: float = _BOOT_SECONDS) -> None:
        """Restart it in good order, and wait until systemd has started everything.

        QEMU ends at the reset and is started anew: in one that has run a kernel already, the next one takes ten times as long.
        """
        if self._qemu is None:
            raise MachineError("the guest does not run")
        deadline = time.monotonic() + timeout
        self._send({"argv": ["systemctl", "reboot", "--no-block"], "env": {}}, b"")
        try:
            self._qemu.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._gone("the guest does not shut down") from None
        self.cut()
        self.start(timeout=deadline - time.monotonic())

    def cut(self) -> None:
        """Cut the power: SIGKILL for QEMU. What the guest had not synced is lost; `start` boots what is on the disk."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        if self._port is not None:
            self._port.close()
            self._port = None

    def end(self) -> None:
        """Cut the power, and drop the disk."""
        self.cut()
        self.wire.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def console(self) -> str:
        """What kernel and systemd wrote to the console since the last start."""
        return (self.folder / "console").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> "Guest":  # noqa: PYI034 - nothing inherits from it
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.end()

    def _send(self, head: Mapping[str, object], body: bytes) -> None:
        if self._port is None:
            raise MachineError("the guest does not run")
        text = json.dumps(head).encode()
        self._port.settimeout(120)
        try:
            self._port.sendall(struct.pack(">II", len(text), len(body)) + text + body)
        except OSError as error:
            raise self._gone(f"the guest takes no command ({error})") from None

    def _receive(self, deadline: float) -> tuple[dict[str, object], bytes]:
        head, body = struct.unpack(">II", self._exactly(8, deadline))
        found: dict[str, object] = json.loads(self._exactly(head, deadline))
        return found, self._exactly(body, deadline)

    def _exactly(self, count: int, deadline: float) -> bytes:
        if self._port is None:
            raise MachineError("the guest does not run")
        parts = bytearray()
        while len(parts) < count:
            self._port.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                part = self._port.recv(min(count - len(parts), 1 << 20))
            except TimeoutError:
                raise self._gone("the guest did not answer in time") from None
            except OSError as error:
                raise self._gone(f"the guest is gone ({error})") from None
            if not part:
                raise self._gone("the guest is gone")
            parts += part
        return bytes(parts)

    def _gone(self, what: str) -> MachineError:
        said = [self.folder / name for name in ("qemu.log", "console")]
        text = "".join(p.read_text(encoding="utf-8", errors="replace") for p in said if p.exists())
        return MachineError("\n".join([f"{what}; the end of its console:", *text.splitlines()[-15:]]))


def _root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def main(argv: list[str] | None = None) -> int:
    """`obtain`: make the disk ahead of time. Returns 0, or 3 with the reason in the last line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m librespot_guard.lab.guest", description="A guest with systemd for tests."
    )
    parser.add_subparsers(dest="command", required=True).add_parser(
        "obtain", help="make its disk, if it is not in the cache"
    )
    parser.parse_args(argv)
    try:
        image = obtain(lambda line: print(f"> {line}", file=sys.stderr, flush=True))
    except Unavailable as error:
        first, _, details = str(error).partition("\n")
        if details:
            print(details, file=sys.stderr)
        print(f"not obtained: guest: {first.rstrip(':')}{f'; {error.hint}' if error.hint else ''}", file=sys.stderr)
        return error.status
    print(f"guest: {image.disk}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
