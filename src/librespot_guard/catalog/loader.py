"""Reads the data files of the catalogue: one TOML file for each family member, checked key by key.

A new family member is a new file in `catalog/data`, or in a folder that is given to `load`. A flavour that is `based_on` another takes
from it each table and each list of tables that it does not give itself, and each surface of a name that it does not give itself.
"""

import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from librespot_guard.catalog import shape
from librespot_guard.catalog.check import check_flavour
from librespot_guard.catalog.model import Arguments, Catalog, Flavour, GetInfo, PortOption, Secrets, Source, Surface
from librespot_guard.catalog.settings import ConfigFile, Credential, Endpoint, Outbound, Quirk, Removal, Setting
from librespot_guard.errors import InputError

# table -> class, and list of tables -> (field of `Flavour`, class)
_TABLES: dict[str, type] = {"getinfo": GetInfo, "port": PortOption, "arguments": Arguments, "secrets": Secrets}
_LISTS: dict[str, tuple[str, type]] = {
    "surface": ("surfaces", Surface),
    "file": ("files", ConfigFile),
    "setting": ("settings", Setting),
    "removal": ("removals", Removal),
    "endpoint": ("endpoints", Endpoint),
    "outbound": ("outbound", Outbound),
    "credential": ("credentials", Credential),
    "quirk": ("quirks", Quirk),
    "origin": ("sources", Source),
}
_REQUIRED = ("arguments", "secrets", "surface")
_ABSENT = {
    # a flavour without Spotify Connect answers no getInfo and has no port to fix
    "getinfo": {"brand": "", "model": "", "version": False},
    "port": {"pin": "", "source": ""},
}


@functools.cache
def load() -> Catalog:
    """The catalogue that ships with the package. Raises InputError if a data file is not as it should be."""
    folder = resources.files("librespot_guard.catalog") / "data"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return read({f.name: f.read_text(encoding="utf-8") for f in files})


def read_folders(folders: Sequence[Path]) -> Catalog:
    """The catalogue that ships, with the flavour files (`*.toml`) of more folders.

    Raises:
        InputError: a file can't be read or is not as it should be.
    """
    shipped = resources.files("librespot_guard.catalog") / "data"
    texts = {f.name: f.read_text(encoding="utf-8") for f in shipped.iterdir() if f.name.endswith(".toml")}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            try:
                texts[str(path)] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path}: {error}") from None
    return read(texts)


def read(texts: Mapping[str, str]) -> Catalog:
    """A catalogue from the texts of data files by file name.

    Raises:
        InputError: names the file, the place in it and what was expected.
    """
    documents: dict[str, tuple[str, dict[str, Any]]] = {}
    for file, text in texts.items():
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{file}: not TOML: {error}") from None
        name = document.get("flavour")
        if not isinstance(name, str):
            raise InputError(f"{file}: flavour: " + ("this key is missing" if name is None else "expected text"))
        if name in documents:
            raise InputError(f"{file}: the flavour `{name}` is in {documents[name][0]} already")
        documents[name] = (file, document)
    return Catalog(tuple(_flavour(file, document, documents) for file, document in documents.values()))


def _flavour(file: str, document: dict[str, Any], documents: Mapping[str, tuple[str, dict[str, Any]]]) -> Flavour:
    whole, sources = _whole(file, document, documents)
    given: dict[str, Any] = {"name": whole.pop("flavour")}
    for table in _REQUIRED:
        if not whole.get(table):
            raise InputError(f"{file}: {table}: this table is missing")
    for table, kind in _TABLES.items():
        given[table] = shape.read(kind, file, table, whole.pop(table, _ABSENT.get(table)))
    for table, (attribute, kind) in _LISTS.items():
        raw = whole.pop(table, [])
        if not isinstance(raw, list):
            raise InputError(f"{file}: {table}: expected `[[{table}]]`, a list of tables")
        given[attribute] = tuple(shape.read(kind, file, f"{table}[{i}]", each) for i, each in enumerate(raw))
    given["sources"] = (*given["sources"], *sources)
    given["config_files"] = tuple(dict.fromkeys(f.path for f in given["files"]))
    flavour = shape.read(Flavour, file, "", whole, given=given)
    check_flavour(file, flavour)
    return flavour


def _whole(
    file: str, document: dict[str, Any], documents: Mapping[str, tuple[str, dict[str, Any]]]
) -> tuple[dict[str, Any], tuple[Source, ...]]:
    """A document completed by the one it is based on, and the sources of that one."""
    base_name = document.get("based_on")
    if base_name is None:
        return dict(document), ()
    if base_name not in documents:
        raise InputError(f"{file}: based_on: there is no flavour `{base_name}`")
    base_file, base = documents[base_name]
    if "based_on" in base:
        raise InputError(f"{file}: based_on: `{base_name}` is itself based on another flavour")
    inherited = {t: base[t] for t in (*_TABLES, *_LISTS) if t in base and t != "origin"}
    whole = {**inherited, **document}
    own = document.get("surface", [])
    if isinstance(own, list) and all(isinstance(s, dict) for s in own):
        names = {s.get("name") for s in own}
        kept = [s for s in base.get("surface", []) if s.get("name") not in names]
        whole["surface"] = [*own, *kept]
    sources = tuple(shape.read(Source, base_file, f"origin[{i}]", s) for i, s in enumerate(base.get("origin", [])))
    return whole, sources
