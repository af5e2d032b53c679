"""The speakers of a network segment, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from librespot_guard.report.text import EMPTY, Line, Span, line
from librespot_guard.snapshot import Gap, Speaker

SCHEMA = "librespot-guard/scan-network/1"
_REBINDING = {
    True: (Span("the same answer", "yellow"), ", so a web page could take it over by DNS rebinding (LG107)"),
    False: ("another answer or none",),
}


def to_json(speakers: Sequence[Speaker], gaps: Sequence[Gap]) -> dict[str, Any]:
    """The document of `scan --network --format json` (schemas/scan-network.json)."""
    return {
        "schema": SCHEMA,
        "speakers": [
            {
                "name": one.announcement.name,
                "host": one.announcement.host,
                "port": one.announcement.port,
                "addresses": list(one.announcement.addresses),
                "sender": one.announcement.sender,
                "interface": one.announcement.dev,
                "family": one.announcement.family,
                "txt": one.announcement.txt,
                "asked": one.asked or None,
                "info": asdict(one.info) if one.info else None,
                "why_not": one.why or None,
                "any_host": one.any_host,
            }
            for one in speakers
        ],
        "incomplete": [asdict(gap) for gap in gaps],
    }


def to_lines(speakers: Sequence[Speaker]) -> list[Line]:
    """One block for each speaker: what it calls itself, where it is, what it is, who is logged in."""
    if not speakers:
        return [line("no Spotify Connect speaker answers on the networks of this host")]
    lines: list[Line] = []
    for one in speakers:
        said = one.announcement
        lines.append(line(Span(said.name or "(no name)", "bold"), f"  on {said.dev}"))
        where = ", ".join(said.addresses) or "no address"
        lines.append(line(f"    announces {where}, tcp/{said.port}" + (f" as {said.host}" if said.host else "")))
        if one.info:
            what = " ".join(filter(None, (one.info.brand, one.info.model, one.info.version))) or "a speaker"
            lines.append(line(f"    answers at {one.asked}: {what}, device {one.info.device_id}"))
            if one.info.remote_name != said.name:
                lines.append(line(f"    calls itself {one.info.remote_name}"))
            if one.info.account:
                lines.append(
                    line("    logged in: ", Span(one.info.account, "yellow"), ", as it tells anybody who asks")
                )
            if one.any_host is not None:
                lines.append(line("    under a name that is not its own: ", *_REBINDING[one.any_host]))
        else:
            lines.append(line(Span("    no answer", "yellow"), f": {one.why}"))
        lines.append(EMPTY)
    lines.append(
        line(f"{len(speakers)} speaker{'s' * (len(speakers) != 1)}; anybody on these networks can ask them the same")
    )
    return lines
