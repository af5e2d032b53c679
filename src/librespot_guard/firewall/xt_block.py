"""The parameter block of an extension of iptables, and how to read numbers, addresses and texts from it."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from librespot_guard.firewall.model import Xt
from librespot_guard.firewall.nft_json_types import Unsupported


@dataclass(frozen=True, slots=True)
class Block:
    """A parameter block with the family of its table ("ip" or "ip6"); numbers in it are the host's."""

    family: str
    xt: Xt
    order: str

    def need(self, size: int, *revisions: int) -> None:
        """Raises Unsupported if the block is shorter than this, or of another revision."""
        if len(self.xt.info) < size or (revisions and self.xt.revision not in revisions):
            raise Unsupported(
                f"xt {self.xt.kind} {self.xt.name} revision {self.xt.revision}, {len(self.xt.info)} bytes"
            )

    def word(self, offset: int, size: int = 4) -> int:
        """A number."""
        return int.from_bytes(self.xt.info[offset : offset + size], "little" if self.order == "little" else "big")

    def address(self, offset: int) -> str:
        """A union nf_inet_addr."""
        raw = self.xt.info[offset : offset + (4 if self.family == "ip" else 16)]
        return str(IPv4Address(raw) if self.family == "ip" else IPv6Address(raw))

    def text(self, offset: int, size: int) -> str:
        """A string that ends at its first zero."""
        return self.xt.info[offset : offset + size].split(b"\0")[0].decode("utf-8", "replace")
