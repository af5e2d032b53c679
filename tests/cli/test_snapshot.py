"""`snapshot` as a person and a program use it."""

import json
import stat
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from librespot_guard.snapshot import boot_facts, facts, filter_facts, loads, router_facts
from support import SOURCE, Guard, Schema


def test_to_a_file(guard: Guard, schema: Schema, tmp_path: Path) -> None:
    """The file validates, is read back, is for its owner only, and every other command accepts it."""
    path = tmp_path / "host.json"
    done = guard("snapshot", "-o", path, "--no-ask")
    text = path.read_text(encoding="utf-8")
    schema("snapshot").validate(json.loads(text))

    assert done.returncode == 0
    assert done.stdout == ""
    assert f"wrote {path}: " in done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert loads(text).home.links
    assert guard("scan", "--snapshot", path).returncode == 0


def test_to_standard_output(guard: Guard, schema: Schema) -> None:
    """Without -o, and with `-o -`, the document is the only thing on stdout."""
    for arguments in ((), ("-o", "-")):
        done = guard("snapshot", "--no-ask", *arguments)
        schema("snapshot").validate(json.loads(done.stdout))
        assert done.returncode == 0
        assert "reading:" not in done.stderr


@pytest.mark.parametrize("place", ["missing/host.json", "folder"])
def test_where_it_cannot_be_written(guard: Guard, tmp_path: Path, place: str) -> None:
    """A file that can't be written is an error that names it, and nothing is left behind."""
    (tmp_path / "folder").mkdir()
    done = guard("snapshot", "--no-ask", "-o", tmp_path / place)

    assert done.returncode in (2, 3)
    assert str(tmp_path / place) in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


def test_a_full_disk_loses_nothing(guard: Guard, tmp_path: Path) -> None:
    """When the file can't be written whole, the old one stays as it was."""
    path = tmp_path / "host.json"
    path.write_text("old", encoding="utf-8")
    done = guard("snapshot", "--no-ask", "-o", path, prefix=("prlimit", "--fsize=1000"))

    assert done.returncode == 3
    assert str(path) in done.stderr
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(("host", ".host"))] == ["host.json"]


def test_the_schema_has_every_fact() -> None:
    """Each dataclass of the facts is in the schema with exactly its fields: a new fact can't be forgotten there."""
    document: dict[str, Any] = json.loads((SOURCE / "schemas" / "snapshot.json").read_text(encoding="utf-8"))
    kinds = {
        k.__name__: k
        for k in (
            *vars(facts).values(),
            *vars(filter_facts).values(),
            *vars(boot_facts).values(),
            *vars(router_facts).values(),
        )
        if isinstance(k, type) and is_dataclass(k)
    }
    described = {"Snapshot": document, **document["$defs"]}

    assert set(described) == set(kinds)
    for name, kind in kinds.items():
        assert set(described[name]["properties"]) - {"schema"} == {f.name for f in fields(kind)}
        assert described[name]["additionalProperties"] is False
