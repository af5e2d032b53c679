"""A real container engine with containers in it, in namespaces of its own: what the tests of `scan` and of `doctor` look at."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from librespot_guard.lab import daemons

_STAGE = Path(__file__).with_name("container_stage.sh")
# what each engine needs, and the Debian package it is in
NEEDS = {
    "docker": {"dockerd": "docker.io", "docker": "docker.io", "containerd": "containerd", "iptables": "iptables"},
    "podman": {"podman": "podman", "runc": "runc", "/usr/lib/podman/netavark": "netavark", "iptables": "iptables"},
}
ENGINES = tuple(NEEDS)


def missing(engine: str) -> str:
    """Why an engine can't run here, or ""."""
    for tool, package in NEEDS[engine].items():
        if shutil.which(tool) is None:
            return f"`{tool}` is missing (Debian package {package})"
    if os.geteuid() != 0 or "4294967295" not in Path("/proc/self/uid_map").read_text(encoding="ascii"):
        return "it needs root itself, not root of a user namespace"
    return ""


def stage(engine: str, folder: Path, command: str, *, hosted: bool = False) -> dict[str, Any]:
    """What a command of ours says beside a real engine, as JSON; a skip that says why there is none.

    `kitchen` runs on the bridge, `bath` is only created; with `hosted`, `porch` runs on the host's network. The host is 192.168.10.2 on eth0.
    Exit status 1, "something was found", is as good as 0.
    """
    if why := missing(engine):
        pytest.skip(f"containers of {engine}: {why}")
    daemon = daemons.available("librespot")
    if daemon is None:
        pytest.skip("librespot is not installed; `python -m librespot_guard.lab.daemons obtain librespot` gets it")
    # the end of the PID namespace is the end of the engine
    spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    ours = [sys.executable, "-m", "librespot_guard", *command.split(), "--format", "json"]
    done = subprocess.run(
        [*spaces, "bash", str(_STAGE), engine, str(folder), str(daemon.files[0]), *ours],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={k: v for k, v in os.environ.items() if k not in ("DOCKER_HOST", "CONTAINER_HOST")}
        | {"PYTHONPATH": os.pathsep.join(sys.path), "HOSTED": "1" if hosted else ""},
    )
    log = (folder / "engine.log").read_text(errors="replace") if (folder / "engine.log").exists() else ""
    assert done.returncode in (0, 1), f"{done.stderr}\n{log[-2000:]}"
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{done.stdout}\n{done.stderr}\n{log[-2000:]}") from None
    return document
