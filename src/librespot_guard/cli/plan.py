"""`plan`: what a policy would change on this host, and why; nothing is touched."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from librespot_guard.cli import common
from librespot_guard.errors import MachineError

if TYPE_CHECKING:
    from librespot_guard.plan import EffectiveRule, Plan
    from librespot_guard.policy import Policy
    from librespot_guard.snapshot import Snapshot
    from librespot_guard.snapshot.setting_file import SettingFile


@click.command(
    epilog="""\b
Examples:
  librespot-guard plan policy.yaml
  librespot-guard plan policy.yaml --snapshot other-host.json
  librespot-guard plan policy.yaml --exit-code      1 if something would change
"""
)
@click.argument("policy_file", metavar="POLICY", type=click.Path(dir_okay=False, path_type=Path))
@common.snapshot_option
@common.format_option()
@click.option(
    "-o",
    "--output-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also save the plan as JSON.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if the host is not as the policy wants it.")
def plan(policy_file: Path, snapshot_file: Path | None, output: str, output_file: Path | None, exit_code: bool) -> int:
    """Show what the policy in the file POLICY would change on this host: every rule with its why, and the rules as a diff.

    Exit status 1 if the policy can't be applied here (each reason is listed), 3 if that can't be told because the rules of this host can't be read.
    """
    facts = common.load_snapshot(snapshot_file)
    made = make(policy_file, facts, live=snapshot_file is None)
    document = made.to_json()
    if output_file is not None:
        common.write_text(output_file, common.json_text(document, indent=2) + "\n")
    if output == "json":
        common.print_json(document)
    else:
        click.echo(render(made))
    if snapshot_file is None and facts.home.nft is None:
        return MachineError.status
    return 1 if made.refusals or (exit_code and not made.unchanged) else 0


def make(
    policy_file: Path,
    snapshot: "Snapshot",
    *,
    text: str | None = None,
    timeout: int = 60,
    live: bool = False,
    restart: bool = False,
) -> "Plan":
    """Read the policy and plan it on these facts; `live` if they are of this host, whose configuration files can then be changed.

    `text` is what stands in the file, if it was read already: standard input can be read once only.
    """
    from librespot_guard import plan as planning  # noqa: PLC0415 - `--help` must not pay for it
    from librespot_guard import policy  # noqa: PLC0415

    loaded = policy.load(common.read_policy(policy_file) if text is None else text, file=str(policy_file))
    files = _files(snapshot, loaded) if live and any(entry.use for entry in loaded.services.values()) else None
    today = datetime.now(UTC).astimezone().date()
    return planning.make(loaded, snapshot, today=today, timeout=timeout, files=files, restart=restart)


def _files(snapshot: "Snapshot", policy: "Policy") -> dict[str, tuple["SettingFile", ...]]:
    """The configuration files of the services whose entries state a use."""
    from librespot_guard.cli.minimise import read_files  # noqa: PLC0415 - seldom asked for
    from librespot_guard.policy import assign  # noqa: PLC0415

    return read_files([a.service for a in assign(policy, snapshot) if a.entry.use])


def render(made: "Plan") -> str:
    """The plan as text for people."""
    blocks = [_head(made), *_services(made)]
    if made.warnings:
        blocks.append("\n".join([click.style("Warnings", bold=True), *(f"  ! {text}" for text in made.warnings)]))
    if made.diff and not made.unchanged:
        blocks.append(
            "\n".join([click.style("Rules", bold=True), *(_coloured(line) for line in made.diff.splitlines())])
        )
    if made.settings:
        blocks += _settings(made)
    if made.lockouts:
        lines = [f"  {json.dumps(lockout.to_json(), ensure_ascii=False)}" for lockout in made.lockouts]
        blocks.append("\n".join([click.style("Packets that would not reach you any more", bold=True), *lines]))
    blocks.append(_verdict(made))
    return "\n\n".join(blocks)


def _head(made: "Plan") -> str:
    in_force = made.current.confirmed.id if made.current and made.current.confirmed else "none"
    return f"{click.style(made.title, bold=True)} ({made.file})\n  policy {made.id or 'not made'}, in force now: {in_force}"


def _services(made: "Plan") -> list[str]:
    blocks: dict[str, list[str]] = {}
    for rule in made.rules:
        at = f"[{rule.address}]" if ":" in rule.address else rule.address
        place = f"{rule.surface} on {rule.proto} {at}:{rule.port}"
        blocks.setdefault(f"{click.style(rule.service, bold=True)}: {place}", []).append(f"  {_line(rule)}")
    return ["\n".join([head, *lines]) for head, lines in blocks.items()]


def _line(rule: "EffectiveRule") -> str:
    if rule.source is None:
        return "- nobody (but this host itself)"
    networks = ", ".join(rule.networks[:6]) + (f" and {len(rule.networks) - 6} more" if len(rule.networks) > 6 else "")
    where = [networks or "every address", f"over {rule.interface}" if rule.interface else ""]
    extra = [f"owner {rule.owner}" if rule.owner else "", f"until {rule.expires.isoformat()}" if rule.expires else ""]
    tail = "".join(f", {text}" for text in extra if text)
    return f"+ {rule.source}: {' '.join(w for w in where if w)} ({rule.why}{tail})"


def _settings(made: "Plan") -> list[str]:
    from librespot_guard.cli.minimise import lines as review_lines  # noqa: PLC0415 - seldom asked for

    blocks = ["\n".join(review_lines(review)) for review in made.settings]
    if made.settings_diff:
        lines = [_coloured(line) for line in made.settings_diff.splitlines()]
        blocks.append("\n".join([click.style("Settings", bold=True), *lines]))
    return blocks


def _coloured(line: str) -> str:
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return f"  {click.style(line, fg=colour)}" if colour else f"  {line}"


def _verdict(made: "Plan") -> str:
    if made.refusals:
        return "\n".join(
            [click.style("This can't be applied:", fg="red", bold=True), *(f"  {text}" for text in made.refusals)]
        )
    if made.unchanged:
        return "Nothing to change: this policy is in force."
    proof = {"proved": "proved on the planned rules", "undecided": "not decided exactly on the planned rules"}[
        made.proof
    ]
    return f"The policy is {proof}. `librespot-guard apply {made.file}` makes the change and puts it back by itself unless it is confirmed."
