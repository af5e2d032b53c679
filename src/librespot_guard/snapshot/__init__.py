"""The facts about a host: frozen values and their JSON form."""

from librespot_guard.snapshot.boot_facts import Boot, LoadedLine, UnitFacts, UnitLine
from librespot_guard.snapshot.codec import dumps, loads
from librespot_guard.snapshot.facts import (
    Address,
    Announcement,
    Connection,
    Container,
    Gap,
    Group,
    Info,
    Link,
    Listener,
    Namespace,
    Published,
    Relay,
    Route,
    RoutingRule,
    Secret,
    Service,
    ServiceListener,
    ServiceSetting,
    Snapshot,
)
from librespot_guard.snapshot.filter_facts import FilterText, LegacyTable, NftDump, OtherFilter, RuleText
from librespot_guard.snapshot.router_facts import PortMapping, Router
from librespot_guard.snapshot.speaker import Speaker

__all__ = [
    "Address",
    "Announcement",
    "Boot",
    "Connection",
    "Container",
    "FilterText",
    "Gap",
    "Group",
    "Info",
    "LegacyTable",
    "Link",
    "Listener",
    "LoadedLine",
    "Namespace",
    "NftDump",
    "OtherFilter",
    "PortMapping",
    "Published",
    "Relay",
    "Route",
    "Router",
    "RoutingRule",
    "RuleText",
    "Secret",
    "Service",
    "ServiceListener",
    "ServiceSetting",
    "Snapshot",
    "Speaker",
    "UnitFacts",
    "UnitLine",
    "dumps",
    "loads",
]
