"""librespot and spotifyd, from crates.io.

Debug builds without symbols: they behave as release builds do and take a third of the time. `--locked` builds with the versions that
the release was made with (0.8.0 does not build with others); cargo checks the sha256 of every crate against the registry's index.
Builds of one run share a folder, kept when one fails so that the next try goes on where it ended, and dropped at the end.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from librespot_guard.lab import _install
from librespot_guard.lab._install import Progress, Unavailable
from librespot_guard.lab._recipe import Files, Found, Given, Recipe, Start

LIBRESPOT = "0.8.0"
LIBRESPOT_OLD = "0.4.2"
SPOTIFYD = "0.4.2"
_BUILD = "build-rust"
_BUILD_MB = 1800


@dataclass(frozen=True, slots=True)
class Crate:
    """A program on crates.io: what it is built with, and what it needs.

    Attributes:
        rustc: the oldest compiler that builds it.
        minutes: how long that takes on two cores, in words.
        openssl: it is linked with the system's OpenSSL.
    """

    crate: str
    version: str
    features: str
    rustc: tuple[int, int]
    minutes: str
    openssl: bool = False

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return _install.cache() / f"{self.crate}-{self.version}"

    @property
    def binary(self) -> Path:
        """The program."""
        return self.folder / "bin" / self.crate


CRATES = (
    Crate("librespot", LIBRESPOT, "rustls-tls-webpki-roots,with-libmdns", (1, 85), "two to five minutes"),
    Crate("librespot", LIBRESPOT_OLD, "", (1, 60), "one to three minutes"),
    Crate("spotifyd", SPOTIFYD, "", (1, 88), "two to five minutes", openssl=True),
)


def build(crate: Crate, progress: Progress) -> Files:
    """The program, built if it is not in the cache. Raises Unavailable."""

    def fill(folder: Path) -> None:
        path = os.pathsep.join([str(Path.home() / ".cargo" / "bin"), os.environ.get("PATH", os.defpath)])
        tools = toolchain(path, crate)
        path = os.pathsep.join([str(tools), path])
        _need_tools(crate, path)
        progress(f"building {crate.crate} {crate.version} with cargo; this takes {crate.minutes}, once")
        argv = [str(tools / "cargo"), "install", "--locked", crate.crate, "--version", crate.version]
        argv += ["--no-default-features", *(["--features", crate.features] if crate.features else [])]
        argv += [
            "--profile",
            "dev",
            "--no-track",
            "--root",
            str(folder),
            "--target-dir",
            str(_install.cache() / _BUILD),
        ]
        env = {**os.environ, "PATH": path, "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_DEV_STRIP": "symbols"}
        _install.quietly(argv, f"cargo could not build {crate.crate} {crate.version}", env=env)

    if not crate.binary.is_file():
        with shared(progress):
            _install.install(crate.folder, (crate.binary,), fill, needs_mb=_BUILD_MB, progress=progress)
    return (crate.binary,)


# one truth while builds share a folder: whether all have succeeded so far
_sharing: list[bool] = []


@contextmanager
def shared(progress: Progress) -> Iterator[None]:
    """What this process builds in the block shares one build folder; another process that builds waits. Raises Unavailable."""
    if _sharing:
        try:
            yield
        except BaseException:
            _sharing[0] = False
            raise
        return
    folder = _install.cache() / _BUILD
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _install.locked(folder, "builds with cargo", progress):
            _sharing.append(True)
            try:
                yield
                # not after a failure: what is built already stays, and the next try goes on from there
                if _sharing[0]:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                _sharing.clear()
    except OSError as error:
        raise _install.refused(folder.parent, error) from None


def _need_tools(crate: Crate, path: str) -> None:
    if shutil.which("cc", path=path) is None:
        raise Unavailable(
            f"{crate.crate} needs a C linker and `cc` is not installed", hint="install the Debian package gcc"
        )
    if crate.openssl:
        config = shutil.which("pkg-config", path=path)
        if config is None or subprocess.run([config, "--exists", "openssl"], check=False).returncode != 0:
            raise Unavailable(
                f"{crate.crate} is linked with OpenSSL, whose headers were not found by `pkg-config`",
                hint="install the Debian packages libssl-dev and pkg-config",
            )


def toolchain(path: str, crate: Crate = CRATES[0]) -> Path:
    """The first folder of a PATH with a cargo and a rustc that is new enough. Raises Unavailable, saying what was found."""
    wanted = f"{crate.rustc[0]}.{crate.rustc[1]}"
    seen = []
    for folder in dict.fromkeys(Path(p) for p in path.split(os.pathsep) if p):
        if not all(os.access(folder / tool, os.X_OK) for tool in ("cargo", "rustc")):
            continue
        # rustup's proxies are there without a toolchain behind them, too
        argv = [str(folder / "rustc"), "--version"]
        said = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout
        version = [*said.split(), "", ""][1]
        numbers = version.split("-")[0].split(".")
        if len(numbers) >= 2 and all(n.isdigit() for n in numbers[:2]) and tuple(map(int, numbers[:2])) >= crate.rustc:
            return folder
        seen.append(f"`{folder / 'rustc'}` is {version or 'without a version'}")
    if not seen:
        raise Unavailable(
            f"{crate.crate} is written in Rust, and no `cargo` with a `rustc` is installed",
            hint=f"install rustc and cargo {wanted} or newer",
        )
    raise Unavailable(
        f"{crate.crate} {crate.version} needs rustc {wanted} or newer, and {', '.join(seen)}",
        hint="on Debian 12 install rustc-web and cargo-web, or use rustup",
    )


def on_path(program: str) -> Found | None:
    """The program of this name on the PATH, if it says its version as librespot, spotifyd and snapserver do."""
    place = shutil.which(program)
    if place is None:
        return None
    try:
        said = subprocess.run(
            [place, "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(rf"{program} v?(\d\S*)", said)
    return Found(match[1], (Path(place),)) if match else None


def _librespot(given: Given) -> Start:
    pinned = ["--zeroconf-port", str(given.port)] if given.port else []
    quiet = ["-n", given.title, "-B", "pipe", "-d", "/dev/null", "-c", given.folder, "-v"]
    return Start((str(given.files[0]), *quiet, *pinned, *given.long_options()))


def _spotifyd(given: Given) -> Start:
    pinned = ["--zeroconf-port", str(given.port)] if given.port else []
    quiet = ["--no-daemon", "-v", "--device-name", given.title, "--backend", "pipe", "--device", "/dev/null"]
    quiet += ["--cache-path", given.folder, "--config-path", "/dev/null"]
    return Start((str(given.files[0]), *quiet, *pinned, *given.long_options()))


def _cached(crate: Crate) -> Callable[[], Files | None]:
    return lambda: (crate.binary,) if crate.binary.is_file() else None


RECIPES = tuple(
    Recipe(
        name=name,
        flavour=crate.crate,
        version=crate.version,
        cached=_cached(crate),
        install=partial(build, crate),
        start=_spotifyd if crate.crate == "spotifyd" else _librespot,
        found=partial(on_path, crate.crate) if name == crate.crate else lambda: None,
    )
    for name, crate in zip(("librespot", "librespot-0.4.2", "spotifyd"), CRATES, strict=True)
)
