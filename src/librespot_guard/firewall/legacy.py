"""Tables of legacy iptables among those of nf_tables: on the same hooks, in the same model."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from librespot_guard.firewall.ipset_save import IpSets
from librespot_guard.firewall.iptables_legacy import Malformed, saved_table
from librespot_guard.firewall.iptables_rules import tables
from librespot_guard.firewall.iptables_save import Saved
from librespot_guard.firewall.model import Table

SUFFIX = " (legacy)"
"""What the names of these tables end with, so that they can't be taken for those of nf_tables."""


class Blob(Protocol):
    """A table as the kernel gave it (`snapshot.LegacyTable`)."""

    @property
    def family(self) -> str:
        """Whether its packets are of "ipv4" or "ipv6"."""

    @property
    def name(self) -> str:
        """Such as "filter"."""

    @property
    def info(self) -> bytes:
        """Struct ipt_getinfo."""

    @property
    def entries(self) -> bytes:
        """Its entries."""


def legacy_tables(
    blobs: Iterable[Blob], *, order: str, ipsets: IpSets | None = None, numbers: Mapping[int, str] | None = None
) -> tuple[list[Table], list[str]]:
    """The tables, and what could not be read of them."""
    out: list[Table] = []
    incomplete: list[str] = []
    for blob in blobs:
        if order != "little":
            incomplete.append(f"legacy table {blob.name} ({blob.family}): not analysed on a big-endian CPU")
            continue
        family = "ip" if blob.family == "ipv4" else "ip6"
        try:
            found = saved_table(blob.name, blob.info, blob.entries, family=family, order=order, ipsets=numbers)
        except Malformed as error:
            incomplete.append(f"legacy table {family} {blob.name}: {error}")
            continue
        out += tables(Saved([found]), family=family, suffix=SUFFIX, ipsets=ipsets, incomplete=incomplete)
    return out, incomplete
