"""The command group: every command is imported only when it is asked for."""

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from librespot_guard import __version__
from librespot_guard.cli.overview import COMMANDS, EPILOG

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is run, completed or helped."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Every command, in the order of a newcomer's way through the tool."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command, or None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_rows()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete the name of a command without importing any of them, or an option of the group."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only where it is needed

        rows = [CompletionItem(name, help=line) for name, line in _rows() if name.startswith(incomplete)]
        return rows + click.Command.shell_complete(self, ctx, incomplete)


def _rows() -> Iterator[tuple[str, str]]:
    for name, (_, line) in COMMANDS.items():
        yield name, line


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, "-V", "--version", prog_name="librespot-guard")
def main() -> None:
    """Find every librespot service on this host, prove who can reach it, and close it without locking yourself out."""
