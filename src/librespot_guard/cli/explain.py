"""`explain`: the page of one check or one concept."""

from typing import Any

import click

from librespot_guard.cli.common import format_option, print_json

EPILOG = """\b
Examples:
  librespot-guard explain            list all checks and concepts
  librespot-guard explain LG101
  librespot-guard explain may-must
"""


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG001 - the signature of click
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    from librespot_guard.audit import all_explanations  # noqa: PLC0415

    return [
        CompletionItem(p.name, help=p.title)
        for p in all_explanations()
        if p.name.lower().startswith(incomplete.lower())
    ]


@click.command(epilog=EPILOG)
@click.argument("name", required=False, shell_complete=_names)
@format_option()
def explain(name: str | None, output: str) -> None:
    """What NAME (a check such as LG101, or a concept such as gate) means, why it matters, how to fix and how to check it."""
    from librespot_guard import audit as room  # noqa: PLC0415 - `--help` does not pay for it
    from librespot_guard.report import explain as report  # noqa: PLC0415
    from librespot_guard.report.terminal import columns, show  # noqa: PLC0415

    page = room.explain(name) if name is not None else None
    if output == "json":
        print_json(report.list_json() if page is None else report.to_json(page))
    else:
        show(report.list_lines() if page is None else report.to_lines(page, width=columns()))
