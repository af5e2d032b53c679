"""librespot-python, from PyPI: a library, so the program around it is here."""

import shutil
import subprocess
import sys
from pathlib import Path

from librespot_guard.lab import _install
from librespot_guard.lab._install import Progress, Unavailable
from librespot_guard.lab._recipe import Files, Given, Recipe, Start

VERSION = "0.0.10"

# as the project's own documentation starts it
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


def _files() -> Files:
    target = _install.cache() / f"librespot-python-{VERSION}"
    return target / "bin" / "python", target / "speaker.py"


def _cached() -> Files | None:
    return _files() if all(f.is_file() for f in _files()) else None


def install(progress: Progress) -> Files:
    """The interpreter and the program, installed if they are not in the cache. Raises Unavailable."""
    found = _files()

    def fill(folder: Path) -> None:
        progress(
            f"installing librespot-python {VERSION} from PyPI into an environment of its own; this takes about 20 seconds, once"
        )
        make_environment(folder)
        python = str(folder / "bin" / "python")
        env = _install.python_free_environment()
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", f"librespot=={VERSION}"]
        _install.quietly(pip, "pip could not install librespot-python", env=env)
        _install.quietly([python, "-c", "import librespot.zeroconf"], "librespot-python can't be imported", env=env)
        (folder / "speaker.py").write_text(SPEAKER, encoding="utf-8")

    _install.install(found[1].parent, found, fill, needs_mb=150, progress=progress)
    return found


def make_environment(folder: Path) -> None:
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


def _start(given: Given) -> Start:
    if given.options:
        raise Unavailable("librespot-python is a library: its speaker has no settings but name and port")
    files = [str(f) for f in given.files]
    return Start((*files, given.title, *([str(given.port)] if given.port else [])))


RECIPES = (
    Recipe(
        name="librespot-python",
        flavour="librespot-python",
        version=VERSION,
        cached=_cached,
        install=install,
        start=_start,
    ),
)
