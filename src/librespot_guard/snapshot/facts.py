"""The facts about one host, as frozen values.

Nothing here reads a machine (`collect` does) and nothing here interprets a packet filter (`firewall` does): a snapshot
keeps what was read, so that a better reader of tomorrow can read the snapshot of today.

Conventions: addresses are text as `ipaddress` prints them, networks are CIDR text, numbers are host integers, `None`
means "could not be told" (and `incomplete` says why).
"""

from dataclasses import dataclass, field

from librespot_guard.snapshot.boot_facts import Boot
from librespot_guard.snapshot.filter_facts import FilterText, LegacyTable, NftDump, OtherFilter
from librespot_guard.snapshot.router_facts import Router

SCHEMA = "librespot-guard/snapshot/1"
UNTOLD = "?"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be read: `what` (a path, a process, a table) and `why`, and what to do about it."""

    what: str
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface (rtnetlink RTM_GETLINK).

    `arp_type` is ARPHRD_* (1 Ethernet, 772 loopback, 65534 none); `kind` is IFLA_INFO_KIND ("veth", "bridge", …), "?" where only the
    name of the interface is known (`snapshot import`): then it is not `told`, and its `group` is not known either.
    `peer` is IFLA_LINK: the index of the other end of a veth cable, or of the device below a VLAN; `peer_netns` the id of the
    namespace that index counts in: None is this one, "?" one that was not read.
    """

    index: int
    name: str
    up: bool
    arp_type: int = 1
    mac: str | None = None
    kind: str | None = None
    master: str | None = None
    group: int = 0
    mtu: int = 1500
    peer: int | None = None
    peer_netns: str | None = None

    @property
    def told(self) -> bool:
        """Whether more than the name of the interface is known."""
        return self.kind != UNTOLD

    @property
    def loopback(self) -> bool:
        """Whether this is the loopback interface."""
        return self.arp_type == 772


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface (RTM_GETADDR). `family` is "ipv4" or "ipv6"; `scope` is RT_SCOPE_* (254 = host)."""

    family: str
    address: str
    prefixlen: int
    dev: str
    scope: int = 0
    broadcast: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route (RTM_GETROUTE). `kind` is unicast, local, broadcast, anycast, multicast, blackhole, unreachable, prohibit or throw.

    `table` is 255 for local, 254 for main, 253 for default. `devs` holds every nexthop's interface.
    """

    family: str
    table: int
    dst: str
    kind: str
    devs: tuple[str, ...] = ()
    gateway: str | None = None
    priority: int = 0
    src: str | None = None


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A rule of the routing policy database (RTM_GETRULE); `other` is true if it has selectors not named here.

    With `suppress`, routes of its table with a prefix of this length or shorter are passed over.
    """

    family: str
    priority: int
    table: int
    action: str = "to_table"
    src: str | None = None
    dst: str | None = None
    iif: str | None = None
    oif: str | None = None
    mark: int | None = None
    mask: int | None = None
    inverted: bool = False
    other: bool = False
    suppress: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group that an interface has joined (/proc/net/igmp, /proc/net/igmp6)."""

    family: str
    dev: str
    address: str


@dataclass(frozen=True, slots=True)
class Announcement:
    """A Spotify Connect speaker as somebody announced it when asked by multicast DNS (RFC 6762, 6763). Untrusted, but bounded.

    `dev` and `family` are where the question went, `sender` the address that answered; `port` and `host` are those of the
    SRV record, `addresses` those of the host's A and AAAA records. A record that did not come is 0, "" or empty.
    """

    dev: str
    family: str
    sender: str
    name: str
    host: str = ""
    port: int = 0
    addresses: tuple[str, ...] = ()
    txt: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits for packets from anybody (sock_diag): a listening TCP socket, or a UDP socket without a peer.

    `address` is "0.0.0.0" or "::" for a wildcard. `v6only` is None for IPv4 sockets; False on "::" means that IPv4
    reaches it too. `device` is SO_BINDTODEVICE. `pids` are empty if the owner could not be told.
    """

    proto: str
    family: str
    address: str
    port: int
    v6only: bool | None = None
    device: str | None = None
    uid: int | None = None
    inode: int = 0
    cgroup: str | None = None
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """An established TCP connection through which somebody manages this host, e.g. that of sshd.

    `why` says how it was recognised.
    """

    family: str
    local: str
    local_port: int
    peer: str
    peer_port: int
    dev: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Relay:
    """A program that accepts connections on a listener and makes a new one to another address (docker-proxy).

    Where the packet filter does not translate the address before (Docker writes no IPv6 rules by default), whoever reaches the
    relay reaches what is behind it, and is seen there under the relay's own address.
    """

    kind: str
    pid: int
    proto: str
    address: str
    port: int
    to_address: str
    to_port: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace: what is on the way from its interfaces to its sockets.

    `id` is the inode number of the namespace as text; `name` is its name under /run/netns, if any; `home` marks the
    namespace the reader ran in. `sysctls` maps names such as "net.ipv4.conf.eth0.rp_filter" to text. `announcements` is what
    speakers answered on its interfaces, None if nobody asked; `mdns_unshared`: a socket holds UDP 5353 and lets no other
    program have it too; `ipv6`: the kernel gives IPv6 sockets. Where `nft` is None, `texts` may tell of the packet filter
    instead (`snapshot import`, which knows no `groups`: None); beside it, they hold the ipsets, and the listings that it is held against. `legacy` are the tables of legacy iptables.
    `routers` are those that told of their port forwards, None if nobody asked (`--probe`).
    """

    id: str
    home: bool
    name: str | None = None
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[RoutingRule, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    groups: tuple[Group, ...] | None = ()
    listeners: tuple[Listener, ...] = ()
    nft: NftDump | None = None
    other_filters: tuple[OtherFilter, ...] = ()
    texts: tuple[FilterText, ...] = ()
    legacy: tuple[LegacyTable, ...] = ()
    announcements: tuple[Announcement, ...] | None = None
    mdns_unshared: bool = False
    ipv6: bool = True
    relays: tuple[Relay, ...] = ()
    routers: tuple[Router, ...] | None = None


@dataclass(frozen=True, slots=True)
class ServiceListener:
    """A listener of a service and what it is for.

    `surface` is one of design section 4: discovery, connect, api, login, stream, control, metadata, or "unknown".
    `pinned` is whether the port stays the same over a restart; `pinned_by` says which setting fixes it, or why it is not known.
    `known_by` says how the surface was told: "asked" (it answered getInfo), "catalogue", or "declared" (it does not run; its
    settings say that it would open this). `any_host` is whether it answers a stranger's host name as it answers its own, None
    if it was not asked (`--probe`: control interfaces and Spotify Connect listeners).
    """

    listener: Listener
    surface: str
    pinned: bool
    pinned_by: str = ""
    known_by: str = "catalogue"
    any_host: bool | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that other users of the host can see, without its value; `where` is argv or environment."""

    where: str
    name: str


@dataclass(frozen=True, slots=True)
class Info:
    """What the service itself answered to an unauthenticated `getInfo`, cleaned of control characters and bounded.

    `account` is `activeUser`, "" when nobody is logged in.
    """

    brand: str = ""
    model: str = ""
    version: str = ""
    library_version: str = ""
    remote_name: str = ""
    device_id: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class ServiceSetting:
    """One value that a setting of a service was given, and where.

    Attributes:
        name: as the catalogue calls the setting.
        value: secrets are "***".
        origin: "FILE:LINE", "argv --option", "environment NAME", "UNIT FILE:LINE", or "default of VERSION".
        wins: whether this is the value that the program uses; of several only one does.
        note: what the value does not do although one would think so, or "".
    """

    name: str
    value: str
    origin: str
    wins: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the host that a container engine forwards into a container. `address` is "0.0.0.0" or "::" for every one."""

    proto: str
    address: str
    port: int
    inside: int


@dataclass(frozen=True, slots=True)
class Container:
    """What a container engine says about one container. `engine` is docker or podman, `network` its mode ("host", "bridge", …)."""

    engine: str
    id: str
    name: str
    image: str
    status: str
    network: str
    published: tuple[Published, ...] = ()
    restart: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """One instance of a family member: running, or (in `Snapshot.stopped`) installed and not running.

    `status` is "running" or "stopped"; a stopped one has pid 0, and its listeners are those it would open: port 0 is random.
    `start_limit` is "BURST in INTERVAL" of its unit. `argv` and `environment` hold only what matters to exposure, with secrets replaced by "***"; `secrets` names those.
    `manager` is the user whose service manager its unit belongs to, None for the system's.
    """

    name: str
    flavour: str
    version: str | None
    pid: int
    uid: int
    executable: str
    netns: str
    listeners: tuple[ServiceListener, ...] = ()
    argv: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    user: str | None = None
    unit: str | None = None
    container: str | None = None
    cgroup: str | None = None
    started: float | None = None
    cache_dir: str | None = None
    restart: str | None = None
    info: Info | None = None
    status: str = "running"
    start_limit: str | None = None
    settings: tuple[ServiceSetting, ...] = ()
    container_details: Container | None = None
    manager: str | None = None

    @property
    def container_name(self) -> str | None:
        """What its engine calls the container it is in, else the beginning of its id; None outside of containers."""
        if self.container_details is not None and self.container_details.name:
            return self.container_details.name
        return self.container[:12] if self.container else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All facts about one host at one moment. `taken` is UTC in ISO 8601; `byteorder` that of the CPU ("little" or "big").

    `boot` and `cgroups` (paths of the cgroup v2 tree by id, as text) are None in snapshots that were taken without them.
    """

    taken: str
    tool: str
    hostname: str
    kernel: str
    byteorder: str
    namespaces: tuple[Namespace, ...]
    services: tuple[Service, ...] = ()
    admin: tuple[Connection, ...] = ()
    privileged: bool = False
    incomplete: tuple[Gap, ...] = ()
    stopped: tuple[Service, ...] = ()
    boot: Boot | None = None
    cgroups: dict[str, str] | None = None

    @property
    def home(self) -> Namespace:
        """The namespace that the reader ran in."""
        return next(n for n in self.namespaces if n.home)

    def namespace(self, ns_id: str) -> Namespace:
        """The namespace of this id; KeyError if the snapshot has none."""
        for candidate in self.namespaces:
            if candidate.id == ns_id:
                return candidate
        raise KeyError(ns_id)
