"""librespot-python in a program that PyInstaller froze: found by what the program holds, under any name, and no other frozen program is."""

import contextlib
import json
import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from family.ask import guard_on, street
from librespot_guard import catalog
from librespot_guard.collect import frozen
from librespot_guard.collect.programs import Programs
from librespot_guard.lab import _frozen
from librespot_guard.lab._install import Unavailable
from librespot_guard.lab.sandbox import Host

pytestmark = [pytest.mark.kernel, pytest.mark.family]
NAMES = ("librespot.zeroconf", "librespot.core", "librespot.proto.Connect_pb2")


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    """The speaker as one file, as a folder, and the look-alike."""
    try:
        return dict(zip(("one", "folder", "other"), _frozen.obtain(lambda _: None), strict=True))
    except Unavailable as error:
        pytest.skip(f"no frozen program: {error}")


@contextlib.contextmanager
def listening(host: Host, argv: Sequence[str], port: int, folder: Path) -> Iterator[None]:
    """The program runs, from when it listens on this port; it unpacks itself into `folder`."""
    with (folder / "log").open("w") as log:
        process = host.popen(argv, env={"TMPDIR": str(folder)}, cwd=str(folder), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while f":{port} " not in host.run(["ss", "-Hltn"], check=True).stdout:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
            yield
        finally:
            process.stop()


def scanned(host: Host, *options: str) -> list[dict[str, Any]]:
    """The services that `scan` reports."""
    return list(json.loads(guard_on(host, "scan", "--format", "json", *options))["services"])


@pytest.mark.parametrize("kind", ["one", "folder"])
def test_a_frozen_speaker_is_found(programs: Mapping[str, Path], tmp_path: Path, kind: str) -> None:
    """Under any name, whether or not it answers; what can't be told of a program that is no Python text is said."""
    place = tmp_path / "installed"
    shutil.copytree(
        programs[kind].parent, place, ignore=shutil.ignore_patterns("folder", "other") if kind == "one" else None
    )
    program = (place / programs[kind].name).rename(place / "music box")
    with street() as (speaker, _), listening(speaker, [str(program), "Kitchen", "7777"], 7777, tmp_path):
        asked, silent = scanned(speaker), scanned(speaker, "--no-ask")
    for found in (asked, silent):
        (service,) = found
        assert service["flavour"] == "librespot-python"
        connect = [x for x in service["listeners"] if x["port"] == 7777]
        assert [(x["surface"], x["address"]) for x in connect] == [("connect", "0.0.0.0")]
        assert "can't be told" in connect[0]["pinned_by"]
    assert (asked[0]["version"], asked[0]["info"]["remote_name"]) == ("0.0.10", "Kitchen")


def test_another_frozen_program_is_none(programs: Mapping[str, Path], tmp_path: Path) -> None:
    """One that has loaded the same libraries and listens everywhere, but does not hold librespot, is no service."""
    with street() as (speaker, _), listening(speaker, [str(programs["other"]), "7779"], 7779, tmp_path):
        assert scanned(speaker) == []
        assert scanned(speaker, "--no-ask") == []


def test_what_each_holds(programs: Mapping[str, Path]) -> None:
    """By the table of its modules: both speakers hold the library, the look-alike does not, an interpreter is not frozen."""
    known = Programs(catalog.load())

    for kind, flavour in (("one", "librespot-python"), ("folder", "librespot-python"), ("other", None)):
        held, readable = known.of_executable(str(programs[kind]))
        assert (held.name if held else None, readable) == (flavour, True)
    with Path(sys.executable).open("rb") as file:
        assert not frozen.holds(file.fileno(), os.fstat(file.fileno()).st_size, ["zeroconf"])


@given(st.data())
def test_a_damaged_archive_is_none(programs: Mapping[str, Path], data: st.DataObject) -> None:
    """Cookie and tables with any bytes changed, or the file cut anywhere: an answer, no error, and no more read than the tables."""
    content = bytearray(_tail(programs["folder"]))
    for _ in range(data.draw(st.integers(1, 8))):
        # most of it is compressed code: what is read stands at the end
        place = data.draw(
            st.integers(max(0, len(content) - 30_000), len(content) - 1) | st.integers(0, len(content) - 1)
        )
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    with tempfile.TemporaryFile() as file:
        file.write(content[:cut])
        file.flush()
        frozen.holds(file.fileno(), cut, NAMES)


def test_names_that_only_look_so(tmp_path: Path) -> None:
    """A cookie that points anywhere, tables of absurd lengths, and a module whose name only contains another's: none."""
    right = archive([b"\xfa\x12librespot.zeroconf", b"z\x0elibrespot.core", b"Z\x1blibrespot.proto.Connect_pb2"])
    longer = archive([b"\xfa\x13librespot.zeroconf2", b"z\x0elibrespot.core", b"Z\x1blibrespot.proto.Connect_pb2"])
    cases = {
        "right": (right, True),
        "headers": (right + b"\0" * 5000, True),
        "longer": (longer, False),
        "far": (right[:-COOKIE] + struct.pack("!8sIIII64s", MAGIC, 1 << 31, 1 << 30, 4096, 311, b""), False),
        "empty": (MAGIC, False),
        "loops": (right.replace(struct.pack("!I", 18 + 8), b"\0" * 4), False),
        "no archive": (b"\x7fELF" * 2000, False),
    }
    for name, (content, expected) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with path.open("rb") as file:
            assert frozen.holds(file.fileno(), len(content), NAMES) is expected, name


COOKIE = 88
MAGIC = b"MEI\014\013\012\013\016"


def archive(names: Sequence[bytes]) -> bytes:
    """An archive with one archive of modules in it, as PyInstaller lays them out."""
    table = b"".join(names)
    modules = b"PYZ\0" + b"\xa7\r\r\n" + struct.pack("!I", 16) + b"code" + table
    toc = struct.pack("!IIIIBc8s", 18 + 8, 0, len(modules), len(modules), 0, b"z", b"PYZ")
    whole = len(modules) + len(toc) + COOKIE
    return modules + toc + struct.pack("!8sIIII64s", MAGIC, whole, len(modules), len(toc), 311, b"libpython")


def _tail(path: Path) -> bytes:
    """The archive of a frozen program without the executable in front of it."""
    content = path.read_bytes()
    place = content.rfind(MAGIC)
    (length,) = struct.unpack_from("!I", content, place + 8)
    return content[place + COOKIE - length :]
