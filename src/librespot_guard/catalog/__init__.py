"""Version-aware knowledge of every family member: data files and a loader. It knows nothing of the host."""

from librespot_guard.catalog.loader import load, read
from librespot_guard.catalog.model import Arguments, Catalog, Flavour, GetInfo, PortOption, Secrets, Surface

__all__ = ["Arguments", "Catalog", "Flavour", "GetInfo", "PortOption", "Secrets", "Surface", "load", "read"]
