"""Reads the data files of the catalogue: one TOML file for each family member, checked key by key.

A new family member is a new file in `catalog/data`. A flavour that is `based_on` another takes from it each table that it
does not give itself, and each surface of a name that it does not give itself.
"""

import functools
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from librespot_guard.catalog.model import Arguments, Catalog, Flavour, GetInfo, PortOption, Secrets, Surface
from librespot_guard.errors import InputError

SURFACES = ("discovery", "connect", "api", "login", "stream", "control", "metadata")

# table -> key -> (kind, required); "texts" is a list of text
_SHAPE: dict[str, dict[str, tuple[str, bool]]] = {
    "": {
        "flavour": ("text", True),
        "title": ("text", True),
        "based_on": ("text", False),
        "executables": ("texts", True),
        "python_package": ("text", False),
        "units": ("texts", True),
        "config_files": ("texts", True),
        "source": ("text", True),
        "unconfirmed": ("text", False),
    },
    "getinfo": {
        "brand": ("text", True),
        "model": ("text", True),
        "version": ("truth", True),
        "source": ("text", True),
        "unconfirmed": ("text", False),
    },
    "port": {
        "long": ("text", False),
        "short": ("text", False),
        "environment": ("text", False),
        "config_key": ("text", False),
        "code": ("text", False),
        "pin": ("text", True),
        "source": ("text", True),
        "unconfirmed": ("text", False),
    },
    "arguments": {
        "flags": ("text", True),
        "name": ("texts", False),
        "name_environment": ("text", False),
        "cache": ("texts", False),
        "cache_environment": ("texts", False),
        "environment_prefix": ("text", False),
        "source": ("text", True),
        "unconfirmed": ("text", False),
    },
    "secrets": {
        "arguments": ("texts", True),
        "environment": ("texts", True),
        "source": ("text", True),
        "unconfirmed": ("text", False),
    },
    "surface": {
        "name": ("text", True),
        "proto": ("text", True),
        "port": ("number", False),
        "long": ("text", False),
        "short": ("text", False),
        "environment": ("text", False),
        "bind": ("text", True),
        "stranger": ("texts", True),
        "narrow": ("text", True),
        "off": ("text", True),
        "source": ("text", True),
        "unconfirmed": ("text", False),
    },
}
_TABLES = ("getinfo", "port", "arguments", "secrets")
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("text", lambda v: isinstance(v, str)),
    "texts": ("a list of text", lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v)),
    "number": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "truth": ("true or false", lambda v: isinstance(v, bool)),
}


@functools.cache
def load() -> Catalog:
    """The catalogue that ships with the package. Raises InputError if a data file is not as it should be."""
    folder = resources.files("librespot_guard.catalog") / "data"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return read({f.name: f.read_text(encoding="utf-8") for f in files})


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
        _check(file, document)
        if document["flavour"] in documents:
            raise InputError(
                f"{file}: the flavour `{document['flavour']}` is in {documents[document['flavour']][0]} already"
            )
        documents[document["flavour"]] = (file, document)
    return Catalog(tuple(_flavour(file, _whole(file, document, documents)) for file, document in documents.values()))


def _check(file: str, document: dict[str, Any]) -> None:
    tables = {name: document[name] for name in _TABLES if name in document}
    surfaces = document.get("surface", [])
    plain = {k: v for k, v in document.items() if k not in (*_TABLES, "surface")}
    _check_table(file, "", "", plain)
    for name, table in tables.items():
        _check_table(file, name, name, table)
    if not isinstance(surfaces, list):
        raise InputError(f"{file}: surface: expected `[[surface]]`, a list of tables")
    seen = set()
    for index, surface in enumerate(surfaces):
        where = f"surface[{index}]"
        _check_table(file, where, "surface", surface)
        _one_of(file, f"{where}.name", surface["name"], SURFACES)
        _one_of(file, f"{where}.proto", surface["proto"], ("tcp", "udp"))
        if not 1 <= surface.get("port", 1) <= 65535:
            raise InputError(
                f"{file}: {where}.port: {surface['port']} is no port (1 to 65535; leave it out if it is random)"
            )
        if surface["name"] in seen:
            raise InputError(f"{file}: {where}.name: `{surface['name']}` is there twice")
        seen.add(surface["name"])


def _check_table(file: str, where: str, kind: str, table: Any) -> None:
    shape = _SHAPE[kind]
    if not isinstance(table, dict):
        raise InputError(f"{file}: {where}: expected a table")
    prefix = f"{where}." if where else ""
    for key, value in table.items():
        if key not in shape:
            raise InputError(f"{file}: {prefix}{key}: unknown key", hint=f"known keys: {', '.join(shape)}")
        words, test = _KINDS[shape[key][0]]
        if not test(value):
            raise InputError(f"{file}: {prefix}{key}: expected {words}, found {value!r}")
    for key, (_, required) in shape.items():
        if required and key not in table:
            raise InputError(f"{file}: {prefix}{key}: this key is missing")


def _one_of(file: str, where: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise InputError(f"{file}: {where}: `{value}` is none of {', '.join(options)}")


def _whole(file: str, document: dict[str, Any], documents: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """A document completed by the one it is based on."""
    base_name = document.get("based_on")
    if base_name is None:
        whole = document
    elif base_name not in documents:
        raise InputError(f"{file}: based_on: there is no flavour `{base_name}`")
    elif "based_on" in documents[base_name][1]:
        raise InputError(f"{file}: based_on: `{base_name}` is itself based on another flavour")
    else:
        base = documents[base_name][1]
        own = {s["name"]: s for s in document.get("surface", [])}
        surfaces = [own.pop(s["name"], s) for s in base.get("surface", [])] + list(own.values())
        whole = {**{t: base[t] for t in _TABLES if t in base}, **document, "surface": surfaces}
    for table in (*_TABLES, "surface"):
        if not whole.get(table):
            raise InputError(f"{file}: {table}: this table is missing")
    return whole


def _flavour(file: str, document: dict[str, Any]) -> Flavour:
    port, arguments, getinfo, secrets = (document[t] for t in ("port", "arguments", "getinfo", "secrets"))
    if not document["executables"] and "python_package" not in document:
        raise InputError(f"{file}: executables: give a program, or a `python_package`")
    return Flavour(
        name=document["flavour"],
        title=document["title"],
        based_on=document.get("based_on"),
        executables=tuple(document["executables"]),
        python_package=document.get("python_package"),
        units=tuple(document["units"]),
        config_files=tuple(document["config_files"]),
        getinfo=GetInfo(getinfo["brand"], getinfo["model"], getinfo["version"]),
        port=PortOption(
            long=port.get("long"),
            short=port.get("short"),
            environment=port.get("environment"),
            config_key=port.get("config_key"),
            code=port.get("code"),
            pin=port["pin"],
            source=port["source"],
        ),
        arguments=Arguments(
            flags=arguments["flags"],
            name=tuple(arguments.get("name", ())),
            name_environment=arguments.get("name_environment"),
            cache=tuple(arguments.get("cache", ())),
            cache_environment=tuple(arguments.get("cache_environment", ())),
            environment_prefix=arguments.get("environment_prefix", ""),
        ),
        secrets=Secrets(tuple(secrets["arguments"]), tuple(secrets["environment"])),
        surfaces=tuple(_surface(s) for s in document["surface"]),
    )


def _surface(table: dict[str, Any]) -> Surface:
    optional = {k: table[k] for k in ("long", "short", "environment", "unconfirmed") if k in table}
    required = {k: table[k] for k in ("name", "proto", "bind", "narrow", "off", "source")}
    return Surface(port=table.get("port"), stranger=tuple(table["stranger"]), **required, **optional)
