"""A valid policy as a page of text: who may reach what."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librespot_guard.policy import Entry, Match, Policy, Source


def given(match: "Match") -> dict[str, Any]:
    """The keys of a match that are given."""
    pairs = {key: getattr(match, key) for key in ("flavour", "unit", "name", "container", "port")}
    return {key: value for key, value in pairs.items() if value is not None}


def summary(policy: "Policy", matches: dict[str, list[str]] | None) -> list[str]:
    """The policy as a page of text."""
    extra = [f"owner {policy.owner}" if policy.owner else "", f"review {policy.review}" if policy.review else ""]
    lines = [
        f"{policy.file}: {click.style('valid', fg='green', bold=True)}",
        f"  {', '.join(x for x in (policy.title, *extra) if x)}",
    ]
    if policy.sources:
        lines += ["", *_table(("SOURCE", "WHO", "WHY"), [_source_row(s) for s in policy.sources.values()])]
    rows = [row for entry in policy.services.values() for row in _entry_rows(entry, matches)]
    if rows:
        lines += [
            "",
            *_table(("SERVICE", "SURFACE", "ALLOWED"), rows),
            "  Everybody else is denied; this host itself is always allowed.",
        ]
    return lines


def _source_row(source: "Source") -> tuple[str, str, str]:
    shown = [str(n.network_address) if n.prefixlen == n.max_prefixlen else str(n) for n in source.networks]
    who = ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "") if shown else "everybody"
    where = f" on {source.interface}" if source.interface else ""
    extra = "".join(
        [f", until {source.expires}" if source.expires else "", f", owner {source.owner}" if source.owner else ""]
    )
    return source.name, f"{who}{where}", f"{source.why}{extra}"


def _entry_rows(entry: "Entry", matches: dict[str, list[str]] | None) -> list[tuple[str, str, str]]:
    what = " ".join(f"{key}={value}" for key, value in given(entry.match).items())
    rows = [(surface, ", ".join(names) or "nobody") for surface, names in entry.allow.items()] or [
        ("every one", "nobody")
    ]
    heads = [entry.name, f"  {what}"]
    if matches is not None:
        heads.append(f"  matches: {', '.join(matches[entry.name]) or 'no service'}")
    length = max(len(heads), len(rows))
    heads += [""] * (length - len(heads))
    return [(head, *(rows[i] if i < len(rows) else ("", ""))) for i, head in enumerate(heads)]


def _table(head: tuple[str, str, str], rows: "Sequence[tuple[str, str, str]]") -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(2)]
    lines = [f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip() for row in (head, *rows)]
    return [click.style(lines[0], bold=True), *lines[1:]]
