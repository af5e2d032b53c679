"""Version-aware knowledge of every family member: data files and a loader. It knows nothing of the host."""

from librespot_guard.catalog.check import cited, facts
from librespot_guard.catalog.loader import load, read, read_folders
from librespot_guard.catalog.model import Arguments, Catalog, Flavour, GetInfo, PortOption, Secrets, Source, Surface
from librespot_guard.catalog.settings import (
    FORMATS,
    KINDS,
    ROLES,
    USES,
    ConfigFile,
    Credential,
    Endpoint,
    Outbound,
    Quirk,
    Removal,
    Setting,
    holds,
    numbers,
)

__all__ = [
    "FORMATS",
    "KINDS",
    "ROLES",
    "USES",
    "Arguments",
    "Catalog",
    "ConfigFile",
    "Credential",
    "Endpoint",
    "Flavour",
    "GetInfo",
    "Outbound",
    "PortOption",
    "Quirk",
    "Removal",
    "Secrets",
    "Setting",
    "Source",
    "Surface",
    "cited",
    "facts",
    "holds",
    "load",
    "numbers",
    "read",
    "read_folders",
]
