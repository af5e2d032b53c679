"""Whose a tracked flow is: the service that a packet of it reaches, or that sent its first packet."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from librespot_guard.collect.conntrack import Flow
from librespot_guard.collect.sockets import Sock
from librespot_guard.snapshot import Service

Port = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """The part that a service has in a flow: somebody comes to its port (`inbound`), or it goes to a port of somebody's."""

    service: Service
    inbound: bool
    peer: str
    port: int


@dataclass(slots=True)
class Holders:
    """Who holds the ports of a namespace: the services by port, and the ports that a program which is none of them holds too."""

    listening: dict[Port, list[Service]]
    sending: dict[Port, list[Service]]
    foreign: set[Port]
    addresses: frozenset[str]

    @classmethod
    def of(
        cls,
        members: Iterable[Service],
        socks: Sequence[Sock],
        owners: Mapping[int, Service],
        addresses: Iterable[str],
    ) -> "Holders":
        """From the services of a namespace, its sockets, their owners by inode, and its own addresses."""
        found = cls({}, {}, set(), frozenset(addresses))
        for service in members:
            for port in dict.fromkeys((o.listener.proto, o.listener.port) for o in service.listeners):
                found.listening.setdefault(port, []).append(service)
        for sock in socks:
            port = (sock.proto, sock.local_port)
            owner = owners.get(sock.inode)
            if owner is not None:
                if owner not in (holders := found.sending.setdefault(port, [])):
                    holders.append(owner)
            elif sock.waits:
                found.foreign.add(port)
        return found

    @property
    def ports(self) -> set[int]:
        """Every port that a service holds."""
        return {port for _, port in (*self.listening, *self.sending)}

    def local(self, address: str) -> bool:
        """Whether an address is this host's own."""
        return address in self.addresses or ip_address(address).is_loopback

    def parts(self, flow: Flow) -> Iterator[Part]:
        """The parts that services have in a flow.

        What is sent to a group reaches everybody who listens on its port. Anything else goes to one program only: where a program that
        is no service shares the port (as on UDP 5353), it can't be told to which.
        """
        source, source_port, destination, destination_port = flow.sent
        here, port, _, _ = flow.answer
        if ip_address(destination).is_multicast or destination == "255.255.255.255":
            if not self.local(source):
                for service in self.listening.get((flow.proto, destination_port), ()):
                    yield Part(service, inbound=True, peer=source, port=destination_port)
        elif self.local(here) and (one := self._only(self.listening, (flow.proto, port))):
            yield Part(one, inbound=True, peer=source, port=port)
        if not self.local(source):
            return
        if flow.proto == "tcp" and (flow.proto, source_port) in self.listening:
            # the kernel began to track in the middle of it: it was the other side that called
            if one := self._only(self.listening, (flow.proto, source_port)):
                yield Part(one, inbound=True, peer=destination, port=source_port)
        elif one := self._only(self.sending, (flow.proto, source_port)):
            yield Part(one, inbound=False, peer=destination, port=destination_port)

    def _only(self, holders: Mapping[Port, list[Service]], port: Port) -> Service | None:
        services = holders.get(port, [])
        return services[0] if len(services) == 1 and port not in self.foreign else None
