"""What runs inside the guest: it takes commands from a virtio-serial port and answers with what became of them.

Part of the image, so it uses the standard library of the guest alone. A message is two lengths (bytes, big endian, 32 bits each), a JSON
object and raw bytes. The first message after each start is `{"boot": ID}`: so the other side learns of a restart.
"""

import json
import os
import struct
import subprocess
import time
from pathlib import Path

PORT = "/dev/virtio-ports/librespot-guard"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def receive(port: int) -> tuple[dict[str, object], bytes]:
    """The next message."""
    head, body = struct.unpack(">II", _exactly(port, 8))
    return json.loads(_exactly(port, head)), _exactly(port, body)


def send(port: int, head: dict[str, object], body: bytes = b"") -> None:
    """Send one message, however long the other side takes to read it."""
    text = json.dumps(head).encode()
    rest = memoryview(struct.pack(">II", len(text), len(body)) + text + body)
    while rest:
        rest = rest[os.write(port, rest) :]


def _exactly(port: int, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(port, min(count - len(parts), 1 << 16))
        if not part:  # nobody is at the other end (virtio_console.c: then a read returns at once)
            time.sleep(0.05)
        parts += part
    return bytes(parts)


def run(request: dict[str, object], stdin: bytes) -> tuple[dict[str, object], bytes]:
    """Run one command; both outputs come back behind each other."""
    environment = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **request["env"]}  # type: ignore[dict-item]
    try:
        done = subprocess.run(
            request["argv"],  # type: ignore[call-overload]
            input=stdin,
            capture_output=True,
            check=False,
            cwd="/root",
            env=environment,
        )
    except OSError as error:
        return {"status": 127, "stdout": 0}, f"{error}\n".encode()
    return {"status": done.returncode, "stdout": len(done.stdout)}, done.stdout + done.stderr


def main() -> None:
    """Serve until the machine ends."""
    port = os.open(PORT, os.O_RDWR)
    send(port, {"boot": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()})
    while True:
        send(port, *run(*receive(port)))


if __name__ == "__main__":
    main()
