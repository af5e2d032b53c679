"""Getting real daemons into the cache, by name and pinned version, each in one step that either is complete or leaves nothing.

The recipes are those of the project's own measurements: librespot from crates.io takes one to two minutes of compiling,
librespot-python from PyPI about 20 seconds and no compiler.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from librespot_guard.errors import MachineError

Progress = Callable[[str], None]

LIBRESPOT = "0.8.0"
LIBRESPOT_PYTHON = "0.0.10"
_RUST_NEEDED = (1, 85)
_LOG_LINES = 15

# librespot-python is a library: this is the program around it, as its own documentation starts it
SPEAKER = '''"""A Spotify Connect speaker without sound: python speaker.py NAME [PORT]."""

import logging
import sys
import threading

from librespot.zeroconf import ZeroconfServer

logging.basicConfig(level=logging.INFO)
builder = ZeroconfServer.Builder()
builder.device_name = sys.argv[1]
if len(sys.argv) > 2:
    builder.set_listen_port(int(sys.argv[2]))
server = builder.create()
threading.Event().wait()
'''


class Unavailable(MachineError):  # noqa: N818 - it is an answer, not a fault
    """A daemon that can't be had on this machine; the text says why."""


def cache() -> Path:
    """Where daemons are kept: `librespot-guard` in $XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "librespot-guard"


def librespot(progress: Progress) -> Path:
    """The `librespot` binary of the pinned version, built if it is not in the cache. Raises Unavailable."""
    target = cache() / f"librespot-{LIBRESPOT}"
    binary = target / "bin" / "librespot"
    if binary.is_file():
        return binary
    path = os.pathsep.join([str(Path.home() / ".cargo" / "bin"), os.environ.get("PATH", os.defpath)])
    tools = _toolchain(path)
    path = os.pathsep.join([str(tools), path])
    if shutil.which("cc", path=path) is None:
        raise Unavailable("librespot needs a C linker and `cc` is not installed", hint="install the Debian package gcc")
    progress(f"building librespot {LIBRESPOT} with cargo; this takes one to five minutes, once")
    with _half_done(target) as folder, tempfile.TemporaryDirectory(prefix="librespot-guard-build-") as build:
        argv = [
            str(tools / "cargo"),
            "install",
            "--locked",
            "librespot",
            "--version",
            LIBRESPOT,
            "--no-default-features",
        ]
        argv += ["--features", "rustls-tls-webpki-roots,with-libmdns", "--profile", "dev", "--no-track"]
        argv += ["--root", str(folder), "--target-dir", build]
        env = {**os.environ, "PATH": path, "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_DEV_STRIP": "symbols"}
        _quietly(argv, "cargo could not build librespot", env=env)
    return binary


def _toolchain(path: str) -> Path:
    """The first folder of a PATH with a cargo and a rustc that is new enough. Raises Unavailable, saying what was found."""
    seen = []
    for folder in dict.fromkeys(Path(p) for p in path.split(os.pathsep) if p):
        if not all(os.access(folder / tool, os.X_OK) for tool in ("cargo", "rustc")):
            continue
        # rustup's proxies are there without a toolchain behind them, too
        argv = [str(folder / "rustc"), "--version"]
        said = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout
        version = [*said.split(), "", ""][1]
        numbers = version.split("-")[0].split(".")
        if len(numbers) >= 2 and all(n.isdigit() for n in numbers[:2]) and tuple(map(int, numbers[:2])) >= _RUST_NEEDED:
            return folder
        seen.append(f"`{folder / 'rustc'}` is {version or 'without a version'}")
    if not seen:
        raise Unavailable(
            "librespot is written in Rust, and no `cargo` with a `rustc` is installed",
            hint="install rustc and cargo 1.85 or newer",
        )
    raise Unavailable(
        f"librespot {LIBRESPOT} needs rustc 1.85 or newer, and {', '.join(seen)}",
        hint="on Debian 12 install rustc-web and cargo-web, or use rustup",
    )


def librespot_python(progress: Progress) -> tuple[Path, Path]:
    """The interpreter and the program of librespot-python of the pinned version, installed if they are not in the cache.

    Raises Unavailable.
    """
    target = cache() / f"librespot-python-{LIBRESPOT_PYTHON}"
    found = target / "bin" / "python", target / "speaker.py"
    if all(f.is_file() for f in found):
        return found
    if target.exists():  # its interpreter is gone, e.g. after an upgrade of the system
        shutil.rmtree(target)
    progress(
        f"installing librespot-python {LIBRESPOT_PYTHON} from PyPI into an environment of its own; this takes about 20 seconds, once"
    )
    with _half_done(target) as folder:
        _make_environment(folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        env = {
            k: v
            for k, v in os.environ.items()
            if k not in ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
        }
        _quietly([*pip, f"librespot=={LIBRESPOT_PYTHON}"], "pip could not install librespot-python", env=env)
        _quietly(
            [str(folder / "bin" / "python"), "-c", "import librespot.zeroconf"],
            "librespot-python can't be imported",
            env=env,
        )
        (folder / "speaker.py").write_text(SPEAKER, encoding="utf-8")
    return found


def _make_environment(folder: Path) -> None:
    """A virtual environment made with the running interpreter, or with the system's where that one can't."""
    # the interpreter behind a virtual environment lives longer than the environment
    running = getattr(sys, "_base_executable", "") or sys.executable
    tried = []
    for python in dict.fromkeys(p for p in (running, "/usr/bin/python3") if p and Path(p).exists()):
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run(
            [python, "-m", "venv", str(folder)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            return
        tried.append(f"{python}: {(done.stderr or done.stdout).strip().splitlines()[-1:] or ['no reason given']}")
    raise Unavailable(
        f"no virtual environment for librespot-python ({'; '.join(tried)})",
        hint="install the Debian package python3-venv",
    )


@contextlib.contextmanager
def _half_done(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its name only when the block succeeds; another process may get there first."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise Unavailable(
            f"{target.parent}: {error.strerror}", hint="name a folder you can write to in XDG_CACHE_HOME"
        ) from None
    try:
        yield folder
        try:
            folder.chmod(0o755)
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what an install left that was killed more than a day ago."""
    for left in target.parent.glob(f".{target.name}-*"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - 86400:
                shutil.rmtree(left)


def _quietly(argv: Sequence[str], fault: str, *, env: dict[str, str]) -> None:
    """Run a command; if it fails, raise Unavailable with the end of what it said."""
    done = subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        check=False,
        env=env,
    )
    if done.returncode != 0:
        said = "\n".join(done.stdout.strip().splitlines()[-_LOG_LINES:])
        raise Unavailable(
            f"{fault} (status {done.returncode}):\n{said}", hint="is there a connection to the package registry?"
        )
