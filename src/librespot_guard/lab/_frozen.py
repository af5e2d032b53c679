"""Programs that PyInstaller made of librespot-python's speaker, and one that only looks like it: built once, kept like the daemons."""

import shutil
from pathlib import Path

from librespot_guard.lab import _daemon_python, _install
from librespot_guard.lab._install import Progress

VERSION = "6.11.1"

# loads the very libraries of Cryptodome that librespot-python loads, listens on every address, and has nothing of the family
_OTHER = """\
import socket
import sys
import threading

from Cryptodome.Cipher import AES
from Cryptodome.Hash import SHA1

AES.new(b"0" * 16, AES.MODE_CTR, nonce=b"1").encrypt(SHA1.new(b"x").digest())
listener = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
threading.Event().wait()
"""
# zeroconf is compiled, so that what it imports can't be seen
_SPEC = """\
from PyInstaller.utils.hooks import collect_submodules

speaker = Analysis(["speaker.py"], hiddenimports=collect_submodules("zeroconf"))
modules = PYZ(speaker.pure)
EXE(modules, speaker.scripts, speaker.binaries, speaker.datas, name="one", strip=True)
COLLECT(EXE(modules, speaker.scripts, exclude_binaries=True, name="folder"), speaker.binaries, speaker.datas, name="folder", strip=True)
other = Analysis(["other.py"])
COLLECT(EXE(PYZ(other.pure), other.scripts, exclude_binaries=True, name="other"), other.binaries, other.datas, name="other", strip=True)
"""


def obtain(progress: Progress) -> tuple[Path, Path, Path]:
    """The speaker as one file, the speaker as a folder, and the look-alike: built if they are not in the cache. Raises Unavailable."""
    python, speaker = _daemon_python.install(progress)
    target = _install.cache() / f"frozen-{_daemon_python.VERSION}-{VERSION}"
    found = (target / "one", target / "folder" / "folder", target / "other" / "other")

    def fill(folder: Path) -> None:
        progress(f"building frozen programs with PyInstaller {VERSION}; this takes about 40 seconds, once")
        work = folder / "work"
        _daemon_python.make_environment(work)
        env = _install.python_free_environment()
        pip = [str(work / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        _install.quietly([*pip, f"pyinstaller=={VERSION}"], "pip could not install PyInstaller", env=env)
        shutil.copy(speaker, work / "speaker.py")
        (work / "other.py").write_text(_OTHER, encoding="utf-8")
        (work / "all.spec").write_text(_SPEC, encoding="utf-8")
        # the library of the speaker's own environment, which is of the same interpreter
        (packages,) = python.parents[1].glob("lib/python3*/site-packages")
        env |= {"PYTHONPATH": str(packages), "PYINSTALLER_CONFIG_DIR": str(work / "config")}
        freeze = [pip[0], "-m", "PyInstaller", "--log-level", "WARN", "--distpath", str(folder), "all.spec"]
        _install.quietly(freeze, "PyInstaller could not build the programs", env=env, cwd=work)
        shutil.rmtree(work)

    _install.install(target, found, fill, needs_mb=400, progress=progress)
    return found
