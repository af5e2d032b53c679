"""What tests of every room share: types of the fixtures, what this machine can do, and whether a gap is a failure."""

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "librespot_guard"

# nft and ip live there, and an ordinary user's PATH on Debian lacks it
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# only root of the machine itself may look there, and nobody is that in a sandbox
UNSEEN_IN_A_SANDBOX = {"BPF programs on netfilter hooks and cgroups"}

# in front of a command that reads this machine: it then has no other processes than its own
ALONE = ("unshare", "-Urnpf", "--mount-proc", "--kill-child")


class Guard(Protocol):
    """Runs `librespot-guard ARGUMENTS` in a process of its own; state and boot files go to a folder of the test."""

    def __call__(
        self,
        *arguments: str | Path,
        prefix: tuple[str, ...] = (),
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Return the finished process, whatever its status; `prefix` is put in front, e.g. ("unshare", "-Urnm")."""


class Validator(Protocol):
    """A JSON Schema validator."""

    def validate(self, instance: object) -> None:
        """Raise jsonschema.ValidationError if `instance` is not what the schema says."""


class Schema(Protocol):
    """Finds a schema that ships with the package."""

    def __call__(self, name: str) -> Validator:
        """Return the validator of `schemas/NAME.json`."""


def path_with_sbin() -> str:
    """The PATH, with the folders of system tools behind it."""
    folders = [f for f in os.environ.get("PATH", os.defpath).split(os.pathsep) if f]
    return os.pathsep.join([*folders, *(f for f in SBIN if f not in folders)])


def everything_is_demanded() -> bool:
    """Whether something that can't be tested here is a failure (CI) and not a remark (a developer's machine)."""
    return os.environ.get("CI") == "true" or os.environ.get("LIBRESPOT_GUARD_DEMAND_ALL") == "1"


@functools.cache
def missing_kernel_feature() -> str:
    """Why tests with the real kernel can't run here, or "" if they can: they need user namespaces and nft in them."""
    for tool, package in (("unshare", "util-linux"), ("nft", "nftables"), ("ip", "iproute2")):
        if shutil.which(tool, path=path_with_sbin()) is None:
            return f"`{tool}` is missing (Debian package {package})"
    tried = subprocess.run(
        ["unshare", "-Urnm", "nft", "add", "table", "inet", "probe"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path_with_sbin()},
        timeout=30,
    )
    if tried.returncode == 0:
        return ""
    return f"no nftables in a user namespace: {tried.stderr.strip() or f'exit status {tried.returncode}'}"
