"""The facts about a host: frozen values and their JSON form."""

from librespot_guard.snapshot.codec import dumps, loads
from librespot_guard.snapshot.facts import (
    Address,
    Announcement,
    Connection,
    Gap,
    Group,
    Info,
    Link,
    Listener,
    Namespace,
    NftDump,
    OtherFilter,
    Route,
    RoutingRule,
    RuleText,
    Secret,
    Service,
    ServiceListener,
    Snapshot,
)
from librespot_guard.snapshot.speaker import Speaker

__all__ = [
    "Address",
    "Announcement",
    "Connection",
    "Gap",
    "Group",
    "Info",
    "Link",
    "Listener",
    "Namespace",
    "NftDump",
    "OtherFilter",
    "Route",
    "RoutingRule",
    "RuleText",
    "Secret",
    "Service",
    "ServiceListener",
    "Snapshot",
    "Speaker",
    "dumps",
    "loads",
]
