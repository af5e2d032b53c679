"""One guest for all tests of this room, booted by the first of them; each test gets it clean."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guest.speaker import Speaker
from librespot_guard.lab import daemons
from librespot_guard.lab.guest import Guest, Unavailable, obtain
from support import Guard


@pytest.fixture(scope="session")
def _booted() -> Iterator[Guest]:
    try:
        image, librespot = obtain(lambda _: None), daemons.obtain("librespot")
    except Unavailable as error:
        first = str(error).partition("\n")[0].rstrip(":")
        pytest.skip(f"guest: {first}{f'; {error.hint}' if error.hint else ''}")
    with Guest(image) as guest:
        guest.install()
        guest.put({"librespot": librespot.files[0]}, "/usr/bin")
        # a library that the guest lacks shows here, and not as a service that does not start
        assert "0.8.0" in guest.run(["librespot", "--version"], check=True).stdout
        guest.shell("sync")
        yield guest


@pytest.fixture
def speaker(_booted: Guest, guard: Guard, tmp_path: Path) -> Speaker:
    """The guest, running and clean."""
    if not _booted.running:
        _booted.start()
    speaker = Speaker(_booted, guard, tmp_path)
    speaker.clean()
    return speaker
