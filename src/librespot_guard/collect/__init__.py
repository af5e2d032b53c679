"""The only readers of the machine: processes, sockets, links, routes and packet filters, as a `Snapshot`."""

from librespot_guard.collect.host import snapshot
from librespot_guard.collect.namespaces import in_namespace
from librespot_guard.collect.network import read_namespace
from librespot_guard.collect.nft import read_nft

__all__ = ["in_namespace", "read_namespace", "read_nft", "snapshot"]
