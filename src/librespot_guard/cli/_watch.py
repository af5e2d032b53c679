"""`scan --watch`: look again and again, say what is new, and give the port profile at the end, also when interrupted."""

import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import click

from librespot_guard.cli import common
from librespot_guard.collect.watch import Watcher
from librespot_guard.collect.watched import Span, Watched

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN = 20
# milliseconds: poll(2) takes an int
_LONGEST_POLL = 2**31 - 1


def duration(text: str) -> float:
    """Seconds of a text such as 90, 90s, 10m, 2h or 1d. Raises click.BadParameter."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise click.BadParameter(f"`{text}` is no length of time; write it as 90s, 10m or 2h")
    return float(found[1]) * _UNITS[found[2] or "s"]


def run(output: str, *, seconds: float | None, interval: float) -> None:
    """Watch for so long (None: until interrupted) and print the profile."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    screen = _Screen()
    watcher = Watcher(screen.tell)
    try:
        with suppress(KeyboardInterrupt), until_ended() as ended:
            while not ended.came and (seconds is None or watcher.seconds < seconds):
                started = time.monotonic()
                watcher.look()
                screen.status(watcher, seconds)
                left = interval if seconds is None else min(interval, seconds - watcher.seconds)
                ended.wait(max(0.0, left - (time.monotonic() - started)))
            # what came since the last look
            watcher.look()
    finally:
        screen.clear()
        watcher.close()
    if output == "json":
        common.print_json(document(watcher, began, interval))
    else:
        click.echo(click.unstyle("\n".join(lines(watcher))) if not sys.stdout.isatty() else "\n".join(lines(watcher)))
    common.note_gaps(watcher.gaps)


class End:
    """Ctrl-C or SIGTERM came: a look goes on to its end. The second time, KeyboardInterrupt ends it at once.

    A pipe, and not a threading.Event: the handler runs in the very thread that waits, perhaps while that holds the lock of the event.
    """

    def __init__(self) -> None:
        self.came = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of both signals."""
        if self.came:
            signal.default_int_handler(number, frame)
        self.came = True
        os.write(self._write, b".")

    def wait(self, seconds: float) -> None:
        """Wait so long, or until it comes."""
        self._poll.poll(min(seconds * 1000, _LONGEST_POLL))

    def close(self) -> None:
        """Once the handlers are gone."""
        os.close(self._read)
        os.close(self._write)


@contextmanager
def until_ended() -> Iterator[End]:
    """Ctrl-C and SIGTERM are noted, and end nothing, until the block ends. In the main thread only."""
    ended = End()
    before = {number: signal.signal(number, ended.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ended.close()


class _Screen:
    """What is new goes to stderr as lines; a terminal has a status line under them."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._said = False

    def tell(self, text: str) -> None:
        self.clear()
        common.note(text)

    def status(self, watcher: Watcher, seconds: float | None) -> None:
        if self._live:
            whole = f" of {seconds:.0f}" if seconds else ""
            running = len(watcher.services)
            text = f"watching: {watcher.seconds:.0f}{whole} s, {running} service{'s' * (running != 1)}; Ctrl-C ends it and prints the profile"
            click.echo("\r\x1b[K" + click.style(text[:79], dim=True), err=True, nl=False)
        elif not self._said:
            common.note("watching; Ctrl-C or SIGTERM ends it and prints the profile")
        self._said = True

    def clear(self) -> None:
        if self._live:
            click.echo("\r\x1b[K", err=True, nl=False)


def document(watcher: Watcher, began: str, interval: float) -> dict[str, Any]:
    """The JSON document (schemas/watch.json)."""
    return {
        "schema": "librespot-guard/watch/1",
        "started": began,
        "seconds": round(watcher.seconds, 1),
        "interval": interval,
        "services": [_service(s, watcher) for s in watcher.services.values()],
        "conntrack": [{"netns": netns, "seen": not why, "why": why or None} for netns, why in watcher.tracking.items()],
        "incomplete": [asdict(gap) for gap in watcher.gaps],
    }


def _service(watched: Watched, watcher: Watcher) -> dict[str, Any]:
    return {
        "name": watched.name,
        "flavour": watched.flavour,
        "version": watched.version,
        "starts": [{"pid": pid, "seen": round(span.first, 1)} for pid, span in watched.starts.items()],
        "ports": {
            surface: {"seen": list(ports), "changes": len(ports) > 1} for surface, ports in watched.ports().items()
        },
        "listeners": [
            {"proto": proto, "address": address, "port": port, "surface": surface, **_times(span)}
            for (proto, address, port, surface), span in watched.listeners.items()
        ],
        "inbound": [
            {"proto": proto, "address": address, "connections": span.count, "known_by": span.by, **_times(span)}
            for (proto, address), span in watched.inbound.items()
        ],
        "outbound": [
            {
                "proto": proto,
                "address": address,
                "port": port,
                "connections": span.count,
                "known_by": span.by,
                "purposes": list(watcher.purposes(watched.flavour, proto, port)),
                **_times(span),
            }
            for (proto, address, port), span in watched.outbound.items()
        ],
        "left_out": watched.left_out,
    }


def _times(span: Span) -> dict[str, float]:
    return {"first": round(span.first, 1), "last": round(span.last, 1)}


def lines(watcher: Watcher) -> Iterator[str]:
    """The profile for people."""
    yield f"port profile of {watcher.seconds:.0f} s"
    if not watcher.services:
        yield "no service of the librespot family ran"
    for watched in watcher.services.values():
        yield ""
        count = len(watched.starts)
        again = f", started {count} times" if count > 1 else ""
        yield (
            click.style(watched.name, bold=True)
            + f"  {watched.flavour} {watched.version or '(version not known)'}{again}"
        )
        for surface, ports in watched.ports().items():
            text = ", ".join(map(str, ports))
            if len(ports) > 1:
                yield f"    {surface}: tcp {text}: another port at each start; a rule on a number does not last, pin it or match the service"
            else:
                yield f"    {surface}: tcp {text}" + (": the same at every start" if count > 1 else "")
        udp = sorted({(port, surface) for proto, _, port, surface in watched.listeners if proto == "udp"})
        for port, surface in udp:
            yield f"    {surface}: udp {port}"
        for (proto, address), span in list(watched.inbound.items())[:_SHOWN]:
            yield f"    from {address} by {proto}: {_times_seen(proto, span)}"
        for (proto, address, port), span in list(watched.outbound.items())[:_SHOWN]:
            why = "; ".join(watcher.purposes(watched.flavour, proto, port)) or "the catalogue knows no purpose of it"
            yield f"    to {address} {proto} {port}: {_times_seen(proto, span)}: may be {why}"
        for what, table in (("from", watched.inbound), ("to", watched.outbound)):
            if len(table) > _SHOWN:
                yield f"    {what} {len(table) - _SHOWN} more addresses (`--format json` lists all)"
        if watched.left_out:
            yield f"    {watched.left_out} entries, those not seen for longest, were let go to make room"
    yield from _tracking(watcher)


def _tracking(watcher: Watcher) -> Iterator[str]:
    """Whether the kernel's table of flows was there: without it nobody knows who spoke UDP."""
    if watcher.tracking:
        yield ""
    seen = sum(not why for why in watcher.tracking.values())
    if seen:
        yield f"conntrack: read in {seen} network namespace{'s' * (seen != 1)}, so that UDP peers are in the profile"
    for why in dict.fromkeys(filter(None, watcher.tracking.values())):
        count = sum(w == why for w in watcher.tracking.values())
        yield f"conntrack: {why} ({count} network namespace{'s' * (count != 1)}): UDP peers are not in the profile"


def _times_seen(proto: str, span: Span) -> str:
    word = "connection" if proto == "tcp" else "flow"
    return f"{span.count} {word}{'s' * (span.count != 1)}"
