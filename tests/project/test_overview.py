"""`--help` of the program is answered without click, and says the same as click would."""

import click
import pytest

from librespot_guard.cli import overview
from librespot_guard.cli.main import main
from support import Guard


@pytest.mark.parametrize("columns", [80, 81, 95, 109, 110, 111, 300])
def test_the_quick_help_is_that_of_click(columns: int) -> None:
    """Both print the same text at every width."""
    context = click.Context(main, info_name="librespot-guard", terminal_width=None, **main.context_settings)
    context.terminal_width = None
    formatter = click.HelpFormatter(width=max(min(columns, overview.MOST_COLUMNS) - 2, 50))
    main.format_help(context, formatter)

    assert overview.text(columns) == formatter.getvalue().rstrip("\n") + "\n"


@pytest.mark.parametrize("columns", ["20", "79", "80", "110", "0", "wide"])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_fits_every_terminal(guard: Guard, columns: str, option: str) -> None:
    """Whatever COLUMNS says, the help is printed on stdout and names each command."""
    result = guard(option, env={"COLUMNS": columns})

    assert (result.returncode, result.stderr) == (0, "")
    assert [name for name in overview.COMMANDS if f"\n  {name} " not in result.stdout] == []
