"""The command line as a newcomer meets it: every command explains itself, and every example in help and documents is real."""

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from librespot_guard.cli.main import main
from librespot_guard.cli.overview import COMMANDS
from support import ROOT

EXAMPLE = re.compile(r"^\s*(?:[$#] )?(?:sudo )?(?:librespot-guard|lsguard) (?P<rest>\S.*)$", re.MULTILINE)
DOCUMENTS = sorted(
    p for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")) if p.name != "cli.md"
)


def walk(command: click.Command, parent: click.Context | None, name: str) -> Iterator[click.Context]:
    """A command and every command below it."""
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None, child
            yield from walk(found, context, child)


@functools.cache
def commands() -> dict[str, click.Context]:
    """Every command by its path behind the program's name."""
    return {c.command_path.removeprefix("librespot-guard").strip(): c for c in walk(main, None, "librespot-guard")}


def explanation(command: click.Command) -> str:
    """Everything a command says about itself, less click's marks."""
    return f"{command.help or ''}\n{command.epilog or ''}".replace("\b", "")


def arguments(line: str) -> list[str]:
    """The words of one example, without a comment, a pipe or what follows it."""
    lexer = shlex.shlex(re.split(r" {3,}", line)[0], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if set(word) <= set("|;&<>()"):
            break
        words.append(word)
    return words


def parse(words: list[str]) -> None:
    """Raise click.UsageError if the words name a command or an option that does not exist."""
    command: click.Command = main
    context = click.Context(main, info_name="librespot-guard", **main.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            if command.invoke_without_command:
                break
            raise click.UsageError(f"no command `{words[0]}`")
        context = click.Context(found, parent=context, info_name=words[0])
        command, words = found, words[1:]
    command.make_parser(context).parse_args(args=list(words))


def test_every_command_can_be_imported() -> None:
    """Each name in the table leads to a command of this name."""
    assert set(COMMANDS) <= set(commands())
    for name in COMMANDS:
        assert commands()[name].command.name == name


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_every_command_shows_an_example(name: str) -> None:
    """The help of each command has at least one example of this very command."""
    found = [m["rest"] for m in EXAMPLE.finditer(explanation(commands()[name].command))]

    assert any(line.split()[: len(name.split())] == name.split() for line in found)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_help_is_real(name: str) -> None:
    """Commands and options that the help shows exist."""
    for path, context in commands().items():
        if path.split()[:1] == [name]:
            for match in EXAMPLE.finditer(explanation(context.command)):
                parse(arguments(match["rest"]))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    """No option is left unexplained."""
    silent = [
        f"{path} {parameter.opts[0]}"
        for path, context in commands().items()
        if path.split()[:1] == [name]
        for parameter in context.command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]

    assert silent == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_the_documents_is_real(document: Path) -> None:
    """What a document tells to type names commands and options that exist."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(?:sudo )?((?:librespot-guard|lsguard) [a-z][^`\n]*)`", text)
    for line in [m["rest"] for block in blocks for m in EXAMPLE.finditer(block)] + [i.split(" ", 1)[1] for i in inline]:
        try:
            parse(arguments(line))
        except click.UsageError as error:
            pytest.fail(f"{document.name}: `{line}`: {error.format_message()}")
