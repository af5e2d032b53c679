"""What a service that does not run would open, by its settings."""

from pathlib import Path

import pytest

from librespot_guard import catalog
from librespot_guard.catalog import Flavour
from librespot_guard.collect import declared
from librespot_guard.collect.settings import Start, resolve

KNOWN = catalog.load()
GO, JAVA, SNAP = (KNOWN.flavour(n) for n in ("go-librespot", "librespot-java", "snapserver"))


def opened(
    flavour: Flavour, version: str | None, files: dict[str, str], folder: Path, *argv: str
) -> set[tuple[str, str, int]]:
    """What a program of this flavour would open with these files, but for discovery: surface, address, port."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    start = Start((flavour.name, *argv), {"HOME": str(folder)}, working=str(folder))
    found = declared.listeners(flavour, version, start.argv, resolve(flavour, version, start))
    return {(o.surface, o.listener.address, o.listener.port) for o in found if o.surface != "discovery"}


GO_FILE = ".config/go-librespot/config.yml"


@pytest.mark.parametrize(
    ("flavour", "version", "files", "expected"),
    [
        # with the default type of login the switch does nothing
        (GO, "0.9.0", {GO_FILE: "zeroconf_enabled: false\n"}, {("connect", "::", 0)}),
        (GO, "0.9.0", {GO_FILE: "zeroconf_enabled: false\ncredentials: {type: interactive}\n"}, set()),
        (GO, "0.0.7", {"config.yml": "server_port: 9876\n"}, {("connect", "::", 0), ("api", "::", 9876)}),
        (GO, "0.0.7", {"config.yml": "server_port: 0\n"}, {("connect", "::", 0)}),
        (JAVA, "1.6.3", {"config.toml": '[auth]\nstrategy = "STORED"\n'}, set()),
        (JAVA, "1.6.3", {"config.toml": '[auth]\nstrategy = "ZEROCONF"\n'}, {("connect", "::", 0)}),
    ],
)
def test_what_a_setting_opens(
    tmp_path: Path, flavour: Flavour, version: str, files: dict[str, str], expected: set[tuple[str, str, int]]
) -> None:
    """A type of login without Spotify Connect opens no listener, and a port alone may open one."""
    assert opened(flavour, version, files, tmp_path) == expected


def test_the_two_web_interfaces_of_a_snapserver(tmp_path: Path) -> None:
    """That by TLS has an address, a port and a switch of its own."""
    text = "[http]\nbind_to_address = 127.0.0.1\nssl_enabled = true\n[tcp-control]\nenabled = false\n[tcp-streaming]\nenabled = false\n"
    more = text + "[http]\nenabled = false\nssl_port = 1999\nssl_bind_to_address = ::1\n"

    assert opened(SNAP, "0.34.0", {"a": text}, tmp_path, "-c", f"{tmp_path}/a") == {
        ("api", "127.0.0.1", 1780),
        ("api", "::", 1788),
    }
    assert opened(SNAP, "0.34.0", {"b": more}, tmp_path, "-c", f"{tmp_path}/b") == {("api", "::1", 1999)}
