"""`minimise` on the command line: the review as text and as JSON, and what a snapshot can't say."""

import json
from pathlib import Path

from audit.hosts import connect, host, librespot
from librespot_guard.snapshot import dumps
from support import Guard, Schema


def saved(folder: Path, **changes: object) -> Path:
    """A snapshot file of a host with one librespot, whose port is random."""
    file = folder / "host.json"
    changes = {
        "listeners": (connect(37123, pinned=False),),
        "unit": "librespot.service",
        "argv": ("librespot",),
        **changes,
    }
    file.write_text(dumps(host(librespot(**changes))), encoding="utf-8")
    return file


def test_the_review_as_text(guard: Guard, tmp_path: Path) -> None:
    """Each surface with what to do about it, the exact change, and on stderr what the facts do not hold."""
    done = guard("minimise", "--use", "phones", "--snapshot", saved(tmp_path))

    assert done.returncode == 0
    assert "phones on the network choose the speaker" in done.stdout
    assert "connect: fix the port" in done.stdout
    assert "`LIBRESPOT_ZEROCONF_PORT=37123` in /etc/systemd/system/librespot.service.d/" in done.stdout
    assert "a snapshot holds no configuration files" in done.stderr


def test_the_review_as_json(guard: Guard, tmp_path: Path, schema: Schema) -> None:
    """The document is the one of the schema; what will stop working is in it."""
    done = guard("minimise", "living-room", "--use", "nobody", "--snapshot", saved(tmp_path), "--format", "json")
    document = json.loads(done.stdout)

    schema("minimise").validate(document)
    off = next(p for p in document["reviews"][0]["proposals"] if p["action"] == "off")
    assert off["surfaces"] == ["connect", "discovery"]
    assert off["stops"]
    assert off["needs"]


def test_a_service_that_is_not_there(guard: Guard, tmp_path: Path) -> None:
    """Status 2, with the names that there are."""
    done = guard("minimise", "attic", "--use", "phones", "--snapshot", saved(tmp_path))

    assert done.returncode == 2
    assert "there is no service `attic`" in done.stderr
    assert "living-room" in done.stderr


def test_nothing_obeys_a_path(guard: Guard, tmp_path: Path) -> None:
    """Control characters of a command line are shown, not sent to the terminal."""
    done = guard(
        "minimise", "--use", "phones", "--snapshot", saved(tmp_path, argv=("librespot", "--zeroconf-port\x1b[31m", "1"))
    )

    assert "\x1b" not in done.stdout + done.stderr
