"""snapserver from Debian, with a librespot source: its packages are fetched and unpacked, not installed.

Installing it would start a service that opens three ports on the machine. `apt-get download` checks each package against the signed
lists of the distribution.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

from librespot_guard.lab import _daemon_rust, _install
from librespot_guard.lab._install import Progress, Unavailable
from librespot_guard.lab._recipe import Files, Found, Given, Recipe, Start

VERSION = "0.26.0"
# what it takes to start the child of the pinned version (librespot_stream.cpp: `name` is the stream's, `devicename` the speaker's)
PORTS = {"stream.port": 1704, "tcp.port": 1705, "http.port": 1780}
_LIBRARIES = ("usr/lib", "lib")


def _binary() -> Path:
    return _install.cache() / f"snapserver-{VERSION}" / "usr" / "bin" / "snapserver"


def _cached() -> Files | None:
    librespot = _daemon_rust.RECIPES[0].cached()
    return (_binary(), *librespot) if librespot and _binary().is_file() else None


def _found() -> Found | None:
    found = _daemon_rust.on_path("snapserver")
    librespot = _daemon_rust.RECIPES[0].cached() or getattr(_daemon_rust.on_path("librespot"), "files", None)
    return Found(found.version, (*found.files, *librespot)) if found and librespot else None


def install(progress: Progress) -> Files:
    """The snapserver and the librespot that it starts, obtained if they are not in the cache. Raises Unavailable."""
    (librespot,) = _daemon_rust.RECIPES[0].install(progress)

    def fill(folder: Path) -> None:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise Unavailable(
                    f"snapserver comes from Debian, and there is no `{tool}` here",
                    hint="install snapserver by your own package manager: it is found on the PATH",
                )
        packages = wanted()
        progress(f"fetching snapserver {VERSION} from Debian ({len(packages)} packages)")
        debs = folder / "debs"
        debs.mkdir()
        _install.quietly(
            ["apt-get", "--quiet=2", "-o", "APT::Sandbox::User=root", "download", *packages],
            "apt-get could not download snapserver",
            cwd=debs,
        )
        for deb in sorted(debs.glob("*.deb")):
            _install.quietly(["dpkg-deb", "--extract", str(deb), str(folder)], f"{deb.name} could not be unpacked")
        shutil.rmtree(debs)

    _install.install(_binary().parents[2], (_binary(),), fill, needs_mb=50, progress=progress)
    return _binary(), librespot


def wanted() -> list[str]:
    """The packages, as NAME=VERSION, that snapserver and this machine's libraries lack. Raises Unavailable."""
    argv = ["apt-get", "install", "--print-uris", "--quiet=2", "--yes", "--no-install-recommends", "snapserver"]
    said = _install.quietly(argv, "apt-get does not know snapserver: are its package lists there (`apt-get update`)?")
    packages = parse_uris(said)
    version = next((p.partition("=")[2] for p in packages if p.startswith("snapserver=")), "")
    if not version.startswith((f"{VERSION}+", f"{VERSION}-")):
        raise Unavailable(
            f"the distribution has snapserver {version or 'installed in a version of its own'}, and {VERSION} is pinned",
            hint="Debian 12 has it; a snapserver on the PATH is used as it is",
        )
    return packages


def parse_uris(said: str) -> list[str]:
    """NAME=VERSION of each line `'URI' NAME_VERSION_ARCH.deb SIZE HASH` of `apt-get --print-uris` (apt-get(8))."""
    names = re.findall(r"^'[^']*' (\S+)_(\S+)_[^_\s]+\.deb ", said, re.MULTILINE)
    return [f"{name}={unquote(version)}" for name, version in names]


def _libraries(binary: Path) -> str:
    """The folders of the libraries that came with it, for LD_LIBRARY_PATH."""
    root = binary.parents[2]
    if root == Path("/") or root == Path("/usr"):
        return ""
    return ":".join(
        str(p) for lib in _LIBRARIES for p in sorted((root / lib).glob("*-linux-*")) if list(p.glob("*.so*"))
    )


def _start(given: Given) -> Start:
    snapserver, librespot = given.files
    ports = {name: int(given.options.get(name, default)) for name, default in PORTS.items()}
    parameters = f"&params=--zeroconf-port%20{given.port}" if given.port else ""
    source = f"librespot://{librespot}?name=Spotify&devicename={given.title}{parameters}"
    argv = [str(snapserver), "-c", "snapserver.conf", f"--server.datadir={given.folder}", f"--stream.source={source}"]
    libraries = _libraries(snapserver)
    return Start(
        (*argv, *given.assigned_options()),
        files={"snapserver.conf": ""},
        env={"LD_LIBRARY_PATH": libraries} if libraries else {},
        others=frozenset(ports.values()),
    )


RECIPES = (
    Recipe(
        name="snapserver",
        flavour="snapserver",
        version=VERSION,
        cached=_cached,
        install=install,
        start=_start,
        found=_found,
    ),
)
