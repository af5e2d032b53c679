"""The player of librespot-java, from Maven Central: one jar, fetched by Maven and checked against the sha256 pinned here."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from librespot_guard.lab import _install
from librespot_guard.lab._install import Progress, Unavailable
from librespot_guard.lab._recipe import Files, Given, Recipe, Start

VERSION = "1.6.3"
SHA256 = "fc96c08abd88242f5963265101a26c514fdd72eca9b67bc9bf951e65d844b551"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
# two compilers and four collectors are of no use to a player that plays nothing; this halves the time to the listener
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx192m")


def _jar() -> Path:
    return _install.cache() / f"librespot-java-{VERSION}" / f"librespot-player-{VERSION}.jar"


def java() -> Path:
    """The Java on the PATH. Raises Unavailable."""
    found = shutil.which("java")
    if found is None:
        raise Unavailable(
            "librespot-java needs Java, and `java` is not installed",
            hint="install the Debian package default-jre-headless",
        )
    return Path(found)


def _cached() -> Files | None:
    found = shutil.which("java")
    return (Path(found), _jar()) if found and _jar().is_file() else None


def install(progress: Progress) -> Files:
    """`java` and the player's jar, fetched if it is not in the cache. Raises Unavailable."""
    runtime, jar = java(), _jar()

    def fill(folder: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise Unavailable(
                "the librespot-java player comes from Maven Central, and `mvn` is not installed",
                hint="install the Debian package maven",
            )
        progress(f"fetching librespot-java {VERSION} with Maven; this takes half a minute, once")
        # a repository of its own: what Maven needs to fetch one file goes away with it
        with tempfile.TemporaryDirectory(prefix="librespot-guard-maven-") as repository:
            argv = [maven, "--batch-mode", f"-Dmaven.repo.local={repository}", _COPY]
            argv += [f"-Dartifact=xyz.gianlu.librespot:librespot-player:{VERSION}", f"-DoutputDirectory={folder}"]
            _install.quietly(argv, "Maven could not fetch the librespot-java player", env=dict(os.environ), cwd=folder)
        check(folder / jar.name)

    _install.install(jar.parent, (jar,), fill, needs_mb=100, progress=progress)
    return runtime, jar


def check(jar: Path, expected: str = SHA256) -> None:
    """Compare a file with its pinned sha256. Raises Unavailable."""
    if not jar.is_file():
        raise Unavailable(f"Maven did not bring {jar.name}", hint="is its repository a complete copy of Maven Central?")
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != expected:
        raise Unavailable(
            f"{jar.name} is not the file that is pinned: its sha256 is {found}, expected {expected}",
            hint="nothing was installed; find out who stands between here and Maven Central before trying again",
        )


def _start(given: Given) -> Start:
    runtime, jar = given.files
    pinned = [f"--zeroconf.listenPort={given.port}"] if given.port else []
    named = [f"--deviceName={given.title}", *pinned, *given.assigned_options()]
    return Start((str(runtime), *JVM, "-jar", str(jar), *named))


RECIPES = (
    Recipe(
        name="librespot-java",
        flavour="librespot-java",
        version=VERSION,
        cached=_cached,
        install=install,
        start=_start,
    ),
)
