"""The facts about a host: frozen values and their JSON form."""

from librespot_guard.snapshot.codec import dumps, loads
from librespot_guard.snapshot.facts import (
    Address,
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

__all__ = [
    "Address",
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
    "dumps",
    "loads",
]
