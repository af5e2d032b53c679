"""`scan`: what runs here, what it opens, where each setting comes from, and what a stranger can do there."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from librespot_guard import catalog
from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.cli import common
from librespot_guard.snapshot import Listener, Service, ServiceListener, Snapshot

EPILOG = """\b
Examples:
  sudo librespot-guard scan                            every service of the librespot family on this host
  sudo librespot-guard scan --format json | jq .services
  librespot-guard scan --snapshot host.json            what ran on another host
  librespot-guard scan --no-ask                        send no request to any service
  sudo librespot-guard scan --watch --for 10m          ports, peers and endpoints over time, and a profile at the end
  librespot-guard scan --network                       every speaker on the networks of this host, also those nobody knew
"""

_INDENT = "    "


@click.command(epilog=EPILOG)
@common.format_option()
@common.snapshot_option
@click.option("--no-ask", is_flag=True, help="Do not ask the services who they are (one getInfo each, over loopback).")
@click.option(
    "--network",
    is_flag=True,
    help="Find the speakers of the networks instead: who answers multicast DNS here, and one getInfo to each (unless --no-ask).",
)
@click.option(
    "--probe",
    is_flag=True,
    help="With --network: one more getInfo to each under a name that is not its own, as DNS rebinding does (this host: `audit --probe`).",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Look again and again: ports across restarts, who comes, where it connects to; a profile at the end.",
)
@click.option("--for", "how_long", metavar="TIME", help="Watch for 90s, 10m or 2h; without it until Ctrl-C.")
@click.option("--interval", metavar="TIME", default="1s", show_default=True, help="Look that often.")
def scan(
    output: str,
    snapshot_file: Path | None,
    how_long: str | None,
    interval: str,
    *,
    no_ask: bool,
    network: bool,
    probe: bool,
    watch: bool,
) -> None:
    """Find every service of the librespot family: what it opens, and what a stranger can do there.

    Looks at this host and at every other network namespace on it. As root it sees all; as an ordinary user it says what
    it could not see. Nothing is changed.
    """
    if probe and (no_ask or not network):
        raise click.UsageError(
            "--probe asks what --network finds; for the services of this host there is `audit --probe`"
        )
    if watch or how_long:
        if snapshot_file is not None or network:
            raise click.UsageError("--watch looks at this host now; it can't be used with --snapshot or --network")
        from librespot_guard.cli import _watch  # noqa: PLC0415 - only this needs it

        seconds = _watch.duration(how_long) if how_long else None
        _watch.run(output, seconds=seconds, interval=_watch.duration(interval))
        return
    if network:
        _scan_network(output, snapshot_file, ask=not no_ask, probe=probe)
        return
    facts = common.load_snapshot(snapshot_file, ask=not no_ask)
    if output == "json":
        common.print_json(document(facts))
    else:
        _show(facts)
    common.note_gaps(facts.incomplete)


def _scan_network(output: str, snapshot_file: Path | None, *, ask: bool, probe: bool) -> None:
    """The speakers of the networks, asked now."""
    from librespot_guard.collect.speakers import find_speakers  # noqa: PLC0415 - only this needs it
    from librespot_guard.report import speakers as report  # noqa: PLC0415

    if snapshot_file is not None:
        raise click.UsageError("--network asks the network now; it can't be used with --snapshot")
    found, gaps = find_speakers(ask=ask, probe=probe, progress=common.note)
    if output == "json":
        common.print_json(report.to_json(found, gaps))
        return
    from librespot_guard.report.terminal import show  # noqa: PLC0415

    show(report.to_lines(found))
    common.note_gaps(gaps)


def document(facts: Snapshot) -> dict[str, Any]:
    """The JSON document of `scan` (schemas/scan.json)."""
    known = catalog.load()
    return {
        "schema": "librespot-guard/scan/1",
        "host": facts.hostname,
        "taken": facts.taken,
        "services": [_service(s, facts, known) for s in (*facts.services, *facts.stopped)],
        "incomplete": [asdict(gap) for gap in facts.incomplete],
    }


def _service(service: Service, facts: Snapshot, known: Catalog) -> dict[str, Any]:
    flavour = _flavour(service, known)
    names = ("name", "flavour", "version", "pid", "uid", "user", "executable", "unit", "container", "cgroup", "netns")
    return {
        **{name: getattr(service, name) for name in names},
        "pid": service.pid or None,
        "uid": service.uid if service.uid >= 0 else None,
        "status": service.status,
        "restart": service.restart,
        "start_limit": service.start_limit,
        "settings": [
            {"name": s.name, "value": s.value, "from": s.origin, "wins": s.wins, "note": s.note}
            for s in service.settings
        ],
        "container_details": asdict(service.container_details) if service.container_details else None,
        "netns_name": facts.namespace(service.netns).name,
        "started": service.started,
        "cache_dir": service.cache_dir,
        "argv": list(service.argv),
        "environment": service.environment,
        "secrets": [asdict(s) for s in service.secrets],
        "info": asdict(service.info) if service.info else None,
        "listeners": [_listener(one, flavour, service.version) for one in service.listeners],
    }


def _listener(owned: ServiceListener, flavour: Flavour | None, version: str | None) -> dict[str, Any]:
    socket = owned.listener
    return {
        "proto": socket.proto,
        "address": socket.address,
        "port": socket.port or None,
        # an IPv4 socket serves IPv4 only; the question does not arise
        "v6only": bool(socket.v6only),
        "surface": owned.surface,
        "pinned": owned.pinned,
        "pinned_by": owned.pinned_by,
        "known_by": owned.known_by,
        "device": socket.device,
        "families": list(families(socket)),
        "stranger": list(_stranger(owned, flavour, version)),
    }


def families(listener: Listener) -> tuple[str, ...]:
    """The address families that reach a socket: both for a dual-stack one."""
    return (
        ("ipv4", "ipv6")
        if listener.family == "ipv6" and listener.address == "::" and not listener.v6only
        else (listener.family,)
    )


def _flavour(service: Service, known: Catalog) -> Flavour | None:
    """What is known about a service's flavour; a snapshot of a newer version may hold one that is not."""
    return next((f for f in known.flavours if f.name == service.flavour), None)


def _stranger(owned: ServiceListener, flavour: Flavour | None, version: str | None) -> tuple[str, ...]:
    surface = flavour.surface(owned.surface, version) if flavour else None
    return surface.stranger if surface else ()


def _show(facts: Snapshot) -> None:
    if not (facts.services or facts.stopped):
        click.echo(f"no service of the librespot family runs on {facts.hostname}")
        return
    known = catalog.load()
    lines = [line for s in (*facts.services, *facts.stopped) for line in (*_lines(s, facts, known), "")][:-1]
    if not sys.stdout.isatty():
        click.echo(click.unstyle("\n".join(lines)))
        return
    from rich.padding import Padding  # noqa: PLC0415 - only a terminal pays for it
    from rich.text import Text  # noqa: PLC0415

    screen = common.console()
    for line in lines:  # what is too long for the terminal goes on under its own beginning
        text = line.lstrip(" ")
        screen.print(Padding(Text.from_ansi(text), (0, 0, 0, len(line) - len(text)), expand=False))


def _lines(service: Service, facts: Snapshot, known: Catalog) -> Iterator[str]:
    flavour = _flavour(service, known)
    title = flavour.title if flavour else service.flavour
    version = f" {service.version}" if service.version else " (version not known)"
    yield click.style(service.name, bold=True) + f"  {title}{_safe(version)}"
    yield _INDENT + ", ".join(_where(service, facts))
    if service.argv:
        yield f"{_INDENT}started as: {' '.join(_quoted(a) for a in service.argv)}"
    for name, value in service.environment.items():
        yield f"{_INDENT}environment: {name}={_quoted(value)}"
    yield from _settings(service)
    if service.info and service.info.account:
        yield f"{_INDENT}logged in: {_quoted(service.info.account)}, as it tells anybody who asks"
    if not service.listeners:
        yield f"{_INDENT}no listener of it was seen" if service.pid else f"{_INDENT}it would open nothing"
    elif not service.pid:
        yield f"{_INDENT}it would open:"
    for surface in dict.fromkeys(owned.surface for owned in service.listeners):
        of_this = [owned for owned in service.listeners if owned.surface == surface]
        yield from (_heading(owned) for owned in of_this)
        yield from _stranger_lines(_stranger(of_this[0], flavour, service.version))
        known_surface = flavour.surface(surface, service.version) if flavour else None
        if known_surface and known_surface.unconfirmed:
            yield f"{_INDENT * 2}not confirmed: {known_surface.unconfirmed}"
    for secret in service.secrets:
        place = "on the command line" if secret.where == "argv" else "in the environment"
        who = (
            "every user of this host can read it there"
            if secret.where == "argv"
            else "its user and root can read it there"
        )
        yield f"{_INDENT}{click.style('secret', fg='red', bold=True)}: {secret.name} {place}: {who}"


def _settings(service: Service) -> Iterator[str]:
    """What it was set to, with where that stands; defaults are left out, they are told by the listeners."""
    for one in service.settings:
        if one.origin.startswith("default of"):
            continue
        used = "" if one.wins else "  (not used: another one wins)"
        yield f"{_INDENT}setting: {_safe(one.name)} = {_quoted(one.value)}  from {_safe(one.origin)}{used}"
        if one.note:
            yield f"{_INDENT * 2}{_safe(one.note)}"


def _where(service: Service, facts: Snapshot) -> Iterator[str]:
    yield f"pid {service.pid}" if service.pid else "stopped"
    yield f"user {_safe(service.user or (str(service.uid) if service.uid >= 0 else 'not known'))}"
    if service.unit:
        limit = f", start limit {_safe(service.start_limit)}" if service.start_limit else ""
        yield f"unit {_safe(service.unit)}" + (f" (restart {_safe(service.restart)}{limit})" if service.restart else "")
    details = service.container_details
    if details:
        image = f" of image {_safe(details.image)}" if details.image else ""
        yield f"{details.engine} container {_safe(details.name)}{image}, network {_safe(details.network)}"
        for one in details.published:
            yield f"published as {one.proto} {_safe(one.address)}:{one.port} -> {one.inside}"
    elif service.container:
        yield f"container {_safe(service.container[:12])}"
    namespace = facts.namespace(service.netns)
    if not namespace.home:
        yield f"network namespace {_safe(namespace.name or namespace.id)}"


def _heading(owned: ServiceListener) -> str:
    socket = owned.listener
    address = f"[{socket.address}]" if socket.family == "ipv6" else socket.address
    on = f" on {socket.device} only" if socket.device else ""
    pinned = _safe(owned.pinned_by)
    if owned.pinned and owned.surface != "discovery":
        pinned = f"port {pinned}" if pinned.startswith("always") else f"port fixed by {pinned}"
    elif not owned.pinned and pinned.startswith("can't be told"):
        pinned = f"whether the port is fixed {pinned}"
    heading = click.style(f"{socket.proto} {address}:{socket.port or 'random'}", fg="cyan")
    return f"{_INDENT}{heading} {click.style(owned.surface, bold=True)}  {_reach(socket)}{on}  {pinned}".rstrip()


def _stranger_lines(can: tuple[str, ...]) -> Iterator[str]:
    if can and all(c.startswith("nothing ") for c in can):
        yield f"{_INDENT * 2}a stranger can do {can[0]}"
    elif can:
        yield f"{_INDENT * 2}a stranger who gets there can:"
        for one in can:
            yield f"{_INDENT * 2}- {one}"


def _reach(socket: Listener) -> str:
    served = families(socket)
    if len(served) == 2:
        return "dual-stack: IPv4 and IPv6"
    return "IPv4" if served == ("ipv4",) else "IPv6"


def _quoted(text: str) -> str:
    """One argument as a shell would want it, safe to print."""
    plain = _safe(text)
    return f"'{plain}'" if not plain or any(c in " '\"$`\\|&;<>()*?" for c in plain) else plain


def _safe(text: str) -> str:
    """A text with its control characters shown, not obeyed: names and paths were chosen by others."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
