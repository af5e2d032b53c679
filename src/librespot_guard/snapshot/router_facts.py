"""What routers said when they were asked which of their ports they forward (UPnP Internet Gateway Device). Untrusted, but bounded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PortMapping:
    """One forwarded port, as WANIPConnection:1 2.4.15 (GetGenericPortMappingEntry) tells it.

    `proto` is "tcp" or "udp", `client` the address to which the router forwards, `remote` the one that alone may use it ("" for
    everybody), `lease` the seconds that it still holds (0: until somebody removes it).
    """

    proto: str
    port: int
    client: str
    client_port: int
    remote: str = ""
    enabled: bool = True
    description: str = ""
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Router:
    """A gateway that answered on the link of `dev`: its `address`, the `service` that told, its `outside` address ("" if it did not say)."""

    dev: str
    address: str
    service: str
    outside: str = ""
    mappings: tuple[PortMapping, ...] = ()
