"""What `ip -j route show table all` printed, as routes (iproute2, ip/iproute.c)."""

import json
from ipaddress import ip_network
from typing import Any

from librespot_guard.errors import InputError
from librespot_guard.snapshot.facts import Route

TABLES = {"local": 255, "main": 254, "default": 253}
_KINDS = ("unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw")


def read_routes_json(text: str, *, source: str) -> tuple[Route, ...]:
    """The routes. Raises InputError, with its place, for what is not understood: a route left out could be the one that decides."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise InputError(f"{source}: nested too deeply to be routes") from None
    except ValueError as error:
        position = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{source}{position}: not a whole JSON document ({error})", hint=_HINT) from None
    if not isinstance(document, list):
        raise InputError(f"{source}: expected a list of routes", hint=_HINT)
    named: dict[str, int] = {}
    return tuple(_route(item, f"{source}[{number}]", named) for number, item in enumerate(document))


# beyond the 32 bits of a table's number: a name stands for a number that only the other host knows (/etc/iproute2/rt_tables)
_NAMED = 1 << 32
_HINT = "write it with `ip -j route show table all`"


def _route(item: Any, where: str, named: dict[str, int]) -> Route:
    if not isinstance(item, dict):
        raise InputError(f"{where}: expected an object", hint=_HINT)
    try:
        kind = item.get("type", "unicast")
        table = item.get("table", "main")
        number = TABLES.get(table) or (int(table) if str(table).isdigit() else _numbered(table, named))
        dst, source, metric = item["dst"], item.get("prefsrc"), item.get("metric", 0)
        if not isinstance(dst, str) or not isinstance(source, str | None) or type(metric) is not int:
            raise TypeError("a destination and source are text, a metric is a number")  # noqa: TRY301
        gateway = (item.get("gateway") or item.get("via", {}).get("host")) or None
        hops = [h for h in item.get("nexthops", []) if isinstance(h, dict)]
        devices = [item.get("dev"), *(h.get("dev") for h in hops)]
        hint = [gateway, item.get("prefsrc"), *(h.get("gateway") for h in hops)]
        if dst == "default":
            six = any(":" in str(h) for h in hint if h) or "pref" in item
            dst = "::/0" if six else "0.0.0.0/0"
        network = ip_network(dst, strict=False)
        if kind not in _KINDS:
            raise ValueError(f"the type {kind!r}")  # noqa: TRY301 - one message for every way to get it wrong
        return Route(
            family=f"ipv{network.version}",
            table=number,
            dst=str(network),
            kind=kind,
            devs=tuple(dict.fromkeys(str(d) for d in devices if d)),
            gateway=str(gateway) if gateway else None,
            priority=metric,
            src=source,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: this route is not understood ({error})", hint=_HINT) from None


def _numbered(table: Any, named: dict[str, int]) -> int:
    """A number for a table of which only the name is known, the same for all its routes."""
    if not isinstance(table, str):
        raise TypeError("the name of a table is text")
    return named.setdefault(table, _NAMED + len(named))
