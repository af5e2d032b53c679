"""`minimise`: the feature review of every service for a stated use, with the exact change that turns each feature off."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from librespot_guard.catalog.settings import USES
from librespot_guard.cli import common
from librespot_guard.errors import InputError

if TYPE_CHECKING:
    from librespot_guard.plan.minimise import Proposal, Review
    from librespot_guard.snapshot import Service, Snapshot
    from librespot_guard.snapshot.setting_file import SettingFile

_COLOUR = {"keep": "green", "none": "green", "pin": "yellow", "local": "yellow", "off": "red"}
_WORD = {
    "keep": "keep",
    "none": "nothing to do",
    "pin": "fix the port",
    "local": "bind to this host",
    "off": "turn off",
}


@click.command(
    epilog="""\b
Examples:
  sudo librespot-guard minimise --use phones                   phones on the network choose the speaker
  sudo librespot-guard minimise kitchen --use application      only an application drives it
  librespot-guard minimise --use nobody --snapshot host.json   what could be turned off on another host
"""
)
@click.argument("service", required=False)
@click.option("--use", type=click.Choice(USES), required=True, help="What the services are for.")
@common.snapshot_option
@common.format_option()
def minimise(service: str | None, use: str, snapshot_file: Path | None, output: str) -> None:
    """Say which surfaces a stated use does not need, what turns each off, and what will then stop working.

    Nothing is changed. To change it, write `use: phones` (or application, nobody) into the service's entry of the policy: `plan` then
    shows the lines, `apply` and `confirm` write them, and `rollback` brings the very files back.
    """
    facts = common.load_snapshot(snapshot_file)
    reviews, gaps = review_all(facts, service, use, live=snapshot_file is None)
    if output == "json":
        document = {
            "schema": "librespot-guard/minimise/1",
            "use": use,
            "reviews": [r.to_json() for r in reviews],
            "incomplete": gaps,
        }
        common.print_json(document)
        return
    if not reviews:
        click.echo(f"no service of the librespot family runs on {facts.hostname}")
    click.echo("\n\n".join("\n".join(lines(r)) for r in reviews))
    for gap in gaps:
        common.note(f"note: {_safe(gap)}")


def review_all(facts: "Snapshot", name: str | None, use: str, *, live: bool) -> tuple[list["Review"], list[str]]:
    """The reviews of all services, or of the one of this name; and what could not be looked at. Raises InputError for an unknown name."""
    from librespot_guard import catalog  # noqa: PLC0415 - `--help` must not pay for it
    from librespot_guard.plan.minimise import reviews  # noqa: PLC0415

    services = [s for s in facts.services if name in (None, s.name)]
    if name is not None and not services:
        known = ", ".join(f"`{s.name}`" for s in facts.services) or "none"
        raise InputError(f"there is no service `{name}`", hint=f"services here: {known}")
    files = read_files(services) if live else {}
    flavours = {f.name: f for f in catalog.load().flavours}
    found = list(reviews([(s, use, None) for s in services], flavours, files))
    gaps = [f"{s.name}: the catalogue has nothing on {s.flavour}" for s in services if s.flavour not in flavours]
    if not live and services:
        gaps.append("a snapshot holds no configuration files: where a setting stands is not known")
    gaps += [f"{file.path}: {file.problem}" for each in files.values() for file in each if file.problem]
    return found, list(dict.fromkeys(gaps))


def read_files(services: Sequence["Service"]) -> dict[str, tuple["SettingFile", ...]]:
    """The configuration files of services of this host, by their names."""
    from librespot_guard import catalog  # noqa: PLC0415 - `--help` must not pay for it
    from librespot_guard.collect.setting_files import setting_files  # noqa: PLC0415

    flavours = {f.name: f for f in catalog.load().flavours}
    return {s.name: setting_files(s, flavours[s.flavour]) for s in services if s.flavour in flavours}


def lines(review: "Review") -> Iterator[str]:
    """A review as lines for people."""
    from librespot_guard.plan.minimise import MEANING  # noqa: PLC0415 - `--help` must not pay for it

    version = review.service.version or "version not known"
    yield f"{click.style(review.service.name, bold=True)}  {review.flavour.title} ({version}): {MEANING[review.use]}"
    if review.flavour.unconfirmed:
        yield f"    not confirmed: {review.flavour.unconfirmed}"
    for proposal in review.proposals:
        yield from _proposal(proposal)


def _safe(text: str) -> str:
    """A text with its control characters shown, not obeyed: paths come from command lines."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _proposal(proposal: "Proposal") -> Iterator[str]:
    word = click.style(_WORD[proposal.action], fg=_COLOUR[proposal.action], bold=True)
    yield f"    {', '.join(proposal.surfaces)}: {word}"
    yield f"        {proposal.how}"
    if proposal.place:
        yield f"        change: `{proposal.place.text}` in {_safe(proposal.place.path)}"
    if proposal.done:
        yield "        its configuration says so already; restart it if it is still open"
    if proposal.problem:
        yield f"        by hand: {_safe(proposal.problem)}"
    if proposal.needs:
        yield f"        needs: {proposal.needs}"
    for each in proposal.stops:
        yield f"        stops: {each}"
    if proposal.unconfirmed:
        yield f"        not confirmed: {proposal.unconfirmed}"
