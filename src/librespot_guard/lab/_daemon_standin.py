"""go-librespot and librespot-java with its API: the program itself where the machine has it, else the stand-in for it."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

from librespot_guard.lab import _daemon_java
from librespot_guard.lab._install import Progress, Unavailable
from librespot_guard.lab._recipe import Files, Found, Given, Recipe, Start, python_path

GO = "0.9.0"
JAVA = "1.6.3"
GO_VARIABLE = "LIBRESPOT_GUARD_GO_LIBRESPOT"
JAVA_VARIABLE = "LIBRESPOT_GUARD_LIBRESPOT_JAVA_API"
GO_PORT = 3678
JAVA_PORT = 24879


def _python() -> Files:
    return (Path(sys.executable),)


def _ready(_progress: Progress) -> Files:
    return _python()


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": python_path()}


def _named(variable: str) -> Path | None:
    """The file that a variable names. Raises Unavailable if it is none."""
    given = os.environ.get(variable, "")
    if not given:
        return None
    path = Path(given)
    if not path.is_file():
        raise Unavailable(f"{variable}={given}: there is no such file", hint="unset it to use the stand-in")
    return path


def _go_found() -> Found | None:
    named = _named(GO_VARIABLE)
    if named is None and (on_path := shutil.which("go-librespot")):
        named = Path(on_path)
    if named is None:
        return None
    if not os.access(named, os.X_OK):
        raise Unavailable(f"{GO_VARIABLE}={named}: it can't be executed", hint=f"`chmod +x {named}`")
    return Found("", (named,))  # it has no option that says its version


def _java_found() -> Found | None:
    jar = _named(JAVA_VARIABLE)
    return None if jar is None else Found(jar_version(jar), (_daemon_java.java(), jar))


def jar_version(jar: Path) -> str:
    """The version of librespot-java in a jar, by the properties that Maven puts there, or "". Raises Unavailable."""
    try:
        with zipfile.ZipFile(jar) as archive:
            for module in ("librespot-api", "librespot-player", "librespot-lib"):
                name = f"META-INF/maven/xyz.gianlu.librespot/{module}/pom.properties"
                if name in archive.namelist():
                    lines = archive.read(name).decode("utf-8", "replace").splitlines()
                    return next((line.partition("=")[2] for line in lines if line.startswith("version=")), "")
    except (OSError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{JAVA_VARIABLE}={jar}: {error}", hint="unset it to use the stand-in") from None
    return ""


def go_configuration(given: Given) -> tuple[str, int]:
    """`config.yml` for both, and the port of the API. The API is on, and local, as in the program's own example."""
    settings = {
        "device_name": f'"{given.title}"',
        **({"zeroconf_port": str(given.port)} if given.port else {}),
        "zeroconf_enabled": "true",
        "credentials.type": "zeroconf",
        "server.enabled": "true",
        "server.port": str(GO_PORT),
        **given.options,
    }
    lines: list[str] = []
    for name, value in settings.items():
        section, _, key = name.rpartition(".")
        if section and f"{section}:" not in lines:
            lines.append(f"{section}:")
        if section:
            lines.insert(lines.index(f"{section}:") + 1, f"  {key}: {value}")
        else:
            lines.insert(0, f"{key}: {value}")
    return "\n".join(lines) + "\n", int(settings["server.port"])


def _go(given: Given) -> Start:
    text, port = go_configuration(given)
    argv = (str(given.files[0]), "-m", "librespot_guard.lab.standin_go", "--config_dir", given.folder)
    return Start(
        argv, files={"config.yml": text}, env=_environment(), others=frozenset({port}), awaited=frozenset({port})
    )


def _go_itself(given: Given) -> Start:
    text, port = go_configuration(given)
    authority = f"{given.folder}/ca.pem"
    return Start(
        (str(given.files[0]), "--config_dir", given.folder),
        files={"config.yml": text},
        env={"SSL_CERT_FILE": authority},
        others=frozenset({port}),
        awaited=frozenset({port}),
        names={"apresolve.spotify.com": "127.0.0.1"},
        helper=(sys.executable, "-m", "librespot_guard.lab._resolver", authority),
    )


def _java_settings(given: Given) -> list[str]:
    pinned = [f"--zeroconf.listenPort={given.port}"] if given.port else []
    return [f"--deviceName={given.title}", *pinned, *given.assigned_options()]


def _java(given: Given) -> Start:
    argv = (str(given.files[0]), "-m", "librespot_guard.lab.standin_java", *_java_settings(given))
    port = int(given.options.get("api.port", JAVA_PORT))
    return Start(argv, env=_environment(), others=frozenset({port}), awaited=frozenset({port}))


def _java_itself(given: Given) -> Start:
    runtime, jar = given.files
    argv = (str(runtime), *_daemon_java.JVM, "-jar", str(jar), *_java_settings(given))
    port = int(given.options.get("api.port", JAVA_PORT))
    return Start(argv, others=frozenset({port}), awaited=frozenset({port}))


RECIPES = (
    Recipe(
        name="go-librespot",
        flavour="go-librespot",
        version=GO,
        cached=_python,
        install=_ready,
        start=_go,
        found=_go_found,
        start_found=_go_itself,
        standin=True,
    ),
    Recipe(
        name="librespot-java-api",
        flavour="librespot-java",
        version=JAVA,
        cached=_python,
        install=_ready,
        start=_java,
        found=_java_found,
        start_found=_java_itself,
        standin=True,
    ),
)
