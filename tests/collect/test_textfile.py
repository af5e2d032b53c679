"""Files of other people: what is no plain, small, readable file is named, never waited for, never followed out of its root."""

import os
import socket
import time
from pathlib import Path

import pytest

from librespot_guard.collect.textfile import MAX_BYTES, read


def test_a_file(tmp_path: Path) -> None:
    """A plain file is read, also where it is not UTF-8; one that is not there is nothing, and no gap."""
    (tmp_path / "a").write_bytes(b"x=\xff\n")

    assert read(str(tmp_path / "a")).text == "x=\ufffd\n"
    assert read(str(tmp_path / "gone")) == read(str(tmp_path / "gone"))
    assert (read(str(tmp_path / "gone")).text, read(str(tmp_path / "gone")).gap) == (None, None)
    assert read(str(tmp_path / "a/below")).gap is None
    assert read("/dev/null").text == ""


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "huge", "zeros", "socket"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    """A FIFO, a device, a folder, a circle of links, a huge and a binary file are named with what they are, within a moment."""
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(tmp_path / "y")
        (tmp_path / "y").symlink_to(path)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(MAX_BYTES * 1000)
    elif kind == "zeros":
        path.write_bytes(b"a=1\n" + bytes(10))
    else:
        os.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("x")
    started = time.monotonic()
    found = read(str(path))

    assert time.monotonic() - started < 1
    assert found.text is None
    assert found.gap is not None
    assert found.gap.what == f"the configuration file {path}"
    words = {
        "fifo": "FIFO",
        "device": "device",
        "folder": "folder",
        "loop": "circle",
        "huge": "larger than 256 KiB",
        "zeros": "zero bytes",
        "socket": "No such device or address",
    }
    assert words[kind] in found.gap.why


def test_links_stay_in_the_root(tmp_path: Path) -> None:
    """In the root folder of a container a link to an absolute path, or up and up, leads to a file of that root."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "secret").write_text("inside", encoding="utf-8")
    (tmp_path / "secret").write_text("outside", encoding="utf-8")
    (root / "etc/a").symlink_to("/secret")
    (root / "etc/b").symlink_to("../../../../../secret")
    (root / "etc/c").symlink_to(tmp_path / "secret")

    assert read("/etc/a", root=str(root)).text == "inside"
    assert read("/etc/b", root=str(root)).text == "inside"
    assert read("/etc/c", root=str(root)).text is None
    assert read("/secret", root=f"/proc/{os.getpid()}/root{root}").text == "inside"
    assert read("/secret", root=str(tmp_path / "gone")).text is None
